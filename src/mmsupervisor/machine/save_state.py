"""The save state of a CPU as it lies in memory, and where each register is in it (docs/reference/save-state.md).

The area is 0x400 bytes at SMBASE + 0xFC00. Offsets here count from its start: the architectural AMD64
offsets less 0xFC00, Intel's less 0x7C00.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache

SAVE_STATE_OFFSET = 0xFC00
"""Offset of the area from SMBASE."""

SAVE_STATE_SIZE = 0x400
"""Bytes of the area."""


class Vendor(Enum):
    """Whose layout."""

    AMD = "amd"
    INTEL = "intel"


@dataclass(frozen=True, slots=True)
class Field:
    """Where a register lies.

    Attributes:
        width: Bytes that may be read, at the most.
        low: Offset of the low four bytes (of all bytes where ``width`` is smaller).
        high: Offset of bytes four and up, or None where there are none.
    """

    width: int
    low: int
    high: int | None = None


def _whole(offset: int) -> Field:
    return Field(8, offset, offset + 4)


_AMD_BASE = 0xFC00
_INTEL_BASE = 0x7C00

_AMD: dict[int, Field] = {
    # GDT, IDT, LDT base and limit. The reference reads the low half twice for IDT and LDT (surprise 3).
    4: _whole(0xFE68 - _AMD_BASE),
    5: Field(8, 0xFE88 - _AMD_BASE, 0xFE88 - _AMD_BASE),
    6: Field(8, 0xFE78 - _AMD_BASE, 0xFE78 - _AMD_BASE),
    7: Field(2, 0xFE64 - _AMD_BASE),
    8: Field(2, 0xFE84 - _AMD_BASE),
    9: Field(4, 0xFE74 - _AMD_BASE),
    # ES, CS, SS, DS, FS, GS, LDTR, TR selectors.
    **{20 + n: Field(2, 0xFE00 + 0x10 * n - _AMD_BASE) for n in range(6)},
    26: Field(2, 0xFE70 - _AMD_BASE),
    27: Field(2, 0xFE90 - _AMD_BASE),
    28: _whole(0xFF60 - _AMD_BASE),
    29: _whole(0xFF68 - _AMD_BASE),
    # R8 to R15 lie downwards.
    **{30 + n: _whole(0xFFB8 - 8 * n - _AMD_BASE) for n in range(8)},
    38: _whole(0xFFF8 - _AMD_BASE),
    39: _whole(0xFFE0 - _AMD_BASE),
    40: _whole(0xFFF0 - _AMD_BASE),
    41: _whole(0xFFE8 - _AMD_BASE),
    42: _whole(0xFFD8 - _AMD_BASE),
    43: _whole(0xFFD0 - _AMD_BASE),
    44: _whole(0xFFC8 - _AMD_BASE),
    45: _whole(0xFFC0 - _AMD_BASE),
    46: _whole(0xFF78 - _AMD_BASE),
    51: _whole(0xFF70 - _AMD_BASE),
    52: _whole(0xFF58 - _AMD_BASE),
    53: _whole(0xFF50 - _AMD_BASE),
    54: _whole(0xFF48 - _AMD_BASE),
}

_INTEL: dict[int, Field] = {
    4: Field(8, 0x7E8C - _INTEL_BASE, 0x7DD0 - _INTEL_BASE),
    5: Field(8, 0x7E94 - _INTEL_BASE, 0x7DD8 - _INTEL_BASE),
    6: Field(8, 0x7E9C - _INTEL_BASE, 0x7DD4 - _INTEL_BASE),
    **{20 + n: Field(4, 0x7FA8 + 4 * n - _INTEL_BASE) for n in range(8)},
    28: _whole(0x7FC8 - _INTEL_BASE),
    29: _whole(0x7FD0 - _INTEL_BASE),
    **{30 + n: _whole(0x7F54 - 8 * n - _INTEL_BASE) for n in range(8)},
    38: _whole(0x7F5C - _INTEL_BASE),
    39: _whole(0x7F74 - _INTEL_BASE),
    40: _whole(0x7F64 - _INTEL_BASE),
    41: _whole(0x7F6C - _INTEL_BASE),
    42: _whole(0x7F7C - _INTEL_BASE),
    43: _whole(0x7F84 - _INTEL_BASE),
    44: _whole(0x7F8C - _INTEL_BASE),
    45: _whole(0x7F94 - _INTEL_BASE),
    46: _whole(0x7FD8 - _INTEL_BASE),
    51: _whole(0x7FE8 - _INTEL_BASE),
    52: _whole(0x7FF8 - _INTEL_BASE),
    53: _whole(0x7FF0 - _INTEL_BASE),
    54: Field(4, 0x7E40 - _INTEL_BASE),
}

FIELDS: dict[Vendor, dict[int, Field]] = {Vendor.AMD: _AMD, Vendor.INTEL: _INTEL}
"""Registers by vendor and number of the MM CPU protocol; what is absent is not supported."""

AMD_IO_DWORD = 0xFEC0 - _AMD_BASE
AMD_REVISION = 0xFEFC - _AMD_BASE
AMD_RAX = 0xFFF8 - _AMD_BASE
INTEL_IO_MISC = 0x7FA4 - _INTEL_BASE
INTEL_REVISION = 0x7EFC - _INTEL_BASE
INTEL_RAX = 0x7F5C - _INTEL_BASE

_AMD_MINIMUM_REVISION = 0x30064
_INTEL_MINIMUM_REVISION = 0x30004
_INPUT, _OUTPUT = 1, 2
_INTEL_TYPES = {0: _OUTPUT, 1: _INPUT, 8: _OUTPUT, 9: _INPUT}
_INTEL_WIDTHS = {1: 0, 2: 1, 4: 2}


@dataclass(frozen=True, slots=True)
class IoInfo:
    """EFI_MM_SAVE_STATE_IO_INFO (PI 1.8 vol. 4).

    Attributes:
        data: The low bytes of RAX, as wide as the access.
        port: The port.
        width: EFI_MM_SAVE_STATE_IO_WIDTH: 0, 1, 2 for 8, 16, 32 bits.
        type: 1 for input, 2 for output.
    """

    data: int
    port: int
    width: int
    type: int

    def pack(self) -> bytes:
        """Write the 24 bytes: data, port, padding, width, type, padding."""
        return (
            self.data.to_bytes(8, "little")
            + self.port.to_bytes(4, "little")
            + self.width.to_bytes(4, "little")
            + self.type.to_bytes(8, "little")
        )


def _u32(area: bytes, offset: int) -> int:
    return int.from_bytes(area[offset : offset + 4], "little")


def io_info(area: bytes, vendor: Vendor) -> IoInfo | None:
    """Read how a CPU was trapped on a port, or None if it was not by a plain IN or OUT.

    Args:
        area: The 0x400 bytes of the save state.
        vendor: Whose layout.
    """
    return _amd_io_info(area) if vendor is Vendor.AMD else _intel_io_info(area)


def _amd_io_info(area: bytes) -> IoInfo | None:
    word = _u32(area, AMD_IO_DWORD)
    if _u32(area, AMD_REVISION) < _AMD_MINIMUM_REVISION or not word & 2:
        return None
    width = 0 if word & 0x10 else 1 if word & 0x20 else 2
    data = int.from_bytes(area[AMD_RAX : AMD_RAX + (1 << width)], "little")
    return IoInfo(data, word >> 16, width, _INPUT if word & 1 else _OUTPUT)


def _intel_io_info(area: bytes) -> IoInfo | None:
    word = _u32(area, INTEL_IO_MISC)
    kind = _INTEL_TYPES.get(word >> 4 & 0xF)
    width = _INTEL_WIDTHS.get(word >> 1 & 7)
    if _u32(area, INTEL_REVISION) < _INTEL_MINIMUM_REVISION or not word & 1 or kind is None or width is None:
        return None
    data = int.from_bytes(area[INTEL_RAX : INTEL_RAX + (1 << width)], "little")
    return IoInfo(data, word >> 16, width, kind)


@lru_cache(maxsize=64)
def trap_area(vendor: Vendor, port: int, width: int, *, output: bool, rax: int) -> bytes:
    """Build a save state as a CPU leaves it that was interrupted by a port access.

    Args:
        vendor: Whose layout.
        port: The port.
        width: Bytes: 1, 2 or 4.
        output: Direction.
        rax: RAX at that time.
    """
    area = bytearray(SAVE_STATE_SIZE)
    code = {1: 0, 2: 1, 4: 2}[width]
    if vendor is Vendor.AMD:
        word = port << 16 | (0x10, 0x20, 0x40)[code] | 2 | (0 if output else 1)
        places = ((AMD_IO_DWORD, word, 4), (AMD_REVISION, _AMD_MINIMUM_REVISION, 4), (AMD_RAX, rax, 8))
    else:
        word = port << 16 | (0 if output else 1) << 4 | width << 1 | 1
        places = ((INTEL_IO_MISC, word, 4), (INTEL_REVISION, _INTEL_MINIMUM_REVISION, 4), (INTEL_RAX, rax, 8))
    for offset, value, size in places:
        area[offset : offset + size] = (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little")
    return bytes(area)


@cache
def plain_area(vendor: Vendor) -> bytes:
    """Build a save state as a CPU leaves it that was interrupted anywhere else."""
    area = bytearray(SAVE_STATE_SIZE)
    offset, revision = (
        (AMD_REVISION, _AMD_MINIMUM_REVISION) if vendor is Vendor.AMD else (INTEL_REVISION, _INTEL_MINIMUM_REVISION)
    )
    area[offset : offset + 4] = revision.to_bytes(4, "little")
    return bytes(area)
