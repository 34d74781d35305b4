"""The MMRAM ranges, and the question whether a buffer lies in them (docs/reference/memory.md §2, §8.1)."""

from __future__ import annotations

from mmsupervisor.pi.mmram import MmramDescriptor


def range_end(region: MmramDescriptor) -> int:
    """Address after the last one of a range."""
    return region.physical_start + region.physical_size


class Mmram:
    """All MMRAM ranges, in the order of the HOB.

    Attributes:
        ranges: The ranges.
    """

    def __init__(self, ranges: tuple[MmramDescriptor, ...]) -> None:
        """Keep the ranges as the HOB gave them."""
        self.ranges = ranges

    def range_at(self, address: int) -> MmramDescriptor | None:
        """Return the first range that holds an address."""
        for candidate in self.ranges:
            if candidate.physical_start <= address < range_end(candidate):
                return candidate
        return None

    def contains(self, address: int, length: int) -> bool:
        """Decide as the reference's IsBufferInsideMmram does.

        Only the start must lie in a range; the length is then compared with the range's *total* size, so a
        buffer may run out of a range and still count as inside (docs/reference/memory.md §8.1).
        """
        while True:
            found = self.range_at(address)
            if found is None:
                return False
            if length <= found.physical_size:
                return True
            address, length = range_end(found), length - found.physical_size

    def touches(self, address: int, length: int) -> bool:
        """Whether any byte of a range lies in MMRAM."""
        return any(address < range_end(other) and other.physical_start < address + length for other in self.ranges)
