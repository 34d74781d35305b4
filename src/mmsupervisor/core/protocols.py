"""The supervisor's own protocol database: what dependency expressions see (docs/reference/gmmst.md §5.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mmsupervisor.core.events import ProtocolInstalled
from mmsupervisor.core.pages import SupervisorPool
from mmsupervisor.machine.events import EventLog, Hex
from mmsupervisor.pi.guid import Guid

_HANDLE_SIZE = 48


@dataclass(slots=True)
class _Handle:
    address: int
    protocols: list[Guid] = field(default_factory=list)


class ProtocolDatabase:
    """Which protocols exist, on which handles.

    Every shadow of a ring-3 installation makes a new handle, so the list grows with each
    (docs/reference/gmmst.md, surprise 13); uninstallation in ring 3 is never told.
    """

    def __init__(self, pool: SupervisorPool, log: EventLog) -> None:
        """Begin with no handle."""
        self._pool = pool
        self._log = log
        self._handles: dict[int, _Handle] = {}
        self._count: dict[Guid, int] = {}
        self._notify: dict[Guid, list[Callable[[], None]]] = {}

    def install(self, guid: Guid, handle: int = 0) -> int:
        """Install a protocol on a handle, a new one by default, and return the handle; raises as the pool does."""
        if handle == 0:
            handle = self._pool.allocate(_HANDLE_SIZE)
            self._handles[handle] = _Handle(handle)
        self._handles[handle].protocols.append(guid)
        self._count[guid] = self._count.get(guid, 0) + 1
        self._log.emit(ProtocolInstalled(guid.label, Hex(handle)))
        for function in list(self._notify.get(guid, ())):
            function()
        return handle

    def uninstall(self, guid: Guid, handle: int) -> None:
        """Take a protocol off a handle; an empty handle goes away."""
        owner = self._handles[handle]
        owner.protocols.remove(guid)
        self._count[guid] -= 1
        if not owner.protocols:
            del self._handles[handle]
            self._pool.free(handle, _HANDLE_SIZE)

    def has(self, guid: Guid) -> bool:
        """Whether a dependency expression's PUSH of ``guid`` is true."""
        return self._count.get(guid, 0) > 0

    def instances(self, guid: Guid) -> int:
        """How often a protocol is installed."""
        return self._count.get(guid, 0)

    def installed(self) -> tuple[Guid, ...]:
        """All protocols present, in order of first installation."""
        return tuple(guid for guid, count in self._count.items() if count)

    @property
    def handles(self) -> int:
        """Number of handles."""
        return len(self._handles)

    def notify(self, guid: Guid, function: Callable[[], None]) -> None:
        """Call ``function`` at every later installation of ``guid``."""
        self._notify.setdefault(guid, []).append(function)
