"""Memory types, page attributes and EFI_MEMORY_DESCRIPTOR.

Sources: UEFI 2.10 §7.2 (types, attributes, descriptor); docs/reference/memory.md §1 for what the MM
Supervisor makes of the attributes; docs/reference/guids.md §9.

API: :class:`MemoryType`, :class:`AllocateType`, :class:`MemoryAttribute`, :class:`MemoryDescriptor`,
:func:`pages_for`, :func:`align_up`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from mmsupervisor.pi.reader import Reader

PAGE_SIZE = 0x1000
"""Size of an EFI page, in bytes."""


class MemoryType(IntEnum):
    """EFI_MEMORY_TYPE."""

    RESERVED = 0
    LOADER_CODE = 1
    LOADER_DATA = 2
    BOOT_SERVICES_CODE = 3
    BOOT_SERVICES_DATA = 4
    RUNTIME_SERVICES_CODE = 5
    RUNTIME_SERVICES_DATA = 6
    CONVENTIONAL = 7
    UNUSABLE = 8
    ACPI_RECLAIM = 9
    ACPI_NVS = 10
    MEMORY_MAPPED_IO = 11
    MEMORY_MAPPED_IO_PORT_SPACE = 12
    PAL_CODE = 13
    PERSISTENT = 14
    UNACCEPTED = 15


class AllocateType(IntEnum):
    """EFI_ALLOCATE_TYPE: how the address of an allocation is chosen."""

    ANY_PAGES = 0
    MAX_ADDRESS = 1
    ADDRESS = 2


class MemoryAttribute(IntFlag):
    """Bits of EFI_MEMORY_DESCRIPTOR.Attribute; RP, XP, RO and SP are also page attributes."""

    UC = 0x1
    WC = 0x2
    WT = 0x4
    WB = 0x8
    UCE = 0x10
    WP = 0x1000
    RP = 0x2000
    XP = 0x4000
    NV = 0x8000
    MORE_RELIABLE = 0x1_0000
    RO = 0x2_0000
    SP = 0x4_0000
    CPU_CRYPTO = 0x8_0000
    HOT_PLUGGABLE = 0x10_0000
    RUNTIME = 0x8000_0000_0000_0000


_DESCRIPTOR = struct.Struct("<I4xQQQQ")


@dataclass(frozen=True, slots=True)
class MemoryDescriptor:
    """EFI_MEMORY_DESCRIPTOR, 40 bytes.

    ======  ====  =====================
    offset  size  field
    ======  ====  =====================
    0x00    4     Type
    0x04    4     padding
    0x08    8     PhysicalStart
    0x10    8     VirtualStart
    0x18    8     NumberOfPages (4 KiB)
    0x20    8     Attribute
    ======  ====  =====================

    Attributes:
        type: Memory type as a number; values outside :class:`MemoryType` are kept.
        physical_start: First byte.
        virtual_start: Virtual address given by the operating system, else zero.
        number_of_pages: Length in pages.
        attribute: Bits of :class:`MemoryAttribute`.
    """

    SIZE = _DESCRIPTOR.size

    type: int
    physical_start: int
    virtual_start: int
    number_of_pages: int
    attribute: int

    def pack(self) -> bytes:
        """The 40 bytes."""
        return _DESCRIPTOR.pack(
            self.type, self.physical_start, self.virtual_start, self.number_of_pages, self.attribute
        )

    @classmethod
    def parse(cls, reader: Reader, offset: int = 0) -> MemoryDescriptor:
        """Read one descriptor; the padding is not looked at.

        Raises:
            FormatError: fewer than 40 bytes are left.
        """
        return cls(*reader.unpack(_DESCRIPTOR, offset, "EFI_MEMORY_DESCRIPTOR"))


def pages_for(size: int) -> int:
    """Number of pages that hold ``size`` bytes."""
    return (size + PAGE_SIZE - 1) // PAGE_SIZE


def align_up(value: int, alignment: int) -> int:
    """Round up with a mask, as firmware does it.

    For an alignment that is not a power of two the result is what the mask gives, not the next multiple.

    Args:
        value: The number to round.
        alignment: At least 1.
    """
    mask = alignment - 1
    return (value + mask) & ~mask
