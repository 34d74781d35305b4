"""The x86 branch filter (BCJ) that firmware build tools put before LZMA.

Code compresses better if the relative targets of CALL (E8) and JMP (E9) are made absolute. The filter looks at
every E8 and E9 byte; it converts the four bytes after it if the last of them is 00 or FF, which is what a near
target looks like. Since such a byte can itself lie within the operand of an earlier one, the positions of the
candidates among the last three bytes decide whether a conversion is ambiguous and must be left out. Decoder and
encoder make the same decisions, so that each undoes the other for all input.
"""

from __future__ import annotations

import re

_CANDIDATE = re.compile(rb"[\xe8\xe9]")
_MASK32 = 0xFFFF_FFFF
_INSTRUCTION = 5
_WINDOW = 3

# Candidates within the last three bytes, as bits (bit 0: the byte just before). For none and for these three patterns
# a conversion may be tried; the number says which operand byte, counted from the top, the earlier candidate owns.
_OWNED_BYTE = {0b001: 1, 0b010: 2, 0b100: 3}


def decode_x86(data: bytes | bytearray | memoryview) -> bytes:
    """Undo the filter: absolute targets become relative again. The size stays."""
    return _convert(data, encoding=False)


def encode_x86(data: bytes | bytearray | memoryview) -> bytes:
    """Apply the filter: relative targets become absolute. The size stays."""
    return _convert(data, encoding=True)


def _is_far_byte(value: int) -> bool:
    return value in (0x00, 0xFF)


def _convert(data: bytes | bytearray | memoryview, encoding: bool) -> bytes:
    out = bytearray(data)
    # The operand of a candidate is searched in the input as it is: conversion changes operands only, and jumps
    # over them, so matches on the untouched copy that lie within a converted operand are dropped below.
    last = len(out) - _INSTRUCTION
    previous = -1 - _WINDOW
    mask = 0
    resume = 0
    for match in _CANDIDATE.finditer(bytes(data)):
        position = match.start()
        if position > last:
            break
        if position < resume:
            continue
        distance = position - previous
        mask = 0 if distance > _WINDOW else (mask << (distance - 1)) & 0b111
        previous = position
        top = out[position + 4]
        ambiguous = mask and (mask not in _OWNED_BYTE or _is_far_byte(out[position + 4 - _OWNED_BYTE[mask]]))
        if ambiguous or not _is_far_byte(top):
            mask = (mask << 1 | 1) & 0b111
            continue
        operand = int.from_bytes(out[position + 1 : position + 5], "little")
        target = _target(operand, position + _INSTRUCTION, mask, encoding)
        low = target & 0x00FF_FFFF
        out[position + 1 : position + 4] = low.to_bytes(3, "little")
        out[position + 4] = 0xFF if target & 0x0100_0000 else 0x00
        resume = position + _INSTRUCTION
    return bytes(out)


def _target(operand: int, address: int, mask: int, encoding: bool) -> int:
    while True:
        target = (operand + address if encoding else operand - address) & _MASK32
        if mask == 0:
            return target
        shift = _OWNED_BYTE[mask] * 8
        if not _is_far_byte((target >> (24 - shift)) & 0xFF):
            return target
        # The result would look like a candidate's operand to the inverse filter: convert once more from its mirror.
        operand = target ^ ((1 << (32 - shift)) - 1)
