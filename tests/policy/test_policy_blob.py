"""Blobs: golden vectors byte for byte, layouts that only a hand can make, cuts and hostile bytes."""

import hashlib
import struct

import pytest

from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.policy.blob import (
    assemble,
    read_blob,
    read_blob_as_runtime,
    write_blob,
)
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.layout import PolicyLayoutError
from mmsupervisor.policy.legacy import assemble_legacy, read_legacy_blob, write_legacy_blob
from mmsupervisor.policy.model import (
    AccessAttr,
    Attribute,
    Extra,
    IoEntry,
    MemEntry,
    MsrEntry,
    Place,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)
from tests.policy.policy_vectors import EMPTY, EXAMPLE, EXAMPLE_SHA256, UNIT_V1_0, UNIT_V2


def test_the_example_dump_has_its_digest():
    assert len(EXAMPLE) == 336
    assert hashlib.sha256(EXAMPLE).hexdigest() == EXAMPLE_SHA256


def test_the_default_policy_is_the_example():
    assert write_blob(default_policy()) == EXAMPLE
    assert read_blob(EXAMPLE) == default_policy()


@pytest.mark.parametrize("blob", [EXAMPLE, EMPTY, UNIT_V1_0], ids=["example", "empty", "unit"])
@pytest.mark.parametrize("read", [read_blob, read_blob_as_runtime])
def test_golden_vectors_round_trip(blob, read):
    policy = read(blob)
    assert write_blob(policy) == blob
    assert policy.extras == ()
    assert write_blob(assemble(policy.roots)) == blob


def test_no_category_gives_the_empty_policy():
    assert write_blob(assemble(())) == EMPTY


def test_the_unit_vector_holds_what_the_reference_tests_say():
    policy = read_blob(UNIT_V1_0)
    assert [(root.type, root.access_attr, len(root.entries)) for root in policy.roots] == [
        (RootType.IO, AccessAttr.DENY, 2),
        (RootType.MSR, AccessAttr.DENY, 3),
        (RootType.INSTRUCTION, AccessAttr.ALLOW, 2),
        (RootType.SAVE_STATE, AccessAttr.ALLOW, 1),
        (RootType.MEM, AccessAttr.DENY, 0),
    ]


def test_the_example_holds_what_the_sheet_says():
    policy = read_blob(EXAMPLE, "example.bin")
    assert [(root.type, root.offset, root.count) for root in policy.roots] == [
        (RootType.IO, 0xA0, 2),
        (RootType.MSR, 0xB0, 13),
        (RootType.INSTRUCTION, 0x118, 3),
        (RootType.SAVE_STATE, 0x130, 2),
        (RootType.MEM, 0x150, 0),
    ]
    second = policy.roots[0].entries[1]
    assert second == IoEntry(0xCFC, 4, Attribute.WRITE)
    assert second.place == Place("example.bin", offset=0xA8)
    assert policy.roots[1].place == Place("example.bin", offset=0x40)


@pytest.mark.parametrize(
    ("entry", "packed"),
    [
        (IoEntry(0b11, 0o17, 0x10), "0300 0f00 1000 0000"),
        (IoEntry(0, 1, 0x3C), "0000 0100 3c00 0000"),
        (MsrEntry(1, 1, 1), "0100 0000 0100 0100"),
        (SaveStateEntry(0, 0x10, 2), "0000 0000 1000 0000 0200 0000 0000 0000"),
        (SaveStateEntry(0, 0x10, 0), "0000 0000 1000 0000 0000 0000 0000 0000"),
        (SaveStateEntry(0, 1, 0), "0000 0000 0100 0000 0000 0000 0000 0000"),
    ],
)
def test_more_exact_descriptors_of_the_sheet(entry, packed):
    policy = assemble([PolicyRoot(entry.KIND, AccessAttr.ALLOW, (entry,))])
    assert write_blob(policy)[40 + 48 :] == bytes.fromhex(packed)


def test_memory_entries_are_written_a_second_time_behind_size():
    entry = MemEntry(0x1000, 0x2000, 3)
    policy = assemble([PolicyRoot(RootType.MEM, AccessAttr.ALLOW, (entry,))])
    blob = write_blob(policy)
    assert (policy.size, policy.memory_policy_offset, policy.memory_policy_count) == (88, 88, 1)
    assert blob[88:] == struct.pack("<IIIQQI", 1, 1, 32, 0x1000, 0x2000, 3)
    assert write_blob(read_blob(blob)) == blob


# ----------------------------------------------------------------------------------------------- legacy


def test_the_legacy_unit_vector_round_trips():
    policy = read_legacy_blob(UNIT_V2)
    assert write_legacy_blob(policy) == UNIT_V2
    assert [(root.type, root.access_attr, len(root.entries)) for root in policy.roots()] == [
        (RootType.IO, AccessAttr.DENY, 2),
        (RootType.MSR, AccessAttr.DENY, 3),
        (RootType.INSTRUCTION, AccessAttr.DENY, 2),
    ]
    assert policy.extras == ()


def test_legacy_layout_of_the_tool_gives_the_same_bytes():
    assert write_legacy_blob(assemble_legacy(read_legacy_blob(UNIT_V2).roots())) == UNIT_V2


def test_legacy_keeps_gaps_tail_and_offsets_of_empty_lists():
    blob = bytearray(UNIT_V2) + b"tail"
    blob[4:8] = struct.pack("<I", len(UNIT_V2) + 2)
    blob[8:12] = struct.pack("<I", 0x33)
    policy = read_legacy_blob(bytes(blob))
    assert policy.extras == (Extra(len(UNIT_V2), b"tail"),)
    assert write_legacy_blob(policy) == bytes(blob)


@pytest.mark.parametrize(
    ("offset", "value", "rule"),
    [
        (4, 0xA9, "Size"),
        (8, 0xA8, "MEM list's offset"),
        (16, 0xA8, "IO list's offset"),
        (24, 0xA8, "MSR list's offset"),
        (32, 0xA8, "INSTRUCTION list's offset"),
        (20, 0x1000_0000, "IO list"),
        (0x28, 2, "Invalid Version"),
        (0x2C, 3, "type 0x3"),
        (0x30, 0x14, "descriptor size"),
        (0, 0x10000, "not a legacy"),
    ],
)
def test_legacy_refusals_name_offset_and_rule(offset, value, rule):
    blob = bytearray(UNIT_V2)
    blob[offset : offset + 4] = struct.pack("<I", value)
    with pytest.raises(FormatError, match=rule):
        read_legacy_blob(bytes(blob), "old.bin")


def test_the_tool_writes_empty_lists_at_the_end_that_it_then_refuses():
    blob = write_legacy_blob(assemble_legacy([PolicyRoot(RootType.IO, AccessAttr.DENY)]))
    with pytest.raises(FormatError, match="not below Size"):
        read_legacy_blob(blob)


def test_a_legacy_policy_cannot_hold_a_save_state():
    with pytest.raises(PolicyLayoutError, match="type 5"):
        assemble_legacy([PolicyRoot(RootType.SAVE_STATE, AccessAttr.DENY)])


def test_a_legacy_memory_list_behind_another_is_refused():
    io = PolicyRoot(RootType.IO, AccessAttr.DENY, (IoEntry(1, 1, 1),))
    memory = PolicyRoot(RootType.MEM, AccessAttr.DENY, (MemEntry(0, 1, 1),))
    with pytest.raises(PolicyLayoutError, match="not the first"):
        assemble_legacy([io, memory])
    assert len(write_legacy_blob(assemble_legacy([memory, io]))) == 40 + 32 + 18


# ------------------------------------------------------------------------------------- hand-made layouts


def patched(blob: bytes, offset: int, layout: str, *values: int) -> bytes:
    out = bytearray(blob)
    struct.pack_into(layout, out, offset, *values)
    return bytes(out)


@pytest.mark.parametrize(
    ("offset", "value", "blamed", "rule"),
    [
        (0x04, 0x151, 0x04, "Size 0x151"),
        (0x20, 0x149, 0x20, "5 roots"),
        (0x24, 14, 0x20, "14 roots"),
        (0x28 + 12, 0x141, 0x28 + 12, "2 descriptors at 0x141"),
        (0x28 + 16, 23, 0x28 + 12, "23 descriptors at 0xa0"),
        (0x00, 2, 0x00, "legacy"),
    ],
)
def test_the_strict_reader_refuses_what_lies_outside(offset, value, blamed, rule):
    with pytest.raises(FormatError, match=rule) as caught:
        read_blob(patched(EXAMPLE, offset, "<I", value), "bad.bin")
    assert caught.value.file == "bad.bin"
    assert caught.value.offset == blamed


def test_roots_that_share_descriptors_round_trip():
    blob = patched(EXAMPLE, 0x28 + 24 + 12, "<II", 0xA0, 2)  # the MSR root reads the ports' bytes
    policy = read_blob(blob)
    assert policy.roots[1].entries[0] == MsrEntry(0x00040CF8, 0x0A, 0)
    assert write_blob(policy) == blob


def test_a_changed_alias_is_a_layout_error():
    blob = patched(EXAMPLE, 0x28 + 24 + 12, "<II", 0xA0, 2)
    policy = read_blob(blob)
    changed = PolicyRoot(RootType.MSR, AccessAttr.DENY, (MsrEntry(1, 1, 1),), offset=0xA0, count=1)
    broken = type(policy)((policy.roots[0], changed), size=policy.size, root_count=2, extras=policy.extras, file="x")
    with pytest.raises(PolicyLayoutError, match="disagree"):
        write_blob(broken)


def test_a_value_that_does_not_fit_is_a_layout_error():
    with pytest.raises(PolicyLayoutError, match="IO descriptor"):
        write_blob(assemble([PolicyRoot(RootType.IO, 0, (IoEntry(0x10000, 1, 1),))]))
    with pytest.raises(PolicyLayoutError, match="does not fit"):
        write_blob(assemble([PolicyRoot(RootType.IO, 256)]))


def test_unknown_root_types_keep_their_numbers_and_bytes():
    blob = patched(EXAMPLE, 0x28 + 8, "<I", 9)
    policy = read_blob(blob)
    assert policy.roots[0].type == 9
    assert policy.roots[0].entries == ()
    assert policy.roots[0].count == 2
    assert policy.extras == (Extra(0xA0, EXAMPLE[0xA0:0xB0]),)
    assert write_blob(policy) == blob


def test_odd_header_and_root_fields_survive():
    blob = patched(EXAMPLE, 0x08, "<IIIIQ", 1, 2, 3, 4, 5)
    blob = patched(blob, 0x28, "<II", 77, 78)
    blob = patched(blob, 0x28 + 20, "<BBBB", 9, 1, 2, 3)
    policy = read_blob(blob)
    assert (policy.flags, policy.capabilities, policy.reserved) == (3, 4, 5)
    assert (policy.roots[0].access_attr, policy.roots[0].reserved) == (9, b"\1\2\3")
    assert write_blob(policy) == blob


def test_at_run_time_bytes_behind_size_do_not_count():
    longer = patched(EXAMPLE + EXAMPLE[0xA0:0xB0], 0x28 + 12, "<II", 0x150, 2)
    assert len(read_blob(longer).roots[0].entries) == 2
    runtime = read_blob_as_runtime(longer)
    assert runtime.roots[0].entries == ()
    assert runtime.roots[0].lies_outside
    assert write_blob(runtime) == longer


def test_at_run_time_the_version_does_not_matter():
    blob = patched(EXAMPLE, 0, "<I", 2)
    assert read_blob_as_runtime(blob).roots == read_blob(EXAMPLE).roots


def test_at_run_time_size_must_fit_the_section():
    with pytest.raises(FormatError, match="EFI_BAD_BUFFER_SIZE"):
        read_blob_as_runtime(EXAMPLE[:-1])
    with pytest.raises(FormatError, match="does not cover the header"):
        read_blob_as_runtime(patched(EXAMPLE, 4, "<I", 39))


def test_hostile_counts_are_bounded():
    many = patched(bytes(EXAMPLE) + bytes(0x8000), 0x04, "<I", len(EXAMPLE) + 0x8000)
    many = patched(many, 0x28 + 16, "<I", 0x1000)
    with pytest.raises(LimitError):
        read_blob(many, allowance=Allowance(Limits(items=1000)))
    assert len(read_blob(many).roots[0].entries) == 0x1000
    huge = patched(many, 0x28 + 16, "<I", 0xFFFF_FFFF)
    assert len(read_blob_as_runtime(huge).roots[0].entries) < 0x1100


@pytest.mark.parametrize(
    ("read", "blob"), [(read_blob, EXAMPLE), (read_blob_as_runtime, EXAMPLE), (read_legacy_blob, UNIT_V2)]
)
def test_every_cut_is_an_error(read, blob):
    for cut in range(len(blob)):
        with pytest.raises(FormatError):
            read(blob[:cut])


def test_a_byte_more_is_kept():
    policy = read_blob(EXAMPLE + b"\x5a")
    assert policy.extras == (Extra(0x150, b"\x5a"),)
    assert write_blob(policy) == EXAMPLE + b"\x5a"
