"""PiSmmIpl's MMRAM table, and what it cuts from it (docs/reference/dxe-launch.md §2 steps 4, 6, 7, 11).

Reserved regions and fixed-address loading would add slots to the table. Neither happens here: with the supervisor
nobody publishes gEfiSmmConfigurationProtocolGuid in DXE, and the PCD for fixed addresses is taken as off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmsupervisor.ipl.interfaces import CoreImage
from mmsupervisor.ipl.steps import choose_range
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.memory_types import align_up, pages_for
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState

_EMPTY = MmramDescriptor(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Window:
    """A range of addresses.

    Attributes:
        start: First address.
        size: Bytes.
    """

    start: int
    size: int

    @property
    def end(self) -> int:
        """Address after the last one."""
        return self.start + self.size


class RangeTable:
    """All MMRAM ranges as SMM Access 2 reports them, and one zeroed slot at the end for the core.

    Attributes:
        ranges: The table.
        chosen: Index of the range that the core goes into, or None.
    """

    def __init__(self, capabilities: tuple[MmramDescriptor, ...]) -> None:
        """Copy the capabilities, in their order."""
        self.ranges = [*capabilities, _EMPTY]
        self.chosen = choose_range(capabilities)

    def pack(self) -> bytes:
        """The table's bytes."""
        return b"".join(item.pack() for item in self.ranges)

    def window(self) -> Window:
        """Return the chosen range joined with every adjacent one: what cacheability is set for.

        Raises:
            ValueError: no range was chosen.
        """
        if self.chosen is None:
            raise ValueError("no MMRAM range was chosen")
        region = self.ranges[self.chosen]
        start, end = region.cpu_start, region.cpu_start + region.physical_size
        grown = True
        while grown:
            grown = False
            for other in self.ranges[:-1]:
                first, last = other.cpu_start, other.cpu_start + other.physical_size
                if last == start and first < last:
                    start, grown = first, True
                elif first == end and first < last:
                    end, grown = last, True
        return Window(start, end - start)

    def carve(self, core: CoreImage) -> Window | None:
        """Cut the core's pages from the top of the chosen range into the last slot.

        Returns:
            The pages, or None where the range is too small: the reference's ASSERT, after which its size wraps.
        """
        if self.chosen is None:
            return None
        region = self.ranges[self.chosen]
        size = pages_for(core.size + core.alignment) * PAGE_SIZE
        if region.physical_size < size:
            return None
        rest = region.physical_size - size
        self.ranges[self.chosen] = replace(region, physical_size=rest)
        state = region.region_state | MmramState.ALLOCATED
        self.ranges[-1] = MmramDescriptor(region.physical_start + rest, region.cpu_start + rest, size, state)
        return Window(region.cpu_start + rest, size)


def image_base(pages: Window, core: CoreImage) -> int:
    """Return where in its pages the core's image lies."""
    return align_up(pages.start, core.alignment)
