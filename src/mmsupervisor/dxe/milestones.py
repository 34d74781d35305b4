"""What DXE's milestones send to MM after a launch in PEI (docs/reference/boot-flow.md §7).

Two drivers wait for them: MmCommunicationNotifyDxe tells the user channel, MmDxeSupport the supervisor's. The former is
dispatched later, so that it is told first where both wait for one event group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from mmsupervisor.dxe.boot_services import DxeBootServices, DxeEvent
from mmsupervisor.ipl.boot_events import END_OF_DXE_GUID, EXIT_BOOT_SERVICES_GUID, LOCK_GUID, READY_TO_BOOT_GUID
from mmsupervisor.pi.guid import Guid

Tell: TypeAlias = Callable[[Guid, str], None]
"""Sends one zero byte under a GUID; the text says who sends. Nobody looks at the answer."""


@dataclass(slots=True)
class UserMilestones:
    """MmCommunicationNotifyDxe.

    Attributes:
        locked: Whether ready to lock was told.
    """

    boot: DxeBootServices
    tell: Tell
    locked: bool = False
    _closed_at_lock: list[DxeEvent] = field(default_factory=list)

    def create(self) -> None:
        """Create its events. Ready to lock may have come already, and is told at once then."""
        create = self.boot.create_event
        first = self.boot.notify_on_protocol(LOCK_GUID, self._lock_by_protocol)
        self._closed_at_lock = [
            first,
            create(READY_TO_BOOT_GUID, self._lock),
            create(END_OF_DXE_GUID, self._relay(END_OF_DXE_GUID, "EndOfDxe")),
        ]
        if self.locked:
            self._close()
        create(READY_TO_BOOT_GUID, self._relay(READY_TO_BOOT_GUID, "ReadyToBoot"))
        create(EXIT_BOOT_SERVICES_GUID, self._relay(EXIT_BOOT_SERVICES_GUID, "ExitBootServices"))

    def _relay(self, group: Guid, name: str) -> Callable[[], None]:
        return lambda: self.tell(group, f"relay: {name}")

    def _lock_by_protocol(self) -> None:
        if self.boot.has(LOCK_GUID):
            self._lock()

    def _lock(self) -> None:
        """Tell ready to lock, and close what leads here; ReadyToBoot makes up for one that never came."""
        self._close()
        self.tell(LOCK_GUID, "relay: ready to lock")
        self.locked = True

    def _close(self) -> None:
        for event in self._closed_at_lock:
            self.boot.close_event(event)


@dataclass(slots=True)
class SupervisorMilestones:
    """MmDxeSupport's events.

    Attributes:
        tells_exit: Whether it waits for ExitBootServices, as since the supervisor closes its channel then.
        locked: Whether the lock routine has run, whatever the supervisor made of it.
    """

    boot: DxeBootServices
    tell: Tell
    tells_exit: bool = True
    locked: bool = False

    def create(self) -> None:
        """Create them. Ready to lock runs below TPL_CALLBACK: after the user channel was told."""
        self.boot.notify_on_protocol(LOCK_GUID, self._lock_by_protocol, late=True)
        self.boot.create_event(READY_TO_BOOT_GUID, lambda: self._lock(READY_TO_BOOT_GUID))
        if self.tells_exit:
            self.boot.create_event(
                EXIT_BOOT_SERVICES_GUID, lambda: self.tell(EXIT_BOOT_SERVICES_GUID, "MmDxeSupport: ExitBootServices")
            )

    def _lock_by_protocol(self) -> None:
        if self.boot.has(LOCK_GUID):
            self._lock(LOCK_GUID)

    def _lock(self, trigger: Guid) -> None:
        """Tell the supervisor the trigger's GUID: by ReadyToBoot's it is not locked (boot-flow.md §12.8)."""
        if not self.locked:
            self.locked = True
            self.tell(trigger, "MmDxeSupport: ready to lock")
