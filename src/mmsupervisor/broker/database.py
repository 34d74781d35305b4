"""Reading the broker's protocol database out of ring 3's memory (docs/reference/gmmst.md §5.1).

The database is the broker's own: it lives in pages of ring 3, and every driver can write there. So it is
read as hostile data: objects are found by their signature, links are followed a bounded number of times,
and whatever does not fit is left out and counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmsupervisor.machine.memory import BusError, PhysicalMemory
from mmsupervisor.pi.guid import GUID_SIZE, Guid

_ENTRY_SIGNATURE = b"prte"
_INTERFACE_SIGNATURE = b"pifc"
_NOTIFY_SIGNATURE = b"prtn"

_ENTRY_SIZE = 72
_ENTRY_GUID = 0x18
_ENTRY_INTERFACES = 0x28
_ENTRY_NOTIFIES = 0x38
_INTERFACE_BY_PROTOCOL = 0x20
_INTERFACE_HANDLE = 0x18
_INTERFACE_POINTER = 0x38
_NOTIFY_LINK = 0x10
_NOTIFY_FUNCTION = 0x20
_MAX_LINKS = 100_000
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class Ring3Protocol:
    """One protocol of the broker's database.

    Attributes:
        guid: The protocol.
        instances: (handle, interface) of each installation, in order of installation.
        notifications: Addresses of the functions to be told of installations, in order of registration.
    """

    guid: Guid
    instances: tuple[tuple[int, int], ...]
    notifications: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ring3Database:
    """What was read.

    Attributes:
        protocols: By address of their entry.
        broken_lists: Lists that were cut short because a link or a signature was wrong.
    """

    protocols: tuple[Ring3Protocol, ...]
    broken_lists: int

    def protocol(self, guid: Guid) -> Ring3Protocol | None:
        """Return a protocol, or None if nobody has named it yet."""
        return next((item for item in self.protocols if item.guid == guid), None)


class _Walker:
    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self.broken = 0

    def items(self, head: int, link: int, signature: bytes) -> Iterator[int]:
        """Iterate over the objects of a list whose link lies ``link`` bytes into each."""
        try:
            position = self._memory.read_u64(head)
            for _ in range(_MAX_LINKS):
                if position == head:
                    return
                item = position - link
                if self._memory.read(item, 4) != signature:
                    break
                yield item
                position = self._memory.read_u64(position)
        except BusError:
            pass
        self.broken += 1


def read_database(memory: PhysicalMemory, ranges: Iterable[tuple[int, int]]) -> Ring3Database:
    """Read the database.

    Args:
        memory: The machine's memory.
        ranges: Where its objects may lie: first address and size of each run of ring-3 data pages.
    """
    walker = _Walker(memory)
    found = []
    for start, size in ranges:
        for address in _signatures(memory.read(start, size), start):
            entry = _read_entry(memory, walker, address)
            if entry is not None:
                found.append(entry)
    return Ring3Database(tuple(found), walker.broken)


def _signatures(data: bytes, start: int) -> Iterator[int]:
    position = data.find(_ENTRY_SIGNATURE)
    while position >= 0:
        if position % _ALIGNMENT == 0 and position + _ENTRY_SIZE <= len(data):
            yield start + position
        position = data.find(_ENTRY_SIGNATURE, position + 1)


def _read_entry(memory: PhysicalMemory, walker: _Walker, address: int) -> Ring3Protocol | None:
    """Read one entry; None if it is no entry but bytes that look like one, which a driver may have put there."""
    head = memory.read(address, _ENTRY_SIZE)
    forward, backward = struct.unpack_from("<QQ", head, 8)
    try:
        if memory.read_u64(forward + 8) != address + 8 or memory.read_u64(backward) != address + 8:
            return None
        instances = tuple(
            (memory.read_u64(item + _INTERFACE_HANDLE), memory.read_u64(item + _INTERFACE_POINTER))
            for item in walker.items(address + _ENTRY_INTERFACES, _INTERFACE_BY_PROTOCOL, _INTERFACE_SIGNATURE)
        )
        notifications = tuple(
            memory.read_u64(item + _NOTIFY_FUNCTION)
            for item in walker.items(address + _ENTRY_NOTIFIES, _NOTIFY_LINK, _NOTIFY_SIGNATURE)
        )
    except BusError:
        return None
    return Ring3Protocol(Guid(head[_ENTRY_GUID : _ENTRY_GUID + GUID_SIZE]), instances, notifications)
