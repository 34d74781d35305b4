"""Streams of sections: every type, every encapsulation, and what cannot be opened."""

from __future__ import annotations

import builtins
import struct
import tracemalloc

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uefi_firmware import efi_compressor

from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import MIB, Allowance, Limits
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import Closed, ProblemKind, SectionType, problems, read_sections, sections, unopened
from mmsupervisor.pi.volume.build import VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import (
    build_compression_section,
    build_crc32_section,
    build_guided_section,
    build_lzma_section,
    build_section,
    build_subtype_section,
    build_ui_section,
    build_version_section,
    build_volume_image_section,
    join_sections,
)
from mmsupervisor.pi.volume.encapsulation import BROTLI_GUID, CRC32_GUID, LZMA_GUID, TIANO_GUID
from tests.pi.volume_samples import (
    CODE,
    OTHER,
    SECTIONS,
    driver_spec,
    image_of,
    real_files,
    sample_volume,
    section_of,
    sections_of,
    volume_of,
)

UNKNOWN = Guid.parse("DEADBEEF-0000-4000-8000-000000000001")


def tiano(data: bytes) -> bytes:
    return efi_compressor.TianoCompress(data, len(data))


def standard(data: bytes) -> bytes:
    return efi_compressor.EfiCompress(data, len(data))


def brotli_data(data: bytes) -> bytes:
    return struct.pack("<QQ", len(data), 0) + brotli.compress(data)


ENCAPSULATIONS = {
    "LZMA": build_lzma_section(SECTIONS),
    "LZMA large": build_lzma_section(SECTIONS, large=True),
    "LZMA x86": build_lzma_section(SECTIONS, x86=True),
    "CRC32": build_crc32_section(SECTIONS),
    "CRC32 large": build_crc32_section(SECTIONS, large=True),
    "not compressed": build_compression_section(SECTIONS),
    "standard": build_section(1, struct.pack("<IB", len(SECTIONS), 1) + standard(SECTIONS)),
    "Tiano": build_guided_section(TIANO_GUID, tiano(SECTIONS), attributes=1),
    "Brotli": build_guided_section(BROTLI_GUID, brotli_data(SECTIONS), attributes=1),
    "disposable": build_section(SectionType.DISPOSABLE, SECTIONS),
    "signed, readable as it is": build_guided_section(UNKNOWN, SECTIONS, attributes=2, extra=b"signature"),
}


@pytest.mark.parametrize("name", ENCAPSULATIONS)
def test_every_encapsulation_is_opened(name):
    section = section_of(ENCAPSULATIONS[name])
    assert [child.type for child in section.sections] == [0x1C, 0x10, 0x15, 0x14]
    assert section.sections[1].data == CODE
    assert section.sections[2].text == "SampleMm"
    assert list(problems(section)) == []
    assert section.is_encapsulation
    assert section.is_transformed == (name in {"LZMA", "LZMA large", "LZMA x86", "standard", "Tiano", "Brotli"})
    assert section.unopened is None


@pytest.mark.parametrize("name", ENCAPSULATIONS)
def test_parts_and_offsets_lead_to_the_bytes(name):
    before = build_section(SectionType.RAW, bytes(21))
    (_, section) = sections_of(join_sections((before, ENCAPSULATIONS[name])))
    code = section.sections[1]
    part = section.content if section.is_transformed else join_sections((before, ENCAPSULATIONS[name]))
    assert bytes(part[code.data_offset :][: len(CODE)]) == CODE
    assert code.part == section.sections[0].part
    assert code.part.startswith("sample")
    if section.is_transformed:
        assert code.part.split("!")[1].endswith(f"@{section.offset:#x}")


@pytest.mark.parametrize("name", ENCAPSULATIONS)
def test_files_find_sections_inside_or_only_outside(name):
    volume = volume_of(build_volume(VolumeSpec((driver_spec(ENCAPSULATIONS[name]),))))
    (file,) = real_files(volume)
    assert file.first_section(SectionType.PE32).data == CODE
    assert file.first_section(SectionType.PE32, open_encapsulations=False) is None
    assert file.ui_name == "SampleMm"


def test_nested_encapsulations_name_their_parts():
    inner = build_lzma_section(SECTIONS)
    outer = build_lzma_section(join_sections((build_section(SectionType.RAW, b"12"), inner)), x86=True)
    section = section_of(outer)
    assert section.sections[1].sections[0].part == "sample!LZMA-x86@0x0!LZMA@0x8"


def test_leaf_types():
    stream = join_sections(
        (
            build_ui_section("Näme"),
            build_version_section("3.14", 0xABCD),
            build_subtype_section(OTHER, b"typed"),
            build_section(SectionType.RAW, b"raw", large=True),
            build_section(0x77, b"???"),
        )
    )
    ui, version, subtype, raw, unknown = sections_of(stream)
    assert (ui.text, version.text, version.build_number) == ("Näme", "3.14", 0xABCD)
    assert (subtype.guid, bytes(subtype.data)) == (OTHER, b"typed")
    assert (bytes(raw.data), raw.header_size, raw.size) == (b"raw", 8, 11)
    assert (unknown.type_name, bytes(unknown.data)) == ("UNKNOWN_0x77", b"???")
    assert raw.text is None
    assert raw.build_number is None


@pytest.mark.parametrize(
    ("data", "text"), [(b"", ""), (b"A", ""), (b"A\0", "A"), (b"A\0B\0\0\0C\0", "AB"), (b"A\0B", "A")]
)
def test_odd_texts(data, text):
    assert section_of(build_section(SectionType.USER_INTERFACE, data)).text == text
    assert section_of(build_section(SectionType.VERSION, b"\1\0" + data)).text == text


def test_unpaired_surrogates_do_not_end_the_report():
    section_of(build_section(SectionType.USER_INTERFACE, b"\x00\xd8\x41\x00")).text.encode("utf-8")


def test_short_versions():
    for data in (b"", b"\1"):
        section = section_of(build_section(SectionType.VERSION, data))
        assert (section.build_number, section.text) == (None, "")


def closed(section: bytes, **limits: int) -> tuple[Closed, str]:
    (place,) = unopened(section_of(section, **limits))
    return place.node.unopened.why, place.node.unopened.text


def test_what_cannot_be_opened_is_named():
    why, text = closed(build_guided_section(UNKNOWN, b"secret", attributes=1))
    assert (why, str(UNKNOWN) in text) == (Closed.UNKNOWN_GUID, True)
    why, text = closed(build_section(1, struct.pack("<IB", 5, 2) + b"12345"))
    assert (why, "type 2" in text) == (Closed.UNKNOWN_COMPRESSION, True)
    why, text = closed(build_guided_section(LZMA_GUID, b"\xff" * 50, attributes=1))
    assert (why, "LZMA" in text) == (Closed.DAMAGED, True)
    why, text = closed(build_section(SectionType.GUID_DEFINED, b"short"))
    assert (why, "GUID_DEFINED" in text) == (Closed.DAMAGED, True)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("Brotli", "brotli", "brotli"), ("Tiano", "uefi_firmware", "tiano"), ("standard", "uefi_firmware", "tiano")],
)
def test_a_missing_library_is_named_and_the_rest_is_read(monkeypatch, name, module, extra):
    real_import = builtins.__import__

    def refuse(imported, *arguments, **keywords):
        if imported.split(".")[0] == module:
            raise ImportError(imported)
        return real_import(imported, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    first, second = sections_of(join_sections((ENCAPSULATIONS[name], build_ui_section("after"))))
    assert first.unopened.why is Closed.MISSING_LIBRARY
    assert f"extra `{extra}`" in first.unopened.text
    assert second.text == "after"
    assert list(problems(first)) == []


def test_crc32_is_verified_and_the_content_still_read():
    spoiled = bytearray(build_crc32_section(SECTIONS))
    spoiled[-1] ^= 1
    section = section_of(bytes(spoiled))
    assert [problem.kind for problem in section.problems] == [ProblemKind.CRC32]
    assert section.sections


def test_a_crc32_section_without_its_crc32():
    section = section_of(build_guided_section(CRC32_GUID, SECTIONS, attributes=2, extra=b"12"))
    assert [problem.rule for problem in section.problems] == ["CRC-32 section has no room for its CRC-32"]


def bomb(levels: int) -> bytes:
    section = build_section(SectionType.RAW, bytes(32 * MIB))
    for _ in range(levels):
        section = build_lzma_section(section)
    return section


def test_a_bomb_stays_within_the_allowance_and_the_rest_is_read():
    stream = join_sections((bomb(2), build_ui_section("after")))
    assert len(stream) < 4096
    allowance = Allowance(Limits(expanded_bytes=MIB))
    tracemalloc.start()
    (first, second), _ = read_sections(Reader(stream, "sample"), allowance)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert second.text == "after"
    (place,) = unopened(first)
    assert place.node.unopened.why is Closed.LIMIT
    assert allowance.expanded <= MIB
    assert peak < 8 * MIB


def test_many_small_bombs_share_one_allowance():
    stream = join_sections([bomb(1)] * 10)
    allowance = Allowance(Limits(expanded_bytes=100 * MIB))
    read, _ = read_sections(Reader(stream, "sample"), allowance)
    assert [section.unopened is None for section in read] == [True] * 3 + [False] * 7
    assert allowance.expanded <= 100 * MIB


def test_deep_nesting_is_cut_off():
    section = build_ui_section("deep")
    for _ in range(60):
        section = build_compression_section(section)
    (outer,) = sections_of(section)
    assert len(list(sections(outer))) == 33
    (place,) = unopened(outer)
    assert place.node.unopened.why is Closed.LIMIT
    volume = sample_volume()
    for _ in range(40):
        file = driver_spec(build_volume_image_section(volume))
        volume = build_volume(VolumeSpec((file,)))
    image = image_of(volume)
    assert ProblemKind.LIMIT in {problem.kind for problem in problems(image)}


@pytest.mark.parametrize("size", [b"\0\0\0", b"\1\0\0", b"\3\0\0", b"\xff\xff\xff"])
def test_impossible_sizes_end_the_stream_once(size):
    good = build_ui_section("good") + bytes(2)
    stream = good + size + b"\x19" + b"\0\0\0\0" + SECTIONS
    found, stream_problems = read_sections(Reader(stream, "sample"), Allowance())
    assert [section.text for section in found] == ["good"]
    assert [problem.kind for problem in stream_problems] == [ProblemKind.SECTION_SIZE]
    ones = good + b"\xff" * 8 + SECTIONS
    found, _ = read_sections(Reader(ones, "sample"), Allowance())
    assert [problem.kind for problem in found[1].problems] == [ProblemKind.SECTION_CUT]


@pytest.mark.parametrize("size", [0, 4, 7])
def test_extended_sizes_below_the_large_header_end_the_stream(size):
    stream = b"\xff\xff\xff\x19" + struct.pack("<I", size) + SECTIONS
    found, stream_problems = read_sections(Reader(stream, "sample"), Allowance())
    assert found == ()
    assert [problem.kind for problem in stream_problems] == [ProblemKind.SECTION_SIZE]


def test_items_are_bounded():
    stream = build_section(SectionType.RAW, b"") * 1000
    assert len(sections_of(stream)) == 1000
    with pytest.raises(LimitError):
        sections_of(stream, items=999)


def test_an_encapsulation_with_nothing_inside_is_open():
    for section in (build_crc32_section(b""), build_compression_section(b""), build_lzma_section(b"")):
        read = section_of(section)
        assert (read.sections, read.unopened, read.content is None) == ((), None, False)


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(ENCAPSULATIONS)),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=5)), min_size=1, max_size=4),
    st.booleans(),
)
def test_damage_gives_sections_or_a_format_error(name, patches, is_inside):
    """Damage to an encapsulation, or to the stream inside an encapsulation that is whole."""
    data = bytearray(SECTIONS if is_inside else ENCAPSULATIONS[name])
    for offset, new in patches:
        start = offset % len(data)
        data[start : start + len(new)] = new[: len(data) - start]
    stream = build_lzma_section(bytes(data)) if is_inside else bytes(data)
    try:
        found, beside = read_sections(Reader(stream, "sample"), Allowance(Limits(expanded_bytes=MIB, items=5000)))
    except FormatError:
        return
    assert found or beside, "what is neither read nor said is lost"
    for section in found:
        assert section.offset + len(section.raw) <= len(stream)
        list(sections(section))
        list(unopened(section))
