"""The report of what firmware comes in: capsules, flash dumps, and modules in odd places."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsupervisor.inventory.model import Role, Visibility
from mmsupervisor.inventory.survey import survey
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec
from mmsupervisor.pi.volume.build_section import (
    build_crc32_section,
    build_section,
    build_version_section,
    build_volume_image_section,
    join_sections,
)
from tests.inventory import mm_images as mm


@pytest.fixture(scope="module")
def image() -> bytes:
    return mm.volume(*mm.whole())


def test_a_flash_dump_has_its_regions_and_is_searched(image: bytes) -> None:
    report = survey(mm.flash_dump(image))
    assert report.kind == "flash dump with an Intel flash descriptor"
    assert [(region.name, region.offset) for region in report.regions] == [("descriptor", 0), ("BIOS", 0x1000)]
    assert [volume.offset for volume in report.volumes] == [0x1000]
    assert len(report.modules) == 3
    assert report.remarks == ()


def test_a_capsule_is_what_its_body_is(image: bytes) -> None:
    report = survey(mm.capsule(image))
    assert report.kind == "capsule"
    assert report.capsule
    assert report.capsule.name == "gEfiCapsuleGuid"
    (item,) = report.capsule_items
    assert item.kind.startswith("firmware volume")
    assert item.offset == 28
    assert report.volumes[0].visibility is Visibility.IN_FLASH
    assert [module.is_found for module in report.modules] == [True, True, True]


@pytest.mark.parametrize("payload", [bytes(range(256)) * 4, b"\x1f\x8b" + bytes(60)])
def test_a_capsule_of_what_is_not_known_is_not_said_to_hold_no_drivers(payload: bytes) -> None:
    """It may be encrypted or packed; a sound one that holds a volume without drivers is another matter."""
    for capsule in (mm.capsule(payload), mm.fmp_capsule(payload, mm.OTHER_CORE)):
        assert survey(capsule).summary == ("no MM drivers in what could be read",)
    empty = mm.volume()
    for capsule in (mm.capsule(empty), mm.fmp_capsule(empty, mm.OTHER_CORE)):
        assert survey(capsule).summary == ("no MM drivers in this image",)


def test_a_management_capsule_names_the_device(image: bytes) -> None:
    report = survey(mm.fmp_capsule(image, mm.OTHER_CORE))
    (item,) = report.capsule_items
    assert item.image_type == mm.OTHER_CORE
    assert len(report.modules) == 3
    damaged = survey(mm.fmp_capsule(image, mm.OTHER_CORE)[:-8000])
    assert damaged.is_damaged
    assert damaged.capsule_items


@pytest.mark.parametrize("type_", [FileType.MM, FileType.MM_CORE, FileType.COMBINED_MM_DXE])
def test_traditional_modules_are_not_looked_for_by_a_core(type_: FileType) -> None:
    (module,) = survey(mm.volume(mm.driver("Echo", type_=type_))).modules
    assert module.role.is_traditional
    assert module.is_found is None


def test_a_module_has_name_version_and_role() -> None:
    named = mm.driver("Echo")
    versioned = replace(named, data=join_sections([named.data, build_version_section("2.1")]))
    nameless = mm.driver("IoMsr", without=[SectionType.USER_INTERFACE])
    report = survey(mm.volume(mm.broker(without=[SectionType.USER_INTERFACE]), versioned, nameless))
    assert [(module.name, module.version, module.role) for module in report.modules] == [
        ("MmSupervisorRing3Broker", None, Role.BROKER),
        ("Echo", "2.1", Role.STANDALONE_DRIVER),
        (str(nameless.guid), None, Role.STANDALONE_DRIVER),
    ]


def test_the_pe_image_is_described_wherever_a_te_image_stands() -> None:
    sound = mm.driver("Echo")
    both = replace(sound, data=join_sections((build_section(SectionType.TE, b"VZ" + bytes(60)), sound.data)))
    (module,) = survey(mm.volume(both)).modules
    assert module.executable
    assert module.executable.format == "PE32+"


def test_how_volumes_are_wrapped_is_said() -> None:
    inner = build_crc32_section(build_volume_image_section(mm.volume(mm.driver("Echo"))))
    report = survey(mm.volume(FileSpec(mm.HOLDER, FileType.FIRMWARE_VOLUME_IMAGE, inner)))
    assert report.volumes[1].encapsulations == ("CRC-32",)
    assert report.volumes[1].part == ""
    disposable = build_section(SectionType.DISPOSABLE, build_volume_image_section(mm.volume()))
    report = survey(mm.volume(FileSpec(mm.HOLDER, FileType.FIRMWARE_VOLUME_IMAGE, disposable)))
    assert report.volumes[1].encapsulations == ("disposable",)


def test_deleted_files_are_listed_and_are_no_modules() -> None:
    deleted = replace(mm.driver("Echo"), state_bits=0x17)
    report = survey(mm.volume(deleted, mm.driver("IoMsr")))
    assert [module.name for module in report.modules] == ["IoMsr"]
    assert report.volumes[0].files[0].state == "DELETED"


def test_a_damaged_header_is_in_the_report(image: bytes) -> None:
    data = bytearray(image)
    data[0x32] ^= 1
    report = survey(bytes(data))
    assert not report.volumes[0].checksum_holds
    assert report.is_damaged
    assert [problem.kind for problem in report.problems] == ["volume-checksum"]
    assert len(report.modules) == 3
