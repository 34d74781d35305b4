"""Properties over invented policies and invented bytes: round trips, and nothing but the project's own errors."""

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError, MmSupervisorError
from mmsupervisor.policy.blob import assemble, read_blob, read_blob_as_runtime, write_blob
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import decide_io
from mmsupervisor.policy.dump import dump_policy
from mmsupervisor.policy.legacy import assemble_legacy, read_legacy_blob, write_legacy_blob
from mmsupervisor.policy.lint import lint
from mmsupervisor.policy.memory_policy import PageLeaf, fetch_policy
from mmsupervisor.policy.model import (
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)
from tests.policy.policy_vectors import EMPTY, EXAMPLE, UNIT_V1_0, UNIT_V2

U8, U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
ENTRIES = {
    RootType.MEM: st.builds(MemEntry, U64, U64, U32, U32),
    RootType.IO: st.builds(IoEntry, U16, U16, U16, U16),
    RootType.MSR: st.builds(MsrEntry, U32, U16, U16),
    RootType.INSTRUCTION: st.builds(InstructionEntry, U16, U16, U32),
    RootType.SAVE_STATE: st.builds(SaveStateEntry, U32, U32, U32, U32),
}
LEGACY_ENTRIES = {
    RootType.MEM: st.builds(MemEntry, U64, U64, U32),
    RootType.IO: st.builds(IoEntry, U16, U16, U16),
    RootType.MSR: st.builds(MsrEntry, U32, U16, U16),
    RootType.INSTRUCTION: st.builds(InstructionEntry, U16, U16),
}


READERS = (
    (read_blob, write_blob),
    (read_blob_as_runtime, write_blob),
    (read_legacy_blob, write_legacy_blob),
)


def answer(ask):
    """What was answered, or the named error that stands for it; any other exception fails the test."""
    try:
        return ask()
    except MmSupervisorError as error:
        return error


def roots_of(entries, fewest=0):
    return st.sampled_from(sorted(entries)).flatmap(
        lambda kind: st.builds(
            PolicyRoot,
            st.just(kind),
            U8,
            st.lists(entries[kind], min_size=fewest, max_size=6).map(tuple),
            version=U32,
            root_size=U32,
            reserved=st.binary(min_size=3, max_size=3),
        )
    )


@settings(max_examples=1500, deadline=None)
@given(st.lists(roots_of(ENTRIES), max_size=7), st.integers(0x10000, 0xFFFF_FFFF))
def test_policies_survive_the_blob(roots, version):
    policy = assemble(roots, version)
    blob = write_blob(policy)
    assert read_blob(blob) == policy
    if policy.memory_policy_count == 0:
        assert read_blob_as_runtime(blob) == policy
        assert len(blob) == policy.size


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(roots_of(LEGACY_ENTRIES, fewest=1), min_size=1, max_size=4, unique_by=lambda root: root.type),
    st.integers(0, 0xFFFF),
)
def test_legacy_policies_survive_the_blob(roots, version):
    policy = assemble_legacy(sorted(roots, key=lambda root: root.type), version)
    assert read_legacy_blob(write_legacy_blob(policy)) == policy


@st.composite
def bent_blobs(draw):
    """A golden vector with a few numbers overwritten, cut or lengthened: most of it still makes sense."""
    blob = bytearray(draw(st.sampled_from((EXAMPLE, EMPTY, UNIT_V1_0, UNIT_V2))))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(blob) // 4 - 1)) * 4
        small = st.integers(0, 0x160)
        struct.pack_into("<I", blob, at, draw(st.one_of(small, small, U32, st.sampled_from((0x10000, 0xFFFF_FFFF)))))
    end = draw(st.integers(-8, 8))
    return bytes(blob[:end] if end < 0 else blob + bytes(end))


@settings(max_examples=2000, deadline=None)
@given(st.one_of(bent_blobs(), st.binary(max_size=400)))
@example(b"")
@example(bytes(40))
@example(b"\xff" * 400)
def test_any_bytes_are_a_model_or_a_format_error(data):
    for read, write in READERS:
        policy = answer(lambda read=read: read(data, "x.bin"))
        if isinstance(policy, MmSupervisorError):
            assert isinstance(policy, FormatError)
            assert policy.file == "x.bin"
        else:
            assert write(policy) == data


@settings(max_examples=1000, deadline=None)
@given(bent_blobs(), U16, st.integers(0, 2), st.integers(1, 3))
def test_everything_done_with_a_bent_blob_ends_in_an_answer_or_in_a_named_error(data, port, width, mask):
    try:
        policy = read_blob_as_runtime(data)
    except FormatError:
        return
    lint(policy)
    compiled = CompiledPolicy(policy)
    for ask in (
        lambda: security_policy_check(policy),
        lambda: list(dump_policy(policy)),
        lambda: compiled.msr(port, mask),
        lambda: compiled.instruction(port),
        lambda: compiled.save_state(38, width, decide_io(policy, port, 9, 1).status),
        lambda: fetch_policy(data, data, 0x1000, [PageLeaf(0x1000, 0x1000, True, False)], lambda _a, _l: False),
    ):
        assert "\n" not in str(answer(ask))
    expected = answer(lambda: decide_io(policy, port, width, mask))
    assert str(answer(lambda: compiled.io(port, width, mask))) == str(expected)
