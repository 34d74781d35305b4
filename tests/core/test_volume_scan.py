"""The core's own walk through a volume (docs/reference/boot-flow.md §5, File walk and Sections)."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.core.volume_scan import SECTION_MM_DEPEX, SECTION_PE32, ScannedFile, identify, scan_files
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import build_section, join_sections
from mmsupervisor.pi.volume.layout import VolumeAttribute
from tests.core.small import OTHER, SOMEBODY

FIRST_FILE = 0x48
ERASE_ONE = int(VolumeAttribute.ERASE_POLARITY)


def guid(number: int) -> Guid:
    return Guid(struct.pack("<I12x", number + 1))


def raw_file(number: int, data: bytes = b"12345678", state_bits: int = 0x07) -> FileSpec:
    return FileSpec(guid(number), FileType.RAW, data, state_bits=state_bits)


def volume(*files: FileSpec, name: Guid | None = None, erase_to_zero: bool = False) -> bytearray:
    spec = VolumeSpec(files, name=name)
    if erase_to_zero:
        spec = VolumeSpec(files, name=name, attributes=spec.attributes & ~ERASE_ONE)
    return bytearray(build_volume(spec))


def names(data: bytes | bytearray) -> list[int]:
    return [int.from_bytes(file.guid.raw[:4], "little") - 1 for file in scan_files(bytes(data)) if file.type != 0xF0]


THREE = (raw_file(0), raw_file(1, b"x" * 13), raw_file(2))
SECOND = FIRST_FILE + 32


def test_all_files_in_order() -> None:
    found = list(scan_files(bytes(volume(*THREE))))
    assert [(file.offset, file.guid, file.type) for file in found] == [
        (FIRST_FILE, guid(0), FileType.RAW),
        (SECOND, guid(1), FileType.RAW),
        (SECOND + 40, guid(2), FileType.RAW),
    ]
    assert found[1].data[24:] == b"x" * 13, "as long as the size says, without padding"


@pytest.mark.parametrize("erase_to_zero", [False, True])
@pytest.mark.parametrize(
    ("bits", "seen"),
    [
        (0x01, [0]),  # header under construction
        (0x03, [0]),  # header valid
        (0x07, [0, 1, 2]),  # data valid
        (0x0F, [0, 1, 2]),  # marked for update
        (0x1F, [0, 2]),  # deleted
        (0x00, [0]),  # free space
        (0x47, [0]),  # no state that there is
        (0x87, [0]),
    ],
)
def test_states(bits: int, seen: list[int], erase_to_zero: bool) -> None:
    data = volume(raw_file(0), raw_file(1, state_bits=bits), raw_file(2), erase_to_zero=erase_to_zero)
    assert names(data) == seen


@pytest.mark.parametrize("erase_to_zero", [False, True])
def test_an_invalid_header_is_stepped_over(erase_to_zero: bool) -> None:
    """Header by header, not file by file: what follows must begin after 24 bytes."""
    data = volume(raw_file(0), raw_file(1, b"", state_bits=0x21), raw_file(2), erase_to_zero=erase_to_zero)
    assert names(data) == [0, 2]


def test_the_wrong_polarity_sees_nothing() -> None:
    data = volume(*THREE)
    attributes = struct.unpack_from("<I", data, 0x2C)[0]
    struct.pack_into("<I", data, 0x2C, attributes & ~ERASE_ONE)
    assert names(data) == []


def test_a_bad_header_checksum_hides_all_later_files() -> None:
    data = volume(*THREE)
    data[SECOND + 0x10] ^= 1
    assert names(data) == [0]


def test_the_data_checksum_is_not_looked_at() -> None:
    data = volume(*THREE)
    data[SECOND + 0x11] ^= 0xFF
    data[SECOND + 24] ^= 0xFF
    assert names(data) == [0, 1, 2]


def test_signature_and_volume_checksum_are_not_looked_at() -> None:
    data = volume(*THREE)
    data[0x28:0x2C] = b"NONE"
    data[0x32] ^= 0xFF
    assert names(data) == [0, 1, 2]


@pytest.mark.parametrize("size", [0, 1, 23])
def test_a_size_below_a_header_ends_the_walk(size: int) -> None:
    """The reference would loop here for ever; a large file has size 0 in the header that it reads."""
    data = volume(*THREE)
    data[SECOND + 0x14 : SECOND + 0x17] = size.to_bytes(3, "little")
    _mend_checksum(data, SECOND)
    assert names(data) == [0]


def test_a_file_that_leaves_the_volume_ends_the_walk() -> None:
    data = volume(*THREE)
    data[SECOND + 0x14 : SECOND + 0x17] = (0xFFFFFF).to_bytes(3, "little")
    _mend_checksum(data, SECOND)
    assert names(data) == [0]


def _mend_checksum(data: bytearray, at: int) -> None:
    data[at + 0x10] = 0
    header = data[at : at + 24]
    data[at + 0x10] = -(sum(header) - header[0x11] - header[0x17]) & 0xFF


def test_an_extended_header_moves_the_first_file() -> None:
    data = volume(*THREE, name=SOMEBODY)
    assert names(data) == [0, 1, 2]
    assert identify(0x5000, bytes(data)).name == SOMEBODY
    first = next(scan_files(bytes(data)))
    assert first.offset % 8 == 0
    assert first.guid == guid(0), "the padding file that holds the extended header is not walked"


def test_a_cut_volume_has_no_files() -> None:
    data = bytes(volume(*THREE))
    for end in range(0x90):
        list(scan_files(data[:end]))
    assert names(data[:0x37]) == []
    assert names(data[: SECOND + 8]) == [0]


def test_an_extended_header_outside_is_no_volume() -> None:
    data = volume(*THREE)
    struct.pack_into("<H", data, 0x34, 0xFFF8)
    assert names(data) == []


def test_fv_length_bounds_the_walk() -> None:
    data = volume(*THREE)
    struct.pack_into("<Q", data, 0x20, SECOND)
    assert names(data) == [0]


# Identity


def test_identity_needs_a_good_checksum_and_an_extended_header() -> None:
    assert identify(0x1000, bytes(volume(*THREE))).name is None
    data = volume(*THREE, name=OTHER)
    data[0x32] ^= 1
    assert identify(0x1000, bytes(data)).name is None


# Sections


def scanned(*sections: bytes) -> ScannedFile:
    data = bytes(24) + join_sections(list(sections))
    return ScannedFile(0, SOMEBODY, FileType.MM_STANDALONE, data)


def test_first_section_of_a_type() -> None:
    file = scanned(
        build_section(SectionType.RAW, b"abc"),
        build_section(SECTION_PE32, b"first"),
        build_section(SECTION_PE32, b"second"),
    )
    assert file.section(SECTION_PE32) == b"first"
    assert file.section(SECTION_MM_DEPEX) is None


@pytest.mark.parametrize("kind", [SectionType.TE, SectionType.DXE_DEPEX, SectionType.PEI_DEPEX])
def test_other_sections_do_not_count(kind: SectionType) -> None:
    file = scanned(build_section(kind, b"abcd"))
    assert file.section(SECTION_PE32) is None
    assert file.section(SECTION_MM_DEPEX) is None


def test_encapsulated_sections_are_not_opened() -> None:
    inner = build_section(SECTION_PE32, b"hidden")
    guided = struct.pack("<3sB16sHH", (24 + len(inner)).to_bytes(3, "little"), 0x02, bytes(16), 24, 0) + inner
    assert scanned(guided).section(SECTION_PE32) is None


@pytest.mark.parametrize("size", [0, 3])
def test_a_section_of_no_size_ends_the_walk(size: int) -> None:
    file = scanned(size.to_bytes(3, "little") + b"\x19", build_section(SECTION_PE32, b"later"))
    assert file.section(SECTION_PE32) is None


def test_a_section_that_leaves_its_file_is_cut() -> None:
    data = bytes(24) + (100).to_bytes(3, "little") + bytes([SECTION_PE32]) + b"short"
    assert ScannedFile(0, SOMEBODY, FileType.MM_STANDALONE, data).section(SECTION_PE32) == b"short"


def test_a_name_is_its_user_interface_section_or_its_guid() -> None:
    assert scanned().name == SOMEBODY.label
    named = scanned(build_section(SectionType.USER_INTERFACE, "Driver\0".encode("utf-16-le")))
    assert named.name == "Driver"
    strange = scanned(build_section(SectionType.USER_INTERFACE, "\x07\x1b\0".encode("utf-16-le")))
    assert strange.name == SOMEBODY.label
