"""PE images of real firmware: mapped and relocated as pefile does it."""

from __future__ import annotations

import gc
import struct
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pefile
import pytest

from mmsupervisor.pi.container import read_image_file
from mmsupervisor.pi.pe import (
    PeImage,
    RelocationType,
    image_relocations,
    load_image,
    load_problems,
    map_image,
    parse_pe,
    plan_protection,
)
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import SectionType, sections
from tests.pi.firmware_parts import IA32_IMAGE, IMAGES, PE32, X64_IMAGE, parts
from tests.pi.oracles.mm_modules import mm_modules
from tests.pi.oracles.records import digest
from tests.pi.pe_builder import RWDATA, TEXT, BuiltSection, driver, relocation_block
from tests.support.ovmf import Ovmf, locate

BASES = (0x10_0000, 0x7F00_0000, 0xFFFF_F000)
SHARES = 8
"""The images are compared in so many tests, for workers to share."""

# Of each module of Debian 12's image: bytes and relocations.
SMM_DRIVERS = {
    "e94f54cd-81eb-47ed-aec3-856f5dc157a9": (40960, 58),
    "a47ee2d8-f60e-42fd-8e58-7bd65ee4c29b": (16384, 4),
    "84eea114-c6be-4445-8f90-51d97863e363": (16384, 0),
    "33fb3535-f15e-4c17-b303-5eb94595ecb6": (20480, 2),
    "a3ff0ef5-0c28-42f5-b544-8c7de1e80014": (65536, 57),
    "2e7db7a7-608e-4041-b45f-00359e0766c6": (20480, 7),
    "470cb248-e8ac-473c-bb4f-81069a1fe6fd": (24576, 0),
    "23a089b3-eed5-4ac5-b2ab-43e3298c2343": (499712, 5050),
}


@pytest.fixture(autouse=True)
def everything_else_is_no_garbage() -> Iterator[None]:
    """pefile collects garbage for each image; what is alive here need not be looked through each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@cache
def distinct_images() -> dict[str, bytes]:
    """The bytes of every different PE32 section in any image of the packages, by their hash.

    One release ships a placeholder: a section without a byte in it.
    """
    found: dict[str, bytes] = {}
    for path in locate().files():
        for place in sections(read_image_file(path)):
            if place.node.type == SectionType.PE32 and len(place.node.data):
                found.setdefault(digest(place.node.data), bytes(place.node.data))
    return dict(sorted(found.items()))


def parse(data: bytes) -> PeImage:
    return parse_pe(Reader(data, "test.efi"))


def base_field(image: PeImage) -> slice:
    """Where ImageBase stands: pefile leaves the mapped header as it was, the firmware loader writes it."""
    offset = image.header_offset + 24
    return slice(offset + 24, offset + 32) if image.optional_header.is_pe32_plus else slice(offset + 28, offset + 32)


def header_values(image: PeImage) -> dict[str, object]:
    """Every field of the headers that is read, by pefile's name of it."""
    header = image.optional_header
    return {
        "Machine": image.file_header.machine,
        "NumberOfSections": image.file_header.number_of_sections,
        "TimeDateStamp": image.file_header.time_date_stamp,
        "SizeOfOptionalHeader": image.file_header.size_of_optional_header,
        "Characteristics": image.file_header.characteristics,
        "AddressOfEntryPoint": header.address_of_entry_point,
        "BaseOfCode": header.base_of_code,
        "ImageBase": header.image_base,
        "SectionAlignment": header.section_alignment,
        "FileAlignment": header.file_alignment,
        "MajorImageVersion": header.image_version[0],
        "MinorImageVersion": header.image_version[1],
        "MajorSubsystemVersion": header.subsystem_version[0],
        "MinorSubsystemVersion": header.subsystem_version[1],
        "SizeOfImage": header.size_of_image,
        "SizeOfHeaders": header.size_of_headers,
        "CheckSum": header.checksum,
        "Subsystem": header.subsystem,
        "DllCharacteristics": header.dll_characteristics,
        "NumberOfRvaAndSizes": header.number_of_rva_and_sizes,
    }


def assert_headers_equal(image: PeImage, oracle: pefile.PE) -> None:
    for name, value in header_values(image).items():
        of_file = hasattr(oracle.FILE_HEADER, name)
        assert getattr(oracle.FILE_HEADER if of_file else oracle.OPTIONAL_HEADER, name) == value, name
    assert [
        (s.virtual_size, s.virtual_address, s.size_of_raw_data, s.pointer_to_raw_data, s.characteristics)
        for s in image.sections
    ] == [
        (s.Misc_VirtualSize, s.VirtualAddress, s.SizeOfRawData, s.PointerToRawData, s.Characteristics)
        for s in oracle.sections
    ]
    assert [(d.virtual_address, d.size) for d in image.optional_header.directories] == [
        (d.VirtualAddress, d.Size) for d in oracle.OPTIONAL_HEADER.DATA_DIRECTORY
    ]


def assert_equals_pefile(data: bytes) -> None:
    image = parse(data)
    oracle = pefile.PE(data=data, fast_load=True)
    assert_headers_equal(image, oracle)
    for base in BASES:
        ours = load_image(image, base)
        # Relocating again moves the oracle from the base before: it stays one object, parsed once.
        oracle.relocate_image(base)
        theirs = bytearray(oracle.get_memory_mapped_image().ljust(len(ours), b"\0")[: len(ours)])
        assert int.from_bytes(ours[base_field(image)], "little") == base
        theirs[base_field(image)] = ours[base_field(image)]
        assert ours == theirs, f"differs at base {base:#x}"


@pytest.mark.parametrize("share", range(SHARES))
def test_every_image_of_the_firmware_relocates_as_pefile_does(share: int) -> None:
    images = list(distinct_images().values())
    assert len(images) > 300
    for data in images[share::SHARES]:
        assert_equals_pefile(data)


def test_the_images_are_of_two_kinds_and_some_have_many_relocations() -> None:
    """What is compared above is no trifle."""
    found = [parse(data) for data in distinct_images().values()]
    relocations = Counter({image.is_x64: 0 for image in found})
    for image in found:
        relocations[image.is_x64] += sum(1 for _ in image_relocations(image, map_image(image)))
    assert min(relocations.values()) > 10_000
    # Newer releases have no 32-bit images; the one that the next test builds has to do there.
    assert set(relocations) == {True, False} or IA32_IMAGE not in IMAGES


@pytest.mark.parametrize("offset", [8, 9, 60])
def test_a_32_bit_image_relocates_as_pefile_does(offset: int) -> None:
    sections = [BuiltSection(".text", b"\xc3", TEXT), BuiltSection(".data", bytes(range(0xC0, 0x100)), RWDATA)]
    relocations = relocation_block(0x2000, (3, offset))
    assert_equals_pefile(driver(sections=sections, relocations=relocations, plus=False, machine=0x14C))


@pytest.mark.parametrize("plus", [True, False])
def test_fields_that_real_images_leave_zero_are_those_of_pefile(plus: bool) -> None:
    """Every byte of both headers has a value of its own, but for those that decide where something is."""
    data = bytearray(driver(plus=plus))
    base = struct.Struct("<Q" if plus else "<I")
    for offset, field, value in (
        (0x88, "<I", 0x1122_3344),  # TimeDateStamp
        (0x98 + 20, "<I", 0x5566_7788),  # BaseOfCode
        (0x98 + (24 if plus else 28), base.format, 0x7F12_3000),  # ImageBase
        (0x98 + 36, "<I", 0x200),  # FileAlignment
        (0x98 + 44, "<4H", (0x91, 0x92, 0x93, 0x94)),  # versions
        (0x98 + 64, "<I", 0xA1A2_A3A4),  # CheckSum
        (0x98 + 70, "<H", 0xB1B2),  # DllCharacteristics
    ):
        struct.pack_into(field, data, offset, *(value if isinstance(value, tuple) else (value,)))
    image = parse(bytes(data))
    assert_headers_equal(image, pefile.PE(data=bytes(data), fast_load=True))
    assert image.optional_header.dll_characteristics == 0xB1B2


def test_the_comparison_with_pefile_finds_a_planted_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    data = driver()
    assert_equals_pefile(data)
    monkeypatch.setattr("mmsupervisor.pi.pe.mapping._apply", lambda mapped, relocation, delta: 1)
    with pytest.raises(AssertionError, match="differs at base"):
        assert_equals_pefile(data)


def test_mm_modules_are_the_images_that_other_readers_find(ovmf: Ovmf) -> None:
    found = {}
    known = {module.guid: (len(module.image), module.relocations) for module in mm_modules(ovmf.path(X64_IMAGE))}
    assert len(known) > 1
    for part in parts(X64_IMAGE):
        if part.section_type == PE32 and part.file_guid in known:
            image = parse(part.data)
            relocations = list(image_relocations(image, map_image(image)))
            count = sum(relocation.type is RelocationType.DIR64 for relocation in relocations)
            found[part.file_guid] = (len(part.data), count)
            assert image.is_x64
            assert not image.relocations_stripped
            assert load_problems(image) == ()
            assert plan_protection(image).quirks == ()
    assert found == known
    if ovmf.known_release(X64_IMAGE):
        assert found == SMM_DRIVERS
