"""The platform configuration database of PEI and DXE: the values that dynamic PCDs begin with.

The PCD modules (PcdPeim, PcdDxe) carry it as a RAW section beside their code. MM has no PCD service; the database
tells what an unconverted driver would have been given.

Source: edk2's format, version 7. Header of 80 bytes:

======  ====  ==============================================================================
offset  size  field
======  ====  ==============================================================================
0x00    16    signature GUID 3C7D193C-682C-4C14-A68F-552DEA4F437E
0x10    4     version, 7
0x14    4     length of the initialised part, in bytes
0x18    8     SKU in force
0x20    4     length with the values of all SKUs
0x24    4     bytes of values that begin as zero; they follow the initialised part, without being stored
0x28    28    offsets of the tables: local tokens, extended map, GUIDs, strings, sizes, SKUs, names
0x44    6     u16 number of local tokens, extended tokens, GUIDs
0x4A    6     padding
======  ====  ==============================================================================

A local token is a u32: bits 0-19 offset of its value or head, bit 20 boolean, bits 24-27 datum size (0 for a byte
array), bits 28-31 where the value is. A driver's token number is its place in the table, counted from 1; DXE goes on
counting where PEI ended. Only extended tokens carry a token space GUID and number that hold for every build.

API: :func:`is_pcd_database`, :func:`parse_pcd_database`, :class:`PcdDatabase`, :class:`Pcd`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import MIB, Allowance
from mmsupervisor.pi.reader import Reader

SIGNATURE = Guid.parse("3C7D193C-682C-4C14-A68F-552DEA4F437E")
"""GUID at the start of a database."""

VERSION = 7
"""The version that is read; older ones have other layouts and are refused."""

MAX_VALUE_BYTES = 16 * MIB
"""Largest sum of all values, in bytes; overlapping values could otherwise ask for gigabytes."""

MAX_TEXT = 1024
"""Longest name of a PCD or variable that is read, in bytes."""

_HEADER = struct.Struct("<16sIIQIIIIIIIIIHHH6x")
_EX_MAP = struct.Struct("<IHH")
_VARIABLE = struct.Struct("<IIHHIHH")
_NAME = struct.Struct("<II")
_OFFSET_MASK = 0xF_FFFF
_BOOLEAN = 0x10_0000
_DATUM_SHIFT = 24
_SOURCE = "edk2 PCD database version 7"

_STRING, _VPD, _HII = 1, 4, 8


class DatumType(Enum):
    """What a value is."""

    BOOLEAN = "BOOLEAN"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    POINTER = "VOID*"


_SIZED = {1: DatumType.UINT8, 2: DatumType.UINT16, 4: DatumType.UINT32, 8: DatumType.UINT64}


class Storage(Enum):
    """Where a value is kept."""

    DATA = "database"
    STRING = "string table"
    HII = "variable"
    HII_STRING = "variable, default in the string table"
    VPD = "VPD region"


_STORAGES = {0: Storage.DATA, _STRING: Storage.STRING, _HII: Storage.HII, _HII | _STRING: Storage.HII_STRING}


@dataclass(frozen=True, slots=True)
class HiiVariable:
    """The UEFI variable that holds a value; the database has its default.

    Attributes:
        name: Name of the variable.
        guid: Its vendor GUID.
        offset: Offset of the value in it, in bytes.
        attributes: Its attributes.
    """

    name: str
    guid: Guid
    offset: int
    attributes: int


@dataclass(frozen=True, slots=True)
class Pcd:
    """One dynamic PCD.

    Attributes:
        token: Token number of this build, from 1.
        token_space: Token space GUID of an extended PCD, else None.
        ex_token: Token number in that space, else None.
        datum: Type.
        storage: Where the value is kept.
        max_size: Largest size in bytes.
        value: The default value, as many bytes as it has now; None for VPD, whose region is elsewhere.
        variable: The variable that holds the value, for the HII kinds.
        vpd_offset: Offset in the VPD region, for VPD.
        name: ``TokenSpace.Name`` if the database was built with names, else None.
    """

    token: int
    token_space: Guid | None
    ex_token: int | None
    datum: DatumType
    storage: Storage
    max_size: int
    value: bytes | None
    variable: HiiVariable | None = None
    vpd_offset: int | None = None
    name: str | None = None

    @property
    def size(self) -> int:
        """Size of the value in bytes; the largest size where the value is elsewhere."""
        return self.max_size if self.value is None else len(self.value)

    @property
    def number(self) -> int | None:
        """The value as a number; None for byte arrays and for VPD."""
        if self.value is None or self.datum is DatumType.POINTER:
            return None
        return int.from_bytes(self.value, "little")


@dataclass(frozen=True, slots=True)
class PcdDatabase:
    """A database.

    Attributes:
        sku: SKU in force.
        pcds: All PCDs by token number.
    """

    sku: int
    pcds: tuple[Pcd, ...]

    def by_token(self, token: int) -> Pcd | None:
        """The PCD of a token number, or None if it is of another database."""
        return next((pcd for pcd in self.pcds if pcd.token == token), None)

    def by_ex_token(self, token_space: Guid, ex_token: int) -> Pcd | None:
        """The PCD of a token space and a number in it, or None."""
        return next((pcd for pcd in self.pcds if (pcd.token_space, pcd.ex_token) == (token_space, ex_token)), None)


def is_pcd_database(data: bytes | memoryview) -> bool:
    """Whether the data of a section begin with the signature of a database."""
    return bytes(data[:16]) == SIGNATURE.raw


def parse_pcd_database(reader: Reader, first_token: int = 1, allowance: Allowance | None = None) -> PcdDatabase:
    """Read a database.

    Args:
        reader: The data of the RAW section.
        first_token: Number of the first token: 1 for PEI, one more than PEI's number of tokens for DXE.
        allowance: Bounds the number of tokens; a fresh one if None.

    Raises:
        FormatError: no signature, another version, or a table, an index or a value out of bounds.
        LimitError: more tokens than ``allowance`` leaves.
    """
    database = _Database(reader)
    budget = Allowance() if allowance is None else allowance
    budget.take_items(database.token_count + database.ex_count, reader.file, reader.base)
    return PcdDatabase(database.sku, tuple(database.pcds(first_token)))


class _Database:
    """The tables of a database while it is read."""

    def __init__(self, reader: Reader) -> None:
        if not is_pcd_database(reader.data):
            raise reader.error(0, "no PCD database signature", _SOURCE)
        _, version, length, self.sku, _, zeroed, *rest = reader.unpack(_HEADER, 0, "PCD database header")
        if version != VERSION:
            raise reader.error(0x10, f"version {version} of the PCD database is not read, only {VERSION}", _SOURCE)
        if length < _HEADER.size:
            raise reader.error(0x14, f"length {length:#x} is smaller than the header", _SOURCE)
        (self._tokens, self._ex_map, self._guids, self._strings, self._sizes, _, self._names) = rest[:7]
        self.token_count, self.ex_count, self._guid_count = rest[7:]
        self._reader = reader.window(0, length, "PCD database")
        self._end = length + zeroed
        self._value_bytes = 0

    def pcds(self, first_token: int) -> Iterator[Pcd]:
        """All PCDs in order of their tokens."""
        self._reader.view(self._tokens, 4 * self.token_count, "local token table")
        extended = self._extended_tokens()
        size_index = 0
        for index in range(self.token_count):
            word = self._reader.u32(self._tokens + 4 * index, "local token")
            max_size = size = word >> _DATUM_SHIFT & 0xF
            if size == 0:
                # Byte arrays have two entries in the size table, largest and present size; others have none.
                at = self._sizes + 2 * size_index
                max_size, size = self._reader.u16(at, "largest size"), self._reader.u16(at + 2, "size")
                size_index += 2
            elif size not in _SIZED:
                raise self._reader.error(self._tokens + 4 * index, f"datum type {size} is not defined", _SOURCE)
            storage = self._storage(index, word)
            value, variable, vpd_offset = self._content(storage, word & _OFFSET_MASK, size)
            self._count_bytes(value, index)
            token = first_token + index
            space, ex_token = extended.get(token, (None, None))
            datum = self._datum(word)
            yield Pcd(token, space, ex_token, datum, storage, max_size, value, variable, vpd_offset, self._name(index))

    def _content(self, storage: Storage, offset: int, size: int) -> tuple[bytes | None, HiiVariable | None, int | None]:
        """Value, variable and VPD offset of a PCD, as far as its kind of storage has them."""
        match storage:
            case Storage.VPD:
                return None, None, self._reader.u32(offset, "VPD head")
            case Storage.DATA:
                return self._value(offset, size), None, None
            case Storage.STRING:
                return self._string_value(offset, size), None, None
            case Storage.HII | Storage.HII_STRING:
                variable, default = self._variable(offset)
                read = self._value if storage is Storage.HII else self._string_value
                return read(default, size), variable, None

    def _count_bytes(self, value: bytes | None, index: int) -> None:
        self._value_bytes += len(value or b"")
        if self._value_bytes > MAX_VALUE_BYTES:
            where = self._reader.base + self._tokens + 4 * index
            raise LimitError(self._reader.file, where, f"values of more than {MAX_VALUE_BYTES:#x} bytes in all")

    @staticmethod
    def _datum(word: int) -> DatumType:
        if word & _BOOLEAN:
            return DatumType.BOOLEAN
        return _SIZED.get(word >> _DATUM_SHIFT & 0xF, DatumType.POINTER)

    def _storage(self, index: int, word: int) -> Storage:
        bits = word >> 28
        if bits & _VPD:
            return Storage.VPD
        storage = _STORAGES.get(bits)
        if storage is None:
            raise self._reader.error(self._tokens + 4 * index, f"PCD type {bits:#x} is not defined", _SOURCE)
        return storage

    def _value(self, offset: int, size: int) -> bytes:
        if offset >= len(self._reader) and offset + size <= self._end:
            return bytes(size)
        return self._reader.copy(offset, size, "PCD value")

    def _string_value(self, head: int, size: int) -> bytes:
        within = self._reader.u32(head, "string head")
        return self._reader.copy(self._strings + within, size, "PCD string value")

    def _variable(self, offset: int) -> tuple[HiiVariable, int]:
        name, default, guid, within, attributes, _, _ = self._reader.unpack(_VARIABLE, offset, "variable head")
        vendor = self._guid(guid, offset)
        return HiiVariable(self._wide_text(self._strings + name), vendor, within, attributes), default

    def _guid(self, index: int, where: int) -> Guid:
        if index >= self._guid_count:
            raise self._reader.error(where, f"GUID {index} of {self._guid_count}", _SOURCE)
        return self._reader.guid(self._guids + 16 * index, "GUID table")

    def _wide_text(self, offset: int) -> str:
        text = self._text_view(offset, "variable name").decode("utf-16-le", "replace")
        return text.split("\0", 1)[0]

    def _text(self, offset: int) -> str:
        return self._text_view(offset, "PCD name").split(b"\0", 1)[0].decode("ascii", "backslashreplace")

    def _text_view(self, offset: int, what: str) -> bytes:
        """The bytes a text may take; it must begin within the database."""
        self._reader.view(offset, 1, what)
        return self._reader.copy(offset, min(len(self._reader) - offset, MAX_TEXT), what)

    def _name(self, index: int) -> str | None:
        if self._names == 0:
            return None
        space, name = self._reader.unpack(_NAME, self._names + _NAME.size * index, "PCD name table")
        return f"{self._text(self._strings + space)}.{self._text(self._strings + name)}"

    def _extended_tokens(self) -> dict[int, tuple[Guid, int]]:
        self._reader.view(self._ex_map, _EX_MAP.size * self.ex_count, "extended token map")
        extended = {}
        for index in range(self.ex_count):
            at = self._ex_map + _EX_MAP.size * index
            ex_token, token, guid = self._reader.unpack(_EX_MAP, at, "extended token")
            extended[token] = (self._guid(guid, at), ex_token)
        return extended
