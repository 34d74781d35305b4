"""Reading a HOB list."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.hob.records import (
    ALIGNMENT,
    HEADER_SIZE,
    MODULE_ALLOCATION_NAME,
    CapsuleHob,
    CpuHob,
    GuidHob,
    HandoffHob,
    HobRecord,
    HobType,
    MemoryAllocationHob,
    ModuleAllocationHob,
    OpaqueHob,
    ResourceHob,
    Volume2Hob,
    Volume3Hob,
    VolumeHob,
)
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader

_HEADER = struct.Struct("<HHI")
_SOURCE = "PI 1.8 vol. 3 §5"

# Type and body length of the records that have one length only, and who reads them.
_FIXED: dict[tuple[int, int], Callable[[bytes], HobRecord]] = {
    (HobType.HANDOFF, 0x30): HandoffHob.from_body,
    (HobType.MEMORY_ALLOCATION, 0x28): MemoryAllocationHob.from_body,
    (HobType.RESOURCE_DESCRIPTOR, 0x28): ResourceHob.from_body,
    (HobType.RESOURCE_DESCRIPTOR_2, 0x30): ResourceHob.from_body,
    (HobType.FV, 0x10): VolumeHob.from_body,
    (HobType.FV2, 0x30): Volume2Hob.from_body,
    (HobType.FV3, 0x38): Volume3Hob.from_body,
    (HobType.CPU, 0x08): CpuHob.from_body,
    (HobType.UEFI_CAPSULE, 0x10): CapsuleHob.from_body,
}
_MODULE_BODY = 0x40
_GUID_SIZE = 16

_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class HobEntry:
    """A record and where it stands.

    Attributes:
        offset: From the start of the list, in bytes.
        length: With its header, in bytes.
        record: What it says.
    """

    offset: int
    length: int
    record: HobRecord


@dataclass(frozen=True, slots=True)
class HobList:
    """A list.

    Attributes:
        entries: All records in order, the end record left out.
        size: Bytes of the list, the end record included: what the core copies.
    """

    entries: tuple[HobEntry, ...]
    size: int

    def of(self, kind: type[_Record]) -> Iterator[_Record]:
        """All records of one class, in order."""
        return (entry.record for entry in self.entries if isinstance(entry.record, kind))

    def guid_hobs(self, name: Guid) -> Iterator[GuidHob]:
        """All GUID extensions of a name, in order."""
        return (record for record in self.of(GuidHob) if record.name == name)

    def first_guid_hob(self, name: Guid) -> GuidHob | None:
        """The first GUID extension of a name, or None."""
        return next(self.guid_hobs(name), None)


def parse_hob_list(reader: Reader, allowance: Allowance | None = None) -> HobList:
    """Read a list, by the lengths in the headers, up to its end record. No field of the PHIT is relied on.

    A record of a type that is not known, or of a known type with a length that no specification gives it, is kept
    as :class:`~mmsupervisor.pi.hob.records.OpaqueHob`.

    Args:
        reader: The list; bytes after its end are allowed and not looked at.
        allowance: Bounds the number of records; a fresh one if None.

    Raises:
        FormatError: a length is smaller than the header, not a multiple of 8 or beyond the end, or the list has no
            end record.
        LimitError: more records than ``allowance`` leaves.
    """
    budget = Allowance() if allowance is None else allowance
    entries: list[HobEntry] = []
    offset = 0
    while True:
        kind, length, _ = reader.unpack(_HEADER, offset, "HOB header (the list has not ended)")
        if length < HEADER_SIZE or length % ALIGNMENT:
            raise reader.error(offset + 2, f"HOB length {length:#x} is not a multiple of 8 from 8 on", _SOURCE)
        if kind == HobType.END_OF_HOB_LIST:
            return HobList(tuple(entries), offset + length)
        budget.take_items(1, reader.file, reader.base + offset)
        body = reader.copy(offset + HEADER_SIZE, length - HEADER_SIZE, "HOB body")
        entries.append(HobEntry(offset, length, _record(kind, body)))
        offset += length


def _record(kind: int, body: bytes) -> HobRecord:
    if kind == HobType.GUID_EXTENSION and len(body) >= _GUID_SIZE:
        return GuidHob.from_body(body)
    is_module = body[:_GUID_SIZE] == MODULE_ALLOCATION_NAME.raw
    if kind == HobType.MEMORY_ALLOCATION and is_module and len(body) == _MODULE_BODY:
        return ModuleAllocationHob.from_body(body)
    fixed = _FIXED.get((kind, len(body)))
    return fixed(body) if fixed else OpaqueHob(kind, body)
