"""Real firmware: what is in Debian's OVMF images, and that two other readers agree."""

from __future__ import annotations

from collections import Counter

import pytest
from uefi_firmware import uefi

from mmsupervisor.pi.container import ContainerKind, read_image_file
from mmsupervisor.pi.volume import FileType, SectionType, files, problems, sections, unopened, volumes
from tests.pi.oracles.records import Failing, differences, is_type, our_records, unexplained
from tests.pi.oracles.uefi_firmware_oracle import uefi_firmware_records
from tests.pi.oracles.virt_firmware_oracle import virt_firmware_records

PAD_NAME = "ffffffff-ffff-ffff-ffff-ffffffffffff"
SECBOOT_4M = "OVMF_CODE_4M.secboot.fd"
SECBOOT_4M_DEBIAN_12 = "d50189a486d22af418198226a3a5bcb6ddac775590f6a808bd629474ee034d62"

EXTENDED_HEADER = Failing(
    "extended header taken for a file",
    "It starts at the end of the volume header. Where there is an extended header, the first file comes after it "
    "(PI 1.8 vol. 3 §3.2.2); build tools hide that header in a padding file, which is not a file of the volume.",
    lambda d, ours: d.ours is None and d.path.endswith("/f48") and d.theirs[1:3] == (PAD_NAME, FileType.PAD),
)
NO_BYTES_OF_ENCAPSULATIONS = Failing(
    "no bytes of encapsulating sections",
    "virt-firmware keeps the inner sections and volumes only; type and size agree, and the inner ones are compared.",
    lambda d, ours: (
        is_type(d.ours, SectionType.GUID_DEFINED, SectionType.FIRMWARE_VOLUME_IMAGE)
        and d.theirs is not None
        and d.ours[:3] == d.theirs[:3]
    ),
)
FREEFORM_CLOSED = Failing(
    "freeform files are not opened",
    "Type 0x02 is not in its list of file types with sections, but has them (PI 1.8 vol. 3 §2.1.4.1.2).",
    lambda d, ours: d.theirs is None and ours[d.path.rsplit("/", 1)[0]][2] == FileType.FREEFORM,
)
VIRT_FIRMWARE = (EXTENDED_HEADER, NO_BYTES_OF_ENCAPSULATIONS, FREEFORM_CLOSED)
UEFI_FIRMWARE = (EXTENDED_HEADER,)


@pytest.mark.parametrize(
    ("oracle", "failings"),
    [(uefi_firmware_records, UEFI_FIRMWARE), (virt_firmware_records, VIRT_FIRMWARE)],
    ids=["uefi-firmware", "virt-firmware"],
)
def test_oracles_agree_or_fail_in_a_known_way(ovmf, subtests, oracle, failings):
    for path in ovmf.files():
        with subtests.test(path.name):
            ours = our_records(read_image_file(path))
            left, used = unexplained(ours, oracle(path.read_bytes()), failings)
            assert left == []
            assert len(ours) > 0
            # A failing that no longer explains anything is to be taken off the table.
            has_files = any("/" in key for key in ours)
            assert used == ({failing.name for failing in failings} if has_files else set())


@pytest.mark.parametrize("oracle", [uefi_firmware_records, virt_firmware_records])
def test_the_comparison_finds_planted_differences(ovmf, oracle):
    data = ovmf.path(SECBOOT_4M).read_bytes()
    ours = our_records(read_image_file(ovmf.path(SECBOOT_4M)))
    theirs = oracle(data)
    known = set(differences(ours, theirs))
    section = next(key for key, record in ours.items() if is_type(record, SectionType.PE32))
    gone = dict(ours)
    del gone[section]
    changed = ours | {section: (*ours[section][:3], "0" * 16)}
    for planted in (gone, changed):
        (new,) = set(differences(planted, theirs)) - known
        assert new.path == section
        left, _ = unexplained(planted, theirs, VIRT_FIRMWARE)
        assert section in [difference.path for difference in left]


def test_real_images_have_no_damage_and_nothing_closed(ovmf, subtests):
    for path in ovmf.files():
        with subtests.test(path.name):
            image = read_image_file(path)
            assert list(problems(image)) == []
            assert list(unopened(image)) == []
            assert image.gaps == ()
            is_variables = "VARS" in path.name
            assert image.kind is (ContainerKind.VARIABLE_STORE if is_variables else ContainerKind.FLASH_IMAGE)
            if is_variables:
                assert image.detail == "authenticated variables"
                assert image.volumes[0].variable_store.is_formatted
                assert image.volumes[0].variable_store.is_healthy


def test_facts_of_the_4m_secure_boot_image(ovmf):
    if ovmf.sha256(SECBOOT_4M) != SECBOOT_4M_DEBIAN_12:
        # Another release: the structure is the same, the numbers are not.
        image = read_image_file(ovmf.path(SECBOOT_4M))
        assert len(list(volumes(image))) == 4
        assert len(list(files(image, FileType.MM_CORE))) == 1
        return
    image = read_image_file(ovmf.path(SECBOOT_4M))
    found = list(volumes(image))
    assert [(place.is_top_level, place.node.length) for place in found] == [
        (True, 0x348000),
        (False, 0xE0000),
        (False, 0xC00000),
        (True, 0x34000),
    ]
    types = Counter(place.node.type for place in files(image))
    assert sum(types.values()) == 156
    assert types[FileType.PAD] == 16
    assert types[FileType.MM] == 7
    assert types[FileType.MM_CORE] == 1
    assert FileType.MM_STANDALONE not in types
    drivers = [place.node for place in files(image, FileType.MM_CORE, FileType.MM)]
    sizes = {file.ui_name: len(file.first_section(SectionType.PE32).data) for file in drivers}
    assert sizes == {
        "PiSmmCore": 40960,
        "CpuIo2Smm": 16384,
        "CpuHotplugSmm": 16384,
        "SmmLockBox": 20480,
        "PiSmmCpuDxeSmm": 65536,
        "FvbServicesSmm": 20480,
        "SmmFaultTolerantWriteDxe": 24576,
        "VariableSmm": 499712,
    }
    assert {file.version for file in drivers} == {"0.0", "1.0"}


def test_places_say_how_a_driver_is_reached(ovmf):
    image = read_image_file(ovmf.path(SECBOOT_4M))
    (core,) = files(image, FileType.MM_CORE)
    assert not core.is_top_level
    assert not core.is_in_flash_as_it_is
    (lzma,) = core.encapsulations
    assert lzma.guid.name == "gLzmaCustomDecompressGuid"
    assert core.file.type == FileType.FIRMWARE_VOLUME_IMAGE
    assert core.volume.part.endswith(f"!LZMA@{lzma.offset:#x}")
    assert core.node.raw == core.volume.raw[core.node.offset - core.volume.offset :][: core.node.size]
    sec = next(iter(files(image, FileType.SECURITY_CORE)))
    assert sec.is_top_level
    assert sec.is_in_flash_as_it_is


def test_nothing_is_copied(ovmf):
    """Every node's bytes are a view of one of two buffers: the file, and what LZMA made."""
    image = read_image_file(ovmf.path(SECBOOT_4M))
    buffers = {id(place.node.raw.obj) for place in sections(image)}
    assert len(buffers) == 2


def test_numbers_of_types_are_those_of_another_reader():
    assert {kind.name: uefi.EFI_SECTION_TYPES[kind][0] for kind in SectionType} == {
        "COMPRESSION": "Compression",
        "GUID_DEFINED": "Guid Defined",
        "DISPOSABLE": "Disposable",
        "PE32": "PE32 image",
        "PIC": "PE32+ PIC image",
        "TE": "Terse executable (TE)",
        "DXE_DEPEX": "DXE dependency expression",
        "VERSION": "Version",
        "USER_INTERFACE": "User interface name",
        "COMPATIBILITY16": "IA-32 16-bit image",
        "FIRMWARE_VOLUME_IMAGE": "Firmware volume image",
        "FREEFORM_SUBTYPE_GUID": "Free-form GUID",
        "RAW": "Raw",
        "PEI_DEPEX": "PEI dependency expression",
        "MM_DEPEX": "SMM dependency expression",
    }
    assert set(SectionType) == uefi.EFI_SECTION_TYPES.keys()
    # It knows no standalone MM; zero, which it has, is no file type.
    standalone = {FileType.MM_STANDALONE: 0x0E, FileType.MM_CORE_STANDALONE: 0x0F}
    assert all(kind == number for kind, number in standalone.items())
    assert {kind.name: uefi.EFI_FILE_TYPES[kind][0] for kind in FileType if kind not in standalone} == {
        "RAW": "raw",
        "FREEFORM": "freeform",
        "SECURITY_CORE": "security core",
        "PEI_CORE": "pei core",
        "DXE_CORE": "dxe core",
        "PEIM": "pei module",
        "DRIVER": "driver",
        "COMBINED_PEIM_DRIVER": "combined pei module/driver",
        "APPLICATION": "application",
        "MM": "system management",
        "FIRMWARE_VOLUME_IMAGE": "firmware volume image",
        "COMBINED_MM_DXE": "combined smm/driver",
        "MM_CORE": "smm core",
        "PAD": "ffs padding",
    }
