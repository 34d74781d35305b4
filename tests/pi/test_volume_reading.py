"""What the reader says of damaged and unusual volumes: one planted fault for every kind of finding."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import (
    FFS2_GUID,
    FFS3_GUID,
    NVRAM_GUID,
    ExtendedEntry,
    FileState,
    FileType,
    ProblemKind,
    SectionType,
    files,
    find_volumes,
    problems,
    raise_damage,
    read_volume,
)
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_file, build_volume
from mmsupervisor.pi.volume.build_section import build_crc32_section, build_section, build_volume_image_section
from mmsupervisor.pi.volume.checksum import sum8, sum16
from mmsupervisor.pi.volume.layout import DEFAULT_VOLUME_ATTRIBUTES, FFS1_GUID, PAD_GUID, data_alignment, file_type_name
from tests.pi.volume_samples import (
    CODE,
    DEPEX,
    DRIVER,
    NAME,
    OTHER,
    SECTIONS,
    driver_spec,
    image_of,
    patched,
    real_files,
    sample_volume,
    volume_of,
)

HEADER = 0x48


def one_file(spec: FileSpec, **fields: object) -> bytes:
    return build_volume(VolumeSpec((spec,), **fields))


def with_header(volume: bytes, offset: int, new: bytes) -> bytes:
    """Change the volume header and make its checksum right again."""
    header = bytearray(patched(volume, offset, new)[:HEADER])
    header[0x32:0x34] = bytes(2)
    header[0x32:0x34] = (-sum16(bytes(header)) & 0xFFFF).to_bytes(2, "little")
    return bytes(header) + volume[HEADER:]


def with_file_header(volume: bytes, offset: int, new: bytes) -> bytes:
    """Change the first file's header and make its checksum right again."""
    header = bytearray(patched(volume[HEADER:], offset, new)[:24])
    header[0x10] = 0
    header[0x10] = -(sum(header) - header[0x11] - header[0x17]) & 0xFF
    return volume[:HEADER] + bytes(header) + volume[HEADER + 24 :]


PLAIN = one_file(driver_spec())
CHECKED = one_file(driver_spec(attributes=0x40))
VARIABLES = build_volume(VolumeSpec(file_system=NVRAM_GUID, size=0x1000))
MISPLACED = with_file_header(PLAIN, 0x13, b"\x18")
FMP_GUID = Guid.parse("6DCBD5ED-E82D-4C44-BDA1-7194199AD92A")


def capsule(body: bytes, size: int | None = None) -> bytes:
    return FMP_GUID.raw + struct.pack("<III", 28, 0, 28 + len(body) if size is None else size) + body


def dump(region1: int, master: int = 0x06) -> bytes:
    """A flash dump of 16 KiB with an empty BIOS region of two blocks."""
    data = bytearray(b"\xff" * 0x4000)
    struct.pack_into("<III", data, 0x10, 0x0FF0A55A, 0x0004_0000, master)
    struct.pack_into("<II", data, 0x40, 0x0000_0000, region1)
    return bytes(data)


def guided(guid: str, payload: bytes) -> bytes:
    return build_section(SectionType.GUID_DEFINED, Guid.parse(guid).raw + struct.pack("<HH", 24, 1) + payload)


PLANTED: dict[ProblemKind, bytes] = {
    ProblemKind.VOLUME_CUT: PLAIN[:-1],
    ProblemKind.VOLUME_CHECKSUM: patched(PLAIN, 0x2C, b"\x00"),
    ProblemKind.VOLUME_HEADER: with_header(PLAIN, 0x20, bytes(8)),
    ProblemKind.BLOCK_MAP: with_header(PLAIN, 0x38, b"\x02"),
    ProblemKind.EXTENDED_HEADER: with_header(PLAIN, 0x34, b"\xff\xff"),
    ProblemKind.FILE_SYSTEM: with_header(PLAIN, 0x10, FFS1_GUID.raw),
    ProblemKind.OUTSIDE_VOLUMES: PLAIN + b"hidden",
    ProblemKind.VARIABLE_STORE: patched(
        VARIABLES, HEADER, Guid.parse("AAF32C78-947B-439A-A180-2E144EC37792").raw + b"\xff\xff\xff\x7f\x5a\xfe"
    ),
    ProblemKind.FILE_CUT: with_file_header(PLAIN, 0x14, b"\x00\x00\x10"),
    ProblemKind.FILE_SIZE: with_file_header(PLAIN, 0x14, bytes(3)),
    ProblemKind.FILE_HEADER_CHECKSUM: patched(PLAIN, HEADER, b"\x00"),
    ProblemKind.FILE_DATA_CHECKSUM: patched(CHECKED, HEADER + 0x120, b"\x00"),
    ProblemKind.FILE_STATE: patched(PLAIN, HEADER + 0x17, b"\xfc"),
    ProblemKind.FILE_ALIGNMENT: MISPLACED,
    ProblemKind.LARGE_FILE: with_header(one_file(driver_spec(attributes=1)), 0x10, FFS2_GUID.raw),
    ProblemKind.SKIPPED: with_file_header(PLAIN, 0x14, bytes(3)),
    ProblemKind.PAD_CONTENT: one_file(FileSpec(PAD_GUID, FileType.PAD, b"\xff" * 40 + b"hidden")),
    ProblemKind.FREE_SPACE_CONTENT: patched(PLAIN, len(PLAIN) - 9, b"hidden"),
    ProblemKind.SECTION_CUT: one_file(driver_spec(SECTIONS[:-1])),
    ProblemKind.SECTION_SIZE: one_file(driver_spec(b"\x03\x00\x00\x10" + SECTIONS)),
    ProblemKind.SECTION_TAIL: one_file(driver_spec(SECTIONS + bytes(-len(SECTIONS) % 4 + 8))),
    ProblemKind.CRC32: one_file(driver_spec(patched(build_crc32_section(SECTIONS), 40, b"\xff"))),
    ProblemKind.EXPANDED_SIZE: one_file(driver_spec(build_section(1, struct.pack("<IB", 7, 0) + SECTIONS))),
    ProblemKind.ENCAPSULATION: one_file(driver_spec(guided("EE4E5898-3914-4259-9D6E-DC7BD79403CF", b"\xff" * 40))),
    ProblemKind.LIMIT: one_file(
        driver_spec(guided("EE4E5898-3914-4259-9D6E-DC7BD79403CF", b"\x5d\0\0\x10\0" + b"\xff" * 7 + b"\0" + bytes(9)))
    ),
    ProblemKind.NO_VOLUME: one_file(driver_spec(build_volume_image_section(b"no volume here"))),
    ProblemKind.FLASH_DESCRIPTOR: dump(0x7FFF),
    ProblemKind.FLASH_REGION: dump(0x0FFF_0001),
    ProblemKind.CAPSULE: capsule(PLAIN, 0x7FFF_FFFF),
    ProblemKind.FMP_CAPSULE: capsule(struct.pack("<IHHQ", 1, 0, 1, 0x7FFF_FFFF)),
}


# Where the finding is said to be: at the field that breaks the rule, or at the start of what does not fit.
PLACES: dict[ProblemKind, int] = {
    ProblemKind.VOLUME_CUT: 0x20,
    ProblemKind.VOLUME_CHECKSUM: 0x32,
    ProblemKind.VOLUME_HEADER: 0x20,
    ProblemKind.BLOCK_MAP: 0x38,
    ProblemKind.EXTENDED_HEADER: 0xFFFF,
    ProblemKind.FILE_SYSTEM: 0x10,
    ProblemKind.OUTSIDE_VOLUMES: len(PLAIN),
    ProblemKind.VARIABLE_STORE: HEADER + 0x10,
    ProblemKind.FILE_CUT: HEADER,
    ProblemKind.FILE_SIZE: HEADER,
    ProblemKind.FILE_HEADER_CHECKSUM: HEADER + 0x10,
    ProblemKind.FILE_DATA_CHECKSUM: HEADER + 0x11,
    ProblemKind.FILE_STATE: HEADER + 0x17,
    ProblemKind.FILE_ALIGNMENT: HEADER + 0x13,
    ProblemKind.LARGE_FILE: HEADER + 0x13,
    ProblemKind.SKIPPED: HEADER,
    ProblemKind.PAD_CONTENT: HEADER + 24 + 40,
    ProblemKind.FREE_SPACE_CONTENT: len(PLAIN) - 9,
    ProblemKind.SECTION_CUT: HEADER + 24 + len(SECTIONS) - 14,
    ProblemKind.SECTION_SIZE: HEADER + 24,
    ProblemKind.SECTION_TAIL: HEADER + 24 + len(SECTIONS) + -len(SECTIONS) % 4,
    ProblemKind.CRC32: HEADER + 24 + 24,
    ProblemKind.EXPANDED_SIZE: HEADER + 24 + 4,
    ProblemKind.ENCAPSULATION: HEADER + 24 + 24,
    ProblemKind.LIMIT: HEADER + 24 + 24,
    ProblemKind.NO_VOLUME: HEADER + 24,
    ProblemKind.FLASH_DESCRIPTOR: 0,
    ProblemKind.FLASH_REGION: 0x44,
    ProblemKind.CAPSULE: 0x18,
    ProblemKind.FMP_CAPSULE: 28 + 8,
}


def test_a_fault_is_planted_for_every_kind():
    assert set(PLANTED) == set(PLACES) == set(ProblemKind)


@pytest.mark.parametrize("kind", ProblemKind, ids=lambda kind: kind.word)
def test_planted_fault_is_found_and_strict_mode_refuses_damage(kind):
    image = image_of(PLANTED[kind])
    found = [problem for problem in problems(image) if problem.kind is kind]
    assert found[0].offset == PLACES[kind]
    for problem in found:
        assert problem.rule
        assert problem.rule[-1] != "."
        assert problem.part.startswith("sample")
        assert "\n" not in str(problem)
    if found[0].is_damage:
        with pytest.raises(FormatError):
            raise_damage(image)


@pytest.mark.parametrize("length", [b"\0\0", b"\xff\xff", b"\x49\0"])
def test_a_header_that_cannot_be_read_is_damage_where_a_file_system_follows(length):
    image = image_of(PLAIN + patched(PLAIN, 0x30, length))
    assert [volume.offset for volume in image.volumes] == [0]
    assert [(p.kind, p.offset) for p in problems(image)] == [
        (ProblemKind.VOLUME_HEADER, len(PLAIN)),
        (ProblemKind.OUTSIDE_VOLUMES, len(PLAIN)),
    ]
    unknown = patched(PLAIN, 0x30, length + b"\0\0")
    assert list(problems(image_of(patched(unknown, 0x10, bytes(16))))) == [], "a signature by chance"


def test_a_file_system_that_is_not_read_is_named_unless_the_volume_is_empty():
    for file_system, name in ((FFS1_GUID, "FFS1"), (OTHER, str(OTHER))):
        (problem,) = problems(image_of(with_header(PLAIN, 0x10, file_system.raw)))
        assert problem.rule.startswith(f"file system {name} is not read")
        assert list(problems(image_of(build_volume(VolumeSpec(file_system=file_system, size=0x1000))))) == []


def test_erased_bytes_outside_volumes_are_no_finding():
    assert list(problems(image_of(b"\xff" * 64 + PLAIN + bytes(100)))) == []


@pytest.mark.parametrize("data", [PLAIN, CHECKED, sample_volume(), VARIABLES])
def test_sound_volumes_have_no_findings(data):
    image = image_of(data)
    assert list(problems(image)) == []
    raise_damage(image)


def test_header_fields():
    volume = volume_of(sample_volume())
    assert volume.name == NAME
    assert volume.file_system == FFS2_GUID
    assert volume.length == len(volume.raw) == 0x1000
    assert (volume.erase_byte, volume.alignment, volume.revision) == (0xFF, 16, 2)
    assert [(block.count, block.length) for block in volume.block_map] == [(1, 0x1000)]
    assert volume.files_offset == 0x78
    assert volume.free_offset == 0x78 + sum(-(-file.size // 8) * 8 for file in volume.files)


def test_file_fields():
    driver, raw = real_files(volume_of(sample_volume()))
    assert (driver.guid, driver.type_name, driver.ui_name, driver.version) == (
        DRIVER,
        "MM_STANDALONE",
        "SampleMm",
        "1.2",
    )
    assert driver.first_section(SectionType.VERSION).build_number == 34
    assert driver.first_section(SectionType.PE32).data == CODE
    assert driver.first_section(SectionType.MM_DEPEX).data == DEPEX
    assert driver.first_section(SectionType.TE) is None
    assert (driver.state, driver.state_byte, driver.is_live) == (FileState.DATA_VALID, 0xF8, True)
    assert (driver.data_checksum, driver.size_field) == (0xAA, driver.size)
    assert raw.data == b"raw bytes" * 9
    assert raw.has_data_checksum
    assert raw.data_alignment == 512
    assert (raw.offset + raw.header_size) % 512 == 0


@pytest.mark.parametrize("before", [0, 1, 7, 0x210, 0x1001])
def test_volumes_are_found_at_any_offset(before):
    data = b"\x5a" * before + sample_volume() + b"_FVH" + bytes(333) + PLAIN + b"\xff" * 5
    image = image_of(data)
    assert [volume.offset for volume in image.volumes] == [before, before + 0x1000 + 337]
    assert [len(real_files(volume)) for volume in image.volumes] == [2, 1]
    expected = [(before + 0x1000, 337, False), (len(data) - 5, 5, True)]
    assert [(g.offset, g.size, g.is_erased) for g in image.gaps] == ([(0, before, False)] if before else []) + expected


def test_a_nested_volume_is_not_counted_twice():
    outer = one_file(FileSpec(OTHER, FileType.FIRMWARE_VOLUME_IMAGE, build_volume_image_section(PLAIN)))
    (volume,), _ = find_volumes(Reader(outer, "sample"), Allowance())
    (place,) = files(volume, FileType.MM_STANDALONE)
    assert place.volume is not volume
    assert place.encapsulations == ()
    assert place.is_in_flash_as_it_is
    assert not place.is_top_level
    assert outer[place.node.offset : place.node.offset + place.node.size] == place.node.raw


@pytest.mark.parametrize("bits", [DEFAULT_VOLUME_ATTRIBUTES, DEFAULT_VOLUME_ATTRIBUTES & ~0x800])
def test_both_erase_polarities(bits):
    volume = volume_of(one_file(driver_spec(), attributes=bits))
    (file,) = volume.files
    assert file.is_live
    assert list(problems(volume)) == []
    assert file.state_byte == (0xF8 if bits & 0x800 else 0x07)
    assert volume.erase_byte == (0xFF if bits & 0x800 else 0x00)


@pytest.mark.parametrize(
    ("bits", "state", "live"),
    [
        (0x07, "DATA_VALID", True),
        (0x0F, "MARKED_FOR_UPDATE", True),
        (0x17, "DELETED", False),
        (0x03, "HEADER_VALID", False),
    ],
)
def test_states_of_files(bits, state, live):
    volume = volume_of(build_volume(VolumeSpec((driver_spec(state_bits=bits), driver_spec(guid=OTHER)))))
    assert [file.state.name for file in volume.files] == [state, "DATA_VALID"]
    assert len(list(files(volume))) == (2 if live else 1)
    assert len(list(files(volume, deleted=True))) == 2


def test_an_invalid_header_is_skipped_as_a_header_only():
    """PI: such a header was given up while it was written; a sound file may follow right after it."""
    spoiled = build_file(driver_spec())[:23] + bytes((0xFF ^ 0x21,))
    data = build_volume(VolumeSpec((FileSpec(PAD_GUID, FileType.PAD, b""), driver_spec())))
    volume = volume_of(patched(data, HEADER, spoiled))
    assert [file.guid for file in volume.files] == [DRIVER]
    assert [problem.kind for problem in problems(volume)] == [ProblemKind.FILE_STATE]


def three_files() -> tuple[bytes, list[int]]:
    data = build_volume(VolumeSpec((driver_spec(), driver_spec(guid=OTHER), driver_spec())))
    return data, [file.offset for file in volume_of(data).files]


def test_a_bad_header_checksum_with_a_sound_size_keeps_the_file():
    data, offsets = three_files()
    volume = volume_of(patched(data, offsets[1], b"\x00"))
    assert [file.offset for file in volume.files] == offsets
    assert [len(file.problems) for file in volume.files] == [0, 1, 0]


@pytest.mark.parametrize("size", [b"\x00\x00\x00", b"\x17\x00\x00", b"\xff\xff\xff", b"\x99\x00\x00"])
def test_the_walk_goes_on_after_a_file_whose_size_is_damaged(size):
    data, offsets = three_files()
    volume = volume_of(patched(data, offsets[1] + 0x14, size))
    assert [file.offset for file in volume.files] == [offsets[0], offsets[2]]
    skipped = [p for p in problems(volume) if p.kind is ProblemKind.SKIPPED]
    assert [p.offset for p in skipped] == [offsets[1]]


def test_the_walk_goes_on_after_overwritten_files():
    data, offsets = three_files()
    volume = volume_of(patched(data, offsets[0], b"\x99" * (offsets[1] + 30 - offsets[0])))
    assert [file.offset for file in volume.files] == [offsets[2]]


def test_the_search_for_the_next_file_passes_what_only_looks_like_one():
    data, offsets = three_files()
    spoiled = patched(data, offsets[0], b"\x99" * (offsets[1] + 30 - offsets[0]))
    # Bytes that could be the state of a sound file, at places where one would stand, without a header around them.
    for place in range(offsets[0] + 0x40, offsets[1] - 0x40, 0x40):
        spoiled = patched(spoiled, place + 0x17, b"\xf8")
    assert [file.offset for file in volume_of(spoiled).files] == [offsets[2]]


def test_a_bad_volume_checksum_needs_something_else_that_speaks_for_a_volume():
    bad = patched(PLAIN, 0x2C, b"\x00")
    assert len(image_of(bad).volumes) == 1
    no_map = patched(bad, 0x38, b"\x05")
    assert len(image_of(no_map).volumes) == 1
    assert image_of(patched(no_map, 0x10, b"\x00")).volumes == ()
    assert len(image_of(patched(bad, 0x10, b"\x00")).volumes) == 1


@pytest.mark.parametrize("length", [0, 1, 0xFFFF, 1 << 40, (1 << 64) - 1])
def test_a_damaged_length_hides_neither_the_volume_nor_the_next(length):
    image = image_of(patched(PLAIN, 0x20, struct.pack("<Q", length)) + PLAIN)
    assert [volume.offset for volume in image.volumes] == [0, len(PLAIN)]
    assert [len(volume.files) for volume in image.volumes] == [1, 1]
    assert {problem.kind for problem in problems(image)} == {ProblemKind.VOLUME_CHECKSUM, ProblemKind.BLOCK_MAP}


@pytest.mark.parametrize(("revision", "known"), [(0, False), (1, True), (2, True), (3, False)])
def test_revisions(revision, known):
    assert [volume.revision for volume in image_of(with_header(PLAIN, 0x37, bytes([revision]))).volumes] == (
        [revision] if known else []
    )


def test_unknown_file_system_is_a_volume_without_files():
    unknown = Guid.parse("04ADEEAD-61FF-4D31-B6BA-64F8BF901F5A")
    volume = volume_of(with_header(PLAIN, 0x10, unknown.raw))
    assert volume.file_system == unknown
    assert volume.files == ()


def test_extended_header_entries():
    entries = (ExtendedEntry(3, memoryview(struct.pack("<I", 0x900))), ExtendedEntry(2, memoryview(NAME.raw + b"abc")))
    volume = volume_of(build_volume(VolumeSpec((driver_spec(),), name=NAME, entries=entries)))
    assert [(entry.type, bytes(entry.data)) for entry in volume.extended.entries] == [
        (entry.type, bytes(entry.data)) for entry in entries
    ]
    assert len(volume.files) == 1


@pytest.mark.parametrize("entry", [b"\3\0\1\0\0\0", b"\x40\0\1\0\0\0"])
def test_entries_of_an_impossible_size_are_a_damaged_extended_header(entry):
    data = build_volume(VolumeSpec((driver_spec(),), name=NAME, entries=(ExtendedEntry(1, memoryview(b"xx")),)))
    volume = volume_of(patched(data, 0x60 + 20, entry))
    assert volume.extended is None
    assert ProblemKind.EXTENDED_HEADER in [problem.kind for problem in volume.problems]
    # Without it, the walk starts at the padding file that holds it.
    assert [file.is_pad for file in volume.files] == [True, False]


@pytest.mark.parametrize("offset", [HEADER - 8, HEADER - 1])
def test_an_extended_header_does_not_overlap_the_header(offset):
    data = with_header(patched(PLAIN, offset + 16, struct.pack("<I", 20)), 0x34, offset.to_bytes(2, "little"))
    volume = volume_of(data)
    assert volume.extended is None
    assert [p.offset for p in volume.problems if p.kind is ProblemKind.EXTENDED_HEADER] == [offset]
    assert volume.files_offset == HEADER


def test_a_variable_volume_without_room_for_a_store():
    data = build_volume(VolumeSpec(file_system=NVRAM_GUID, size=0x50, block_size=0x10))
    volume = volume_of(data)
    assert volume.variable_store is None
    assert [problem.kind for problem in volume.problems] == [ProblemKind.VARIABLE_STORE]


def test_large_files_need_file_system_3():
    volume = volume_of(one_file(driver_spec(attributes=1)))
    assert volume.file_system == FFS3_GUID
    (file,) = volume.files
    assert (file.is_large, file.header_size, file.size_field, file.ui_name) == (True, 32, 0, "SampleMm")
    assert list(problems(volume)) == []


def test_a_size_in_three_bytes_counts_in_file_system_2_whatever_the_attribute_says():
    volume = volume_of(with_file_header(PLAIN, 0x13, b"\x01"))
    (file,) = volume.files
    assert (file.is_large, file.header_size, file.ui_name) == (False, 24, "SampleMm")
    assert [problem.kind for problem in problems(volume)] == [ProblemKind.LARGE_FILE]


def test_padding_need_not_be_aligned():
    data = one_file(FileSpec(PAD_GUID, FileType.PAD, b"\xff" * 64))
    assert list(problems(image_of(with_file_header(data, 0x13, b"\x18")))) == []


def test_a_file_above_16_mib():
    body = build_section(SectionType.RAW, bytes(1 << 24))
    volume = volume_of(one_file(driver_spec(body, attributes=0x40)))
    (file,) = volume.files
    assert file.is_large
    assert file.sections[0].size == (1 << 24) + 8
    assert list(problems(volume)) == []


def test_read_volume_refuses_what_is_no_volume():
    assert read_volume(Reader(PLAIN, "x"), Allowance()).files
    for bad in (b"", b"\x00" * 100, PLAIN[:0x30], b"x" + PLAIN):
        with pytest.raises(FormatError):
            read_volume(Reader(bad, "x"), Allowance())


def test_items_are_bounded():
    data = build_volume(VolumeSpec(tuple(driver_spec() for _ in range(20))))
    assert len(volume_of(data, items=200).files) == 20
    with pytest.raises(FormatError, match="more than 50 items"):
        find_volumes(Reader(data, "sample"), Allowance(Limits(items=50)))


def test_alignment_values():
    assert [data_alignment(index << 3) for index in range(8)] == [1, 16, 128, 512, 1024, 4096, 32768, 65536]
    assert [data_alignment(index << 3 | 2) for index in range(8)] == [1 << power for power in range(17, 25)]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 70000])
def test_checksum_of_bytes_is_the_plain_sum(size):
    data = bytes((i * 7 + i // 13) & 0xFF for i in range(size))
    assert sum8(data) == sum(data) & 0xFF
    assert sum8(b"\xff" * size) == 255 * size & 0xFF


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 6, 8, 70001])
def test_checksum_of_words_is_the_plain_sum_without_an_odd_byte(size):
    data = bytes((i * 7 + i // 13) & 0xFF for i in range(size))
    words = (data[i] | data[i + 1] << 8 for i in range(0, size - 1, 2))
    assert sum16(data) == sum(words) & 0xFFFF


def test_file_types_outside_the_list_are_named_by_their_range():
    names = {0x00: "UNKNOWN", 0x10: "UNKNOWN", 0xBF: "UNKNOWN", 0xC0: "OEM", 0xDF: "OEM", 0xE0: "DEBUG", 0xEF: "DEBUG"}
    names |= {0xF1: "FFS", 0xFF: "FFS"}
    for number, word in names.items():
        assert file_type_name(number) == f"{word}_{number:#04x}"
    assert file_type_name(0xF0) == "PAD"
