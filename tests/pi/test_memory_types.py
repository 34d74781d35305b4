"""Memory words: exact values, exact bytes, round trips."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.memory_types import (
    MemoryAttribute,
    MemoryDescriptor,
    MemoryType,
    align_up,
    pages_for,
)
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.reader import Reader

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


def test_values_of_the_fact_sheet():
    attributes = {"WP": 0x1000, "RP": 0x2000, "XP": 0x4000, "RO": 0x20000, "SP": 0x40000}
    assert {name: MemoryAttribute[name].value for name in attributes} == attributes
    assert [MemoryType(n).name for n in (0, 5, 6, 7, 10, 11)] == [
        "RESERVED", "RUNTIME_SERVICES_CODE", "RUNTIME_SERVICES_DATA", "CONVENTIONAL", "ACPI_NVS", "MEMORY_MAPPED_IO",
    ]  # fmt: skip


def test_descriptor_bytes():
    descriptor = MemoryDescriptor(6, 0x1000, 0x2000, 3, MemoryAttribute.SP | MemoryAttribute.XP)
    assert descriptor.pack() == struct.pack("<I4xQQQQ", 6, 0x1000, 0x2000, 3, 0x4_4000)
    assert MemoryDescriptor.SIZE == 40
    assert MmramDescriptor.SIZE == 32


@given(u32, u64, u64, u64, u64, st.integers(0, 16))
def test_descriptors_round_trip(kind, physical, virtual, pages, attribute, offset):
    for item in (
        MemoryDescriptor(kind, physical, virtual, pages, attribute),
        MmramDescriptor(physical, virtual, pages, attribute),
    ):
        data = bytes(offset) + item.pack()
        assert type(item).parse(Reader(data, "x"), offset) == item
        with pytest.raises(FormatError):
            type(item).parse(Reader(data[:-1], "x"), offset)


def test_pages():
    assert [pages_for(size) for size in (0, 1, 0x1000, 0x1001)] == [0, 1, 1, 2]


@given(st.integers(0, 2**40), st.integers(0, 20))
def test_rounding_to_a_power_of_two(value, bits):
    rounded = align_up(value, 1 << bits)
    assert rounded % (1 << bits) == 0
    assert 0 <= rounded - value < 1 << bits


def test_rounding_to_another_number_is_what_the_mask_gives():
    assert [align_up(value, 0x18) for value in (0, 1, 5, 0x19)] == [0, 8, 8, 0x20]
