"""UEFI's protocols and events, as far as the supervisor's drivers use them (UEFI 2.10 §7.1, §7.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mmsupervisor.pi.guid import Guid


@dataclass(slots=True, eq=False)
class DxeEvent:
    """An event; two are never equal.

    Attributes:
        function: What it calls.
        late: Whether its task priority is below TPL_CALLBACK, so that it runs after all others.
        closed: Whether it was closed.
    """

    function: Callable[[], None]
    late: bool = False
    closed: bool = False

    def run(self) -> None:
        """Call its function, unless it is closed."""
        if not self.closed:
            self.function()


@dataclass(slots=True)
class DxeBootServices:
    """The protocol database and the events of one boot.

    Attributes:
        protocols: Protocols in the database, in order of installation.
        withheld: Protocols that are never installed, whoever would.
    """

    protocols: list[Guid] = field(default_factory=list)
    withheld: frozenset[Guid] = frozenset()
    _notified: dict[Guid, list[DxeEvent]] = field(default_factory=dict)
    _groups: dict[Guid, list[DxeEvent]] = field(default_factory=dict)

    def has(self, protocol: Guid) -> bool:
        """Whether a protocol is in the database."""
        return protocol in self.protocols

    def install(self, *protocols: Guid) -> None:
        """Install protocols in one call; notifications run after all are there, oldest first, late ones last."""
        installed = [protocol for protocol in protocols if protocol not in self.withheld]
        self.protocols += installed
        waiting = [event for protocol in installed for event in self._notified.get(protocol, ())]
        for event in sorted(waiting, key=lambda event: event.late):
            event.run()

    def notify_on_protocol(self, protocol: Guid, function: Callable[[], None], *, late: bool = False) -> DxeEvent:
        """Call ``function`` at every later installation of a protocol, and once now."""
        event = DxeEvent(function, late)
        self._notified.setdefault(protocol, []).append(event)
        event.run()
        return event

    def create_event(self, group: Guid, function: Callable[[], None]) -> DxeEvent:
        """Call ``function`` whenever an event group is signalled."""
        event = DxeEvent(function)
        self._groups.setdefault(group, []).insert(0, event)  # the DXE core's list is newest first
        return event

    def close_event(self, event: object) -> None:
        """Call an event's function no more, not even in a signal under way."""
        if isinstance(event, DxeEvent):
            event.closed = True

    def signal(self, group: Guid) -> None:
        """Signal an event group: its events run newest first."""
        for event in list(self._groups.get(group, ())):
            event.run()
