"""HOB lists: exact bytes of the fact sheet, round trips, damage."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import (
    CapsuleHob,
    CpuHob,
    GuidHob,
    HandoffHob,
    HobType,
    MemoryAllocationHob,
    ModuleAllocationHob,
    OpaqueHob,
    ResourceHob,
    ResourceType,
    Volume2Hob,
    Volume3Hob,
    VolumeHob,
    build_hob_list,
    parse_hob_list,
)
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.reader import Reader

CORE = known_guid("gMmSupervisorCoreGuid")
MODULE = known_guid("gEfiHobMemoryAllocModuleGuid")
END = bytes.fromhex("ffff 0800 00000000")


def parse(data: bytes, **options):
    return parse_hob_list(Reader(data, "hobs"), **options)


def test_phit_bytes():
    hob = HandoffHob(0x11, 0x22, 0x33, 0x44, 0x55, boot_mode=0x66)
    assert hob.pack() == struct.pack("<HHIIIQQQQQ", 1, 0x38, 0, 9, 0x66, 0x11, 0x22, 0x33, 0x44, 0x55)


def test_module_allocation_bytes():
    hob = ModuleAllocationHob(0x7F00_0000, 0x3_0000, CORE, 0x7F00_1234, 5)
    data = hob.pack()
    assert len(data) == 0x48
    assert data[:8] == struct.pack("<HHI", 2, 0x48, 0)
    assert data[8:0x18] == MODULE.raw
    assert struct.unpack_from("<QQI", data, 0x18) == (0x7F00_0000, 0x3_0000, 5)
    assert data[0x30:0x40] == CORE.raw
    assert struct.unpack_from("<Q", data, 0x40) == (0x7F00_1234,)


def test_memory_allocation_bytes():
    data = MemoryAllocationHob(CORE, 0x1000, 0x2000, 4).pack()
    assert data == struct.pack("<HHI16sQQI4x", 2, 0x30, 0, CORE.raw, 0x1000, 0x2000, 4)


def test_resource_bytes_of_both_versions():
    one = ResourceHob(ResourceType.MEMORY_RESERVED, 0x7F00_0000, 0x100_0000, 7, CORE)
    assert one.pack() == struct.pack("<HHI16sIIQQ", 3, 0x30, 0, CORE.raw, 5, 7, 0x7F00_0000, 0x100_0000)
    two = replace(one, memory_attributes=0xF)
    assert two.pack() == struct.pack("<HHI16sIIQQQ", 13, 0x38, 0, CORE.raw, 5, 7, 0x7F00_0000, 0x100_0000, 0xF)


def test_volume_bytes():
    assert VolumeHob(0x90_0000, 0xC0_0000).pack() == struct.pack("<HHIQQ", 5, 0x18, 0, 0x90_0000, 0xC0_0000)
    assert Volume2Hob(1, 2, CORE, MODULE).pack() == struct.pack("<HHIQQ16s16s", 9, 0x38, 0, 1, 2, CORE.raw, MODULE.raw)
    three = Volume3Hob(1, 2, 3, 1, CORE, MODULE)
    assert three.pack() == struct.pack("<HHIQQIB3x16s16s", 12, 0x40, 0, 1, 2, 3, 1, CORE.raw, MODULE.raw)


def test_cpu_guid_capsule_and_end_bytes():
    assert CpuHob(39).pack() == struct.pack("<HHIBB6x", 6, 0x10, 0, 39, 16)
    assert GuidHob(CORE, b"abc").pack() == struct.pack("<HHI16s3s5x", 4, 0x20, 0, CORE.raw, b"abc")
    assert CapsuleHob(1, 2).pack() == struct.pack("<HHIQQ", 11, 0x18, 0, 1, 2)
    assert build_hob_list([]) == END


def test_the_builder_keeps_the_phit_as_the_pei_core_does():
    data = build_hob_list([HandoffHob(free_memory_top=0x9000), CpuHob(39)], address=0x1000)
    (phit,) = parse(data).of(HandoffHob)
    assert phit.end_of_hob_list == 0x1000 + 0x38 + 0x10
    assert phit.free_memory_bottom == 0x1000 + len(data)
    assert phit.free_memory_top == 0x9000
    assert data[phit.end_of_hob_list - 0x1000 :] == END


def test_list_is_walked_by_length_and_ends_at_the_end_record():
    data = build_hob_list([OpaqueHob(0x7777, b"x" * 16), VolumeHob(1, 2)])
    hobs = parse(data + b"rubbish after the end")
    assert hobs.size == len(data)
    assert [(entry.offset, entry.length) for entry in hobs.entries] == [(0, 0x18), (0x18, 0x18)]
    first = hobs.entries[0].record
    assert isinstance(first, OpaqueHob)
    assert first.type_name == "type 0x7777"


def test_known_types_of_odd_length_are_kept_as_bytes():
    odd = OpaqueHob(HobType.CPU, b"y" * 16)
    assert parse(build_hob_list([odd])).entries[0].record == odd
    assert odd.type_name == "CPU"
    not_of_a_module = OpaqueHob(HobType.MEMORY_ALLOCATION, b"z" * 0x40)
    assert parse(build_hob_list([not_of_a_module])).entries[0].record == not_of_a_module
    unused = OpaqueHob(HobType.UNUSED, bytes(8))
    assert parse(build_hob_list([unused])).entries[0].record == unused


def test_guid_hobs_by_name():
    hobs = parse(build_hob_list([GuidHob(CORE, b"1" * 8), GuidHob(MODULE, b"2" * 8), GuidHob(CORE, b"3" * 8)]))
    assert [hob.data[:1] for hob in hobs.guid_hobs(CORE)] == [b"1", b"3"]
    assert hobs.first_guid_hob(Guid(bytes(range(16)))) is None


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "has not ended"),
        (CpuHob(39).pack(), "has not ended"),
        (struct.pack("<HHI", 6, 7, 0) + END, "not a multiple of 8"),
        (struct.pack("<HHI", 6, 0, 0) + END, "not a multiple of 8"),
        (struct.pack("<HHI", 6, 12, 0) + bytes(4) + END, "not a multiple of 8"),
        (struct.pack("<HHI", 6, 0x100, 0) + END, "HOB body needs"),
    ],
)
def test_broken_lists_are_refused(data, rule):
    with pytest.raises(FormatError, match=rule):
        parse(data)


def test_number_of_records_is_bounded():
    data = build_hob_list([CpuHob(39)] * 5)
    with pytest.raises(LimitError):
        parse(data, allowance=Allowance(Limits(items=4)))
    assert len(parse(data, allowance=Allowance(Limits(items=5))).entries) == 5


def test_a_record_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="longer than"):
        GuidHob(CORE, bytes(0xFFF0)).pack()
    assert len(GuidHob(CORE, bytes(0xFFE0)).pack()) == 0xFFF8


guids = st.binary(min_size=16, max_size=16).map(Guid)
names = guids.filter(lambda guid: guid != MODULE)
u8, u32, u64 = st.integers(0, 0xFF), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
octets = st.integers(0, 12).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n))
free_types = st.integers(0x4000, 0xFFFE)
records = st.one_of(
    st.builds(HandoffHob, u64, u64, u64, u64, u64, u32, u32),
    st.builds(MemoryAllocationHob, names, u64, u64, u32, st.binary(min_size=4, max_size=4)),
    st.builds(ModuleAllocationHob, u64, u64, guids, u64, u32),
    st.builds(ResourceHob, u32, u64, u64, u32, guids, st.none() | u64),
    st.builds(GuidHob, guids, octets),
    st.builds(VolumeHob, u64, u64),
    st.builds(Volume2Hob, u64, u64, guids, guids),
    st.builds(Volume3Hob, u64, u64, u32, u8, guids, guids, st.binary(min_size=3, max_size=3)),
    st.builds(CpuHob, u8, u8, st.binary(min_size=6, max_size=6)),
    st.builds(CapsuleHob, u64, u64),
    st.builds(OpaqueHob, free_types, octets),
)


@given(st.lists(records, max_size=8))
def test_round_trip(items):
    data = build_hob_list(items)
    hobs = parse(data)
    assert [entry.record for entry in hobs.entries] == items
    assert hobs.size == len(data)
    assert build_hob_list(entry.record for entry in hobs.entries) == data


@given(st.lists(records, max_size=4).map(build_hob_list), st.data())
def test_damage_gives_one_format_error_or_a_list(data, draw):
    cut = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(FormatError):
        parse(data[:cut])
    at = draw.draw(st.integers(0, len(data) - 1))
    patch = draw.draw(st.binary(min_size=1, max_size=8))
    with suppress(FormatError):
        parse(data[:at] + patch + data[at + len(patch) :])
