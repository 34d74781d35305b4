"""The MMRAM ranges, and the question whether a buffer lies in them (docs/reference/memory.md §2, §8.1)."""

from __future__ import annotations

from dataclasses import dataclass

ALLOCATED = 0x10
NEEDS_TESTING = 0x20
NEEDS_ECC_INITIALIZATION = 0x40
UNUSABLE = ALLOCATED | NEEDS_TESTING | NEEDS_ECC_INITIALIZATION
"""Region states that keep a range out of the free heap."""


@dataclass(frozen=True, slots=True)
class MmramRange:
    """One MMRAM range.

    Attributes:
        start: First physical address.
        size: Bytes.
        state: PI RegionState bits.
    """

    start: int
    size: int
    state: int

    @property
    def end(self) -> int:
        """Address after the last one."""
        return self.start + self.size

    @property
    def usable(self) -> bool:
        """Whether the range may be given to the heap."""
        return not self.state & UNUSABLE


class Mmram:
    """All MMRAM ranges, in the order of the HOB.

    Attributes:
        ranges: The ranges.
    """

    def __init__(self, ranges: tuple[MmramRange, ...]) -> None:
        """Keep the ranges as the HOB gave them."""
        self.ranges = ranges

    def range_at(self, address: int) -> MmramRange | None:
        """Return the first range that holds an address."""
        for candidate in self.ranges:
            if candidate.start <= address < candidate.end:
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
            if length <= found.size:
                return True
            address, length = found.end, length - found.size

    def touches(self, address: int, length: int) -> bool:
        """Whether any byte of a range lies in MMRAM."""
        return any(address < other.end and other.start < address + length for other in self.ranges)
