"""The memory map of UEFI, as far as MM cares: who has allocated what in normal memory."""

from __future__ import annotations

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
    """Normal memory: free, except for what was allocated.

    Attributes:
        allocations: By address.
    """

    def __init__(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """Begin with free memory in ``ranges``, each first address and size in bytes."""
        self._ranges = ranges
        self.allocations: list[Allocation] = []

    def reserve(self, start: int, pages: int, memory_type: int, owner: str) -> Allocation:
        """Record pages at a given address.

        Raises:
            ValueError: they are not free memory.
        """
        taken = Allocation(start, pages, memory_type, owner)
        inside = any(base <= start and taken.end <= base + size for base, size in self._ranges)
        if not inside or any(other.start < taken.end and start < other.end for other in self.allocations):
            raise ValueError(f"{pages} pages at {start:#x} for {owner} are not free memory")
        self.allocations.append(taken)
        self.allocations.sort(key=lambda item: item.start)
        return taken

    def allocate(self, pages: int, memory_type: int, owner: str) -> int:
        """Allocate pages, from the top of the highest free range, and return their address.

        Raises:
            OutOfMemoryError: no range is large enough.
        """
        size = pages * PAGE_SIZE
        for base, length in sorted(self._ranges, reverse=True):
            end = base + length
            for other in [item for item in reversed(self.allocations) if base <= item.start < base + length]:
                if end - other.end >= size:
                    break
                end = other.start
            if end - size >= base:
                return self.reserve(end - size, pages, memory_type, owner).start
        raise OutOfMemoryError(f"no free range of memory has {pages} pages for {owner}")

    def free(self, start: int) -> None:
        """Give the allocation at an address back.

        Raises:
            ValueError: none begins there.
        """
        found = next((item for item in self.allocations if item.start == start), None)
        if found is None:
            raise ValueError(f"nothing was allocated at {start:#x}")
        self.allocations.remove(found)

    def descriptors(self) -> tuple[MemoryDescriptor, ...]:
        """Return the map: allocations and free memory, by address."""
        found = []
        for base, length in sorted(self._ranges):
            position = base
            for item in self.allocations:
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
