"""The records of a HOB list, one class for each type.

Sources: PI 1.8 vol. 3 §5 (all layouts); docs/reference/boot-flow.md §3.1. Each record begins with the generic
header: u16 type, u16 length with this header, u32 zero. Offsets in the tables below count from the header.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol, Self

from mmsupervisor.pi.guid import ZERO_GUID, Guid
from mmsupervisor.pi.guid_names import known_guid

HEADER_SIZE = 8
"""Size of the generic header, in bytes."""

ALIGNMENT = 8
"""Every record's length is a multiple of this."""

MAX_LENGTH = 0xFFF8
"""Largest length of a record: 16 bits, and a multiple of 8."""

MODULE_ALLOCATION_NAME = known_guid("gEfiHobMemoryAllocModuleGuid")
"""Name that makes a memory allocation record the longer one of a module."""

_HEADER = struct.Struct("<HHI")


class HobType(IntEnum):
    """Types of records (PI 1.8 vol. 3 §5.1; 0x0D is newer edk2 and mu_basecore)."""

    HANDOFF = 0x0001
    MEMORY_ALLOCATION = 0x0002
    RESOURCE_DESCRIPTOR = 0x0003
    GUID_EXTENSION = 0x0004
    FV = 0x0005
    CPU = 0x0006
    MEMORY_POOL = 0x0007
    FV2 = 0x0009
    LOAD_PEIM = 0x000A
    UEFI_CAPSULE = 0x000B
    FV3 = 0x000C
    RESOURCE_DESCRIPTOR_2 = 0x000D
    UNUSED = 0xFFFE
    END_OF_HOB_LIST = 0xFFFF


class ResourceType(IntEnum):
    """EFI_RESOURCE_TYPE."""

    SYSTEM_MEMORY = 0
    MEMORY_MAPPED_IO = 1
    IO = 2
    FIRMWARE_DEVICE = 3
    MEMORY_MAPPED_IO_PORT = 4
    MEMORY_RESERVED = 5
    IO_RESERVED = 6
    MEMORY_UNACCEPTED = 7


class HobRecord(Protocol):
    """What every record can do."""

    @property
    def type(self) -> int:
        """Type number."""

    def pack(self) -> bytes:
        """Header and body; the length is a multiple of 8."""


def _packed(kind: int, body: bytes) -> bytes:
    length = HEADER_SIZE + len(body)
    padded = (length + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    if padded > MAX_LENGTH:
        raise ValueError(f"a HOB of {length:#x} bytes is longer than {MAX_LENGTH:#x}")
    return _HEADER.pack(kind, padded, 0) + body.ljust(padded - HEADER_SIZE, b"\0")


class _OneType:
    """A record whose class has one type number."""

    __slots__ = ()
    TYPE: ClassVar[int]

    @property
    def type(self) -> int:
        """Type number."""
        return self.TYPE


@dataclass(frozen=True, slots=True)
class HandoffHob(_OneType):
    """PHIT, the first record, 0x38 bytes: u32 version @8, u32 boot mode @0xC, then five u64 in this order.

    Attributes:
        memory_top: End of the memory PEI works in.
        memory_bottom: Its start.
        free_memory_top: End of what is still free.
        free_memory_bottom: Its start.
        end_of_hob_list: Address of the end record.
        boot_mode: EFI_BOOT_MODE.
        version: 9.
    """

    TYPE: ClassVar[int] = HobType.HANDOFF
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<IIQQQQQ")

    memory_top: int = 0
    memory_bottom: int = 0
    free_memory_top: int = 0
    free_memory_bottom: int = 0
    end_of_hob_list: int = 0
    boot_mode: int = 0
    version: int = 9

    def pack(self) -> bytes:
        """The 0x38 bytes."""
        addresses = (self.memory_top, self.memory_bottom, self.free_memory_top, self.free_memory_bottom)
        return _packed(self.TYPE, self.LAYOUT.pack(self.version, self.boot_mode, *addresses, self.end_of_hob_list))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 0x30 bytes after the header."""
        version, mode, top, bottom, free_top, free_bottom, end = cls.LAYOUT.unpack(body)
        return cls(top, bottom, free_top, free_bottom, end, mode, version)


@dataclass(frozen=True, slots=True)
class MemoryAllocationHob(_OneType):
    """Memory that PEI allocated, 0x30 bytes: GUID @8, u64 base @0x18, u64 length @0x20, u32 type @0x28, 4 reserved.

    Attributes:
        name: What it is (stack, BSP store), or zero.
        base: First byte.
        length: In bytes.
        memory_type: :class:`~mmsupervisor.pi.memory_types.MemoryType` as a number.
        reserved: The four bytes at the end as found.
    """

    TYPE: ClassVar[int] = HobType.MEMORY_ALLOCATION
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<16sQQI4s")

    name: Guid
    base: int
    length: int
    memory_type: int
    reserved: bytes = bytes(4)

    def pack(self) -> bytes:
        """The 0x30 bytes."""
        fields = (self.name.raw, self.base, self.length, self.memory_type, self.reserved)
        return _packed(self.TYPE, self.LAYOUT.pack(*fields))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 0x28 bytes after the header."""
        name, *rest = cls.LAYOUT.unpack(body)
        return cls(Guid(name), *rest)


@dataclass(frozen=True, slots=True)
class ModuleAllocationHob(_OneType):
    """Memory of a loaded module, 0x48 bytes: as above, then GUID ModuleName @0x30 and u64 entry point @0x40.

    Attributes:
        base: First byte.
        length: In bytes.
        module_name: FILE_GUID of the module; the core's is ``gMmSupervisorCoreGuid``.
        entry_point: Address of its entry point.
        memory_type: :class:`~mmsupervisor.pi.memory_types.MemoryType` as a number.
        reserved: The four bytes at 0x2C as found.
    """

    TYPE: ClassVar[int] = HobType.MEMORY_ALLOCATION
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<16sQQI4s16sQ")

    base: int
    length: int
    module_name: Guid
    entry_point: int
    memory_type: int
    reserved: bytes = bytes(4)

    def pack(self) -> bytes:
        """The 0x48 bytes."""
        region = (MODULE_ALLOCATION_NAME.raw, self.base, self.length, self.memory_type, self.reserved)
        return _packed(self.TYPE, self.LAYOUT.pack(*region, self.module_name.raw, self.entry_point))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 0x40 bytes after the header."""
        _, base, length, kind, reserved, module, entry = cls.LAYOUT.unpack(body)
        return cls(base, length, Guid(module), entry, kind, reserved)


@dataclass(frozen=True, slots=True)
class ResourceHob:
    """A range of addresses, 0x30 bytes; version 2 adds eight.

    GUID Owner @8, u32 resource type @0x18, u32 attributes @0x1C, u64 start @0x20, u64 length @0x28; version 2: u64
    memory attributes @0x30.

    Attributes:
        resource_type: :class:`ResourceType` as a number.
        start: First byte.
        length: In bytes.
        attributes: EFI_RESOURCE_ATTRIBUTE bits.
        owner: Who it belongs to, or zero.
        memory_attributes: EFI_MEMORY_* bits of version 2; None makes it version 1.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<16sIIQQ")

    resource_type: int
    start: int
    length: int
    attributes: int = 0
    owner: Guid = ZERO_GUID
    memory_attributes: int | None = None

    @property
    def type(self) -> int:
        """Type number: 3, or 0x0D for version 2."""
        return HobType.RESOURCE_DESCRIPTOR if self.memory_attributes is None else HobType.RESOURCE_DESCRIPTOR_2

    def pack(self) -> bytes:
        """The 0x30 or 0x38 bytes."""
        body = self.LAYOUT.pack(self.owner.raw, self.resource_type, self.attributes, self.start, self.length)
        if self.memory_attributes is not None:
            body += struct.pack("<Q", self.memory_attributes)
        return _packed(self.type, body)

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 0x28 or 0x30 bytes after the header."""
        owner, kind, attributes, start, length = cls.LAYOUT.unpack(body[: cls.LAYOUT.size])
        rest = body[cls.LAYOUT.size :]
        return cls(kind, start, length, attributes, Guid(owner), int.from_bytes(rest, "little") if rest else None)


@dataclass(frozen=True, slots=True)
class GuidHob(_OneType):
    """A GUID extension: GUID @8, data @0x18. What the data mean: :mod:`mmsupervisor.pi.supervisor_hobs`.

    Attributes:
        name: Says what the data are.
        data: The data; read back, with the padding to a multiple of 8.
    """

    TYPE: ClassVar[int] = HobType.GUID_EXTENSION

    name: Guid
    data: bytes

    def pack(self) -> bytes:
        """Header, GUID, data, zeros up to a multiple of 8.

        Raises:
            ValueError: the data do not fit one record.
        """
        return _packed(self.TYPE, self.name.raw + self.data)

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read GUID and data after the header."""
        return cls(Guid(body[:16]), body[16:])


@dataclass(frozen=True, slots=True)
class VolumeHob(_OneType):
    """A firmware volume, 0x18 bytes: u64 base @8, u64 length @0x10. The only kind the MM core looks at.

    Attributes:
        base: Address of the volume.
        length: In bytes.
    """

    TYPE: ClassVar[int] = HobType.FV
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<QQ")

    base: int
    length: int

    def pack(self) -> bytes:
        """The 0x18 bytes."""
        return _packed(self.TYPE, self.LAYOUT.pack(self.base, self.length))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 0x10 bytes after the header."""
        return cls(*cls.LAYOUT.unpack(body))


@dataclass(frozen=True, slots=True)
class Volume2Hob(_OneType):
    """A volume taken out of a file, 0x38 bytes: as FV, then GUID FvName @0x18, GUID FileName @0x28.

    Attributes:
        base: Address of the volume.
        length: In bytes.
        fv_name: Name of the volume the file is in.
        file_name: Name of the file.
    """

    TYPE: ClassVar[int] = HobType.FV2
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<QQ16s16s")

    base: int
    length: int
    fv_name: Guid
    file_name: Guid

    def pack(self) -> bytes:
        """The 0x38 bytes."""
        return _packed(self.TYPE, self.LAYOUT.pack(self.base, self.length, self.fv_name.raw, self.file_name.raw))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 0x30 bytes after the header."""
        base, length, volume, file = cls.LAYOUT.unpack(body)
        return cls(base, length, Guid(volume), Guid(file))


@dataclass(frozen=True, slots=True)
class Volume3Hob(_OneType):
    """A volume with its authentication, 0x40 bytes.

    u64 base @8, u64 length @0x10, u32 authentication status @0x18, u8 extracted @0x1C, 3 padding, GUID FvName @0x20,
    GUID FileName @0x30.

    Attributes:
        base: Address of the volume.
        length: In bytes.
        authentication_status: As PI vol. 3 defines it.
        extracted: 1 if the volume was taken out of a file.
        fv_name: Name of the volume the file is in.
        file_name: Name of the file.
        padding: The three bytes at 0x1D as found.
    """

    TYPE: ClassVar[int] = HobType.FV3
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<QQIB3s16s16s")

    base: int
    length: int
    authentication_status: int
    extracted: int
    fv_name: Guid = ZERO_GUID
    file_name: Guid = ZERO_GUID
    padding: bytes = bytes(3)

    def pack(self) -> bytes:
        """The 0x40 bytes."""
        status = (self.authentication_status, self.extracted, self.padding)
        body = self.LAYOUT.pack(self.base, self.length, *status, self.fv_name.raw, self.file_name.raw)
        return _packed(self.TYPE, body)

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 0x38 bytes after the header."""
        base, length, status, extracted, padding, volume, file = cls.LAYOUT.unpack(body)
        return cls(base, length, status, extracted, Guid(volume), Guid(file), padding)


@dataclass(frozen=True, slots=True)
class CpuHob(_OneType):
    """Address widths, 0x10 bytes: u8 memory bits @8, u8 I/O bits @9, 6 reserved.

    Attributes:
        memory_bits: Width of physical addresses.
        io_bits: Width of port numbers.
        reserved: The six bytes at the end as found.
    """

    TYPE: ClassVar[int] = HobType.CPU
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<BB6s")

    memory_bits: int
    io_bits: int = 16
    reserved: bytes = bytes(6)

    def pack(self) -> bytes:
        """The 0x10 bytes."""
        return _packed(self.TYPE, self.LAYOUT.pack(self.memory_bits, self.io_bits, self.reserved))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 8 bytes after the header."""
        return cls(*cls.LAYOUT.unpack(body))


@dataclass(frozen=True, slots=True)
class CapsuleHob(_OneType):
    """A capsule in memory, 0x18 bytes: u64 base @8, u64 length @0x10.

    Attributes:
        base: Address of the capsule.
        length: In bytes.
    """

    TYPE: ClassVar[int] = HobType.UEFI_CAPSULE
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<QQ")

    base: int
    length: int

    def pack(self) -> bytes:
        """The 0x18 bytes."""
        return _packed(self.TYPE, self.LAYOUT.pack(self.base, self.length))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the 0x10 bytes after the header."""
        return cls(*cls.LAYOUT.unpack(body))


@dataclass(frozen=True, slots=True)
class OpaqueHob:
    """A record that is kept as bytes: pool memory, unused space, an unknown type, or a known one of odd length.

    Attributes:
        type_number: Type.
        body: Everything after the header, a multiple of 8 bytes.
    """

    type_number: int
    body: bytes

    @property
    def type(self) -> int:
        """Type number."""
        return self.type_number

    @property
    def type_name(self) -> str:
        """Name of the type; an unknown one is given in hexadecimal."""
        try:
            return HobType(self.type_number).name
        except ValueError:
            return f"type {self.type_number:#06x}"

    def pack(self) -> bytes:
        """Header and body."""
        return _packed(self.type_number, self.body)


def end_record() -> bytes:
    """The eight bytes of the record that ends a list."""
    return _HEADER.pack(HobType.END_OF_HOB_LIST, HEADER_SIZE, 0)
