"""What says something of a driver's code: maps, program databases, DWARF, unwind data, and the code itself."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor import prebuilt
from mmsupervisor.debuginfo.disassembly import disassemble_around
from mmsupervisor.debuginfo.image_view import ImageView
from mmsupervisor.debuginfo.read import read_symbols
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.debuginfo.unwind import Stack, unwind
from mmsupervisor.pi.errors import MmSupervisorError
from tests.debuginfo import program_database, walked

_BASE, _STACK, _PLACE = 0x10000, 0x8000, 0x106C
_REGISTERS = ("rax", "rbx", "rcx", "rdx", "rbp", "rsi", "rdi", "r15")


def seeds() -> list[bytes]:
    """A map of each linker, a program database, images with and without unwind data."""
    ours = "".join(f"{one.rva:08x} {one.size:08x} code a.c {one.name}\n" for one in prebuilt.symbols("Echo"))
    return [
        ours.encode(),
        b"Linker script and memory map\n .text.F  0x0000000000001000  0x52 a.o\n",
        b" Address  Publics by Value  Rva+Base\n 0001:00000000  F  0000000180000240 f  a.obj\n",
        b"VMA LMA Size Align Out In Symbol\n 240 240 1c 1                 F\n",
        program_database.build(),
        walked.image(walked.FRAMED[0], unwind_data=True),
        walked.image(walked.BLIND[0], unwind_data=False),
    ]


def target(data: bytes) -> None:
    """Walk a stack in it as an image, then read it as symbols; names and lines are in ascending order."""
    image = ImageView("fuzz", _BASE, len(data), Symbols(), data)
    stack = Stack(_STACK, b"".join((_BASE + (at * 8) % 0x1100).to_bytes(8, "little") for at in range(256)))
    registers = dict.fromkeys(_REGISTERS, _STACK) | {"rip": _BASE + _PLACE, "rsp": _STACK}
    frames = unwind(registers, stack, lambda address: image if image.holds(address) else None)
    assert frames[0].address == _BASE + _PLACE
    assert len(frames) <= 64
    if image.holds(_BASE + _PLACE):
        assert sum(line.address == _BASE + _PLACE for line in disassemble_around(image, _BASE + _PLACE)) == 1
    if data.startswith(b"MZ"):
        with suppress(MmSupervisorError):
            read_symbols(data, "fuzz")
        return
    symbols = read_symbols(data, "fuzz")
    for offsets in (symbols.offsets, symbols.lines.offsets, symbols.frames.offsets):
        assert list(offsets) == sorted(set(offsets))
    for offset in symbols.offsets[:20]:
        assert symbols.name_of(offset) in symbols.names


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
