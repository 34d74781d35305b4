"""The memory map of UEFI, as far as MM cares: who has allocated what in normal memory."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.memory_types import PAGE_SIZE, MemoryDescriptor, MemoryType


class OutOfMemoryError(MmSupervisorError):
    """No free range of normal memory is large enough."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Pages of normal memory that somebody has.

    Attributes:
        start: First address.
        pages: Number of pages.
        type: EFI memory type.
        owner: Who has them.
    """

    start: int
    pages: int
    type: int
    owner: str

    @property
    def end(self) -> int:
        """Address after the last one."""
        return self.start + self.pages * PAGE_SIZE


class UefiMemoryMap:
    """Normal memory: free, except for what was allocated. Looking something up takes no walk through all of it."""

    def __init__(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """Begin with free memory in ``ranges``, each first address and size in bytes."""
        self._ranges = tuple(sorted(ranges))
        self._starts: list[int] = []
        self._items: list[Allocation] = []
        self._full_from = {base: base + size for base, size in self._ranges}
        """By range: from where on to its end nothing is free."""

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """All allocations, by address."""
        return tuple(self._items)

    def find(self, start: int) -> Allocation | None:
        """Return the allocation that begins at an address, or None."""
        index = bisect_left(self._starts, start)
        return self._items[index] if index < len(self._items) and self._starts[index] == start else None

    def reserve(self, start: int, pages: int, memory_type: int, owner: str) -> Allocation:
        """Record pages at a given address.

        Raises:
            ValueError: they are not free memory.
        """
        taken = Allocation(start, pages, memory_type, owner)
        index = bisect_left(self._starts, start)
        base = next((base for base, size in self._ranges if base <= start and taken.end <= base + size), None)
        overlaps_last = index > 0 and self._items[index - 1].end > start
        overlaps_next = index < len(self._items) and self._starts[index] < taken.end
        if base is None or overlaps_last or overlaps_next:
            raise ValueError(f"{pages} pages at {start:#x} for {owner} are not free memory")
        self._starts.insert(index, start)
        self._items.insert(index, taken)
        if taken.end == self._full_from[base]:
            self._full_from[base] = start
        return taken

    def allocate(self, pages: int, memory_type: int, owner: str) -> int:
        """Allocate pages, from the top of the highest free range, and return their address.

        Raises:
            OutOfMemoryError: no range is large enough.
        """
        size = pages * PAGE_SIZE
        for base, _ in reversed(self._ranges):
            end = self._full_from[base]
            index = bisect_left(self._starts, end) - 1
            while index >= 0 and self._starts[index] >= base and end - self._items[index].end < size:
                end = self._starts[index]
                index -= 1
            if end - size >= base:
                return self.reserve(end - size, pages, memory_type, owner).start
        raise OutOfMemoryError(f"no free range of memory has {pages} pages for {owner}")

    def free(self, start: int) -> None:
        """Give the allocation at an address back.

        Raises:
            ValueError: none begins there.
        """
        found = self.find(start)
        if found is None:
            raise ValueError(f"nothing was allocated at {start:#x}")
        index = bisect_left(self._starts, start)
        del self._starts[index], self._items[index]
        for base, size in self._ranges:
            if base <= start < base + size:
                self._full_from[base] = max(self._full_from[base], found.end)

    def descriptors(self) -> tuple[MemoryDescriptor, ...]:
        """Return the map: allocations and free memory, by address."""
        found = []
        for base, length in self._ranges:
            position = base
            for item in self._items:
                if not base <= item.start < base + length:
                    continue
                if item.start > position:
                    found.append(_free(position, item.start))
                found.append(MemoryDescriptor(item.type, item.start, 0, item.pages, 0))
                position = item.end
            if position < base + length:
                found.append(_free(position, base + length))
        return tuple(found)


def _free(start: int, end: int) -> MemoryDescriptor:
    return MemoryDescriptor(MemoryType.CONVENTIONAL, start, 0, (end - start) // PAGE_SIZE, 0)
