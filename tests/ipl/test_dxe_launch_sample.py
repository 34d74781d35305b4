"""The sample platform under the DXE launch: the same drivers, the same answers, memory in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

import mmsupervisor.session
from mmsupervisor.abi.dxe_launch import CorePrivateData
from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.core.events import MmiBegan, PhaseReached
from mmsupervisor.core.one_slot import refuse_without_core
from mmsupervisor.dxe.phases import DXE_LAUNCH_ORDER, Phase
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import PlatformDescription
from tests.ipl.launches import CORE_DATA_GUID, DXE, LEGACY_BOOT_GUID, Boot, booting
from tests.support.invariants import broken_invariants

DESCRIPTION = PlatformDescription(profile=PROFILES["dxe-launch"])


def test_the_same_drivers_start_as_under_the_pei_launch() -> None:
    with mmsupervisor.boot(until=Phase.EXIT_BOOT_SERVICES) as pei:
        wanted = [(driver.name, driver.state, driver.status, sorted(driver.handlers)) for driver in pei.drivers]
    with mmsupervisor.boot(until=Phase.EXIT_BOOT_SERVICES, description=DESCRIPTION) as session:
        assert session.stop is None
        assert session.launch_failure is None
        assert session.findings == ()
        assert [
            (driver.name, driver.state, driver.status, sorted(driver.handlers)) for driver in session.drivers
        ] == wanted
        assert {driver.status for driver in session.drivers} == {Status.SUCCESS}
        assert session.phases == DXE_LAUNCH_ORDER
        reached = [record.event.phase for record in session.events if isinstance(record.event, PhaseReached)]
        assert reached == [phase.value for phase in DXE_LAUNCH_ORDER]


def test_a_phase_is_reached_once() -> None:
    with mmsupervisor.boot(until=Phase.DXE, description=DESCRIPTION) as session:
        before = len(session.events)
        session.advance(Phase.DXE)
        assert len(session.events) == before
        with pytest.raises(mmsupervisor.session.PhaseError, match="lies behind"):
            session.advance(Phase.END_OF_PEI)


def test_every_phase_has_its_place_and_its_words() -> None:
    assert sorted(DXE_LAUNCH_ORDER, key=lambda phase: phase.order) == list(Phase)


@pytest.mark.parametrize("phase", DXE_LAUNCH_ORDER[1:], ids=lambda phase: phase.value)
def test_memory_is_in_order_in_every_phase(phase: Phase) -> None:
    with mmsupervisor.boot(until=phase, description=DESCRIPTION) as session:
        assert session.core is not None
        assert broken_invariants(session.core) == []


def test_two_runs_are_equal() -> None:
    traces = []
    for _ in range(2):
        with mmsupervisor.boot(description=DESCRIPTION) as session:
            traces.append([record.as_line() for record in session.events])
    assert traces[0] == traces[1]


def test_a_failed_launch_in_the_session() -> None:
    description = PlatformDescription(profile=replace(DESCRIPTION.profile, core_version=0))
    with mmsupervisor.boot(description=description) as session:
        assert session.launch_failure is not None
        assert session.phases == (Phase.END_OF_PEI,)
        (finding,) = session.findings
        assert (finding.kind.number, finding.rule) == ("MM-2009", "dxe-launch.md §2")
        assert {driver.state for driver in session.drivers} == {"not reached"}


def test_events_and_protocols_of_the_session() -> None:
    with mmsupervisor.boot(description=DESCRIPTION) as session:
        before = len(session.events)
        session.signal_event(LEGACY_BOOT_GUID.label)
        began = [record.event for record in session.events[before:] if isinstance(record.event, MmiBegan)]
        assert [(event.channel, event.guid) for event in began] == [("user", LEGACY_BOOT_GUID.label)]
        assert "gEfiMmBaseProtocolGuid" in {guid.label for guid in session.dxe_protocols}


# A mailbox that the core cannot use


def failure(boot: Boot) -> str:
    assert boot.platform.core is None
    assert boot.platform.core_failure is not None
    return str(boot.platform.core_failure)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"range_count": 0}, "names no MMRAM"),
        ({"range_count": 1 << 59}, "BAD_BUFFER_SIZE"),
        ({"range_count": 1 << 40}, "INVALID_PARAMETER"),
        ({"ranges": 0xDEAD_0000_0000}, "INVALID_PARAMETER"),
    ],
)
def test_a_damaged_mailbox_fails_the_core(fields: dict[str, int], words: str) -> None:
    with booting(DXE) as boot:
        enter = boot.launcher._enter_core

        def damage_first(hob_list: int) -> Status:
            boot.launcher.mailbox.update(**fields)
            return enter(hob_list)

        boot.launcher._enter_core = damage_first
        boot.advance(Phase.LAUNCHED)
        assert words in failure(boot)
        assert boot.failure is not None
        assert boot.failure.step == 17


@pytest.mark.parametrize("body", [b"", bytes(8), b"\xff" * 8])
def test_a_hob_that_leads_nowhere_fails_the_core(body: bytes) -> None:
    with booting(DXE) as boot:
        enter = boot.launcher._enter_core

        def lose_the_mailbox(hob_list: int) -> Status:
            hob = next(boot.platform.hobs.guid_hobs(CORE_DATA_GUID))
            boot.platform.hobs.replace(hob, GuidHob(CORE_DATA_GUID, body))
            boot.platform.machine.memory.fill(0, CorePrivateData.SIZE)
            return enter(hob_list)

        boot.launcher._enter_core = lose_the_mailbox
        boot.advance(Phase.LAUNCHED)
        assert failure(boot)


def test_the_core_without_the_hob(monkeypatch: pytest.MonkeyPatch) -> None:
    with booting(DXE) as boot:
        enter = boot.launcher._enter_core

        def forget(hob_list: int) -> Status:
            boot.platform.hobs.forget(CORE_DATA_GUID)
            return enter(hob_list)

        monkeypatch.setattr(boot.launcher, "_enter_core", forget)
        boot.advance(Phase.LAUNCHED)
        assert "gMmCoreDataHobGuid is missing" in failure(boot)


@pytest.mark.parametrize(("posted", "status"), [(0, 0), (0x1000, Status.ACCESS_DENIED)])
def test_a_failed_core_refuses_messages_and_nothing_else(posted: int, status: int) -> None:
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        boot.launcher.mailbox.update(communication_buffer=posted, return_status=0)
        refuse_without_core(boot.platform.machine.memory, boot.launcher.mailbox.address)
        mailbox = boot.launcher.mailbox.read()
        assert (mailbox.communication_buffer, mailbox.return_status) == (0, status)
