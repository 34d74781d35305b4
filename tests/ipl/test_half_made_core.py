"""A core whose entry point fails after its SMI set-up answers MMIs as far as it came (boot-flow.md §4 step 12)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mmsupervisor.abi.profile import NEWEST_RELEASE
from mmsupervisor.core.events import MmiBegan
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import SupervisorCommBuffer, UserCommBuffer, hob_for
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.wiring import Platform
from tests.ipl.launches import Boot, booting

COMMON, USER = known_guid("gMmCommonRegionHobGuid"), known_guid("gMmCommBufferHobGuid")
MMRAM = PlatformDescription().mmram_base

Prepare = Callable[[Platform], None]


def change_user(**fields: int) -> Prepare:
    def change(platform: Platform) -> None:
        (hob,) = platform.hobs.guid_hobs(USER)
        body = UserCommBuffer.parse(Reader(hob.data, "HOB"))
        platform.hobs.replace(hob, hob_for(replace(body, **fields)))

    return change


def change_supervisor(**fields: int) -> Prepare:
    def change(platform: Platform) -> None:
        (hob,) = platform.hobs.guid_hobs(COMMON)
        body = SupervisorCommBuffer.parse(Reader(hob.data, "HOB"))
        platform.hobs.replace(hob, hob_for(replace(body, **fields)))

    return change


def without_user(platform: Platform) -> None:
    platform.hobs.forget(USER)


def mailbox(boot: Boot) -> CommBufferStatus:
    (hob,) = boot.platform.hobs.guid_hobs(COMMON)
    body = SupervisorCommBuffer.parse(Reader(hob.data, "HOB"))
    return CommBufferStatus.parse(Reader(boot.platform.machine.memory.read(body.status, 24), "mailbox"))


def channels(boot: Boot) -> list[str]:
    events = [record.event for record in boot.platform.machine.log.records]
    return [event.channel for event in events if isinstance(event, MmiBegan)]


ANSWERED = [
    (without_user, Status.NOT_FOUND),
    (change_user(address=0), Status.NOT_FOUND),
    (change_user(pages=0), Status.NOT_FOUND),
    (change_user(address=MMRAM), Status.BAD_BUFFER_SIZE),
    (change_user(address=MMRAM - 0x1000), Status.BAD_BUFFER_SIZE),
    (change_user(address=1 << 60), Status.BAD_BUFFER_SIZE),
    (change_user(status=0), Status.INVALID_PARAMETER),
    (change_user(status=MMRAM), Status.SECURITY_VIOLATION),
    (change_user(status=MMRAM - 8), Status.SECURITY_VIOLATION),
]


@pytest.mark.parametrize(("prepare", "status"), ANSWERED)
def test_the_version_query_is_too_long_for_a_buffer_that_is_not_known(prepare: Prepare, status: Status) -> None:
    with booting(NEWEST_RELEASE, until=Phase.LAUNCHED, prepare=prepare) as boot:
        assert boot.platform.core is None
        assert boot.platform.core_failure is not None
        assert boot.platform.core_failure.status is status
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (14, Status.BAD_BUFFER_SIZE)
        assert mailbox(boot).return_status == Status.BAD_BUFFER_SIZE
        assert channels(boot) == ["malformed"]


def test_without_a_mailbox_nobody_answers() -> None:
    """What lies at address 0 is taken for no mailbox, and stays as it was."""
    garbage = bytes([0xA5]) * 24

    def prepare(platform: Platform) -> None:
        change_supervisor(pages=1 << 40)(platform)
        platform.machine.memory.write(0, garbage)

    with booting(NEWEST_RELEASE, until=Phase.LAUNCHED, prepare=prepare) as boot:
        assert boot.platform.core_failure is not None
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (14, Status.SECURITY_VIOLATION)
        assert channels(boot) == ["none"]
        assert boot.platform.machine.memory.read(0, 24) == garbage


def test_a_buffer_of_no_pages_is_too_small_for_the_launcher_already() -> None:
    with booting(NEWEST_RELEASE, until=Phase.LAUNCHED, prepare=change_supervisor(pages=0)) as boot:
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (14, Status.BAD_BUFFER_SIZE)
        assert channels(boot) == []


def test_a_core_that_fails_before_its_smi_set_up_is_not_there() -> None:
    def no_processors(platform: Platform) -> None:
        platform.hobs.forget(known_guid("gMpInformation2HobGuid"))

    with booting(NEWEST_RELEASE, until=Phase.LAUNCHED, prepare=no_processors) as boot:
        assert boot.failure is not None
        assert boot.failure.status == Status.SECURITY_VIOLATION
        assert channels(boot) == []


def test_a_region_that_is_not_the_supervisors_ends_the_launch_before() -> None:
    def other_type(platform: Platform) -> None:
        (hob,) = platform.hobs.guid_hobs(COMMON)
        platform.hobs.replace(hob, GuidHob(COMMON, b"\1" + hob.data[1:]))

    with booting(NEWEST_RELEASE, until=Phase.LAUNCHED, prepare=other_type) as boot:
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (2, Status.UNSUPPORTED)
