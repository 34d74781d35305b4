"""MMRAM descriptors: where management-mode memory lies and in which state.

Sources: PI 1.8 vol. 4 §5 (EFI_MMRAM_DESCRIPTOR); docs/reference/guids.md §9, memory.md §2.

API: :class:`MmramState`, :class:`MmramDescriptor`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag

from mmsupervisor.pi.reader import Reader


class MmramState(IntFlag):
    """Bits of RegionState."""

    OPEN = 0x1
    CLOSED = 0x2
    LOCKED = 0x4
    CACHEABLE = 0x8
    ALLOCATED = 0x10
    NEEDS_TESTING = 0x20
    NEEDS_ECC_INITIALIZATION = 0x40


NOT_FREE = MmramState.ALLOCATED | MmramState.NEEDS_TESTING | MmramState.NEEDS_ECC_INITIALIZATION
"""A range with any of these bits does not become heap (docs/reference/memory.md §2)."""

_LAYOUT = struct.Struct("<4Q")


@dataclass(frozen=True, slots=True)
class MmramDescriptor:
    """EFI_MMRAM_DESCRIPTOR, 32 bytes: four u64 in the order of the attributes.

    Attributes:
        physical_start: First byte as the memory controller sees it.
        cpu_start: First byte as the processor sees it.
        physical_size: Length in bytes.
        region_state: Bits of :class:`MmramState`; unknown bits are kept.
    """

    SIZE = _LAYOUT.size

    physical_start: int
    cpu_start: int
    physical_size: int
    region_state: int

    @property
    def is_free(self) -> bool:
        """Whether the range may be used as heap."""
        return not self.region_state & NOT_FREE

    def pack(self) -> bytes:
        """The 32 bytes."""
        return _LAYOUT.pack(self.physical_start, self.cpu_start, self.physical_size, self.region_state)

    @classmethod
    def parse(cls, reader: Reader, offset: int = 0) -> MmramDescriptor:
        """Read one descriptor.

        Raises:
            FormatError: fewer than 32 bytes are left.
        """
        return cls(*reader.unpack(_LAYOUT, offset, "EFI_MMRAM_DESCRIPTOR"))
