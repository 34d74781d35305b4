"""The MMI handler lists and MmiManage (docs/reference/boot-flow.md §10.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import HandlerRegistered, HandlerReturned, HandlerUnregistered, ReferenceBugMet
from mmsupervisor.core.pages import SupervisorPool
from mmsupervisor.machine.events import EventLog, Hex
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status, status_name

_HANDLER_SIZE = 80
_ENTRY_SIZE = 56

SupervisorHandler = Callable[[int, int], tuple[int, int]]
"""A ring-0 handler: (buffer address, payload size) to (EFI_STATUS, new payload size)."""


@dataclass(slots=True, eq=False)
class MmiHandler:
    """A registered handler.

    Attributes:
        handle: Address that stands for it; what ring 3 holds.
        guid: What it serves, or None for a root handler.
        routine: Address in ring 3, or 0 for a supervisor handler.
        supervisor: The ring-0 routine, or None for a user handler.
        to_remove: Flagged for removal when no dispatch is under way.
    """

    handle: int
    guid: Guid | None
    routine: int = 0
    supervisor: SupervisorHandler | None = None
    to_remove: bool = False

    @property
    def label(self) -> str:
        """Name of what it serves."""
        return self.guid.label if self.guid else "root"


@dataclass(slots=True)
class _Entry:
    address: int
    handlers: list[MmiHandler] = field(default_factory=list)


class HandlerDatabase:
    """All MMI handlers, and the nesting depth of dispatch.

    Attributes:
        depth: Dispatches under way. The reference leaks it on its early exits (boot-flow.md, surprise 6),
            and so does this: unregistration is then only flagged for ever.
    """

    def __init__(self, pool: SupervisorPool, log: EventLog) -> None:
        """Begin with no handler."""
        self._pool = pool
        self._log = log
        self._root = _Entry(0)
        self._entries: dict[Guid, _Entry] = {}
        self.depth = 0
        self._to_tidy = False

    def all(self) -> list[MmiHandler]:
        """Return all handlers: root ones first, then by GUID in order of first registration."""
        return [*self._root.handlers, *(h for entry in self._entries.values() for h in entry.handlers)]

    def register(
        self,
        guid: Guid | None,
        *,
        routine: int = 0,
        supervisor: SupervisorHandler | None = None,
    ) -> MmiHandler:
        """Append a handler to its GUID's list; raises as the pool does."""
        entry = self._root
        if guid is not None:
            known = self._entries.get(guid)
            if known is None:
                known = self._entries[guid] = _Entry(self._pool.allocate(_ENTRY_SIZE))
                self._to_tidy = True  # should there be no memory for the handler, the entry goes again
            entry = known
        handler = MmiHandler(self._pool.allocate(_HANDLER_SIZE), guid, routine, supervisor)
        entry.handlers.append(handler)
        owner = "supervisor" if supervisor else "user"
        self._log.emit(HandlerRegistered(handler.label, Hex(routine), Hex(handler.handle), owner))
        return handler

    def unregister(self, handle: int, *, user: bool) -> None:
        """Remove a handler, or flag it while a dispatch is under way.

        Args:
            handle: Its handle.
            user: Whether ring 3 asks, which may remove its own handlers only.

        Raises:
            CoreError: INVALID_PARAMETER for an unknown handle or one of the other owner.
        """
        handler = next((candidate for candidate in self.all() if candidate.handle == handle), None)
        if handler is None:
            raise CoreError(Status.INVALID_PARAMETER, f"{handle:#x} is no handler's handle")
        if (handler.supervisor is None) != user:
            raise CoreError(Status.INVALID_PARAMETER, f"the handler {handle:#x} belongs to the supervisor")
        handler.to_remove = self._to_tidy = True
        self._log.emit(HandlerUnregistered(handler.label, Hex(handle), self.depth > 0))
        if self.depth == 0:
            self._remove_flagged()

    def _remove_flagged(self) -> None:
        if not self._to_tidy:
            return
        self._to_tidy = False
        for guid, entry in [(None, self._root), *self._entries.items()]:
            for handler in [h for h in entry.handlers if h.to_remove]:
                entry.handlers.remove(handler)
                self._pool.free(handler.handle, _HANDLER_SIZE)
            if guid is not None and not entry.handlers:
                self._pool.free(entry.address, _ENTRY_SIZE)
                del self._entries[guid]

    def manage(
        self,
        guid: Guid | None,
        *,
        user: bool | None,
        call: Callable[[MmiHandler], int],
    ) -> int:
        """Call the handlers of one GUID, or the root handlers.

        Args:
            guid: The message's GUID, or None.
            user: Which owner's handlers: decided by the caller from the pages of the buffer. None where the
                buffer cannot be judged: nothing is called.
            call: Runs one handler and returns its status.

        Returns:
            The combined EFI_STATUS (docs/reference/boot-flow.md §10.2).
        """
        self.depth += 1
        entry = self._root if guid is None else self._entries.get(guid)
        if user is None or entry is None:
            self._log.emit(
                ReferenceBugMet("boot-flow.md §12.6", "MMI dispatch leaves early and keeps its nesting depth")
            )
            return Status.NOT_FOUND
        result: int = Status.NOT_FOUND
        position = 0
        while position < len(entry.handlers):  # a handler may register others, which are then called too
            handler = entry.handlers[position]
            position += 1
            if (handler.supervisor is None) != user:
                continue
            status = call(handler)
            self._log.emit(HandlerReturned(handler.label, Hex(handler.handle), status_name(status)))
            result, stop = combine(result, status, guided=guid is not None)
            if stop:
                break
        self.depth -= 1
        if self.depth == 0:
            self._remove_flagged()
        return result


def combine(result: int, status: int, *, guided: bool) -> tuple[int, bool]:
    """Fold one handler's status into the result of a dispatch.

    Returns:
        The new result, and whether the dispatch stops there.
    """
    if status == Status.SUCCESS:
        return Status.SUCCESS, guided
    if status == Status.INTERRUPT_PENDING:
        if guided:
            return Status.INTERRUPT_PENDING, True
        return (result if result == Status.SUCCESS else Status.INTERRUPT_PENDING), False
    if status == Status.WARN_INTERRUPT_SOURCE_QUIESCED:
        return Status.SUCCESS, False
    if status == Status.WARN_INTERRUPT_SOURCE_PENDING:
        return (result if result == Status.SUCCESS else Status.WARN_INTERRUPT_SOURCE_PENDING), False
    return result, False
