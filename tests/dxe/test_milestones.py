"""DXE's milestones after a launch in PEI: by phases or by bare events, what MM is told and in which order (§7)."""

from __future__ import annotations

import pytest

from mmsupervisor.abi.profile import NEWEST_RELEASE, PROFILES
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.ipl.boot_events import END_OF_DXE_GUID, EXIT_BOOT_SERVICES_GUID, LOCK_GUID, READY_TO_BOOT_GUID
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status
from tests.ipl.launches import Boot, booting

USER, SUPERVISOR = "user", "supervisor"
TOLD = {
    Phase.END_OF_DXE: [(USER, END_OF_DXE_GUID)],
    Phase.READY_TO_LOCK: [(USER, LOCK_GUID), (SUPERVISOR, LOCK_GUID)],
    Phase.READY_TO_BOOT: [(USER, READY_TO_BOOT_GUID)],
    Phase.EXIT_BOOT_SERVICES: [(USER, EXIT_BOOT_SERVICES_GUID), (SUPERVISOR, EXIT_BOOT_SERVICES_GUID)],
}


def new_messages(boot: Boot, done: int) -> list[tuple[str, str]]:
    return boot.mmis[done:]


def labels(told: list[tuple[str, Guid]]) -> list[tuple[str, str]]:
    return [(channel, guid.label) for channel, guid in told]


def come(boot: Boot, phase: Phase) -> None:
    """Let a milestone come without its phase."""
    world = boot.pei
    if phase is Phase.READY_TO_LOCK:
        world.install_protocol(LOCK_GUID)
        return
    groups = {
        Phase.END_OF_DXE: END_OF_DXE_GUID,
        Phase.READY_TO_BOOT: READY_TO_BOOT_GUID,
        Phase.EXIT_BOOT_SERVICES: EXIT_BOOT_SERVICES_GUID,
    }
    world.signal(groups[phase])


@pytest.mark.parametrize("bare", [False, True], ids=["phases", "events"])
def test_milestones_tell_the_same_by_phase_and_by_event(bare: bool) -> None:
    with booting(NEWEST_RELEASE, until=Phase.DXE) as boot:
        for phase, told in TOLD.items():
            done = len(boot.mmis)
            if bare:
                come(boot, phase)
            else:
                boot.advance(phase)
            assert new_messages(boot, done) == labels(told), phase
        assert boot.supervisor.lifecycle.ready_to_lock
        assert boot.supervisor.lifecycle.runtime


def test_an_older_generation_does_not_tell_the_supervisor_of_the_end() -> None:
    with booting(PROFILES["q35"], until=Phase.READY_TO_BOOT) as boot:
        done = len(boot.mmis)
        boot.advance(Phase.EXIT_BOOT_SERVICES)
        assert new_messages(boot, done) == labels([(USER, EXIT_BOOT_SERVICES_GUID)])
        assert boot.supervisor.findings == []


def test_what_is_told_once_and_what_at_every_signal() -> None:
    """Ready to lock is told once, and closes EndOfDxe; the others are told each time."""
    with booting(NEWEST_RELEASE, until=Phase.READY_TO_LOCK) as boot:
        done = len(boot.mmis)
        come(boot, Phase.READY_TO_LOCK)
        come(boot, Phase.END_OF_DXE)
        assert new_messages(boot, done) == []
        come(boot, Phase.READY_TO_BOOT)
        come(boot, Phase.READY_TO_BOOT)
        assert new_messages(boot, done) == labels(TOLD[Phase.READY_TO_BOOT] * 2)


def test_end_of_dxe_repeats_until_the_lock() -> None:
    with booting(NEWEST_RELEASE, until=Phase.END_OF_DXE) as boot:
        done = len(boot.mmis)
        come(boot, Phase.END_OF_DXE)
        assert new_messages(boot, done) == labels(TOLD[Phase.END_OF_DXE])


def test_ready_to_boot_makes_up_for_a_lock_that_never_came() -> None:
    """boot-flow.md §12.8: ring 3 is locked by it, the supervisor is not."""
    with booting(NEWEST_RELEASE, until=Phase.END_OF_DXE) as boot:
        done = len(boot.mmis)
        come(boot, Phase.READY_TO_BOOT)
        told = [(USER, READY_TO_BOOT_GUID), (USER, LOCK_GUID), (SUPERVISOR, READY_TO_BOOT_GUID)]
        assert new_messages(boot, done) == labels(told)
        assert not boot.supervisor.lifecycle.ready_to_lock
        assert "boot-flow.md §12.8" in boot.bugs
        assert boot.unblock().status == Status.SUCCESS, "and unblocking goes on"
        come(boot, Phase.READY_TO_LOCK)
        assert not boot.supervisor.lifecycle.ready_to_lock, "both believe that it is done"


def test_ready_to_lock_may_be_there_before_dxe_begins() -> None:
    with booting(NEWEST_RELEASE, until=Phase.END_OF_PEI) as boot:
        boot.pei.install_protocol(LOCK_GUID)
        done = len(boot.mmis)
        boot.advance(Phase.DXE)
        told = [message for message in new_messages(boot, done) if message[1] == LOCK_GUID.label]
        assert sorted(told) == [(SUPERVISOR, LOCK_GUID.label), (USER, LOCK_GUID.label)]
        assert boot.supervisor.lifecycle.ready_to_lock
        done = len(boot.mmis)
        boot.advance(Phase.READY_TO_BOOT)
        assert new_messages(boot, done) == labels(TOLD[Phase.READY_TO_BOOT]), "nothing that the lock closes"
