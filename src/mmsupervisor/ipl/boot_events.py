"""PiSmmIpl after its entry point: the events it waits for, and the lock routine (docs/reference/dxe-launch.md §4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mmsupervisor.ipl.interfaces import BootEvent, BootServices, ReferenceBugs
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid

LOCK_GUID = known_guid("gEfiDxeMmReadyToLockProtocolGuid")
END_OF_DXE_GUID = known_guid("gEfiEndOfDxeEventGroupGuid")
READY_TO_BOOT_GUID = known_guid("gEfiEventReadyToBootGuid")
LEGACY_BOOT_GUID = known_guid("gEfiEventLegacyBootGuid")
EXIT_BOOT_SERVICES_GUID = known_guid("gEfiEventExitBootServicesGuid")
ADDRESS_CHANGE_GUID = known_guid("gEfiEventVirtualAddressChangeGuid")


@dataclass(frozen=True, slots=True)
class Relays:
    """What the events do.

    Attributes:
        tell_user: Sends one zero byte on the user channel; GUID and sender.
        tell_supervisor: The same on the supervisor channel.
        convert_pointers: What VirtualAddressChange does.
        failed_assert: Takes a failed ASSERT; returns in RELEASE builds.
    """

    tell_user: Callable[[Guid, str], None]
    tell_supervisor: Callable[[Guid, str], None]
    convert_pointers: Callable[[], None]
    failed_assert: Callable[[str], None]


@dataclass(slots=True)
class BootEvents:
    """The eight events, in the order of their creation.

    Attributes:
        locked: Whether the lock routine has run.
        end_of_dxe_seen: Whether EndOfDxe was signalled.
    """

    services: BootServices
    relays: Relays
    reference_bug: ReferenceBugs
    locked: bool = False
    end_of_dxe_seen: bool = False
    _closed_at_lock: list[BootEvent] = field(default_factory=list)

    def create(self) -> None:
        """Create all events. A protocol notification is kicked once at its creation, which may lock at once."""
        create = self.services.create_event
        first = self.services.notify_on_protocol(LOCK_GUID, self._lock_by_protocol)
        if self.locked:
            self.reference_bug("dxe-launch.md §8.5", "ready to lock was there already: locked before any client ran")
        self._closed_at_lock = [
            first,
            create(END_OF_DXE_GUID, lambda: self.relays.tell_user(END_OF_DXE_GUID, "PiSmmIpl: EndOfDxe")),
            create(END_OF_DXE_GUID, self._note_end_of_dxe),
            create(READY_TO_BOOT_GUID, self._lock_by_ready_to_boot),
        ]
        for group, name in (
            (LEGACY_BOOT_GUID, "LegacyBoot"),
            (EXIT_BOOT_SERVICES_GUID, "ExitBootServices"),
            (READY_TO_BOOT_GUID, "ReadyToBoot"),
        ):
            create(group, self._relay(group, f"PiSmmIpl: {name}"))
        create(ADDRESS_CHANGE_GUID, self.relays.convert_pointers)

    def _relay(self, group: Guid, source: str) -> Callable[[], None]:
        return lambda: self.relays.tell_user(group, source)

    def _note_end_of_dxe(self) -> None:
        self.end_of_dxe_seen = True

    def _lock_by_protocol(self) -> None:
        if self.services.has(LOCK_GUID):
            self._lock(LOCK_GUID)

    def _lock_by_ready_to_boot(self) -> None:
        if not self.locked:
            self.reference_bug(
                "dxe-launch.md §8.4", "ReadyToBoot stands in for ready to lock, with a GUID nobody serves"
            )
        self._lock(READY_TO_BOOT_GUID)

    def _lock(self, trigger: Guid) -> None:
        """Tell both channels. The user is always told the ready-to-lock GUID, the supervisor the trigger's."""
        if self.locked:
            return
        if not self.end_of_dxe_seen:
            self.relays.failed_assert("ready to lock before EndOfDxe")
        for event in self._closed_at_lock:
            self.services.close_event(event)
        self.relays.tell_user(LOCK_GUID, "PiSmmIpl: ready to lock")
        self.relays.tell_supervisor(trigger, "PiSmmIpl: ready to lock")
        self.locked = True
