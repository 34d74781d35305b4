"""What a platform withholds is never installed, whoever would; what depends on it does not come (docs/platform.md)."""

from __future__ import annotations

import pytest

from mmsupervisor.abi.profile import NEWEST_RELEASE, PROFILES, Profile
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.dxe.relay import Relay
from mmsupervisor.dxe.world import PhaseError
from mmsupervisor.ipl.boot_events import LOCK_GUID
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import PlatformDescription
from tests.core.small import OTHER, SOMEBODY
from tests.ipl.launches import Boot, booting

PEI, DXE = NEWEST_RELEASE, PROFILES["dxe-launch"]
SUPERVISOR_PROTOCOL, UNBLOCK_PROTOCOL, CONTROL, ACCESS, BOTH_OF_MM = (
    known_guid(name)
    for name in (
        "gMmSupervisorCommunicationProtocolGuid", "gMmSupervisorUnblockMemoryProtocolGuid",
        "gEfiSmmControl2ProtocolGuid", "gEfiSmmAccess2ProtocolGuid", "gEfiMmCommunication2ProtocolGuid",
    )
)  # fmt: skip
COMMUNICATION = tuple(known_guid(f"gEfiMmCommunication{number}ProtocolGuid") for number in ("", "2", "3"))


def without(*missing: Guid) -> PlatformDescription:
    return PlatformDescription(withheld=frozenset(missing))


def send(boot: Boot) -> int:
    return boot.platform.world.send(SOMEBODY, b"x").status


@pytest.mark.parametrize("launch", [PEI, DXE], ids=["pei", "dxe"])
def test_a_withheld_protocol_is_never_there(launch: Profile) -> None:
    for missing in (UNBLOCK_PROTOCOL, SUPERVISOR_PROTOCOL, OTHER):
        with booting(launch, until=Phase.DXE, description=without(missing)) as boot:
            world = boot.platform.world
            relay = Relay("waits for ever", missing, SOMEBODY, lambda: b"x")
            world.add_relay(relay)
            world.install_protocol(missing)
            assert missing not in world.protocols
            assert relay.answers == []


@pytest.mark.parametrize("launch", [PEI, DXE], ids=["pei", "dxe"])
@pytest.mark.parametrize("missing", [UNBLOCK_PROTOCOL, SUPERVISOR_PROTOCOL])
def test_without_its_protocol_nobody_unblocks(launch: Profile, missing: Guid) -> None:
    with booting(launch, until=Phase.DXE, description=without(missing)) as boot:
        assert boot.unblock().status == Status.NOT_AVAILABLE_YET
        assert UNBLOCK_PROTOCOL not in boot.platform.world.protocols


@pytest.mark.parametrize("launch", [PEI, DXE], ids=["pei", "dxe"])
def test_the_user_channel_has_several_names(launch: Profile) -> None:
    with booting(launch, until=Phase.DXE, description=without(*COMMUNICATION[1:])) as boot:
        assert send(boot) == Status.NOT_FOUND, "a client of the first name is served"
    with booting(launch, until=Phase.DXE, description=without(*COMMUNICATION)) as boot, pytest.raises(PhaseError):
        send(boot)


def test_without_control_dxe_has_nothing_to_say() -> None:
    """MmDxeSupport and MmCommunicationDxe are not dispatched, nor is what waits for their protocols."""
    with booting(PEI, until=Phase.END_OF_PEI, description=without(CONTROL)) as boot:
        done = len(boot.mmis)
        boot.advance(Phase.EXIT_BOOT_SERVICES)
        assert boot.mmis[done:] == []
        assert not set(boot.platform.world.protocols) & {SUPERVISOR_PROTOCOL, UNBLOCK_PROTOCOL, *COMMUNICATION}
        with pytest.raises(PhaseError):
            send(boot)


def test_without_access_the_supervisor_is_told_and_ring_3_is_not() -> None:
    with booting(PEI, until=Phase.DXE, description=without(ACCESS)) as boot:
        done = len(boot.mmis)
        boot.advance(Phase.READY_TO_BOOT)
        assert boot.mmis[done:] == [("supervisor", LOCK_GUID.label)]
        assert boot.supervisor.lifecycle.ready_to_lock


def test_relays_of_milestones_need_the_second_name() -> None:
    with booting(PEI, until=Phase.DXE, description=without(BOTH_OF_MM)) as boot:
        done = len(boot.mmis)
        boot.advance(Phase.READY_TO_BOOT)
        assert boot.mmis[done:] == [("supervisor", LOCK_GUID.label)]
        assert send(boot) == Status.NOT_FOUND, "the channel is there by its other names"


def test_a_lock_protocol_that_never_comes() -> None:
    with booting(PEI, until=Phase.DXE, description=without(LOCK_GUID)) as boot:
        boot.advance(Phase.READY_TO_LOCK)
        assert not boot.supervisor.lifecycle.ready_to_lock
        boot.advance(Phase.READY_TO_BOOT)
        assert "boot-flow.md §12.8" in boot.bugs, "the fallback locks nothing"


def test_ppis_of_the_launcher() -> None:
    user, other = (
        known_guid(name) for name in ("gEfiPeiSmmCommunicationPpiGuid", "gPeiMmSupervisorCommunicationPpiGuid")
    )
    with booting(PEI, until=Phase.LAUNCHED, description=without(user)) as boot, pytest.raises(PhaseError):
        send(boot)
    with booting(PEI, until=Phase.LAUNCHED, description=without(other)) as boot:
        assert send(boot) == Status.NOT_FOUND
        assert boot.unblock().status == Status.SUCCESS, "PEI's library takes the core for not loaded: a HOB, in vain"
