"""What the supervisor asks of its page tables before it trusts a pointer (docs/reference/memory.md §1, §8.2)."""

from __future__ import annotations

from mmsupervisor.core.errors import CoreError
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Attribute, PhysicalMemory
from mmsupervisor.pi.status import Status

_INT64_MAX = (1 << 63) - 1
_ADDRESS_LIMIT = 1 << 64
_SUPERVISOR = int(Attribute.SP)


def range_attributes(memory: PhysicalMemory, base: int, length: int) -> Attribute:
    """Return the attributes that all pages of a range share.

    Args:
        memory: The machine's memory.
        base: First address, page aligned.
        length: Bytes, whole pages.

    Raises:
        CoreError: INVALID_PARAMETER for less than a page or more than 2^63 - 1 bytes, UNSUPPORTED beyond
            the physical address width, NO_MAPPING if the pages differ.
    """
    if length < PAGE_SIZE or length > _INT64_MAX:
        raise CoreError(Status.INVALID_PARAMETER, f"range at {base:#x} has {length:#x} bytes")
    if base + length > memory.pages.limit:
        raise CoreError(Status.UNSUPPORTED, f"range {base:#x} + {length:#x} has no page-table entry")
    alone = memory.pages.only(base, base + length)
    if alone is not None:
        return alone.attributes
    pieces = memory.slice(base, length)
    attributes = next(pieces).value.attributes
    if any(piece.value.attributes != attributes for piece in pieces):
        raise CoreError(Status.NO_MAPPING, f"pages of {base:#x} + {length:#x} have different attributes")
    return attributes


def is_user_range(memory: PhysicalMemory, address: int, size: int) -> bool:
    """Decide whether all pages that hold a range are ring 3's (the reference's InspectTargetRangeOwnership).

    Presence and writability do not matter: a not-present page whose stale entry carries the user bit counts
    as ring 3's.

    Raises:
        CoreError: INVALID_PARAMETER for an address in page 0 or size 0; BUFFER_TOO_SMALL if the range
            wraps; else as :func:`range_attributes`.
    """
    if address < PAGE_SIZE or size == 0:
        raise CoreError(Status.INVALID_PARAMETER, f"range {address:#x} + {size:#x} is empty or in page 0")
    start = address & ~PAGE_MASK
    end = (address + size + PAGE_MASK) & ~PAGE_MASK
    if address + size + PAGE_MASK >= _ADDRESS_LIMIT:
        raise CoreError(Status.BUFFER_TOO_SMALL, f"range {address:#x} + {size:#x} wraps")
    return not int(range_attributes(memory, start, end - start)) & _SUPERVISOR
