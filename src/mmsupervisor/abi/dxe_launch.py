"""What the launcher PiSmmIpl and the core of its generation share: two HOBs and one mailbox.

Source: docs/reference/dxe-launch.md §1 and §1.1. Today's generation has
:class:`~mmsupervisor.pi.supervisor_hobs.SupervisorCommBuffer` and status blocks in their place.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import ClassVar, Self

from mmsupervisor.pi.reader import Reader

SIGNATURE = 0x6369_6D6D
"""'mmic', little-endian."""


class RegionType(IntEnum):
    """Whose comm buffer a common-region HOB names."""

    SUPERVISOR = 0
    USER = 1


@dataclass(frozen=True, slots=True)
class CommonRegion:
    """Body of gMmCommonRegionHobGuid in that generation, 24 bytes: three u64 in the order of the attributes.

    Attributes:
        type: A :class:`RegionType`; others are skipped.
        address: Physical address of the buffer.
        pages: Its length in pages.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<3Q")

    type: int
    address: int
    pages: int

    def pack(self) -> bytes:
        """The 24 bytes."""
        return self.LAYOUT.pack(self.type, self.address, self.pages)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data.

        Raises:
            FormatError: fewer than 24 bytes.
        """
        return cls(*reader.unpack(cls.LAYOUT, 0, "common region"))


@dataclass(frozen=True, slots=True)
class CoreData:
    """Body of gMmCoreDataHobGuid, 8 bytes: the physical address of the mailbox, written by the launcher.

    Attributes:
        address: The address, or 0 before.
    """

    address: int = 0

    def pack(self) -> bytes:
        """The 8 bytes."""
        return struct.pack("<Q", self.address)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data.

        Raises:
            FormatError: fewer than 8 bytes.
        """
        return cls(reader.u64(0, "address of MM_CORE_PRIVATE_DATA"))


@dataclass(frozen=True, slots=True)
class CorePrivateData:
    """MM_CORE_PRIVATE_DATA, the mailbox, 0x68 bytes at the start of a page of its own.

    ======  ====  ===========================================
    offset  size  field
    ======  ====  ===========================================
    0x00    8     Signature, 'mmic'
    0x08    8     MmramRangeCount
    0x10    8     MmramRanges, an address
    0x18    8     MmEntryPoint
    0x20    1     MmEntryPointRegistered
    0x21    1     InMm
    0x22    6     padding
    0x28    8     Mmst
    0x30    8     CommunicationBuffer, 0 for no request
    0x38    8     BufferSize
    0x40    8     ReturnStatus
    0x48    8     image base of the core
    0x50    8     image size of the core
    0x58    8     entry point of the core
    0x60    8     StandaloneBfvAddress
    ======  ====  ===========================================

    Attributes:
        signature: As found.
        range_count: Number of MMRAM ranges, the core's own among them.
        ranges: Address of their descriptors.
        entry_point: The core's MmEntryPoint, written by the core.
        entry_point_registered: Whether it is.
        in_mm: Whether MM is running; the core's own copy alone ever says so.
        padding: The padding bytes as found.
        mmst: The core's system table, written by the core.
        communication_buffer: Physical address of the buffer with a message, which tells the channel; or 0.
        buffer_size: Bytes of the message with its header; of the answer on return.
        return_status: EFI_STATUS of the last message.
        image_base: The core's image, written by the launcher.
        image_size: Its SizeOfImage in bytes.
        image_entry: Its entry point.
        boot_volume: Address of the volume that holds the core, written by the core; 0 if it has no HOB.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<4Q2B6s8Q")
    SIZE: ClassVar[int] = LAYOUT.size

    signature: int = SIGNATURE
    range_count: int = 0
    ranges: int = 0
    entry_point: int = 0
    entry_point_registered: int = 0
    in_mm: int = 0
    padding: bytes = bytes(6)
    mmst: int = 0
    communication_buffer: int = 0
    buffer_size: int = 0
    return_status: int = 0
    image_base: int = 0
    image_size: int = 0
    image_entry: int = 0
    boot_volume: int = 0

    def pack(self) -> bytes:
        """The 0x68 bytes."""
        return self.LAYOUT.pack(*(getattr(self, item.name) for item in fields(self)))

    @classmethod
    def parse(cls, reader: Reader, offset: int = 0) -> Self:
        """Read the mailbox; its signature is not judged.

        Raises:
            FormatError: fewer than 0x68 bytes are left.
        """
        return cls(*reader.unpack(cls.LAYOUT, offset, "MM_CORE_PRIVATE_DATA"))


class DispatchResult(IntEnum):
    """The one byte that answers a driver-dispatch message (docs/reference/dxe-launch.md §3)."""

    ERROR = 0
    SUCCESS = 1
    RESTART = 2
