"""Bodies of the supervisor's HOBs: exact bytes of the fact sheet, round trips, damage."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob, build_hob_list, parse_hob_list
from mmsupervisor.pi.memory_types import MemoryDescriptor
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.supervisor_hobs import (
    HOB_BODIES,
    MemoryProtectionSettings,
    MmramBlock,
    MpInformation2,
    ProcessorEntry,
    ProtectedRegion,
    SmmBase,
    SupervisorCommBuffer,
    UnblockRegion,
    UserCommBuffer,
    hob_for,
    parse_hob_body,
)

CORE = known_guid("gMmSupervisorCoreGuid")


def test_exact_bytes():
    free = MmramDescriptor(0x7F00_0000, 0x7F00_0000, 0x100_0000, MmramState.CLOSED | MmramState.CACHEABLE)
    assert MmramBlock((free,)).pack() == struct.pack("<I4x4Q", 1, 0x7F00_0000, 0x7F00_0000, 0x100_0000, 10)
    cpu = ProcessorEntry(3, 7, (0, 1, 2), (3, 4, 5, 6, 7, 8), 9)
    entry = struct.pack("<QI9IB7x", 3, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert len(entry) == 0x38
    assert MpInformation2((cpu,), 2).pack() == struct.pack("<HHB3xQ", 1, 0x38, 1, 2) + entry
    assert SmmBase((0x3_0000, 0x3_2000), 4).pack() == struct.pack("<IIQQ", 4, 2, 0x3_0000, 0x3_2000)
    assert SupervisorCommBuffer(0x1000, 16, 0x2_0000).pack() == struct.pack("<4Q", 0, 0x1000, 16, 0x2_0000)
    assert UserCommBuffer(0x1000, 16, 0x2_0000).pack() == struct.pack("<3Q", 0x1000, 16, 0x2_0000)
    region = UnblockRegion(MemoryDescriptor(6, 0x5000, 0, 2, 0x4_0000), CORE)
    assert region.pack() == struct.pack("<I4xQQQQ16s", 6, 0x5000, 0, 2, 0x4_0000, CORE.raw)
    assert len(region.pack()) == UnblockRegion.SIZE == 56
    assert ProtectedRegion(0, 0xFED9_0000, 1).pack() == struct.pack("<3Q", 0, 0xFED9_0000, 1)
    settings = MemoryProtectionSettings(1, 7, 0x50, 0x60)
    assert settings.pack() == struct.pack("<BBBxII", 2, 1, 7, 0x50, 0x60)
    assert len(settings.pack()) == 12


def test_free_ranges_are_those_without_a_busy_bit():
    states = [0, 2, 0xA, 0x10, 0x20, 0x40, 0x1A]
    assert [MmramDescriptor(0, 0, 0, state).is_free for state in states] == [True] * 3 + [False] * 4


u8, u32, u64 = st.integers(0, 0xFF), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
guids = st.binary(min_size=16, max_size=16).map(Guid)
processors = st.builds(ProcessorEntry, u64, u32, st.tuples(u32, u32, u32), st.tuples(*[u32] * 6), u8)
bodies = st.one_of(
    st.lists(st.builds(MmramDescriptor, u64, u64, u64, u64), max_size=4).map(tuple).map(MmramBlock),
    st.builds(
        MpInformation2, st.lists(processors, max_size=3).map(tuple), u64, st.sampled_from([0x38, 0x40, 0x39]), u8
    ),
    st.builds(SmmBase, st.lists(u64, max_size=4).map(tuple), u32),
    st.builds(SupervisorCommBuffer, u64, u64, u64, u64),
    st.builds(UserCommBuffer, u64, u64, u64),
    st.builds(UnblockRegion, st.builds(MemoryDescriptor, u32, u64, u64, u64, u64), guids),
    st.builds(ProtectedRegion, u64, u64, u64),
    st.builds(MemoryProtectionSettings, u8, u8, u32, u32, u8),
)


@given(bodies)
def test_round_trip_through_a_list(body):
    (entry,) = parse_hob_list(Reader(build_hob_list([hob_for(body)]), "hobs")).entries
    assert isinstance(entry.record, GuidHob)
    assert parse_hob_body(entry.record, "hobs", entry.offset + 0x18) == body


@given(bodies, st.data())
def test_a_cut_body_is_refused(body, draw):
    data = body.pack()
    cut = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(FormatError):
        type(body).parse(Reader(data[:cut], "x"))


@given(st.sampled_from(sorted(set(HOB_BODIES.values()), key=lambda kind: kind.__name__)), st.binary(max_size=80))
def test_random_bytes_give_one_format_error_or_a_body(kind, data):
    with suppress(FormatError):
        kind.parse(Reader(data, "x"))


def test_entries_shorter_than_the_structure_are_refused():
    data = struct.pack("<HHB3xQ", 1, 0x30, 1, 0) + bytes(0x38)
    with pytest.raises(FormatError, match="EntrySize"):
        MpInformation2.parse(Reader(data, "x"))
    none = MpInformation2.parse(Reader(struct.pack("<HHB3xQ", 0, 0, 1, 0), "x"))
    assert (none.entries, none.entry_size) == ((), 0)


def test_two_guids_carry_mmram_and_a_wrong_one_is_refused():
    block = MmramBlock(())
    assert hob_for(block).name == known_guid("gEfiMmPeiMmramMemoryReserveGuid")
    assert hob_for(block, known_guid("gEfiSmmSmramMemoryGuid")).name == known_guid("gEfiSmmSmramMemoryGuid")
    with pytest.raises(KeyError):
        hob_for(block, CORE)


def test_a_guid_without_a_body_is_left_alone():
    assert parse_hob_body(GuidHob(CORE, b"whatever"), "x") is None
