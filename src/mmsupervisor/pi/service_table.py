"""What the tables of services have in common: a header, and fields at fixed offsets.

API: :class:`FieldKind`, :class:`TableField`, :class:`TableLayout`, :class:`TableHeader`. The tables
themselves are in :mod:`mmsupervisor.pi.mmst` and :mod:`mmsupervisor.pi.system_table`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from mmsupervisor.pi.reader import Reader

HEADER_SIZE = 0x18
"""Size of EFI_TABLE_HEADER, in bytes."""

_HEADER = struct.Struct("<QIIII")


class FieldKind(Enum):
    """What a field of a table holds."""

    HEADER = "header"
    FUNCTION = "function"
    POINTER = "pointer"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class TableHeader:
    """EFI_TABLE_HEADER (UEFI 2.10 §4.2): u64 signature, then four u32.

    Attributes:
        signature: Eight characters, little-endian.
        revision: Major version in the high half, minor in the low half.
        header_size: Size of the table by UEFI; of the header alone in the MMST of the reference.
        crc32: Checksum of ``header_size`` bytes, or 0.
        reserved: 0.
    """

    signature: int
    revision: int
    header_size: int
    crc32: int = 0
    reserved: int = 0

    def pack(self) -> bytes:
        """The 24 bytes."""
        return _HEADER.pack(self.signature, self.revision, self.header_size, self.crc32, self.reserved)

    @classmethod
    def parse(cls, reader: Reader, offset: int = 0) -> TableHeader:
        """Read a header.

        Raises:
            FormatError: fewer than 24 bytes are left.
        """
        return cls(*reader.unpack(_HEADER, offset, "EFI_TABLE_HEADER"))


@dataclass(frozen=True, slots=True)
class TableField:
    """One field of a table.

    Attributes:
        offset: Offset from the start of the table, in bytes.
        size: Size in bytes.
        name: Name in the specification.
        kind: What it holds.
        traditional_name: Name in the table that traditional SMM drivers know; equal to ``name`` in most tables.
    """

    offset: int
    size: int
    name: str
    kind: FieldKind
    traditional_name: str


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A table as data.

    Attributes:
        name: Type of the table, for example ``EFI_BOOT_SERVICES``.
        symbol: The name code calls it by, for example ``gBS``.
        signature: Expected signature.
        size: Size in bytes.
        fields: All fields by ascending offset; padding is not a field.
    """

    name: str
    symbol: str
    signature: int
    size: int
    fields: tuple[TableField, ...]
    _by_offset: dict[int, TableField] = field(init=False, repr=False, compare=False)
    _by_name: dict[str, TableField] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the fields."""
        object.__setattr__(self, "_by_offset", {item.offset: item for item in self.fields})
        names = {item.traditional_name: item for item in self.fields} | {item.name: item for item in self.fields}
        object.__setattr__(self, "_by_name", names)

    def at(self, offset: int) -> TableField | None:
        """The field that holds the byte at ``offset``, or None for padding and beyond the table."""
        exact = self._by_offset.get(offset)
        if exact is not None:
            return exact
        return next((item for item in self.fields if item.offset <= offset < item.offset + item.size), None)

    def offset_of(self, name: str) -> int:
        """Offset of a field by either of its names.

        Raises:
            KeyError: the table has no such field, which is a fault of the caller.
        """
        return self._by_name[name].offset

    def describe(self, offset: int) -> str:
        """Name what is at ``offset`` for a message: ``gBS->LocateProtocol``, ``gBS+0x400 (outside the table)``."""
        found = self.at(offset)
        if found is None:
            where = "padding" if 0 <= offset < self.size else "outside the table"
            return f"{self.symbol}+{offset:#x} ({where})"
        rest = f"+{offset - found.offset:#x}" if offset != found.offset else ""
        return f"{self.symbol}->{found.name}{rest}"


def header_fields() -> Iterable[TableField]:
    """The fields of EFI_TABLE_HEADER at the start of every table."""
    sizes = (("Signature", 8), ("Revision", 4), ("HeaderSize", 4), ("CRC32", 4), ("Reserved", 4))
    offset = 0
    for name, size in sizes:
        yield TableField(offset, size, f"Hdr.{name}", FieldKind.HEADER, f"Hdr.{name}")
        offset += size


def pointer_fields(names: str, first: int, kind: FieldKind = FieldKind.FUNCTION) -> Iterable[TableField]:
    """Fields of eight bytes each, one after the other.

    Args:
        names: Names separated by white space.
        first: Offset of the first one, in bytes.
        kind: What they hold.
    """
    for index, name in enumerate(names.split()):
        yield TableField(first + 8 * index, 8, name, kind, name)
