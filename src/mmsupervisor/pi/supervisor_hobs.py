"""Bodies of the GUID extension HOBs that the MM Supervisor reads.

Sources: docs/reference/boot-flow.md §3 and §3.1, communicate.md §2, unblock.md §1, isolation-policy.md §14.

API: a frozen dataclass for each body with ``pack()`` and ``parse(reader)``; :data:`HOB_BODIES` says which GUID has
which; :func:`parse_hob_body` reads the one that belongs to a :class:`~mmsupervisor.pi.hob.GuidHob`, and
:func:`hob_for` wraps a body. A HOB's data are padded to a multiple of 8, so bytes after a body are allowed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, Protocol, Self

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.memory_types import MemoryDescriptor
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.reader import Reader


class HobBody(Protocol):
    """What every body can do."""

    def pack(self) -> bytes:
        """The data of the HOB, without padding at the end."""

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data of a HOB.

        Raises:
            FormatError: the data are cut, or contradict themselves.
        """


@dataclass(frozen=True, slots=True)
class MmramBlock:
    """MMRAM ranges: u32 count @0, 4 padding, then EFI_MMRAM_DESCRIPTOR of 32 bytes each @8.

    Attributes:
        descriptors: The ranges in order.
    """

    descriptors: tuple[MmramDescriptor, ...]

    def pack(self) -> bytes:
        """The data."""
        return struct.pack("<I4x", len(self.descriptors)) + b"".join(item.pack() for item in self.descriptors)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data.

        Raises:
            FormatError: the count needs more bytes than there are.
        """
        count = reader.u32(0, "number of MMRAM ranges")
        reader.view(8, count * MmramDescriptor.SIZE, f"{count} MMRAM ranges")
        return cls(tuple(MmramDescriptor.parse(reader, 8 + MmramDescriptor.SIZE * index) for index in range(count)))


class ProcessorStatus(IntFlag):
    """StatusFlag of EFI_PROCESSOR_INFORMATION."""

    BSP = 1
    ENABLED = 2
    HEALTHY = 4


@dataclass(frozen=True, slots=True)
class ProcessorEntry:
    """One processor of :class:`MpInformation2`, 0x38 bytes.

    EFI_PROCESSOR_INFORMATION: u64 ProcessorId @0, u32 StatusFlag @8, u32 package, core, thread @0xC; six u32 of the
    extended location @0x18; then u8 CoreType @0x30 and 7 reserved.

    Attributes:
        processor_id: APIC id.
        status: Bits of :class:`ProcessorStatus`.
        location: Package, core, thread.
        location_2: Package, module, tile, die, core, thread.
        core_type: Type of the core in a hybrid processor, else 0.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<QI3I6IB7x")

    processor_id: int
    status: int
    location: tuple[int, int, int] = (0, 0, 0)
    location_2: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    core_type: int = 0

    def pack(self) -> bytes:
        """The 0x38 bytes."""
        return self.LAYOUT.pack(self.processor_id, self.status, *self.location, *self.location_2, self.core_type)

    @classmethod
    def parse(cls, reader: Reader, offset: int = 0) -> Self:
        """Read one entry.

        Raises:
            FormatError: fewer than 0x38 bytes are left.
        """
        processor, status, *rest = reader.unpack(cls.LAYOUT, offset, "processor entry")
        package, core, thread, *wide, core_type = rest
        return cls(processor, status, (package, core, thread), (*wide[:5], wide[5]), core_type)


@dataclass(frozen=True, slots=True)
class MpInformation2:
    """Processors, one entry each.

    u16 number @0, u16 entry size @2, u8 version @4, 3 reserved, u64 index of the first @8, entries @0x10. Several
    of these HOBs chain; they may come in any order.

    Attributes:
        entries: The processors.
        processor_index: Index of the first of them.
        entry_size: Distance of entries in bytes, 0x38 or more; what a newer version adds is not kept.
        version: 1 in current edk2; not looked at by the core.
    """

    ENTRIES: ClassVar[int] = 0x10

    entries: tuple[ProcessorEntry, ...]
    processor_index: int = 0
    entry_size: int = 0x38
    version: int = 1

    def pack(self) -> bytes:
        """The data."""
        header = struct.pack("<HHB3xQ", len(self.entries), self.entry_size, self.version, self.processor_index)
        return header + b"".join(entry.pack().ljust(self.entry_size, b"\0") for entry in self.entries)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data.

        Raises:
            FormatError: the entries are cut, or shorter than 0x38 bytes.
        """
        count = reader.u16(0, "NumberOfProcessors")
        size = reader.u16(2, "EntrySize")
        if count and size < ProcessorEntry.LAYOUT.size:
            raise reader.error(2, f"EntrySize {size:#x} is smaller than {ProcessorEntry.LAYOUT.size:#x}")
        reader.view(cls.ENTRIES, count * size, f"{count} processor entries")
        entries = tuple(ProcessorEntry.parse(reader, cls.ENTRIES + size * index) for index in range(count))
        return cls(entries, reader.u64(8, "ProcessorIndex"), size, reader.u8(4, "version"))


@dataclass(frozen=True, slots=True)
class SmmBase:
    """Relocated SMBASE values: u32 index of the first processor @0, u32 number @4, u64 each @8.

    Attributes:
        sm_bases: SMBASE by processor.
        processor_index: Index of the first of them.
    """

    sm_bases: tuple[int, ...]
    processor_index: int = 0

    def pack(self) -> bytes:
        """The data."""
        return struct.pack(f"<II{len(self.sm_bases)}Q", self.processor_index, len(self.sm_bases), *self.sm_bases)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data.

        Raises:
            FormatError: the number needs more bytes than there are.
        """
        count = reader.u32(4, "NumberOfProcessors")
        reader.view(8, count * 8, f"{count} SMBASE values")
        bases = tuple(reader.u64(8 + 8 * index, "SMBASE") for index in range(count))
        return cls(bases, reader.u32(0, "ProcessorIndex"))


@dataclass(frozen=True, slots=True)
class SupervisorCommBuffer:
    """The supervisor's communication buffer, 32 bytes: four u64 in the order type, address, pages, status.

    Attributes:
        address: Physical address of the buffer.
        pages: Its length in pages.
        status: Address of its MM_COMM_BUFFER_STATUS.
        type: 0 supervisor, the only one accepted; 1 user (older generations).
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<4Q")

    address: int
    pages: int
    status: int
    type: int = 0

    def pack(self) -> bytes:
        """The 32 bytes."""
        return self.LAYOUT.pack(self.type, self.address, self.pages, self.status)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data.

        Raises:
            FormatError: fewer than 32 bytes.
        """
        kind, address, pages, status = reader.unpack(cls.LAYOUT, 0, "supervisor communication buffer")
        return cls(address, pages, status, kind)


@dataclass(frozen=True, slots=True)
class UserCommBuffer:
    """The user communication buffer (MM_COMM_BUFFER), 24 bytes: three u64 in this order.

    Attributes:
        address: Physical address of the buffer.
        pages: Its length in pages.
        status: Address of its MM_COMM_BUFFER_STATUS.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<3Q")

    address: int
    pages: int
    status: int

    def pack(self) -> bytes:
        """The 24 bytes."""
        return self.LAYOUT.pack(self.address, self.pages, self.status)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data.

        Raises:
            FormatError: fewer than 24 bytes.
        """
        return cls(*reader.unpack(cls.LAYOUT, 0, "user communication buffer"))


@dataclass(frozen=True, slots=True)
class UnblockRegion:
    """A region to unblock, 56 bytes: EFI_MEMORY_DESCRIPTOR @0, GUID of who asks @0x28. Also request 1's parameters.

    Attributes:
        memory: The region; attribute SP asks for a supervisor page.
        identifier: FILE_GUID of who asks.
    """

    SIZE: ClassVar[int] = MemoryDescriptor.SIZE + 16

    memory: MemoryDescriptor
    identifier: Guid

    def pack(self) -> bytes:
        """The 56 bytes."""
        return self.memory.pack() + self.identifier.raw

    @classmethod
    def parse(cls, reader: Reader, offset: int = 0) -> Self:
        """Read one block.

        Raises:
            FormatError: fewer than 56 bytes are left.
        """
        memory = MemoryDescriptor.parse(reader, offset)
        return cls(memory, reader.guid(offset + MemoryDescriptor.SIZE, "IdentifierGuid"))


class ProtectedRegionType(IntEnum):
    """Kinds of protected regions."""

    IOMMU = 0
    SECURE_BIOS = 1


@dataclass(frozen=True, slots=True)
class ProtectedRegion:
    """A protected region, 24 bytes: three u64 in the order type, address, pages.

    Attributes:
        type: :class:`ProtectedRegionType` as a number; only IOMMU is supported.
        address: First byte.
        pages: Length in pages.
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
        return cls(*reader.unpack(cls.LAYOUT, 0, "protected region"))


class GuardFlags(IntFlag):
    """Guard bits of :class:`MemoryProtectionSettings`."""

    PAGE_GUARD = 1
    POOL_GUARD = 2
    GUARD_AT_HEAD = 4


@dataclass(frozen=True, slots=True)
class MemoryProtectionSettings:
    """Heap guards and null-pointer detection, 12 bytes.

    u8 version @0, u8 null pointer detection @1, u8 guard bits @2, 1 padding, u32 pool types @4, u32 page types @8.

    Attributes:
        null_pointer_detection: As found.
        guards: Bits of :class:`GuardFlags`.
        pool_types: Bit n: pools of EFI memory type n are guarded.
        page_types: Bit n: pages of EFI memory type n are guarded.
        version: 2.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<BBBxII")

    null_pointer_detection: int = 0
    guards: int = 0
    pool_types: int = 0
    page_types: int = 0
    version: int = 2

    def pack(self) -> bytes:
        """The 12 bytes."""
        return self.LAYOUT.pack(
            self.version, self.null_pointer_detection, self.guards, self.pool_types, self.page_types
        )

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the data.

        Raises:
            FormatError: fewer than 12 bytes.
        """
        version, null, guards, pools, pages = reader.unpack(cls.LAYOUT, 0, "memory protection settings")
        return cls(null, guards, pools, pages, version)


HOB_BODIES: dict[Guid, type[HobBody]] = {
    known_guid("gEfiMmPeiMmramMemoryReserveGuid"): MmramBlock,
    known_guid("gEfiSmmSmramMemoryGuid"): MmramBlock,
    known_guid("gMpInformation2HobGuid"): MpInformation2,
    known_guid("gSmmBaseHobGuid"): SmmBase,
    known_guid("gMmCommonRegionHobGuid"): SupervisorCommBuffer,
    known_guid("gMmCommBufferHobGuid"): UserCommBuffer,
    known_guid("gMmSupvUnblockRegionHobGuid"): UnblockRegion,
    known_guid("gMmProtectedRegionHobGuid"): ProtectedRegion,
    known_guid("gMmMemoryProtectionSettingsGuid"): MemoryProtectionSettings,
}
"""Which GUID has which body."""


def parse_hob_body(hob: GuidHob, file: str, offset: int = 0) -> HobBody | None:
    """Read the body that belongs to a HOB's GUID.

    Args:
        hob: The HOB.
        file: Name for messages.
        offset: Where the HOB's data stand in it, for messages.

    Returns:
        The body, or None for a GUID that is not in :data:`HOB_BODIES`.

    Raises:
        FormatError: the data do not make that body.
    """
    body = HOB_BODIES.get(hob.name)
    return None if body is None else body.parse(Reader(hob.data, file, offset))


def hob_for(body: HobBody, name: Guid | None = None) -> GuidHob:
    """Wrap a body in a HOB.

    Args:
        body: The body.
        name: Its GUID; None takes the only or first one of the table.

    Raises:
        KeyError: the body's class has no GUID in the table, or ``name`` is for another class.
    """
    names = [guid for guid, kind in HOB_BODIES.items() if kind is type(body)]
    if not names or (name is not None and name not in names):
        raise KeyError(f"{type(body).__name__} does not go by {name}")
    return GuidHob(names[0] if name is None else name, body.pack())
