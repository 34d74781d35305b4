"""A program database written by hand: two functions of one module, with lines, and nothing else.

Layout: the LLVM project's "The PDB File Format". An MSF file is blocks; a directory says which blocks hold which
stream. Streams here: 1 the header with the map of named streams, 3 the module list (DBI), 5 names of files, 6 the
module's symbols and lines, 7 the section headers.
"""

from __future__ import annotations

import struct

BLOCK = 0x1000
TEXT = 0x1000
FILE = "C:\\src\\My Driver\\Handler.c"
Functions = dict[str, tuple[int, int]]
Lines = tuple[tuple[int, int], ...]
FUNCTIONS: Functions = {"MyHandler": (0x20, 0x40), "_ModuleEntryPoint": (0x80, 0x10)}
"""Name: offset in .text and size."""
LINES: Lines = ((0x20, 11), (0x28, 12), (0x80, 40))
"""Offset in .text, line."""

_GPROC32, _END, _LINES, _CHECKSUMS = 0x1110, 6, 0xF2, 0xF4


def build(functions: Functions = FUNCTIONS, lines: Lines = LINES) -> bytes:
    """The file."""
    names = b"\0" + FILE.encode() + b"\0"
    strings = struct.pack("<III", 0xEFFE_EFFE, 1, len(names)) + names + struct.pack("<III", 1, 1, 1)
    symbols, rows = _symbols(functions), _lines(lines)
    module = symbols + rows
    streams = [b"", _header(), b"", _modules(len(symbols), len(rows)), b"", strings, module, _sections()]
    return _msf(streams)


def _header() -> bytes:
    name = b"/names\0"
    table = struct.pack("<IIIIIII", 1, 2, 1, 1, 0, 0, 5)  # one entry of two: present bits, none deleted, name 0 is 5
    return struct.pack("<III16s", 20_000_404, 0, 1, bytes(range(16))) + struct.pack("<I", len(name)) + name + table


def _symbols(functions: Functions) -> bytes:
    out = struct.pack("<I", 4)
    for name, (offset, size) in functions.items():
        body = struct.pack("<HIIIIIIIIHB", _GPROC32, 0, 0, 0, size, 0, size, 0, offset, 1, 0) + name.encode() + b"\0"
        body += bytes(-(len(body) + 2) % 4)
        out += struct.pack("<H", len(body)) + body + struct.pack("<HH", 2, _END)
    return out


def _lines(lines: Lines) -> bytes:
    if not lines:
        return b""
    checksums = struct.pack("<IBBH", 1, 0, 0, 0)
    start, end = lines[0][0], lines[-1][0] + 0x10
    rows = b"".join(struct.pack("<II", offset - start, line | 1 << 31) for offset, line in lines)
    block = struct.pack("<III", 0, len(lines), 12 + len(rows)) + rows
    body = struct.pack("<IHHI", start, 1, 0, end - start) + block
    return b"".join(
        struct.pack("<II", kind, len(data)) + data for kind, data in ((_CHECKSUMS, checksums), (_LINES, body))
    )


def _modules(symbols: int, lines: int) -> bytes:
    contribution = struct.pack("<HHIIIHHII", 1, 0, 0, 0x1000, 0x6000_0020, 0, 0, 0, 0)
    module = struct.pack("<I", 0) + contribution + struct.pack("<HHIIIHHIII", 0, 6, symbols, 0, lines, 1, 0, 0, 0, 0)
    module += b"Handler.obj\0Handler.obj\0"
    module += bytes(-len(module) % 4)
    nothing = 0xFFFF
    debug = struct.pack("<11H", *[nothing] * 5, 7, *[nothing] * 5)
    sizes = struct.pack("<iiiiiIii", len(module), 0, 0, 0, 0, 0, len(debug), 0)
    head = struct.pack("<iIIHHHHHH", -1, 19_990_903, 1, nothing, 0, nothing, 0, nothing, 0)
    return head + sizes + struct.pack("<HHI", 0, 0x8664, 0) + module + debug


def _sections() -> bytes:
    return struct.pack("<8sIIIIIIHHI", b".text", 0x1000, TEXT, 0x1000, 0x1000, 0, 0, 0, 0, 0x6000_0020)


def _msf(streams: list[bytes]) -> bytes:
    blocks: list[bytes] = [b"", b"\0" * BLOCK, b"\0" * BLOCK]

    def place(data: bytes) -> list[int]:
        numbers = []
        for at in range(0, len(data), BLOCK):
            numbers.append(len(blocks))
            blocks.append(data[at : at + BLOCK].ljust(BLOCK, b"\0"))
        return numbers

    placed = [place(data) for data in streams]
    directory = struct.pack("<I", len(streams)) + b"".join(struct.pack("<I", len(data)) for data in streams)
    directory += b"".join(struct.pack("<I", number) for numbers in placed for number in numbers)
    (where,) = place(directory)
    (at,) = place(struct.pack("<I", where))
    magic = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"
    blocks[0] = (magic + struct.pack("<IIIIII", BLOCK, 1, len(blocks), len(directory), 0, at)).ljust(BLOCK, b"\0")
    return b"".join(blocks)
