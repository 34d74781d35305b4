"""PE images: built ones, for everything that real firmware does not do."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.image_kind import ImageKind, classify
from mmsupervisor.pi.pe import (
    RelocationError,
    RelocationFault,
    load_image,
    load_problems,
    map_image,
    module_name,
    parse_pe,
    pdb_path,
    plan_protection,
    relocate,
)
from mmsupervisor.pi.reader import Reader
from tests.pi.pe_builder import RODATA, RWDATA, TEXT, BuiltSection, PeBuilder, driver, relocation_block


def parse(data: bytes):
    return parse_pe(Reader(data, "test.efi"))


def test_an_image_without_relocation_directory_loads_anywhere():
    image = parse(driver(relocations=b""))
    assert load_problems(image, 0x7F00_0000) == ()
    mapped = map_image(image)
    before = bytes(mapped)
    assert relocate(image, mapped, 0x7F00_0000) == 0
    mapped[image.header_offset + 48 : image.header_offset + 56] = bytes(8)
    assert bytes(mapped) == before


def test_classification():
    assert classify(Reader(driver(), "x")).label == "PE32+ X64, EFI boot service driver"
    thirty_two = PeBuilder([BuiltSection(".text", b"\xc3", TEXT)], plus=False, machine=0x14C, subsystem=12).build()
    assert classify(Reader(thirty_two, "x")).label == "PE32 IA32, EFI runtime driver"
    assert classify(Reader(driver(machine=0xAA64), "x")).label == "PE32+ AARCH64, EFI boot service driver"
    assert classify(Reader(driver(machine=0x1234), "x")).label == "PE32+ machine 0x1234, EFI boot service driver"
    assert classify(Reader(b"", "x")).kind is ImageKind.EMPTY
    assert classify(Reader(b"\x7fELF....", "x")).kind is ImageKind.ELF
    assert classify(Reader(b"\x55\xaa....", "x")).kind is ImageKind.OPTION_ROM
    assert classify(Reader(b"MZ" + bytes(100), "x")).kind is ImageKind.DOS
    assert classify(Reader(b"hello", "x")).kind is ImageKind.UNKNOWN
    cut = classify(Reader(driver()[:0x100], "x"))
    assert cut.kind is ImageKind.DAMAGED_PE
    assert "needs" in cut.reason


def test_an_image_may_begin_with_the_pe_signature():
    """The reference's loader takes an image without DOS header; file offsets count from its start."""
    data = bytearray(driver())
    bare = bytes(data[0x80:0x1000]).ljust(0x1000, b"\0") + bytes(data[0x1000:])
    image = parse(bare)
    assert image.header_offset == 0
    assert [section.name for section in image.sections] == [".text", ".data", ".reloc"]


def test_sections_are_mapped_with_zero_fill():
    sections = [
        BuiltSection(".text", b"\xc3" * 16, TEXT, virtual_size=8),
        BuiltSection(".bss", b"", RWDATA, virtual_size=0x1800, raw_size=0),
        BuiltSection(".old", b"abcd", RWDATA, virtual_size=0),
    ]
    mapped = map_image(parse(PeBuilder(sections).build()))
    assert mapped[0x1000:0x1010] == b"\xc3" * 8 + bytes(8), "only VirtualSize bytes are copied"
    assert mapped[0x2000:0x3800] == bytes(0x1800)
    assert mapped[0x4000:0x4004] == b"abcd", "VirtualSize 0 means the raw size"


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (10, struct.pack("<Q", 0xFFFF_FFFF_0000_1000), struct.pack("<Q", 0xFFFF_FFFF_1234_6678)),
        (3, struct.pack("<I", 0xFFFF_FFFF), struct.pack("<I", 0x1234_5677)),
        (1, struct.pack("<H", 0xFFFF), struct.pack("<H", 0x1233)),
        (2, struct.pack("<H", 0x0001), struct.pack("<H", 0x5679)),
        (0, b"\1\2\3\4", b"\1\2\3\4"),
    ],
)
def test_each_relocation_type(kind, before, after):
    sections = [BuiltSection(".text", b"\xc3", TEXT), BuiltSection(".data", before.ljust(64, b"\0"), RWDATA)]
    image = parse(driver(sections=sections, relocations=relocation_block(0x2000, (kind, 0))))
    mapped = load_image(image, 0x1234_5678)
    assert mapped[0x2000 : 0x2000 + len(after)] == after


@pytest.mark.parametrize(
    ("relocations", "fault"),
    [
        (struct.pack("<II", 0x2000, 0), RelocationFault.BLOCK_SIZE),
        (struct.pack("<II", 0x2000, 4), RelocationFault.BLOCK_SIZE),
        (struct.pack("<IIHB", 0x2000, 11, 0, 0), RelocationFault.BLOCK_SIZE),
        (struct.pack("<IIHH", 0x2000, 0x40, 0, 0), RelocationFault.BLOCK_OUTSIDE),
        (relocation_block(0x2000, (10, 8)) + b"\0\0", RelocationFault.BLOCK_OUTSIDE),
        (relocation_block(0x9000, (0, 0)), RelocationFault.PAGE_OUTSIDE),
        (relocation_block(0x3FFF, (0, 1)), RelocationFault.FIXUP_OUTSIDE),
        (relocation_block(0x3000, (10, 0xFFC)), RelocationFault.FIXUP_CROSSES_END),
        (relocation_block(0x2000, (4, 0)), RelocationFault.TYPE),
        (relocation_block(0x2000, (9, 0)), RelocationFault.TYPE),
    ],
)
def test_malformed_relocations_are_named_and_change_nothing(relocations, fault):
    first = relocation_block(0x2000, (10, 8))
    image = parse(driver(relocations=first + relocations))
    mapped = map_image(image)
    before = bytes(mapped)
    with pytest.raises(RelocationError) as caught:
        relocate(image, mapped, 0x10_0000)
    assert caught.value.fault is fault
    assert bytes(mapped) == before
    (problem,) = load_problems(image)
    expected = {RelocationFault.TYPE: "relocation-type", RelocationFault.FIXUP_CROSSES_END: "relocation-end"}
    assert problem.rule.name == expected.get(fault, "relocation-block")


def test_a_single_byte_after_the_last_block_is_no_block():
    """The reference's walk ends before the directory's last byte; two bytes are a fault, as above."""
    image = parse(driver(relocations=relocation_block(0x2000, (10, 8)) + b"\0"))
    assert relocate(image, map_image(image), 0x10_0000) == 1
    assert load_problems(image) == ()


@pytest.mark.parametrize(("kind", "size"), [(0, 1), (1, 2), (2, 2), (3, 4), (10, 8)])
def test_a_fixup_may_end_where_the_image_does_and_no_later(kind, size):
    at_the_end = parse(driver(relocations=relocation_block(0x3000, (kind, 0x1000 - size))))
    assert load_problems(at_the_end) == ()
    load_image(at_the_end, 0x1_0000)
    if size > 1:
        beyond = parse(driver(relocations=relocation_block(0x3000, (kind, 0x1000 - size + 1))))
        assert [problem.rule.name for problem in load_problems(beyond)] == ["relocation-end"]


def test_at_its_own_base_relocations_are_not_looked_at():
    image = parse(driver(image_base=0x10_0000, relocations=struct.pack("<II", 0x2000, 0)))
    assert load_problems(image, 0x10_0000) == ()
    assert relocate(image, map_image(image), 0x10_0000) == 0
    assert [problem.rule.name for problem in load_problems(image, 0x20_0000)] == ["relocation-block"]


def test_pdb_path_names_the_module():
    text = b"RSDS" + bytes(20) + b"C:\\build\\x64\\VariableSmm.pdb\0"
    directory = struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, len(text), 0x2000 + 28, 0x2000 + 28)
    sections = [BuiltSection(".text", b"\xc3", TEXT), BuiltSection(".rdata", directory + text, RODATA)]
    data = bytearray(PeBuilder(sections).build())
    image = parse(bytes(data))
    assert pdb_path(image) is None
    debug_directory = image.header_offset + 24 + 112 + 8 * 6
    data[debug_directory : debug_directory + 8] = struct.pack("<II", 0x2000, 28)
    image = parse(bytes(data))
    assert pdb_path(image) == "C:\\build\\x64\\VariableSmm.pdb"
    assert module_name(image) == "VariableSmm"


def test_exotic_forms_are_refused_in_bounds():
    huge = parse(driver(overrides={"size_of_image": 0xFFFF_F000}))
    with pytest.raises(LimitError):
        map_image(huge)
    assert "size-limit" in [problem.rule.name for problem in load_problems(huge)]
    many = parse(driver(overrides={"directory_count": 0xFFFF_FFFF}))
    assert len(many.optional_header.directories) == 16
    assert [problem.rule.name for problem in load_problems(many)][:2] == ["directory-count", "optional-header-size"]
    with pytest.raises(FormatError, match="section table of 65535 entries"):
        parse(driver(overrides={"section_count": 0xFFFF}))
    with pytest.raises(FormatError, match="SizeOfHeaders"):
        map_image(parse(driver(overrides={"size_of_headers": 0xFFFF_FFFF})))


def test_overlapping_sections_cannot_eat_the_machine():
    sections = [BuiltSection(".big", b"x", RWDATA, address=0x1000, virtual_size=0x300_0000, raw_size=1)] * 40
    image = parse(PeBuilder([BuiltSection(".text", b"\xc3", TEXT), *sections]).build())
    with pytest.raises(LimitError, match="sections of more than"):
        map_image(image)
    assert [problem.rule.name for problem in load_problems(image)] == ["size-limit"]


SEED = driver()


def test_an_absurd_section_alignment_is_a_named_problem():
    image = parse(driver(alignment=0x1000))
    assert load_problems(image) == ()
    patched = bytearray(driver())
    patched[0x80 + 24 + 32 : 0x80 + 24 + 36] = struct.pack("<I", 0x8000_0000)
    image = parse(bytes(patched))
    assert "size-limit" in [problem.rule.name for problem in load_problems(image)]
    with pytest.raises(LimitError):
        plan_protection(image)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SEED) - 1), st.integers(0, 0x1FF), st.binary(min_size=1, max_size=8))
def test_damage_gives_one_format_error_or_an_image_and_no_problem_means_it_loads(cut, at, patch):
    for data in (SEED[:cut], SEED[:at] + patch + SEED[at + len(patch) :]):
        try:
            image = parse(data)
        except FormatError:
            continue
        if not load_problems(image, 0x10_0000):
            load_image(image, 0x10_0000)
            plan_protection(image)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=256))
def test_random_bytes_never_raise_anything_else(data):
    classify(Reader(data, "x"))
    with pytest.raises(FormatError):
        parse(data)


def test_a_section_outside_the_image_is_refused_at_its_header():
    image = parse(driver(overrides={"size_of_image": 0x2800}))
    with pytest.raises(FormatError, match=r"section '.reloc' ends at") as caught:
        map_image(image)
    assert caught.value.offset == image.section_table_offset + 2 * 40
