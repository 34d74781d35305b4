"""Where pointers of runtime drivers lead, before and after SetVirtualAddressMap (UEFI 2.10 §8.4)."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.pi.memory_types import PAGE_SIZE, MemoryType

_RUNTIME = (MemoryType.RUNTIME_SERVICES_CODE, MemoryType.RUNTIME_SERVICES_DATA)


@dataclass(frozen=True, slots=True)
class _Region:
    physical: int
    size: int
    virtual: int


class RuntimeMap:
    """Identity, until an operating system gives runtime memory virtual addresses."""

    def __init__(self, memory_map: UefiMemoryMap) -> None:
        """Begin with identity."""
        self._memory_map = memory_map
        self._regions: tuple[_Region, ...] = ()
        self._in_force = False

    def plan(self, offset: int) -> None:
        """Give each runtime region the virtual address ``offset`` above its physical one; not in force yet."""
        self._regions = tuple(
            _Region(item.start, item.pages * PAGE_SIZE, item.start + offset)
            for item in self._memory_map.allocations
            if item.type in _RUNTIME
        )

    def put_in_force(self) -> None:
        """Switch to the planned addresses; identity ends."""
        self._in_force = True

    def convert_pointer(self, address: int) -> int | None:
        """Return the planned address of a physical one, or None where there is no runtime memory."""
        for region in self._regions:
            if region.physical <= address < region.physical + region.size:
                return region.virtual + address - region.physical
        return None

    def physical(self, pointer: int) -> int:
        """Return where a pointer leads now; one outside all regions leads where it did before."""
        if self._in_force:
            for region in self._regions:
                if region.virtual <= pointer < region.virtual + region.size:
                    return region.physical + pointer - region.virtual
        return pointer
