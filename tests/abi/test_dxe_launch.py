"""Layouts that PiSmmIpl and the old core share: each field at the offset of the fact sheet."""

from __future__ import annotations

from dataclasses import fields

import pytest

from mmsupervisor.abi.dxe_launch import SIGNATURE, CommonRegion, CoreData, CorePrivateData, RegionType
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.reader import Reader

OFFSETS = {
    "signature": (0x00, 8),
    "range_count": (0x08, 8),
    "ranges": (0x10, 8),
    "entry_point": (0x18, 8),
    "entry_point_registered": (0x20, 1),
    "in_mm": (0x21, 1),
    "padding": (0x22, 6),
    "mmst": (0x28, 8),
    "communication_buffer": (0x30, 8),
    "buffer_size": (0x38, 8),
    "return_status": (0x40, 8),
    "image_base": (0x48, 8),
    "image_size": (0x50, 8),
    "image_entry": (0x58, 8),
    "boot_volume": (0x60, 8),
}


def test_every_field_is_in_the_table() -> None:
    assert {field.name for field in fields(CorePrivateData)} == set(OFFSETS)
    assert CorePrivateData.SIZE == 0x68
    assert SIGNATURE.to_bytes(4, "little") == b"mmic"


@pytest.mark.parametrize(("name", "place"), OFFSETS.items())
def test_a_field_of_the_mailbox(name: str, place: tuple[int, int]) -> None:
    offset, size = place
    marker = bytes(range(1, size + 1))
    raw = bytearray(CorePrivateData().pack())
    raw[offset : offset + size] = marker
    parsed = CorePrivateData.parse(Reader(bytes(raw), "mailbox"))
    value = getattr(parsed, name)
    assert value == (marker if name == "padding" else int.from_bytes(marker, "little"))
    assert parsed.pack() == raw


def test_hobs() -> None:
    region = CommonRegion(RegionType.USER, 0x1234_5000, 16)
    assert region.pack() == (1).to_bytes(8, "little") + (0x1234_5000).to_bytes(8, "little") + (16).to_bytes(8, "little")
    assert CommonRegion.parse(Reader(region.pack(), "HOB")) == region
    assert CoreData.parse(Reader(CoreData(0x7000).pack(), "HOB")).address == 0x7000


@pytest.mark.parametrize(("layout", "size"), [(CommonRegion, 24), (CoreData, 8), (CorePrivateData, 0x68)])
def test_a_short_body_is_refused(layout: type[CommonRegion | CoreData | CorePrivateData], size: int) -> None:
    with pytest.raises(FormatError):
        layout.parse(Reader(bytes(size - 1), "body"))
    layout.parse(Reader(bytes(size), "body"))
