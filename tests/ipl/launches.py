"""One platform under either launch, steppable phase by phase, every part open to change before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mmsupervisor.abi.profile import PROFILES, Launch, Profile
from mmsupervisor.abi.requests import VERSION_INFO, Request
from mmsupervisor.core.events import MmiBegan, ReferenceBugMet, RequestServed
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.dxe.dxe_launch_world import DxeLaunchWorld
from mmsupervisor.dxe.pei_launch_world import PeiLaunchWorld
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.ipl.pi_smm_ipl import PiSmmIpl
from mmsupervisor.ipl.steps import LaunchFailedError, LaunchStep
from mmsupervisor.machine.events import Event, Record
from mmsupervisor.pi.container import read_image
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.memory_types import MemoryType
from mmsupervisor.pi.reader import Reader
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.firmware import Firmware, read_firmware
from mmsupervisor.platform.sample import mm_volume, shipped
from mmsupervisor.platform.wiring import Platform
from mmsupervisor.unblock.ledger import UnblockRecord

PEI, DXE = PROFILES["newest-release"], PROFILES["dxe-launch"]
REGION_GUID = known_guid("gMmCommonRegionHobGuid")
CORE_DATA_GUID = known_guid("gMmCoreDataHobGuid")
USER_HOB_GUID = known_guid("gMmCommBufferHobGuid")
SMRAM_GUID = known_guid("gEfiSmmSmramMemoryGuid")
MP_GUID = known_guid("gMpInformation2HobGuid")
LOCK_GUID = known_guid("gEfiDxeMmReadyToLockProtocolGuid")
READY_TO_BOOT_GUID = known_guid("gEfiEventReadyToBootGuid")
LEGACY_BOOT_GUID = known_guid("gEfiEventLegacyBootGuid")
REQUEST_GUID = known_guid("gMmSupervisorRequestHandlerGuid")
SOMEBODY = Guid.parse("5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11")


@dataclass
class Boot:
    """A platform on its way through the phases.

    Attributes:
        platform: The platform.
        failure: Why its launcher gave up, or None.
    """

    platform: Platform
    failure: LaunchFailedError | None = None

    def advance(self, phase: Phase) -> Boot:
        """Go on to a phase, or until the launch fails."""
        try:
            self.platform.world.advance(phase)
        except LaunchFailedError as error:
            self.failure = error
        return self

    @property
    def dxe(self) -> DxeLaunchWorld:
        assert isinstance(self.platform.world, DxeLaunchWorld)
        return self.platform.world

    @property
    def pei(self) -> PeiLaunchWorld:
        assert isinstance(self.platform.world, PeiLaunchWorld)
        return self.platform.world

    @property
    def launcher(self) -> PiSmmIpl:
        return self.dxe.launcher

    @property
    def supervisor(self) -> Supervisor:
        assert self.platform.core is not None
        return self.platform.core.supervisor

    def of(self, kind: type[Event]) -> list[Event]:
        """All events of a class, in order."""
        return [record.event for record in self.platform.machine.log.records if isinstance(record.event, kind)]

    @property
    def mmis(self) -> list[tuple[str, str]]:
        """Channel and GUID of every MMI, in order."""
        return [(event.channel, event.guid) for event in self.of(MmiBegan) if isinstance(event, MmiBegan)]

    @property
    def steps(self) -> list[tuple[int, str]]:
        """Number and status of the launcher's steps."""
        return [(event.number, event.status) for event in self.of(LaunchStep) if isinstance(event, LaunchStep)]

    @property
    def bugs(self) -> list[str]:
        """Sources of the reference bugs met."""
        return [event.source for event in self.of(ReferenceBugMet) if isinstance(event, ReferenceBugMet)]

    @property
    def requests(self) -> list[str]:
        """Supervisor requests served, in order."""
        return [event.request for event in self.of(RequestServed) if isinstance(event, RequestServed)]

    def on(self, kind: type[Event], act: Callable[[Event], None]) -> None:
        """Call a function with every event of a class, as it happens."""

        def sink(record: Record) -> None:
            if isinstance(record.event, kind):
                act(record.event)

        self.platform.machine.log.add_sink(sink)

    def unblock(self) -> UnblockRecord:
        """Ask to unblock a fresh runtime page."""
        world = self.platform.world
        page = world.memory_map.allocate(1, MemoryType.RUNTIME_SERVICES_DATA, "test")
        return world.unblock(page, 1, SOMEBODY)

    def ask_version(self) -> tuple[int, int]:
        """Ask for the version on the supervisor channel; status and version."""
        client = self.platform.world.supervisor_requests
        assert client is not None
        status, body = client.request(Request.VERSION_INFO, bytes(VERSION_INFO.size), "test")
        return status, VERSION_INFO.unpack_from(body)[0] if body else 0


@contextmanager
def booting(
    profile: Profile,
    *drivers: str,
    until: Phase | None = None,
    change: Callable[[Firmware], Firmware] | None = None,
    prepare: Callable[[Platform], None] | None = None,
    description: PlatformDescription | None = None,
) -> Iterator[Boot]:
    """Wire a platform with some of the shipped drivers and go to a phase.

    Args:
        profile: Which launch.
        drivers: Their names.
        until: The phase; None runs nothing.
        change: Another firmware than the one that was read.
        prepare: Changes the platform before anything runs.
        description: Another platform; its profile does not count.
    """
    volume = mm_volume([shipped(name) for name in drivers], profile=profile)
    firmware = read_firmware(read_image(Reader(volume, "test")), volume, "test")
    platform = Platform(
        replace(description or PlatformDescription(), profile=profile),
        change(firmware) if change else firmware,
        symbols_of=lambda _: Symbols(),
    )
    boot = Boot(platform)
    try:
        if prepare is not None:
            prepare(platform)
        if until is not None:
            boot.advance(until)
        yield boot
    finally:
        platform.close()


def is_dxe(profile: Profile) -> bool:
    return profile.launch is Launch.DXE
