"""The audit of replies: do they hold what the driver never wrote, or addresses of MMRAM?

Two sessions that were booted alike get the same messages. In the second one all memory that no driver may rely on is
filled with a pattern before each message: the ring-3 stacks, free blocks of the pool, pages as they are allocated. A
driver that writes what it returns gives the same reply in both. The first session is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import SystemCallMade
from mmsupervisor.core.findings import Finding, SystemStopError, make_finding
from mmsupervisor.core.modules import BROKER_GUID
from mmsupervisor.core.scene import take_scene
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.machine.events import Record
from mmsupervisor.machine.memory import PAGE_SIZE, BusError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.session import Session

STACK, POOL, PAGES = 0xA5, 0xB6, 0xC7
"""What memory is filled with, by what it is."""

_SOURCES = {STACK: "the stack", POOL: "freed pool", PAGES: "fresh pages"}
_FREE_LISTS, _LIST_HEAD, _MOST_BLOCKS = 12, 16, 100_000
_LINK_OFFSET, _SIZE_OFFSET, _FREE_HEADER, _TAIL = 24, 16, 40, 16
_POINTER = 8


class ReplyAudit:
    """Sends messages to two sessions and compares the replies.

    Attributes:
        findings: What was found, in order.
        session: The session whose replies count.
        twin: The one with the pattern.
        covers_pool: Whether freed pool is filled too: the broker is one whose lists are known.
    """

    def __init__(self, session: Session, twin: Session) -> None:
        """Take two sessions that were booted alike and were sent the same.

        Raises:
            ValueError: one of them has no core.
        """
        if session.core is None or twin.core is None:
            raise ValueError("a session has no core: there is nothing to audit")
        self.findings: list[Finding] = []
        self.session = session
        self.twin = twin
        self._core: Core = session.core
        self._other: Core = twin.core
        self.covers_pool = _free_lists(self._other) != 0
        self._is_paired = True
        twin.log.add_sink(self._take)

    def communicate(self, guid: Guid, payload: bytes = b"", *, source: str = "message") -> Answer:
        """Send a message to both sessions and return the first one's answer.

        Raises:
            SystemStopError: the first one died of it.
        """
        answer = self.session.communicate(guid, payload, source=source)
        self._find_addresses(guid, payload, answer)
        if self._is_paired:
            self._compare(guid, answer, self._ask_twin(guid, payload, source))
        return answer

    def _ask_twin(self, guid: Guid, payload: bytes, source: str) -> Answer | None:
        fill_unwritten(self._other)
        try:
            return self.twin.communicate(guid, payload, source=source)
        except SystemStopError:
            return None

    def _take(self, record: Record) -> None:
        match record.event:
            case SystemCallMade(call=CallNumber.SMM_ALOC_PAGE.name, result=int(address)) as made:
                self.twin.memory.fill(address, made.arguments[2] * PAGE_SIZE, PAGES)

    # Judging

    def _compare(self, guid: Guid, answer: Answer, other: Answer | None) -> None:
        if other is None:
            self._is_paired = False
            self._add("MM-4006", guid, "with other bytes in memory that nobody wrote, the system dies of this message")
            return
        if (answer.status, answer.size) != (other.status, other.size):
            self._add("MM-4006", guid, "status or size of the reply depend on memory that nobody wrote")
        differing = [n for n, (ours, theirs) in enumerate(zip(answer.data, other.data, strict=False)) if ours != theirs]
        if differing:
            sources = sorted({_SOURCES[other.data[n]] for n in differing if other.data[n] in _SOURCES})
            of = f" of {' and '.join(sources)}" if sources else ", computed from such"
            self._add("MM-4006", guid, f"{len(differing)} bytes{of}, at {_ranges(differing)} of the payload")

    def _find_addresses(self, guid: Guid, payload: bytes, answer: Answer) -> None:
        sent = {payload[n : n + _POINTER] for n in range(len(payload) - _POINTER + 1)}
        reply = answer.data[HEADER_SIZE:]
        for offset in range(0, len(reply) - _POINTER + 1, _POINTER):
            raw = reply[offset : offset + _POINTER]
            address = int.from_bytes(raw, "little")
            if raw not in sent and self._core.supervisor.mmram.touches(address, 1):
                use = self._core.supervisor.memory.state(address).use
                self._add("MM-4007", guid, f"{address:#x} ({use}) at {offset:#x} of the payload", address)

    def _add(self, number: str, guid: Guid, detail: str, address: int | None = None) -> None:
        handlers = [one for one in self._core.supervisor.handlers.all() if one.guid == guid]
        drivers = sorted({self.session.owner_of(one.routine) for one in handlers})
        subject = f"reply to {guid.label}" + (f" ({', '.join(drivers)})" if drivers else "")
        finding = make_finding(number, detail, subject=subject, address=address)
        if finding not in self.findings:
            self.findings.append(replace(finding, scene=take_scene(self._core.supervisor, with_ring3=False)))


def _ranges(offsets: list[int]) -> str:
    """Write offsets in a reply, header included, as ranges in its payload."""
    runs: list[list[int]] = []
    for offset in offsets:
        if runs and runs[-1][1] == offset:
            runs[-1][1] = offset + 1
        else:
            runs.append([offset, offset + 1])
    return ", ".join(f"{first - HEADER_SIZE:#x} to {end - HEADER_SIZE:#x}" for first, end in runs)


def fill_unwritten(core: Core) -> None:
    """Fill the ring-3 stacks and free blocks of pool, between two MMIs."""
    supervisor = core.supervisor
    stacks = supervisor.stacks
    supervisor.memory.fill(stacks.base, stacks.size * stacks.count, STACK)
    for block, size in _free_blocks(core):
        supervisor.memory.fill(block + _FREE_HEADER, size - _FREE_HEADER - _TAIL, POOL)


def _free_lists(core: Core) -> int:
    """Return the address of the broker's lists of free blocks, or 0 if the broker is not ours."""
    for module in core.supervisor.modules.modules:
        offset = module.symbols.offset_of("mFree") if module.guid == BROKER_GUID else None
        if offset is not None:
            return module.base + offset
    return 0


def _free_blocks(core: Core) -> Iterator[tuple[int, int]]:
    """Find free blocks of the pool, each address and bytes (firmware/broker/pool.c); a broken list ends early."""
    memory = core.supervisor.memory
    lists = _free_lists(core)
    heads = [lists + _LIST_HEAD * number for number in range(_FREE_LISTS)] if lists else []
    left = _MOST_BLOCKS
    for head in heads:
        try:
            link = memory.read_u64(head)
            while link != head and left:
                block = link - _LINK_OFFSET
                size = memory.read_u64(block + _SIZE_OFFSET)
                if not _FREE_HEADER + _TAIL < size < PAGE_SIZE:
                    break
                link = memory.read_u64(link)
                left -= 1
                yield block, size
        except BusError:
            continue
