"""Drivers in files and volumes that break the rules: real images, packed so that the core's one scan misses them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsupervisor.pi.volume.build import VolumeSpec, build_volume
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.sample import mm_volume, ready_depex, shipped
from mmsupervisor.session import Session, boot
from tests.core.files import driver_file
from tests.samples.support import send

SECOND = build_volume(
    VolumeSpec((driver_file(0, ready_depex(), shipped("CpuIo").image, name="Far", file_guid=shipped("CpuIo").guid),))
)


def states(session: Session) -> dict[str, str]:
    return {driver.name: driver.state for driver in session.drivers if driver.name != "MmSupervisorRing3Broker"}


def numbers(session: Session) -> list[str]:
    return [finding.kind.number for finding in session.findings]


def test_a_second_volume_counts_if_it_is_reported_at_the_launch() -> None:
    """developer-considerations.md §10.1: any volume with a HOB contributes."""
    with boot(mm_volume([shipped("Echo")]) + SECOND) as session:
        assert states(session) == {"Echo": "started", "Far": "started"}
        assert numbers(session) == []


def test_a_second_volume_that_comes_later_is_never_looked_at() -> None:
    later = PlatformDescription(visible_volumes=("0x0",))
    with boot(mm_volume([shipped("Echo")]) + SECOND, description=later) as session:
        assert states(session) == {"Echo": "started"}
        assert session.stop is None
        assert send(session, "Echo", b"x" * 24)[0].status == 0


@pytest.mark.parametrize("position", [0, 1])
def test_a_driver_without_a_dependency_section_is_missed_alone(position: int) -> None:
    drivers = [shipped("Echo"), replace(shipped("CpuIo"), depex=None)]
    with boot(mm_volume(drivers[position:] + drivers[:position])) as session:
        assert states(session) == {"Echo": "started"}
        (finding,) = session.findings
        assert (finding.kind.number, finding.subject) == ("MM-2003", "CpuIo")
        assert "no MM dependency section" in finding.detail


def test_a_file_without_an_image_and_a_dependency_section_hides_what_follows() -> None:
    broken = replace(shipped("CpuIo"), image=None, depex=None)
    with boot(mm_volume([shipped("Echo"), broken, shipped("Producer")])) as session:
        assert states(session) == {"Echo": "started"}, "Producer is not there"
        assert numbers(session) == ["MM-2003", "MM-2003"]
        assert session.stop is None
