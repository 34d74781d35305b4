"""Leaving a function by the unwind data of a PE image: ``.pdata`` and UNWIND_INFO.

Source: Microsoft "x64 exception handling": RUNTIME_FUNCTION (three offsets: begin, end, unwind data), UNWIND_INFO:

======  ====  ======================================================================================
offset  size  field
======  ====  ======================================================================================
0       1     version (bits 2 to 0: 1 or 2), flags (bits 7 to 3: 4 is "chained")
1       1     size of the prologue in bytes
2       1     number of unwind codes, 2 bytes each
3       1     frame register (bits 3 to 0), its distance from RSP in units of 16 (bits 7 to 4)
4             the codes: offset after the instruction, operation (bits 3 to 0) and its operand (7 to 4)
======  ====  ======================================================================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mmsupervisor.debuginfo.image_view import REGISTERS, ImageView
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.pe import Directory, parse_pe
from mmsupervisor.pi.reader import Reader

_FUNCTION = struct.Struct("<III")
_INFO = struct.Struct("<BBBB")
_CHAINED = 4
_MOST_CHAINED = 32
_HEADERS = 0x1000

_PUSH_NONVOLATILE, _ALLOCATE_LARGE, _ALLOCATE_SMALL, _SET_FRAME = 0, 1, 2, 3
_SAVE, _SAVE_FAR, _EPILOG, _SPARE, _SAVE_XMM, _SAVE_XMM_FAR, _MACHINE_FRAME = 4, 5, 6, 7, 8, 9, 10
_SLOTS = {
    _PUSH_NONVOLATILE: 1, _ALLOCATE_SMALL: 1, _SET_FRAME: 1, _SAVE: 2, _SAVE_FAR: 3, _EPILOG: 1, _SPARE: 2,
    _SAVE_XMM: 2, _SAVE_XMM_FAR: 3, _MACHINE_FRAME: 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Effect:
    """What one instruction of a prologue did, to be undone.

    Attributes:
        register: Register to be restored, or empty.
        slot: Where it was saved, in bytes above RSP at that time, or None for the top of the stack (a push).
        release: Bytes to take off the stack.
        frame: The frame register from which RSP is to be taken anew, or empty.
        distance: Bytes from RSP to that register's value.
    """

    register: str = ""
    slot: int | None = None
    release: int = 0
    frame: str = ""
    distance: int = 0


@dataclass(frozen=True, slots=True)
class UnwindEntry:
    """The unwind data of one function.

    Attributes:
        begin: Offset of its first instruction.
        effects: What of its prologue has been done at the place asked for, last first.
    """

    begin: int
    effects: tuple[Effect, ...]


def find_unwind_entry(image: ImageView, offset: int) -> UnwindEntry | None:
    """Return how to leave the function at an offset, or None if the image has no unwind data for it."""
    try:
        directory = parse_pe(Reader(image.read(0, _HEADERS), image.name)).directory(Directory.EXCEPTION)
        if directory is None:
            return None
        reader = Reader(image.content, image.name)
        found = _find(reader, directory.virtual_address, directory.size, offset)
        if found is None:
            return None
        begin, info = found
        return UnwindEntry(begin, tuple(_effects(reader, info, offset - begin)))
    except FormatError:
        return None


def _find(reader: Reader, table: int, size: int, offset: int) -> tuple[int, int] | None:
    low, high = 0, size // _FUNCTION.size
    while low < high:
        middle = (low + high) // 2
        begin, end, info = reader.unpack(_FUNCTION, table + middle * _FUNCTION.size, "RUNTIME_FUNCTION")
        if offset < begin:
            high = middle
        elif offset >= end:
            low = middle + 1
        else:
            return begin, info
    return None


def _effects(reader: Reader, info: int, done: int) -> Iterator[Effect]:
    """Yield what is to be undone ``done`` bytes into the function; of chained parts the whole prologue."""
    for _ in range(_MOST_CHAINED):
        flags, _prologue, count, frame = reader.unpack(_INFO, info, "UNWIND_INFO")
        codes = [reader.u16(info + 4 + 2 * number, "unwind code") for number in range(count)]
        yield from _decode(codes, done, frame)
        if not flags >> 3 & _CHAINED:
            return
        _, _, info = reader.unpack(_FUNCTION, info + 4 + 2 * (count + count % 2), "chained RUNTIME_FUNCTION")
        done = 1 << 32


def _decode(codes: list[int], done: int, frame: int) -> Iterator[Effect]:
    position = 0
    while position < len(codes):
        code = codes[position]
        after, operation, operand = code & 0xFF, code >> 8 & 0xF, code >> 12
        rest = [*codes[position + 1 : position + 3], 0, 0]
        if after <= done and operation != _EPILOG:
            effect = _effect(operation, operand, rest, frame)
            if effect is not None:
                yield effect
        large = operation == _ALLOCATE_LARGE
        position += (3 if operand else 2) if large else _SLOTS.get(operation, 1)


def _effect(operation: int, operand: int, rest: list[int], frame: int) -> Effect | None:
    """Translate one code; XMM registers are not restored, for no frame is found by them."""
    wide = rest[0] | rest[1] << 16
    match operation:
        case 0:
            return Effect(REGISTERS[operand], release=8)
        case 1:
            return Effect(release=wide if operand else rest[0] * 8)
        case 2:
            return Effect(release=operand * 8 + 8)
        case 3:
            return Effect(frame=REGISTERS[frame & 0xF], distance=(frame >> 4) * 16)
        case 4:
            return Effect(REGISTERS[operand], slot=rest[0] * 8)
        case 5:
            return Effect(REGISTERS[operand], slot=wide)
        case 10:
            return Effect(release=8 if operand else 0)
        case _:
            return None
