"""Random sequences of messages, phases and system calls over a core, the same for the same seed.

Ring 3 is a double here: its handlers answer at random, make random system calls, and register and unregister at
random. What a real driver may do to its own memory it may do; what would kill the system ends the sequence, as on
the device. Nothing else may be raised.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from mmsupervisor.abi.requests import pack_request
from mmsupervisor.abi.system_calls import SYSTEM_CALLS, CallNumber, Kind
from mmsupervisor.core.entry import Core
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status
from tests.core import small
from tests.core.files import core_volume, driver_file
from tests.core.small import DISPATCH, EXIT, LOCK, MMRAM, OTHER, REQUEST, SOMEBODY, Small

_GUIDS = (SOMEBODY, OTHER, REQUEST, DISPATCH, LOCK, EXIT, Guid(bytes(16)), Guid(b"\xff" * 16))
_LENGTHS = (0, 1, 7, 8, 24, 80, 300, 0xFFE8, 0xFFE9, 0x10000, (1 << 63), (1 << 64) - 0x18, (1 << 64) - 1)
_STATUSES = (0, 0, 0, Status.NOT_FOUND, Status.INTERRUPT_PENDING, Status.WARN_INTERRUPT_SOURCE_PENDING, 1 << 62)
_STARTS = (
    small.FREE_RAM,
    small.FREE_RAM + 0x1000,
    small.HOLE,
    0x1000,
    MMRAM,
    MMRAM - 0x1000,
    small.USER_BUFFER,
    1 << 40,
)
_HARMLESS = tuple(
    CallNumber(number)
    for number in SYSTEM_CALLS
    if number not in (CallNumber.SMM_FREE_PAGE, CallNumber.SMM_SET_CPL3_TBL, CallNumber.SMM_START_AP_PROC)
)
"""Calls whose arguments may be anything: they cannot take away what the double itself stands on."""


class RandomCore:
    """A core under a random sequence.

    Attributes:
        core: The core.
        dead: Whether a call or message killed it.
    """

    def __init__(self, seed: int) -> None:
        """Start a core with one driver file."""
        self._chance = random.Random(seed)
        self._small = Small()
        self._small.add_volume(core_volume(driver_file(0)))
        self.core: Core = self._small.start()
        self.dead = False
        self._pages: list[int] = []
        self._handles: list[int] = []
        self._next_routine = 0x1000
        for guid in (SOMEBODY, None, OTHER):
            self._register(guid)

    def close(self) -> None:
        """Give the memory back."""
        self._small.machine.memory.close()

    def run(self, steps: int) -> None:
        """Take steps until the core is dead."""
        actions: tuple[Callable[[], None], ...] = (
            self._user_message, self._user_message, self._supervisor_message, self._request, self._both, self._nothing,
            self._unblock, self._phase,
        )  # fmt: skip
        for _ in range(steps):
            try:
                self._chance.choice(actions)()
            except SystemStopError:
                self.dead = True
                return

    # Outside

    def _message(self) -> bytes:
        guid, length = self._chance.choice(_GUIDS), self._chance.choice(_LENGTHS)
        payload = self._chance.randbytes(min(length, 256))
        if self._chance.random() < 0.2:
            return small.message_v3(guid, payload, self._chance.choice((None, 0, 0x37, 0x38, 0x1000, 0x10001)))
        return small.message(guid, payload, length)

    def _user_message(self) -> None:
        small.send_user(self.core, self._message())

    def _supervisor_message(self) -> None:
        small.send_supervisor(self.core, self._message())

    def _both(self) -> None:
        supervisor = self.core.supervisor
        small.post(supervisor, supervisor.supervisor, self._message())
        self._user_message()

    def _nothing(self) -> None:
        serve_mmi(self.core.supervisor, "random")

    def _request(self) -> None:
        number = self._chance.randrange(6)
        parameters = self._chance.randbytes(self._chance.choice((0, 16, 55, 56, 224, 0x1000)))
        small.send_supervisor(self.core, small.message(REQUEST, pack_request(number, parameters)))

    def _unblock(self) -> None:
        start, pages = self._chance.choice(_STARTS), self._chance.choice((0, 1, 2, 16, 1 << 52))
        attribute = self._chance.choice((0, 0x40000, 0x44000))
        small.request(self.core, 1, small.unblock_bytes(start, pages, attribute=attribute))

    def _phase(self) -> None:
        if self._chance.random() < 0.1:
            guid = self._chance.choice((DISPATCH, LOCK, EXIT))
            small.send_supervisor(self.core, small.message(guid, bytes(self._chance.choice((1, 8)))))

    # Ring 3

    def _register(self, guid: Guid | None) -> None:
        routine, self._next_routine = self._next_routine, self._next_routine + 16
        self._handles.append(small.register_user(self.core.supervisor, guid, routine, self._serve))

    def _serve(self, _handle: int, _context: int, _buffer: int, size: int, _routine: int) -> int:
        if size and self._chance.random() < 0.3:
            self.core.supervisor.memory.write_u64(size, self._chance.choice(_LENGTHS))
        if self._chance.random() < 0.6:
            self._chance.choice((self._handle_call, self._page_call, self._page_call, self._wild_call))()
        return self._chance.choice(_STATUSES)

    def _handle_call(self) -> None:
        if self._handles and self._chance.random() < 0.5:
            handle = self._handles.pop(self._chance.randrange(len(self._handles)))
            small.system_call(self.core.supervisor, CallNumber.SMM_UNREG_HNDL, handle)
        else:
            self._register(self._chance.choice((SOMEBODY, OTHER, None)))

    def _page_call(self) -> None:
        supervisor = self.core.supervisor
        if self._pages and self._chance.random() < 0.5:
            page = self._pages.pop(self._chance.randrange(len(self._pages)))
            small.system_call(supervisor, CallNumber.SMM_FREE_PAGE, page, 1)
        else:
            self._pages.append(small.system_call(supervisor, CallNumber.SMM_ALOC_PAGE, 0, 6, 1))

    def _wild_call(self) -> None:
        """Any harmless call with any arguments: it returns, or kills the system."""
        if self._chance.random() < 0.9:
            return
        number = self._chance.choice(_HARMLESS)
        pool = (0, 1, 6, 8, 16, self.core.supervisor.hob_list, MMRAM, small.FREE_RAM, 1 << 63, (1 << 64) - 1)
        arguments = [self._chance.choice((*pool, *self._pages[:2])) for _ in range(3)]
        if SYSTEM_CALLS[number].arguments and SYSTEM_CALLS[number].arguments[0].kind is Kind.NUMBER:
            arguments = [0, 6, self._chance.choice((1, 2, 3))]
            self._pages.extend(self._taken(arguments[2]))
            return
        result = small.system_call(self.core.supervisor, number, *arguments)
        if number is CallNumber.SMM_REG_HNDL:
            self._handles.append(result)

    def _taken(self, pages: int) -> list[int]:
        base = small.system_call(self.core.supervisor, CallNumber.SMM_ALOC_PAGE, 0, 6, pages)
        return [base + 0x1000 * n for n in range(pages)]

    # What must hold afterwards

    def wrong(self) -> list[str]:
        """What does not add up: pages, handlers, and both mailboxes."""
        supervisor = self.core.supervisor
        found = []
        held = [page for page in self._pages if supervisor.memory.state(page).attributes != Attribute.XP]
        if held:
            found.append(f"pages {held} are ring 3's and not as allocated")
        handles = {handler.handle for handler in supervisor.handlers.all() if handler.supervisor is None}
        if not set(self._handles) <= handles:
            found.append("a handler that was never unregistered is gone")
        extra = [h for h in supervisor.handlers.all() if h.supervisor is None and h.handle not in self._handles]
        if any(not handler.to_remove for handler in extra) and not self.dead:
            found.append("a handler that was unregistered is neither gone nor flagged")
        if supervisor.handlers.depth == 0 and any(handler.to_remove for handler in supervisor.handlers.all()):
            found.append("a flagged handler outlived the last dispatch")
        return found
