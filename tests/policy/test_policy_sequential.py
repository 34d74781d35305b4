"""The oldest blobs, whose lists follow one another: read, written, told from the others; and what old forms mean."""

from __future__ import annotations

import struct
from random import Random

import pytest

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.build import OutputForm, write_policy
from mmsupervisor.policy.compare import compare
from mmsupervisor.policy.layout import PolicyLayoutError
from mmsupervisor.policy.legacy import LEGACY_LISTS, assemble_legacy, read_legacy_blob, write_legacy_blob
from mmsupervisor.policy.load import PolicyForm, guess_form, parse_policy
from mmsupervisor.policy.model import (
    AccessAttr,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)
from mmsupervisor.policy.sequential import is_sequential, read_sequential_blob, write_sequential_blob
from mmsupervisor.policy.source import PolicySource
from mmsupervisor.policy.xml_writer import NotExpressibleError
from tests.policy.policy_vectors import EMPTY, EXAMPLE, UNIT_V1_0, UNIT_V2

DENY, ALLOW = AccessAttr.DENY, AccessAttr.ALLOW
IO, MSR, INSTRUCTION = RootType.IO, RootType.MSR, RootType.INSTRUCTION
SMALL = bytes.fromhex(
    "01000000"  # version
    "01000000 010000000100000020000000 0010000000000000 0020000000000000 02000000"
    "01000000 010000000200000012000000 f80c 0400 0200"
    "00000000"
    "01000000 010000000400000010000000 0100 0400"
)
OLD_FORMS = (OutputForm.LEGACY, OutputForm.SEQUENTIAL)


def policy(io: tuple[IoEntry, ...] = (IoEntry(0xCF8, 4, 2),), cli: bool = True) -> Policy:
    gated = (InstructionEntry(0, 4),) if cli else ()
    return assemble([PolicyRoot(IO, DENY, io), PolicyRoot(MSR, DENY), PolicyRoot(INSTRUCTION, ALLOW, gated)])


def random_roots(random: Random) -> list[PolicyRoot]:
    def some(make):
        return tuple(make() for _ in range(random.randrange(5)))

    bits = random.getrandbits
    return [
        PolicyRoot(RootType.MEM, DENY, some(lambda: MemEntry(bits(64), bits(64), bits(32)))),
        PolicyRoot(IO, DENY, some(lambda: IoEntry(bits(16), bits(16), bits(16)))),
        PolicyRoot(MSR, DENY, some(lambda: MsrEntry(bits(32), bits(16), bits(16)))),
        PolicyRoot(INSTRUCTION, ALLOW, some(lambda: InstructionEntry(bits(16), bits(16)))),
    ]


def test_a_blob_by_hand():
    read = read_sequential_blob(SMALL, "old.bin")
    assert [one.entries for one in read.lists] == [
        (MemEntry(0x1000, 0x2000, 2),),
        (IoEntry(0xCF8, 4, 2),),
        (),
        (InstructionEntry(1, 4),),
    ]
    assert str(read.lists[1].entries[0].place) == "old.bin at 0x2c"
    assert write_sequential_blob(read.meant_roots()) == SMALL


def test_random_lists_round_trip():
    random = Random(4)
    for _ in range(500):
        roots = random_roots(random)
        blob = write_sequential_blob(roots)
        assert is_sequential(blob)
        read = read_sequential_blob(blob)
        assert [one.entries for one in read.lists] == [root.entries for root in roots]
        assert write_sequential_blob(read.meant_roots()) == blob


def test_the_forms_are_told_apart():
    assert guess_form(SMALL) is PolicyForm.SEQUENTIAL_BLOB
    assert not any(map(is_sequential, (EXAMPLE, EMPTY, UNIT_V1_0, UNIT_V2, b"", b"\1\0\0\0", SMALL + b"\0")))
    random = Random(5)
    for _ in range(300):
        roots = [root for root in random_roots(random) if root.entries]
        for version in (1, 2):
            blob = write_legacy_blob(assemble_legacy(roots, version))
            assert not is_sequential(blob)
            assert guess_form(blob) is PolicyForm.LEGACY_BLOB


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda blob: b"\2" + blob[1:], "version 0x2 is not 1"),
        (lambda blob: blob[:-1], "INSTRUCTION list"),
        (lambda blob: blob[:3], "policy version"),
        (lambda blob: blob[:0x2C], "IO list"),
        (lambda blob: blob + b"\0", "1 bytes follow the last list"),
        (lambda blob: blob[:8] + b"\3" + blob[9:], "descriptor version 0x3 is not 1"),
        (lambda blob: blob[:12] + b"\3" + blob[13:], "a descriptor of type 0x3 in the MEM list"),
        (lambda blob: blob[:16] + b"\3" + blob[17:], "descriptor size 0x3 is not 0x20"),
    ],
)
def test_refusals_name_offset_and_rule(spoil, says):
    with pytest.raises(FormatError, match=r"old\.bin: offset 0x") as caught:
        read_sequential_blob(spoil(SMALL), "old.bin")
    assert says in str(caught.value)


def test_counts_beyond_the_bytes_are_refused_before_anything_is_made():
    with pytest.raises(FormatError):
        read_sequential_blob(struct.pack("<II", 1, 0xFFFF_FFFF))


@pytest.mark.parametrize("form", OLD_FORMS)
def test_what_is_written_decides_alike(form: OutputForm):
    for one in (policy(), policy(cli=False), policy(io=(IoEntry(0, 1, 1), IoEntry(0x70, 2, 3)))):
        blob = write_policy(PolicySource(one), form)
        assert compare(one, parse_policy(blob, "old.bin").policy) == ()


def test_to_the_tool_instructions_are_a_deny_list():
    blob = write_policy(PolicySource(policy()), OutputForm.LEGACY)
    as_meant, as_tool = (parse_policy(blob, "x", as_reference=flag).policy for flag in (False, True))
    assert [root.access_attr for root in as_meant.roots_of(INSTRUCTION)] == [ALLOW]
    assert [root.access_attr for root in as_tool.roots_of(INSTRUCTION)] == [DENY]
    assert compare(as_meant, as_tool) != ()


@pytest.mark.parametrize("form", OLD_FORMS)
@pytest.mark.parametrize(
    ("roots", "says"),
    [
        ([PolicyRoot(IO, ALLOW), PolicyRoot(MSR, DENY)], "its IO list is always a deny list"),
        ([PolicyRoot(IO, DENY), PolicyRoot(MSR, DENY), PolicyRoot(INSTRUCTION, DENY)], "always an allow list"),
        ([PolicyRoot(MSR, DENY)], "no IO list, which denies everything"),
        ([PolicyRoot(IO, DENY)], "no MSR list, which denies everything"),
        ([PolicyRoot(IO, DENY), PolicyRoot(MSR, DENY), PolicyRoot(RootType.SAVE_STATE, DENY)], "a save-state list"),
        ([PolicyRoot(IO, DENY, (IoEntry(1, 1, 1, 5),)), PolicyRoot(MSR, DENY)], "reserved fields"),
    ],
)
def test_what_old_forms_cannot_express_is_refused(form: OutputForm, roots: list[PolicyRoot], says: str):
    with pytest.raises(NotExpressibleError) as caught:
        write_policy(PolicySource(assemble(roots)), form)
    assert says in str(caught.value)


def test_an_empty_legacy_blob_is_refused_and_an_empty_sequential_one_is_not():
    empty = PolicySource(assemble([PolicyRoot(IO, DENY), PolicyRoot(MSR, DENY)]))
    with pytest.raises(NotExpressibleError, match="without any entry"):
        write_policy(empty, OutputForm.LEGACY)
    blob = write_policy(empty, OutputForm.SEQUENTIAL)
    assert len(blob) == 4 + 4 * len(LEGACY_LISTS)
    assert compare(empty.policy, parse_policy(blob, "x").policy) == ()


def test_writing_refuses_what_no_list_can_hold():
    with pytest.raises(PolicyLayoutError, match="a second IO root"):
        write_sequential_blob([PolicyRoot(IO, DENY), PolicyRoot(IO, DENY)])
    with pytest.raises(PolicyLayoutError, match="type 5"):
        write_sequential_blob([PolicyRoot(RootType.SAVE_STATE, DENY, (SaveStateEntry(0, 1, 0),))])
    with pytest.raises(PolicyLayoutError):
        write_sequential_blob([PolicyRoot(IO, DENY, (IoEntry(0x1_0000, 1, 1),))])


def test_a_legacy_blob_without_a_list_denies_nothing_of_it():
    read = parse_policy(write_legacy_blob(assemble_legacy([PolicyRoot(IO, DENY, (IoEntry(1, 1, 1),))])), "x").policy
    assert [len(root.entries) for root in read.roots_of(MSR)] == [0]
    assert read_legacy_blob(UNIT_V2).roots() != read_legacy_blob(UNIT_V2).meant_roots()
