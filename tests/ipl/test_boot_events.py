"""PiSmmIpl after its entry point: events, lock routine, runtime (dxe-launch.md §4, §6; surprises 1, 4, 5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsupervisor.core.events import MmiBegan
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.dxe.world import PhaseError
from mmsupervisor.ipl.boot_events import (
    ADDRESS_CHANGE_GUID,
    END_OF_DXE_GUID,
    EXIT_BOOT_SERVICES_GUID,
    LEGACY_BOOT_GUID,
    LOCK_GUID,
    READY_TO_BOOT_GUID,
    BootEvents,
    Relays,
)
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.wiring import Platform
from tests.ipl.launches import DXE, PEI, SOMEBODY, booting

DEBUG = replace(DXE, debug=True)
USER_LOCK = ("user", LOCK_GUID.label)
SUPERVISOR_LOCK = ("supervisor", LOCK_GUID.label)


class RecordingServices:
    """Boot services that only remember what is created."""

    def __init__(self) -> None:
        self.created: list[tuple[str, Guid]] = []
        self.closed: list[object] = []

    def has(self, protocol: Guid) -> bool:
        return False

    def install(self, *protocols: Guid) -> None:
        raise AssertionError

    def notify_on_protocol(self, protocol: Guid, function: object) -> int:
        self.created.append(("protocol", protocol))
        return len(self.created)

    def create_event(self, group: Guid, function: object) -> int:
        self.created.append(("group", group))
        return len(self.created)

    def close_event(self, event: object) -> None:
        self.closed.append(event)


def test_eight_events_in_their_order_and_four_are_closed_at_lock() -> None:
    services = RecordingServices()
    nothing = Relays(lambda *_: None, lambda *_: None, lambda: None, lambda _: None)
    events = BootEvents(services, nothing, lambda *_: None)
    events.create()
    assert services.created == [
        ("protocol", LOCK_GUID),
        ("group", END_OF_DXE_GUID),
        ("group", END_OF_DXE_GUID),
        ("group", READY_TO_BOOT_GUID),
        ("group", LEGACY_BOOT_GUID),
        ("group", EXIT_BOOT_SERVICES_GUID),
        ("group", READY_TO_BOOT_GUID),
        ("group", ADDRESS_CHANGE_GUID),
    ]
    events._lock(LOCK_GUID)
    assert services.closed == [1, 2, 3, 4]
    events._lock(LOCK_GUID)
    assert services.closed == [1, 2, 3, 4]


def test_end_of_dxe_is_noted_before_it_is_relayed() -> None:
    noted = []
    with booting(DXE, until=Phase.DXE) as boot:
        events = boot.launcher.events
        assert events is not None
        assert not events.end_of_dxe_seen
        boot.on(MmiBegan, lambda _: noted.append(events.end_of_dxe_seen))
        boot.advance(Phase.END_OF_DXE)
        assert noted == [True]


def test_closed_events_are_heard_no_more() -> None:
    with booting(DXE, until=Phase.READY_TO_LOCK) as boot:
        before = len(boot.mmis)
        boot.platform.world.install_protocol(LOCK_GUID)
        boot.platform.world.signal(END_OF_DXE_GUID)
        assert len(boot.mmis) == before
        boot.platform.world.signal(READY_TO_BOOT_GUID)
        boot.platform.world.signal(READY_TO_BOOT_GUID)
        assert boot.mmis[before:] == [("user", READY_TO_BOOT_GUID.label)] * 2  # at every signal


def test_the_fallback_by_ready_to_boot_locks_nothing() -> None:
    with booting(DXE, until=Phase.END_OF_DXE) as boot:
        before, depth = len(boot.mmis), boot.supervisor.handlers.depth
        boot.platform.world.signal(READY_TO_BOOT_GUID)
        assert boot.mmis[before:] == [
            ("user", READY_TO_BOOT_GUID.label),
            USER_LOCK,
            ("supervisor", READY_TO_BOOT_GUID.label),
        ]
        assert boot.launcher.mailbox.read().return_status == Status.NOT_FOUND
        assert boot.supervisor.handlers.depth == depth  # its GUID has an entry: the depth does not leak
        assert not boot.supervisor.lifecycle.ready_to_lock
        assert {"dxe-launch.md §8.4", "boot-flow.md §12.8"} <= set(boot.bugs)
        assert boot.unblock().status == Status.SUCCESS  # surprise 4: the supervisor is open for ever
        boot.platform.world.install_protocol(LOCK_GUID)
        assert boot.mmis[before + 3 :] == [("supervisor", "gMmSupervisorRequestHandlerGuid")]
        assert not boot.supervisor.lifecycle.ready_to_lock


def test_legacy_boot_leaks_the_nesting_depth() -> None:
    with booting(DXE, until=Phase.READY_TO_BOOT) as boot:
        depth = boot.supervisor.handlers.depth
        boot.platform.world.signal(LEGACY_BOOT_GUID)
        assert boot.mmis[-1] == ("user", LEGACY_BOOT_GUID.label)
        assert boot.supervisor.handlers.depth == depth + 1
        assert "boot-flow.md §12.6" in boot.bugs


def test_ready_to_lock_before_end_of_dxe() -> None:
    with booting(DXE, until=Phase.DXE) as boot:
        boot.platform.world.install_protocol(LOCK_GUID)
        assert boot.mmis[-2:] == [USER_LOCK, SUPERVISOR_LOCK]
        assert (20, "EFI_UNSUPPORTED") in boot.steps
        assert boot.supervisor.lifecycle.ready_to_lock
    with booting(DEBUG, until=Phase.END_OF_DXE) as boot:
        boot.advance(Phase.READY_TO_LOCK)
        assert boot.failure is None
    with booting(DEBUG, until=Phase.END_OF_PEI) as boot:
        boot.platform.world.install_protocol(LOCK_GUID)
        boot.advance(Phase.LAUNCHED)
        assert boot.failure is not None
        assert "ASSERT" in str(boot.failure)


def test_ready_to_lock_already_there_at_launch() -> None:
    with booting(DXE, until=Phase.END_OF_PEI) as boot:
        boot.platform.world.install_protocol(LOCK_GUID)
        boot.advance(Phase.LAUNCHED)
        assert boot.mmis[2:] == [USER_LOCK, SUPERVISOR_LOCK]  # at once after the dispatch
        assert "dxe-launch.md §8.5" in boot.bugs
        assert boot.unblock().status == Status.ACCESS_DENIED
        boot.advance(Phase.READY_TO_BOOT)
        # The events were created after the lock that should have closed them; the lock does not run again.
        assert boot.mmis[4:] == [
            ("supervisor", "gMmSupervisorRequestHandlerGuid"),
            ("user", END_OF_DXE_GUID.label),
            ("user", READY_TO_BOOT_GUID.label),
        ]


def test_a_failed_launch_has_no_events() -> None:
    def locked(platform: Platform) -> None:
        platform.smm_access2.lock()

    with booting(DXE, until=Phase.LAUNCHED, prepare=locked) as boot:
        for group in (END_OF_DXE_GUID, READY_TO_BOOT_GUID, LEGACY_BOOT_GUID, EXIT_BOOT_SERVICES_GUID):
            boot.platform.world.signal(group)
        boot.platform.world.install_protocol(LOCK_GUID)
        assert boot.mmis == []
        with pytest.raises(PhaseError, match="not published"):
            boot.platform.world.send(SOMEBODY, bytes(1))


# §6: windows


def test_unblock_windows() -> None:
    with booting(DXE) as boot:
        hob = boot.unblock()
        assert (hob.window, hob.status, hob.phase) == ("PEI", Status.SUCCESS, "before launch")
        boot.advance(Phase.END_OF_PEI)
        assert boot.unblock().status == Status.NOT_AVAILABLE_YET
        boot.advance(Phase.LAUNCHED)
        regions = boot.supervisor.unblocked.regions
        assert [region.start for region in regions if region.identifier == SOMEBODY] == [hob.start]
        assert boot.unblock().status == Status.SUCCESS
        boot.advance(Phase.READY_TO_LOCK)
        assert boot.unblock().status == Status.ACCESS_DENIED
        assert len([region for region in regions if region.identifier == SOMEBODY]) == 2


def test_a_policy_fetch_closes_the_window_too() -> None:
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        client = boot.platform.world.supervisor_requests
        assert client is not None
        status, policy = client.request(2, bytes(8 * PAGE_SIZE), "test")
        assert (status, bool(policy)) == (Status.SUCCESS, True)
        assert boot.unblock().status == Status.ACCESS_DENIED


def test_a_hob_too_late_for_the_core_is_the_dxe_window() -> None:
    """What an MM driver needs in its entry code must come by HOB: DXE's requests begin after the dispatch."""
    dispatched = []
    with booting(DXE, "Echo", until=Phase.END_OF_PEI) as boot:
        boot.on(MmiBegan, lambda _: dispatched.append(boot.unblock().status))
        boot.advance(Phase.LAUNCHED)
        assert dispatched == [Status.NOT_AVAILABLE_YET] * 2


# VirtualAddressChange and runtime (§1, surprise 1)

OFFSET = 0xFFFF_8000_0000_0000


def test_runtime_with_buffers_that_are_runtime_memory() -> None:
    runtime = PlatformDescription(moves_comm_buffers=False)
    with booting(DXE, "Echo", until=Phase.EXIT_BOOT_SERVICES, description=runtime) as boot:
        launcher = boot.launcher
        physical = (launcher.user.channel.address, launcher.supervisor.channel.address)
        boot.dxe.set_virtual_address_map(OFFSET)
        assert "dxe-launch.md §8.1" not in boot.bugs
        for channel, address in zip((launcher.user.channel, launcher.supervisor.channel), physical, strict=True):
            assert (channel.address, channel.pointer) == (address, address + OFFSET)
        region = launcher.supervisor.interface.region
        assert (region.physical_start, region.virtual_start) == (physical[1], physical[1] + OFFSET)
        assert launcher.mailbox.pointer == launcher.mailbox.address + OFFSET
        posted = []
        boot.on(MmiBegan, lambda _: posted.append(launcher.mailbox.read().communication_buffer))
        assert boot.platform.world.send(SOMEBODY, bytes(4)).status == Status.NOT_FOUND
        assert boot.ask_version() == (Status.SUCCESS, DXE.core_version)
        assert posted == list(physical)  # MM sees what it always saw


def test_runtime_with_buffers_that_are_boot_memory() -> None:
    with booting(DXE, until=Phase.EXIT_BOOT_SERVICES) as boot:
        launcher = boot.launcher
        boot.dxe.set_virtual_address_map(OFFSET)
        assert "dxe-launch.md §8.1" in boot.bugs
        assert launcher.user.channel.pointer == launcher.user.channel.address
        assert launcher.supervisor.interface.region.virtual_start == launcher.supervisor.channel.address
        assert launcher.mailbox.pointer == launcher.mailbox.address + OFFSET  # its own page was always runtime memory
        assert boot.ask_version() == (Status.SUCCESS, DXE.core_version)


def test_a_virtual_map_needs_runtime() -> None:
    with booting(DXE, until=Phase.READY_TO_BOOT) as boot, pytest.raises(PhaseError, match="before ExitBootServices"):
        boot.dxe.set_virtual_address_map(OFFSET)


def test_phases_in_each_launch_s_order() -> None:
    with booting(PEI, until=Phase.END_OF_PEI) as boot:
        assert boot.platform.world.reached == (Phase.LAUNCHED, Phase.END_OF_PEI)
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        assert boot.platform.world.reached == (Phase.END_OF_PEI, Phase.LAUNCHED)
        with pytest.raises(PhaseError, match="lies behind"):
            boot.platform.world.advance(Phase.END_OF_PEI)
