"""Unwind data code by code: what a prologue did is undone, on stacks that are made for it."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.debuginfo.image_view import ImageView
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.debuginfo.unwind import Found, Stack, unwind
from tests.debuginfo.walked import EXCEPTION_DIRECTORY
from tests.pi.pe_builder import RODATA, TEXT, BuiltSection, PeBuilder

BASE, STACK = 0x40_0000, 0x10_0000
LEAF, OUTER, NEXT, ENTRY = 0x1000, 0x1020, 0x1040, 0x1060
INFOS = 0x3000
LOWERED = "01040100 0442 0000"
"""RSP lowered by 0x28 in the first 4 bytes."""

NOTHING = "01000000"


def image(functions: dict[int, tuple[int, str]], extra: str = "") -> ImageView:
    """An image with unwind data for functions: begin to end and UNWIND_INFO; ``extra`` lies behind them all."""
    table, infos = b"", b""
    for begin, (end, info) in sorted(functions.items()):
        table += struct.pack("<III", begin, end, INFOS + len(infos))
        infos += bytes.fromhex(info).ljust(32, b"\0")
    infos += bytes.fromhex(extra)
    sections = [BuiltSection(".text", b"\x90" * 0x100, TEXT), BuiltSection(".pdata", table, RODATA)]
    built = bytearray(PeBuilder([*sections, BuiltSection(".xdata", infos, RODATA)]).build())
    built[EXCEPTION_DIRECTORY : EXCEPTION_DIRECTORY + 8] = struct.pack("<II", 0x2000, len(table))
    return ImageView("Made", BASE, len(built), Symbols(), bytes(built))


def walk(view: ImageView, offset: int, slots: dict[int, int]) -> list[int]:
    """Walk from an offset with a stack of zeros but for code at some slots; return the callers' offsets."""
    content = bytearray(0x4000)
    for slot, target in slots.items():
        content[slot : slot + 8] = (BASE + target).to_bytes(8, "little")
    registers = dict.fromkeys(("rax", "rbx", "rbp", "rsi"), 0) | {"rip": BASE + offset, "rsp": STACK}
    frames = unwind(registers, Stack(STACK, bytes(content)), lambda at: view if view.holds(at) else None)
    assert {frame.found for frame in frames[1:]} <= {Found.UNWIND_DATA}
    return [frame.address - BASE for frame in frames[1:]]


def test_a_call_may_be_the_last_instruction_of_its_function() -> None:
    """What it calls never returns: its return address is where the next function begins, which it is not in."""
    view = image({LEAF: (OUTER, NOTHING), OUTER: (NEXT, LOWERED), NEXT: (ENTRY, LOWERED)})
    assert walk(view, LEAF + 8, {0: NEXT, 0x30: ENTRY + 5}) == [NEXT, ENTRY + 5]


def test_the_place_itself_may_be_the_first_instruction() -> None:
    """Nothing of the prologue is done there yet."""
    assert walk(image({LEAF: (OUTER, LOWERED)}), LEAF, {0: ENTRY + 5}) == [ENTRY + 5]
    assert walk(image({LEAF: (OUTER, LOWERED)}), LEAF + 4, {0x28: ENTRY + 5}) == [ENTRY + 5]


@pytest.mark.parametrize(
    ("codes", "release"),
    [
        ("0800 0550 0442", 0x38),
        ("0800 0864 0500 0442", 0x30),
        ("0800 0865 00000100 0442", 0x30),
        ("0800 0868 0500 0442", 0x30),
        ("0800 0869 00000100 0442", 0x30),
        ("0800 0401 0500", 0x30),
        ("0800 0411 00100000", 0x1008),
        ("040a", 0x00),
        ("041a", 0x08),
    ],
    ids=[
        "push, push, small",
        "save",
        "save far",
        "save XMM",
        "save XMM far",
        "large",
        "large, 32 bits",
        "machine frame",
        "machine frame with error code",
    ],
)
def test_each_code_takes_its_slots(codes: str, release: int) -> None:
    """A code that takes more or fewer slots than it has makes nonsense of the ones behind it."""
    raw = bytes.fromhex(codes)
    info = struct.pack("<BBBB", 1, 8, len(raw) // 2, 0) + raw
    view = image({LEAF: (OUTER, info.hex())})
    assert walk(view, LEAF + 0x10, {release: ENTRY + 5}) == [ENTRY + 5]


@pytest.mark.parametrize("codes", ["0442", "0442 0132"], ids=["an odd number of codes", "an even number"])
def test_chained_data_stands_behind_an_even_number_of_codes(codes: str) -> None:
    """The part's own codes are undone, then all of the prologue that it is chained to."""
    raw = bytes.fromhex(codes)
    padded = raw.ljust(4, b"\0")
    chained = struct.pack("<III", OUTER, NEXT, INFOS + 32)
    info = struct.pack("<BBBB", 1 | 4 << 3, 4, len(raw) // 2, 0) + padded + chained
    release = sum(0x28 if code == "0442" else 0x20 for code in codes.split()) + 0x28
    assert walk(image({LEAF: (OUTER, info.hex())}, LOWERED), LEAF + 8, {release: ENTRY + 5}) == [ENTRY + 5]
