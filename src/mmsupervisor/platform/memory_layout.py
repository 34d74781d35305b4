"""Where memory lies: from the description's few numbers to banks, MMRAM ranges and resource descriptors.

From low to high: low memory, the VGA hole, normal memory with MMRAM at its top (and further ranges of MMRAM in it),
MMIO, normal memory above 4 GiB. PEI and DXE of this project allocate below 4 GiB only.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmsupervisor.devices.empty_bus import EmptyBus
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, PhysicalMemory
from mmsupervisor.pi.hob import ResourceHob, ResourceType
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.platform.description import MIB, AddressRange, PlatformDescription

ABOVE_1_MIB = 0x10_0000
"""Where normal memory begins."""

PEI_END = 64 * MIB
"""Below this address PEI keeps volumes; MMRAM lies above."""

GIB_4 = 1 << 32

TILE = 0x2000
"""Distance of the SMBASEs of two CPUs, in bytes."""

_FIRST_TILE = 0x8000
_ATTRIBUTES = 0x3C07
_STATE = MmramState.CLOSED | MmramState.CACHEABLE


class MemoryLayout:
    """The memory of a platform.

    Attributes:
        normal: Ranges of normal memory below 4 GiB, by address.
        mmram: MMRAM, in the order of the HOB: the range with the SMBASEs first.
    """

    def __init__(self, description: PlatformDescription) -> None:
        """Lay memory out."""
        self._description = description
        self.mmram = (AddressRange(description.mmram_base, description.mmram_size), *description.more_mmram)
        self.normal = (
            AddressRange(0, description.low_memory),
            *_without(AddressRange(ABOVE_1_MIB, description.memory_top - ABOVE_1_MIB), self.mmram),
        )

    @property
    def _above(self) -> tuple[AddressRange, ...]:
        size = self._description.above_4g
        return (AddressRange(GIB_4, size),) if size else ()

    def add_memory(self, memory: PhysicalMemory) -> None:
        """Put all memory into the machine."""
        names = ("low memory", *["memory"] * (len(self.normal) - 1))
        for name, item in zip(names, self.normal, strict=True):
            memory.add_ram(item.start, item.size, name)
        for item in self.mmram:
            memory.add_ram(item.start, item.size, "MMRAM")
        for item in self._above:
            memory.add_ram(item.start, item.size, "memory above 4 GiB")

    def add_empty_bus(self, memory: PhysicalMemory) -> None:
        """Put an empty bus wherever a range is reported and no device answers."""
        reported = [(item.start, item.size, item.name) for item in self._description.ranges]
        reported += [(item.start, item.size, "IOMMU registers") for item in self._description.protected]
        for start, size, name in reported:
            for piece in memory.slice(start, size):
                if piece.value.bank is None:
                    memory.add_device(piece.start, piece.size, name, EmptyBus())

    def free_ranges(self) -> tuple[tuple[int, int], ...]:
        """What PEI and DXE may allocate, each first address and bytes: page 0 is nobody's."""
        low, *others = self.normal
        return ((PAGE_SIZE, low.size - PAGE_SIZE), *((item.start, item.size) for item in others))

    def chipset_ranges(self) -> tuple[MmramDescriptor, ...]:
        """MMRAM as MM Access knows it."""
        return tuple(_descriptor(item) for item in self.mmram)

    def hob_ranges(self) -> tuple[MmramDescriptor, ...]:
        """MMRAM as PEI leaves it: the pages of the relocated SMBASEs are taken."""
        first, *others = self.mmram
        tiles = tiles_size(self._description.cpus)
        return (
            _descriptor(AddressRange(first.start, tiles), MmramState.ALLOCATED),
            _descriptor(AddressRange(first.start + tiles, first.size - tiles)),
            *(_descriptor(item) for item in others),
        )

    def resources(self) -> list[ResourceHob]:
        """What PEI reports by resource descriptors."""
        found = [
            *((ResourceType.SYSTEM_MEMORY, item) for item in self.normal),
            *((ResourceType.MEMORY_RESERVED, item) for item in self.mmram),
            *((ResourceType.SYSTEM_MEMORY, item) for item in self._above),
            *((item.type, AddressRange(item.start, item.size)) for item in self._description.ranges),
        ]
        return [ResourceHob(kind, item.start, item.size, _ATTRIBUTES) for kind, item in found]


def tiles_size(cpus: int) -> int:
    """Bytes of MMRAM that the relocated SMBASEs of so many CPUs take."""
    return (_FIRST_TILE + TILE * (cpus - 1) + PAGE_MASK) & ~PAGE_MASK


def _descriptor(item: AddressRange, more: int = 0) -> MmramDescriptor:
    return MmramDescriptor(item.start, item.start, item.size, _STATE | more)


def _without(whole: AddressRange, holes: Iterable[AddressRange]) -> list[AddressRange]:
    """What is left of a range, by address."""
    left = []
    position = whole.start
    for hole in sorted(holes, key=lambda item: item.start):
        if hole.start > position:
            left.append(AddressRange(position, hole.start - position))
        position = hole.end
    if whole.end > position:
        left.append(AddressRange(position, whole.end - position))
    return left
