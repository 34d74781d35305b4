"""Arithmetic and logic of the x86 as functions: a result and the six status flags it leaves."""

from __future__ import annotations

CF, PF, AF, ZF, SF, DF, OF = 1, 4, 0x10, 0x40, 0x80, 0x400, 0x800

STATUS = CF | PF | AF | ZF | SF | OF
"""The status flags."""


def mask(width: int) -> int:
    """Return the largest number of ``width`` bytes."""
    return (1 << 8 * width) - 1


def sign_extend(value: int, width: int, wider: int) -> int:
    """Return a number of ``width`` bytes as one of ``wider`` bytes with the same sign."""
    if value >> 8 * width - 1 & 1:
        value |= mask(wider) & ~mask(width)
    return value


def _common(result: int, width: int) -> int:
    flags = 0
    if not result:
        flags |= ZF
    if result >> 8 * width - 1:
        flags |= SF
    if not (result & 0xFF).bit_count() & 1:
        flags |= PF
    return flags


def add(left: int, right: int, width: int, carry: int = 0) -> tuple[int, int]:
    """Return sum and flags."""
    total = left + right + carry
    result = total & mask(width)
    flags = _common(result, width)
    if total > mask(width):
        flags |= CF
    if (left ^ right ^ result) & 0x10:
        flags |= AF
    if (left ^ result) & (right ^ result) & 1 << 8 * width - 1:
        flags |= OF
    return result, flags


def subtract(left: int, right: int, width: int, borrow: int = 0) -> tuple[int, int]:
    """Return difference and flags."""
    result = left - right - borrow & mask(width)
    flags = _common(result, width)
    if left < right + borrow:
        flags |= CF
    if (left ^ right ^ result) & 0x10:
        flags |= AF
    if (left ^ right) & (left ^ result) & 1 << 8 * width - 1:
        flags |= OF
    return result, flags


def logic(result: int, width: int) -> tuple[int, int]:
    """Return a logical operation's result and its flags."""
    return result, _common(result, width)
