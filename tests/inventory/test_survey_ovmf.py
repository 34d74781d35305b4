"""The report of real images: every file of Debian's ovmf and ovmf-ia32."""

from __future__ import annotations

from functools import cache

import pytest

from mmsupervisor.inventory.model import ImageReport, Role, Visibility
from mmsupervisor.inventory.survey import survey
from tests.pi.oracles.mm_modules import mm_modules
from tests.support.ovmf import locate

SECBOOT = "OVMF_CODE_4M.secboot.fd"
USUAL = ("gEfiPcdProtocolGuid", "gEfiMmBaseProtocolGuid")
ACCESS = (*USUAL, "gEfiMmAccessProtocolGuid", "gEfiDevicePathUtilitiesProtocolGuid")
# Of each module of Debian 12's image: GUID, bytes of its image, relocations, and the protocols it waits for, in order.
SECBOOT_MODULES = {
    "PiSmmCore": ("e94f54cd-81eb-47ed-aec3-856f5dc157a9", 40960, 58, None),
    "CpuHotplugSmm": (
        "84eea114-c6be-4445-8f90-51d97863e363",
        16384,
        0,
        ("gEfiMmCpuIoProtocolGuid", "gEfiSmmCpuServiceProtocolGuid", *ACCESS),
    ),
    "CpuIo2Smm": ("a47ee2d8-f60e-42fd-8e58-7bd65ee4c29b", 16384, 4, USUAL),
    "SmmLockBox": ("33fb3535-f15e-4c17-b303-5eb94595ecb6", 20480, 2, ACCESS),
    "PiSmmCpuDxeSmm": ("a3ff0ef5-0c28-42f5-b544-8c7de1e80014", 65536, 57, ("gEfiMpServiceProtocolGuid", *ACCESS)),
    "FvbServicesSmm": ("2e7db7a7-608e-4041-b45f-00359e0766c6", 20480, 7, ACCESS),
    "SmmFaultTolerantWriteDxe": (
        "470cb248-e8ac-473c-bb4f-81069a1fe6fd",
        24576,
        0,
        ("gEfiSmmFirmwareVolumeBlockProtocolGuid", "gEfiRuntimeArchProtocolGuid", *ACCESS),
    ),
    "VariableSmm": ("23a089b3-eed5-4ac5-b2ab-43e3298c2343", 499712, 5050, ACCESS),
}
ALL = sorted(path.name for path in locate().files())
VARS = [name for name in ALL if "VARS" in name]
CODE = [name for name in ALL if "VARS" not in name]
SECURE = [name for name in CODE if "secboot" in name]
PLAIN = [name for name in CODE if "secboot" not in name]


@cache
def report(name: str) -> ImageReport:
    return survey(locate().path(name))


def test_the_packages_hold_images_of_all_sorts() -> None:
    assert VARS
    assert SECURE
    assert len(PLAIN) > 1


@pytest.mark.parametrize("name", ALL)
def test_every_image_is_sound_and_wholly_opened(name: str) -> None:
    found = report(name)
    assert found.sha256 == locate().sha256(name)
    assert found.size == locate().path(name).stat().st_size
    assert found.is_firmware
    assert found.problems == ()
    assert found.unopened == ()
    assert all(volume.checksum_holds for volume in found.volumes)
    assert all(volume.size == volume.claimed_size for volume in found.volumes)


@pytest.mark.parametrize("name", VARS)
def test_variable_stores_are_said_to_be_that(name: str) -> None:
    found = report(name)
    assert found.kind == "variable store"
    assert found.summary == ("a variable store: UEFI variables, no files and no drivers",)
    assert [volume.variable_store for volume in found.volumes] == ["authenticated variables"]
    assert found.modules == ()
    assert found.remarks == ()


@pytest.mark.parametrize("name", PLAIN)
def test_images_without_smm_have_no_mm_drivers(name: str) -> None:
    found = report(name)
    assert found.modules == ()
    assert found.summary == ("no MM drivers in this image",)
    assert found.remarks == ()
    assert found.images > 80


@pytest.mark.parametrize("name", SECURE)
def test_images_with_smm_have_traditional_drivers_and_their_core(name: str) -> None:
    found = report(name)
    machine = "IA32" if "32_" in name else "X64"
    assert {module.name for module in found.modules_of(Role.TRADITIONAL_CORE)} == {"PiSmmCore"}
    assert len(list(found.modules_of(Role.TRADITIONAL_DRIVER))) >= 7
    assert len(found.modules) == len(list(found.modules_of(Role.TRADITIONAL_CORE, Role.TRADITIONAL_DRIVER)))
    assert {module.executable.machine for module in found.modules if module.executable} == {machine}
    assert {module.is_found for module in found.modules} == {None}
    assert [remark.check for remark in found.remarks] == ["traditional"]
    assert "need conversion" in found.remarks[0].text
    assert found.summary[0].endswith("traditional SMM drivers and their PI SMM core")


@pytest.mark.parametrize("name", CODE)
def test_modules_are_those_that_other_readers_find(name: str) -> None:
    """GUIDs, names, images, relocations and dependency expressions, by uefi-firmware and pefile."""
    ours = [
        (
            str(module.guid).lower(),
            module.name,
            module.executable.size if module.executable else None,
            module.executable.relocations if module.executable else None,
            tuple(str(guid).lower() for guid in module.dependency.guids) if module.dependency else None,
        )
        for module in report(name).modules
    ]
    theirs = [
        (module.guid, module.name, len(module.image), module.relocations, module.pushed)
        for module in mm_modules(locate().path(name))
    ]
    assert ours == theirs
    assert bool(theirs) == (name in SECURE)


def test_the_secure_boot_image_has_exactly_these_modules() -> None:
    """Those of the notes, where it is Debian 12's; whatever the release, the test above compares them."""
    found = {
        module.name: (
            str(module.guid).lower(),
            module.executable.size if module.executable else None,
            module.executable.relocations if module.executable else None,
            tuple(guid.name for guid in module.dependency.guids) if module.dependency else None,
        )
        for module in report(SECBOOT).modules
    }
    if locate().known_release(SECBOOT):
        assert found == SECBOOT_MODULES
    assert len(found) >= len(SECBOOT_MODULES)
    for module in report(SECBOOT).modules:
        assert module.executable is not None
        assert module.executable.section_alignment == 0x1000
        assert not module.executable.relocations_stripped
        if module.dependency and locate().known_release(SECBOOT):
            assert module.dependency.text == " AND ".join(guid.label for guid in module.dependency.guids)


def test_volumes_of_the_main_volume_are_seen_if_pei_unpacks_them() -> None:
    volumes = report(SECBOOT).volumes
    assert [(volume.parent, volume.visibility) for volume in volumes] == [
        (None, Visibility.IN_FLASH),
        (0, Visibility.FROM_MAIN_VOLUME),
        (0, Visibility.FROM_MAIN_VOLUME),
        (None, Visibility.IN_FLASH),
    ]
    assert [volume.guid.name for volume in volumes if volume.guid] == ["FVMAIN_COMPACT", "PEIFV", "DXEFV", "SECFV"]
    assert volumes[1].encapsulations == ("LZMA",)
    assert volumes[2].part == volumes[1].part == "LZMA@0x90"
    assert {module.volume for module in report(SECBOOT).modules} == {2}


def test_bytes_and_a_file_give_the_same_report() -> None:
    path = locate().path(SECBOOT)
    assert survey(path.read_bytes(), name=str(path)) == report(SECBOOT)
    assert survey(path, name="other").volumes == report(SECBOOT).volumes
