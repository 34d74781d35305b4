"""TE images: made from PE images by the rule of the specification, and expanded back."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.image_kind import ImageKind, classify
from mmsupervisor.pi.pe import map_image, parse_pe
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.te import HEADER_SIZE, NOT_ACCEPTED, map_te, parse_te
from tests.pi.firmware_parts import PE32, X64_IMAGE, parts
from tests.pi.pe_builder import driver


def to_te(data: bytes) -> bytes:
    """Strip a PE image: headers up to the section table give way to the TE header."""
    image = parse_pe(Reader(data, "x"))
    header = image.optional_header
    directories = [*header.directories, *[type(header.directories[0])(0, 0)] * 16]
    te = struct.pack(
        "<2sHBBHIIQIIII",
        b"VZ",
        image.file_header.machine,
        len(image.sections),
        header.subsystem,
        image.section_table_offset,
        header.address_of_entry_point,
        header.base_of_code,
        header.image_base,
        directories[5].virtual_address,
        directories[5].size,
        directories[6].virtual_address,
        directories[6].size,
    )
    return te + data[image.section_table_offset :]


def assert_round_trip(data: bytes) -> None:
    image = parse_pe(Reader(data, "x"))
    te = parse_te(Reader(to_te(data), "x.te"))
    expected = map_image(image)
    expanded = map_te(te)
    first = min(section.virtual_address for section in image.sections)
    assert expanded[first:] == expected[first : len(expanded)]
    assert not any(expected[len(expanded) :])
    # Where the kept part of the headers begins there stands the TE header; the section table is in its old place.
    table = image.section_table_offset
    assert expanded[table - HEADER_SIZE : table - HEADER_SIZE + 2] == b"VZ"
    assert expanded[table : table + 40 * len(image.sections)] == expected[table : table + 40 * len(image.sections)]


def test_built_and_real_images_survive_the_way_through_te():
    assert_round_trip(driver())
    images = sorted({part.data for part in parts(X64_IMAGE) if part.section_type == PE32}, key=len)
    for data in images[:20]:
        assert_round_trip(data)


@pytest.mark.parametrize("room", [-40, -1, 0, 1, 30, 79, 80, 81])
def test_an_image_that_ends_in_its_headers_holds_what_fits_of_them(room):
    """A section header follows the TE header; the image in memory has room for some of their bytes, or for none."""
    stripped = 0x200
    size = stripped - HEADER_SIZE + room
    te = struct.pack("<2sHBBHIIQIIII", b"VZ", 0x8664, 1, 11, stripped, 0, 0, 0, 0, 0, 0, 0)
    te += struct.pack("<8s6IHHI", b".data", 0x10, size - 0x10, 0, 0, 0, 0, 0, 0, 0)
    image = parse_te(Reader(te, "x"))
    expanded = map_te(image)
    assert len(expanded) == size
    visible = te[: max(room - 0x10, 0)]
    assert bytes(expanded) == (bytes(stripped - HEADER_SIZE) + visible).ljust(size, b"\0")[:size]


def test_label_classification_and_the_reason_it_is_not_run():
    data = to_te(driver())
    assert parse_te(Reader(data, "x")).label == "TE X64, EFI boot service driver"
    assert classify(Reader(data, "x")).label == "TE X64, EFI boot service driver"
    assert classify(Reader(b"VZ", "x")).kind is ImageKind.DAMAGED_TE
    assert "PE32 section" in NOT_ACCEPTED


def test_a_stripped_size_below_the_header_is_refused():
    data = bytearray(to_te(driver()))
    data[6:8] = struct.pack("<H", HEADER_SIZE - 1)
    with pytest.raises(FormatError, match="StrippedSize"):
        parse_te(Reader(bytes(data), "x"))
    data[6:8] = struct.pack("<H", HEADER_SIZE)
    assert parse_te(Reader(bytes(data), "x")).shift == 0


SEED = to_te(driver())


@given(st.integers(0, len(SEED)), st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_damage_gives_one_format_error_or_an_image(cut, at, patch):
    for data in (SEED[:cut], SEED[:at] + patch + SEED[at + len(patch) :]):
        with suppress(FormatError):
            map_te(parse_te(Reader(data, "x")))
