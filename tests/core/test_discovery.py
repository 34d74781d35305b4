"""The one scan for drivers and the policy (docs/reference/boot-flow.md §4.3, §5)."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.core.entry import Core
from mmsupervisor.core.errors import LaunchError
from mmsupervisor.core.events import DriverFound, FileSkipped
from mmsupervisor.core.lifecycle import lock
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.hob import GuidHob, VolumeHob
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec
from mmsupervisor.pi.volume.build_section import build_section
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy
from tests.core import files
from tests.core.files import core_file, core_volume, driver_file, policy_file, volume
from tests.core.small import MMRAM, OTHER, SOMEBODY, Small, bugs, events, finding_numbers

A_PRIORI = Guid.parse("FC510EE7-FFDC-11D4-BD41-0080C73C8881")
FREE = Attribute.XP | Attribute.SP
BLOB = write_blob(default_policy())


def found(core: Core) -> list[str]:
    return [driver.name for driver in core.dispatcher.drivers]


def start(small: Small, *volumes: bytes) -> Core:
    for data in volumes:
        small.add_volume(data)
    return small.start()


def skipped(core: Core) -> list[str]:
    return [event.reason for event in events(core.supervisor, FileSkipped) if isinstance(event, FileSkipped)]


# What drivers are called


def test_files_that_share_a_name_have_each_their_own(small: Small) -> None:
    core = start(
        small,
        core_volume(driver_file(0, name="Twin"), driver_file(1, name="Twin"), driver_file(2, name="Twin #2")),
        volume(driver_file(0, name="Twin")),
    )
    assert found(core) == ["Twin", "Twin #2", "Twin #2 #2", "Twin #3"]
    named = [event.name for event in events(core.supervisor, DriverFound) if isinstance(event, DriverFound)]
    assert named == found(core)


# Which volumes


def test_volumes_contribute_in_hob_order(small: Small) -> None:
    core = start(small, volume(driver_file(2)), core_volume(driver_file(1)), volume(driver_file(0)))
    assert found(core) == ["D2", "D1", "D0"]
    assert core.discovery.volumes == 3
    assert core.discovery.core_volume == 0x20_0000 + len(volume(driver_file(2)))


def test_a_volume_with_the_core_alone_contributes(small: Small) -> None:
    assert start(small, core_volume()).discovery.volumes == 1


def test_a_volume_without_mm_files_does_not(small: Small) -> None:
    core = start(small, volume(driver_file(0, kind=FileType.DRIVER)))
    assert core.discovery.volumes == 0
    assert found(core) == []


def test_only_the_first_kind_of_volume_hob_counts(small: Small) -> None:
    place = small.add_volume(core_volume(driver_file(0)))
    (hob,) = [item for item in small.extra if isinstance(item, VolumeHob)]
    small.extra.remove(hob)
    small.extra.append(GuidHob(OTHER, struct.pack("<QQ", place, hob.length)))
    assert found(small.start()) == []


def test_the_same_address_counts_once(small: Small) -> None:
    place = small.add_volume(core_volume(driver_file(0)))
    small.extra.append(VolumeHob(place, len(small.volumes[0])))
    core = small.start()
    assert found(core) == ["D0"]
    assert skipped(core) == [f"the volume at {place:#x} was seen before"]


def test_the_same_name_counts_once(small: Small) -> None:
    core = start(small, core_volume(driver_file(0), name=SOMEBODY), volume(driver_file(1), name=SOMEBODY))
    assert found(core) == ["D0"]


def test_another_name_and_no_name_do_not(small: Small) -> None:
    core = start(
        small,
        core_volume(driver_file(0), name=SOMEBODY),
        volume(driver_file(1), name=OTHER),
        volume(driver_file(2)),
        volume(driver_file(3)),
    )
    assert found(core) == ["D0", "D1", "D2", "D3"]


def test_a_name_counts_only_under_a_good_checksum(small: Small) -> None:
    copy = bytearray(volume(driver_file(1), name=SOMEBODY))
    copy[0x32] ^= 1
    assert found(start(small, core_volume(driver_file(0), name=SOMEBODY), bytes(copy))) == ["D0", "D1"]


def test_a_volume_without_mm_files_does_not_take_a_name(small: Small) -> None:
    """Only volumes that contribute are remembered."""
    core = start(
        small, volume(driver_file(0, kind=FileType.DRIVER), name=SOMEBODY), core_volume(driver_file(1), name=SOMEBODY)
    )
    assert found(core) == ["D1"]


def test_a_volume_in_mmram_is_refused(small: Small) -> None:
    small.add_volume(core_volume(driver_file(0)), MMRAM + 0x10_0000)
    core = small.start()
    assert found(core) == []
    assert core.discovery.core_volume is None
    assert finding_numbers(core.supervisor).count("MM-2003") == 1


def test_a_volume_that_runs_into_mmram_is_refused(small: Small) -> None:
    data = core_volume(driver_file(0))
    small.machine.memory.write(MMRAM - len(data), data)
    small.extra.append(VolumeHob(MMRAM - len(data), len(data) + 8))
    assert found(small.start()) == []


def test_a_volume_up_to_mmram_is_not(small: Small) -> None:
    data = core_volume(driver_file(0))
    small.add_volume(data, MMRAM - len(data))
    assert found(small.start()) == ["D0"]


def test_a_volume_where_there_is_no_memory_fails_the_entry(small: Small) -> None:
    small.extra.append(VolumeHob(0x4000_0000, 0x1000))
    with pytest.raises(LaunchError):
        small.start()


# Which files


@pytest.mark.parametrize("kind", [FileType.MM, FileType.COMBINED_MM_DXE, FileType.MM_CORE, FileType.DRIVER])
def test_other_file_types_are_no_drivers(small: Small, kind: FileType) -> None:
    core = start(small, core_volume(driver_file(0, kind=kind), driver_file(1)))
    assert found(core) == ["D1"]
    assert bool(skipped(core)) == (kind is not FileType.DRIVER), "a developer is told of MM types"


def test_a_file_without_depex_is_silently_passed_over(small: Small) -> None:
    core = start(small, core_volume(driver_file(0, None), driver_file(1)))
    assert found(core) == ["D1"]
    assert "MM-2003" in finding_numbers(core.supervisor)
    assert core.discovery.cache.find(files.guid(0).raw) == 0, "its file is copied all the same"


def test_a_dxe_depex_is_none(small: Small) -> None:
    core = start(small, core_volume(driver_file(0, depex_type=SectionType.DXE_DEPEX)))
    assert found(core) == []


@pytest.mark.parametrize("image_type", [SectionType.TE, None])
def test_a_file_without_pe32_hides_all_later_files(small: Small, image_type: SectionType | None) -> None:
    hiding = driver_file(1, image=None) if image_type is None else driver_file(1, image_type=image_type)
    core = start(small, core_volume(driver_file(0), hiding, driver_file(2)), volume(driver_file(3)))
    assert found(core) == ["D0", "D1", "D3"], "it is in the list itself, and other volumes are not touched"
    assert core.dispatcher.drivers[1].image is None
    assert "boot-flow.md §12.11" in bugs(core.supervisor)


def test_without_depex_and_pe32_it_hides_and_is_not_in_the_list(small: Small) -> None:
    core = start(small, core_volume(driver_file(0, None, None), driver_file(1)))
    assert found(core) == []


def test_nested_volumes_are_not_walked(small: Small) -> None:
    inner = core_volume(driver_file(1))
    image = driver_file(
        2, kind=FileType.FIRMWARE_VOLUME_IMAGE, image=inner, image_type=SectionType.FIRMWARE_VOLUME_IMAGE
    )
    assert found(start(small, core_volume(driver_file(0), image))) == ["D0"]


def test_there_is_no_a_priori_list(small: Small) -> None:
    listed = build_section(SectionType.RAW, files.guid(1).raw + files.guid(0).raw)
    a_priori = FileSpec(A_PRIORI, FileType.FREEFORM, listed)
    assert found(start(small, core_volume(a_priori, driver_file(0), driver_file(1)))) == ["D0", "D1"]


def test_where_a_driver_was_found(small: Small) -> None:
    core = start(small, core_volume(driver_file(0)))
    (event,) = events(core.supervisor, DriverFound)
    assert isinstance(event, DriverFound)
    assert small.machine.memory.read(event.file, 16) == files.guid(0).raw
    assert event.volume == core.discovery.core_volume


@pytest.mark.parametrize("depex", [b"", b"\x02", b"\xff", bytes(300), b"\x03\x04\x05\x08"])
def test_a_malformed_depex_is_false_and_no_error(small: Small, depex: bytes) -> None:
    core = start(small, core_volume(driver_file(0, depex), driver_file(1)))
    assert found(core) == ["D0", "D1"]
    assert core.dispatcher.dispatch() == 0
    assert [driver.name for driver in core.dispatcher.never_dispatched()] == ["D0"]


# The cache


def test_driver_files_lie_back_to_back_in_read_only_user_pages(small: Small) -> None:
    core = start(small, core_volume(driver_file(0), driver_file(1)))
    supervisor = core.supervisor
    cache = supervisor.driver_cache
    data = supervisor.memory.read(cache.address, cache.pages << 12)
    size = int.from_bytes(data[0x14:0x17], "little")
    assert data[:16] == files.guid(0).raw
    assert data[size : size + 16] == files.guid(1).raw
    assert supervisor.memory.state(cache.address).attributes == Attribute.RO | Attribute.XP


def test_ready_to_lock_frees_every_page_of_the_cache(small: Small) -> None:
    core = start(small, core_volume(*(driver_file(number) for number in range(12))))
    supervisor, cache = core.supervisor, core.supervisor.driver_cache
    address, pages, free = cache.address, cache.pages, core.supervisor.pages.free_pages
    assert pages > 1
    lock(supervisor)
    assert supervisor.pages.free_pages == free + pages
    assert {supervisor.memory.state(address + (n << 12)).attributes for n in range(pages)} == {FREE}


def test_nothing_found_needs_no_cache(small: Small) -> None:
    assert start(small, core_volume()).supervisor.driver_cache.pages == 0


# The policy


def test_the_policy_lies_in_the_cores_volume_only(small: Small) -> None:
    core = start(small, volume(driver_file(0), policy_file()), volume(core_file(), driver_file(1)))
    assert core.supervisor.policy is None
    assert "MM-2006" in finding_numbers(core.supervisor)
    assert "boot-flow.md §12.5" in bugs(core.supervisor)


def test_the_core_counts_by_name_and_only_as_the_first_of_its_type(small: Small) -> None:
    core = start(small, volume(core_file(SOMEBODY), core_file(), policy_file()))
    assert core.discovery.core_volume is None
    assert core.supervisor.policy is None


def test_the_policy_is_copied_into_read_only_supervisor_pages(small: Small) -> None:
    supervisor = start(small, core_volume()).supervisor
    assert supervisor.policy_blob == BLOB
    assert supervisor.memory.read(supervisor.policy_address, len(BLOB)) == BLOB
    assert supervisor.policy_address % 0x1000 == 0
    wanted = Attribute.RO | Attribute.XP | Attribute.SP
    assert supervisor.memory.state(supervisor.policy_address).attributes == wanted


def test_what_follows_the_size_is_not_copied(small: Small) -> None:
    supervisor = start(small, core_volume(policy=policy_file(BLOB + b"tail"))).supervisor
    assert supervisor.policy_blob == BLOB


@pytest.mark.parametrize(
    "file",
    [
        policy_file(kind=FileType.RAW),
        policy_file(section=SectionType.PE32),
        policy_file(BLOB[:-1]),
        policy_file(b""),
    ],
    ids=["not freeform", "no RAW section", "longer than its section", "empty"],
)
def test_no_policy(small: Small, file: files.FileSpec) -> None:
    core = start(small, core_volume(driver_file(0), policy=file))
    assert core.supervisor.policy is None
    assert core.supervisor.lifecycle.initialised, "the boot goes on"
    assert "MM-2006" in finding_numbers(core.supervisor)


def test_a_policy_that_fails_the_check_stays_in_force(small: Small) -> None:
    broken = bytearray(BLOB)
    struct.pack_into("<IIQ", broken, 16, 1, 1, 1)  # Flags, Capabilities and Reserved, all three
    core = start(small, core_volume(policy=policy_file(bytes(broken))))
    assert core.supervisor.policy_blob == bytes(broken)
    assert core.supervisor.policy is not None
    assert "boot-flow.md §12.5" in bugs(core.supervisor)
    assert "MM-2006" in finding_numbers(core.supervisor)


def test_the_policy_is_found_behind_a_file_that_hides_drivers(small: Small) -> None:
    core = start(small, volume(core_file(), driver_file(0, image=None), policy_file()))
    assert core.supervisor.policy is not None
