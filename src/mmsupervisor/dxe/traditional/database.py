"""DXE's handles with their protocols, and its events, as traditional drivers see them (UEFI 2.10 §7.1, §7.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsupervisor.pi.guid import Guid


@dataclass(slots=True)
class DxeHandle:
    """A handle.

    Attributes:
        address: Its value.
        interfaces: Interface by protocol, in order of installation.
    """

    address: int
    interfaces: dict[Guid, int] = field(default_factory=dict)


@dataclass(slots=True)
class GuestEvent:
    """An event that a driver created.

    Attributes:
        address: Its value.
        function: Address of the function it calls, or 0.
        context: What the function is given.
    """

    address: int
    function: int
    context: int


@dataclass(frozen=True, slots=True)
class InstalledOutside:
    """A protocol that an MM driver installed in DXE's database.

    Attributes:
        driver: The driver.
        guid: The protocol.
        interface: Its interface.
    """

    driver: str
    guid: Guid
    interface: int


class HandleDatabase:
    """All handles and events.

    Attributes:
        handles: By address, in order of creation.
        events: By address.
        notified: Events to be signalled when a protocol is installed.
        installed: What drivers installed, in order.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.handles: dict[int, DxeHandle] = {}
        self.events: dict[int, GuestEvent] = {}
        self.notified: dict[Guid, list[GuestEvent]] = {}
        self.installed: list[InstalledOutside] = []

    def add_handle(self, address: int) -> DxeHandle:
        """Record a new handle."""
        self.handles[address] = handle = DxeHandle(address)
        return handle

    def with_protocol(self, guid: Guid) -> list[DxeHandle]:
        """Return the handles that have a protocol, in order of creation."""
        return [handle for handle in self.handles.values() if guid in handle.interfaces]

    def close(self, event: GuestEvent) -> None:
        """Forget an event."""
        del self.events[event.address]
        for waiting in self.notified.values():
            if event in waiting:
                waiting.remove(event)
