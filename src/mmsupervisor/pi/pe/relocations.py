"""Base relocations: the blocks of an image, and what is wrong with them.

Sources: Microsoft PE and COFF specification, "The .reloc Section"; docs/reference/boot-flow.md §6.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.pe.constants import RelocationType
from mmsupervisor.pi.reader import Reader

BLOCK_HEADER_SIZE = 8
"""Bytes of page address and block size before the entries."""

FIXUP_SIZES = {
    RelocationType.ABSOLUTE: 0,
    RelocationType.HIGH: 2,
    RelocationType.LOW: 2,
    RelocationType.HIGHLOW: 4,
    RelocationType.DIR64: 8,
}
"""Bytes that a relocation of each known type changes."""


class RelocationFault(Enum):
    """What can be wrong with relocations."""

    DIRECTORY_OUTSIDE = "the relocation directory does not lie in the image"
    BLOCK_SIZE = "a relocation block has an impossible size"
    BLOCK_OUTSIDE = "a relocation block runs past the relocation directory"
    PAGE_OUTSIDE = "a relocation block is for a page outside the image"
    FIXUP_OUTSIDE = "a relocation lies outside the image"
    FIXUP_CROSSES_END = "a relocation begins in the image and ends outside"
    TYPE = "a relocation has a type the loader does not know"


class RelocationError(FormatError):
    """Relocations that cannot be applied.

    Attributes:
        fault: Which rule is broken.
    """

    def __init__(self, file: str, offset: int, fault: RelocationFault, detail: str) -> None:
        """Record the fault; ``offset`` is relative to the image base."""
        self.fault = fault
        super().__init__(file, offset, f"{fault.value}: {detail}", "docs/reference/boot-flow.md §6.4")


@dataclass(frozen=True, slots=True)
class Relocation:
    """One relocation.

    Attributes:
        virtual_address: Where it applies, relative to the image base.
        type: How.
    """

    virtual_address: int
    type: RelocationType


def iter_relocations(
    mapped: Reader, directory_address: int, directory_size: int, allowance: Allowance
) -> Iterator[Relocation]:
    """Walk the relocation blocks of a mapped image, in order.

    Three rules are tighter than the reference's, which reads on or writes past the image where they are broken:
    a block shorter than its own header, a block of odd size, and a fixup that crosses the end of the image.

    Args:
        mapped: The image as mapped; its length is the size of the image.
        directory_address: Start of the relocation directory, relative to the base.
        directory_size: Its size in bytes; not 0.
        allowance: Bounds the number of relocations.

    Yields:
        Each relocation, ABSOLUTE ones (padding) included.

    Raises:
        RelocationError: a block or a relocation is malformed; those before it have been yielded.
        LimitError: more relocations than ``allowance`` leaves.
    """
    size = len(mapped)
    end = directory_address + directory_size
    if directory_address >= size or end > size:
        detail = f"{directory_address:#x} to {end:#x}, the image ends at {size:#x}"
        raise RelocationError(mapped.file, directory_address, RelocationFault.DIRECTORY_OUTSIDE, detail)
    position = directory_address
    # The reference compares with the directory's last byte: a single stray byte at the end is not a block.
    while position < end - 1:
        page, length = _block_header(mapped, position, end)
        count = (length - BLOCK_HEADER_SIZE) // 2
        allowance.take_items(count + 1, mapped.file, position)
        entries = mapped.unpack(struct.Struct(f"<{count}H"), position + BLOCK_HEADER_SIZE, "relocation entries")
        for index, entry in enumerate(entries):
            yield _relocation(mapped, position + BLOCK_HEADER_SIZE + 2 * index, page, entry)
        position += length


def _block_header(mapped: Reader, position: int, end: int) -> tuple[int, int]:
    if end - position < BLOCK_HEADER_SIZE:
        detail = f"{end - position} bytes are left, a block header takes {BLOCK_HEADER_SIZE}"
        raise RelocationError(mapped.file, position, RelocationFault.BLOCK_OUTSIDE, detail)
    page = mapped.u32(position, "relocation page")
    length = mapped.u32(position + 4, "relocation block size")
    if length < BLOCK_HEADER_SIZE or length % 2:
        raise RelocationError(mapped.file, position, RelocationFault.BLOCK_SIZE, f"{length:#x} bytes")
    if position + length > end:
        detail = f"the block ends at {position + length:#x}, the directory at {end:#x}"
        raise RelocationError(mapped.file, position, RelocationFault.BLOCK_OUTSIDE, detail)
    if page >= len(mapped):
        detail = f"page {page:#x}, the image ends at {len(mapped):#x}"
        raise RelocationError(mapped.file, position, RelocationFault.PAGE_OUTSIDE, detail)
    return page, length


def _relocation(mapped: Reader, position: int, page: int, entry: int) -> Relocation:
    address = page + (entry & 0xFFF)
    size = len(mapped)
    if address >= size:
        detail = f"{address:#x}, the image ends at {size:#x}"
        raise RelocationError(mapped.file, position, RelocationFault.FIXUP_OUTSIDE, detail)
    number = entry >> 12
    try:
        kind = RelocationType(number)
    except ValueError:
        detail = f"type {number} at {address:#x}"
        raise RelocationError(mapped.file, position, RelocationFault.TYPE, detail) from None
    if address + FIXUP_SIZES[kind] > size:
        detail = f"{FIXUP_SIZES[kind]} bytes at {address:#x}, the image ends at {size:#x}"
        raise RelocationError(mapped.file, position, RelocationFault.FIXUP_CROSSES_END, detail)
    return Relocation(address, kind)
