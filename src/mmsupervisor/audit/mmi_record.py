"""What the audit of handlers knows of the MMI under way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Access
from mmsupervisor.pi.guid import GUID_SIZE
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.message import HEADER_SIZE, HEADER_V3_SIZE

OUTSIDE_REACH = 0x1_0000
"""Bytes behind an address outside MMRAM that count as reached by it."""

MMRAM_REACH = 0x1000
"""The same in MMRAM, where other data of the driver lie near."""

_POINTER = 8
_ALIGNMENT = 4
_V3_GUID = known_guid("gEfiMmCommunicateHeaderV3Guid").raw


@dataclass(frozen=True, slots=True)
class NestedPointer:
    """An 8-byte number in a message that is the address of memory.

    Attributes:
        address: The number.
        offset: Its offset in the payload, in bytes.
        in_mmram: Whether it leads into MMRAM.
    """

    address: int
    offset: int
    in_mmram: bool

    def reaches(self, address: int) -> bool:
        """Whether an address is near enough behind it."""
        return 0 <= address - self.address < (MMRAM_REACH if self.in_mmram else OUTSIDE_REACH)


@dataclass(slots=True)
class MmiRecord:
    """One MMI.

    Attributes:
        pointers: Addresses in the message.
        fetched: Which instruction read each byte outside MMRAM first, since ring 3 last wrote it.
        validated: Ranges that the supervisor said yes to, each first address and the one after the last.
    """

    pointers: tuple[NestedPointer, ...] = ()
    fetched: dict[int, int] = field(default_factory=dict)
    validated: list[tuple[int, int]] = field(default_factory=list)

    def origin(self, address: int) -> NestedPointer | None:
        """Return the address in the message that leads to another, the nearest if several do."""
        near = [pointer for pointer in self.pointers if pointer.reaches(address)]
        return max(near, key=lambda pointer: pointer.address, default=None)

    def is_validated(self, address: int, width: int) -> bool:
        """Whether one answer of the supervisor covers a range."""
        return any(start <= address and address + width <= end for start, end in self.validated)


def read_message(supervisor: Supervisor, size: int) -> bytes:
    """Return the payload of the user message that was just copied in."""
    memory, channel = supervisor.memory, supervisor.user
    header = HEADER_V3_SIZE if memory.read(channel.internal, GUID_SIZE) == _V3_GUID else HEADER_SIZE
    return memory.read(channel.internal + header, min(size, channel.size - header))


def find_pointers(supervisor: Supervisor, payload: bytes) -> Iterator[NestedPointer]:
    """Find the addresses in a message that lead to memory, whoever's it is.

    The message itself, the ring-3 stacks and code of ring 3 are left out.
    """
    channel, stacks = supervisor.user, supervisor.stacks
    own = (
        range(channel.internal, channel.internal + channel.size),
        range(stacks.base, stacks.base + stacks.size * stacks.count),
    )
    for offset in range(0, len(payload) - _POINTER + 1, _ALIGNMENT):
        address = int.from_bytes(payload[offset : offset + _POINTER], "little")
        state = supervisor.memory.state(address)
        memory = state.bank is not None and state.bank.backing is not None
        is_data = memory and not state.ring3 & Access.EXECUTE
        if address >= PAGE_SIZE and is_data and not any(address in one for one in own):
            yield NestedPointer(address, offset, supervisor.mmram.touches(address, 1))


def pages_to_watch(supervisor: Supervisor, pointers: tuple[NestedPointer, ...]) -> Iterator[tuple[int, int]]:
    """Find what is worth watching: RAM outside MMRAM that ring 3 can or might reach, and where pointers lead.

    Flash is left out: the outside does not write it while an MMI is served.
    """
    for piece in supervisor.memory.pages:
        bank = piece.value.bank
        is_ram = bank is not None and bank.backing is not None and bank.device is None
        if is_ram and piece.value.ring3 & Access.READ and not supervisor.mmram.touches(piece.start, 1):
            yield piece.start, piece.size
    yield supervisor.user.external, supervisor.user.size
    for pointer in pointers:
        first = pointer.address & ~PAGE_MASK
        if pointer.in_mmram:
            last = (pointer.address + MMRAM_REACH - 1) & ~PAGE_MASK
            for page in range(first, last + 1, PAGE_SIZE):
                if supervisor.memory.state(page).ring3 & (Access.READ | Access.EXECUTE) == Access.READ:
                    yield page, PAGE_SIZE
