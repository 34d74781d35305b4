"""A driver of three functions that call each other, by which every way of walking a stack can be tried.

The entry point calls ``outer``, that calls ``inner``, and ``inner`` executes CLI.
"""

from __future__ import annotations

import struct

from tests.pi.pe_builder import RODATA, TEXT, BuiltSection, PeBuilder

ENTRY, OUTER, INNER = 0x1000, 0x1020, 0x1060
EXCEPTION_DIRECTORY = 0x80 + 24 + 112 + 8 * 3
NO_RETURN = "ffe0"
"""``jmp rax``: nothing can be read ahead behind it."""

OUTER_FRAMED = "55 53 4881ec00040000 488dac2480000000 31db"
OUTER_PLAIN = "4883ec28"
INNER_SAVING = "57 4883ec20 4889742438 31ff"
INNER_POINTING = "55 4889e5"

UNWIND_DATA = {
    ENTRY: "01040100 0442 0000",
    OUTER: "01110585 1103 09018000 0230 0150 0000",
    INNER: "010a0400 0a640700 0532 0170",
}
"""UNWIND_INFO of the functions: RSP lowered; RBP as frame register over a large area; RSI saved by a move."""


def code(outer: str, outer_end: str, inner: str, inner_end: str) -> tuple[bytes, list[int]]:
    """The functions' code, and the offsets of CLI and of what follows the two calls, innermost first."""
    text = bytearray(b"\xcc" * 0x100)

    def put(at: int, *parts: bytes) -> int:
        data = b"".join(parts)
        text[at - ENTRY : at - ENTRY + len(data)] = data
        return at + len(data)

    def call(at: int, target: int) -> int:
        return put(at, b"\xe8", struct.pack("<i", target - at - 5))

    first = call(put(ENTRY, bytes.fromhex("4883ec28")), OUTER)
    put(first, bytes.fromhex("4883c428 4157 ff1c24"))
    second = call(put(OUTER, bytes.fromhex(outer)), INNER)
    put(second, bytes.fromhex(outer_end))
    cli = put(INNER, bytes.fromhex(inner))
    put(cli, b"\xfa", bytes.fromhex(inner_end))
    return bytes(text), [cli, second, first]


FRAMED = code(OUTER_FRAMED, "488da580030000 5b 5d c3", INNER_SAVING, "488b742438 4883c420 5f c3")
BLIND = code(OUTER_FRAMED, "488da580030000 5b 5d c3", INNER_SAVING, NO_RETURN)
POINTING = code(OUTER_PLAIN, "4883c428 c3", INNER_POINTING, NO_RETURN)


def image(text: bytes, *, unwind_data: bool) -> bytes:
    """The driver as an image, with or without unwind data."""
    sections = [BuiltSection(".text", text, TEXT)]
    if not unwind_data:
        return PeBuilder(sections).build()
    table, infos = b"", b""
    ends = {ENTRY: OUTER, OUTER: INNER, INNER: INNER + 0x40}
    for begin, info in UNWIND_DATA.items():
        table += struct.pack("<III", begin, ends[begin], 0x3000 + len(infos))
        infos += bytes.fromhex(info).ljust(32, b"\0")
    sections += [BuiltSection(".pdata", table, RODATA), BuiltSection(".xdata", infos, RODATA)]
    built = bytearray(PeBuilder(sections).build())
    built[EXCEPTION_DIRECTORY : EXCEPTION_DIRECTORY + 8] = struct.pack("<II", 0x2000, len(table))
    return bytes(built)
