"""Any bytes as code in ring 3: it stays in ring 3, ends, and touches nothing that is not its own.

An input is sixteen bytes that choose registers, then code. It is executed with a small budget on the machine of the
conformance suite, device exits answered by a pattern, system calls by a number, a few times on.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import (
    BudgetSpent,
    Exit,
    Fault,
    GateReturn,
    MmioAccess,
    ProcessorOptions,
    Registers,
    SystemCall,
    TimestampRead,
)
from mmsupervisor.processor.port_instructions import begin_port_operation
from mmsupervisor.processor.privileged import privileged
from mmsupervisor.processor.unicorn_processor import UnicornProcessor
from tests.processor.conformance.machine import (
    ABSENT_PAGE,
    BEHIND,
    CODE,
    DATA,
    DEVICE,
    FLASH,
    HOLE,
    READ_ONLY,
    START,
    SUPERVISOR_PAGE,
    TOP,
    WRITABLE_CODE,
    Bench,
)

_GUARDED = [(START, PAGE_SIZE), (READ_ONLY, PAGE_SIZE), (SUPERVISOR_PAGE, PAGE_SIZE), (ABSENT_PAGE, PAGE_SIZE)]
_CODE_AT = CODE + 0x10
_ADDRESSES = (
    *(DATA, DATA + 0x7F8, READ_ONLY, SUPERVISOR_PAGE, ABSENT_PAGE, WRITABLE_CODE, BEHIND + 0xFFC, HOLE, DEVICE),
    *(DEVICE + 0x1FFC, FLASH, TOP, CODE, _CODE_AT, 0, 1, 3, 0x7F, 0xFFFF_FFFF, 1 << 63, (1 << 47) - 4, (1 << 64) - 8),
)
_GENERAL = [name for name in Registers.__slots__ if name not in ("rip", "rflags")]
_VECTORS = frozenset({0, 1, 6, 10, 11, 12, 13, 14, 16, 17, 19})
_MOST_EXITS = 24


@cache
def _bench() -> Bench:
    bench = Bench(UnicornProcessor, ProcessorOptions(amd_cpuid(39), budget=2000))
    for base, size in _GUARDED:
        if base != START:
            bench.memory.fill(base, size, 0xA5)
    return bench


def seeds() -> list[bytes]:
    """Code of each kind."""
    codes = (
        "0f05 ebfc",  # system calls in a loop
        "4157 ff1c24",  # the way back
        "8b07 8907 f3a4 f348ab 0f1007 0f1107",  # moves
        "f0480107 480fb107 0fba2f05 ff37 8f07",  # read, modify, write
        "f4 fa ec 6c f36f cd80 cc f1 0f0b",  # what ring 3 may not do
        "0fa2 0f31 0f01f9 0fc7f0 0f01d0",  # what a processor answers
        "c60500000000ec 90",  # code that changes itself
        "48cf cb ca0800 8ed8 0fa1 0fb207 ff2f",  # segments
        "d9eb dd1f dbe3 9b 0fae07 0fae0f",  # x87
        "67a4 6667a5 f2ae f3a6 fd a4 fc",  # strings
    )
    choice = bytes((7 * i) % 22 for i in range(16))
    return [choice + bytes.fromhex(code) for code in codes] + [bytes([8] * 16) + bytes.fromhex(codes[2])]


def target(data: bytes) -> None:
    """Execute the input and hold every exit against the machine."""
    bench = _bench()
    choices, code = data[:16].ljust(16, b"\0"), data[16:272]
    registers = {name: _ADDRESSES[choice % len(_ADDRESSES)] for name, choice in zip(_GENERAL, choices, strict=True)}
    bench.memory.fill(CODE, PAGE_SIZE, 0x90)
    bench.memory.fill(WRITABLE_CODE, PAGE_SIZE, 0x90)
    before = [bench.memory.read(base, size) for base, size in _GUARDED]
    ended = bench.run(code.hex(), at=_CODE_AT, **registers)
    image = (b"\x90" * (_CODE_AT - CODE) + code).ljust(PAGE_SIZE, b"\x90")
    for number in range(_MOST_EXITS):
        _check(bench, ended)
        if not isinstance(ended, SystemCall | MmioAccess | TimestampRead):
            break
        ended = bench.processor.resume(number * 0x0101_0101_0101_0101)
    assert [bench.memory.read(base, size) for base, size in _GUARDED] == before, "memory that ring 3 may not write"
    assert bench.memory.read(CODE, PAGE_SIZE) == image, "code that ring 3 may not write"


def _check(bench: Bench, ended: Exit) -> None:
    match ended:
        case MmioAccess(address=address, width=width):
            assert width in (1, 2, 4, 8)
            first, last = bench.memory.state(address).bank, bench.memory.state(address + width - 1).bank
            assert first is not None
            assert first is last
            assert first.device is not None
        case Fault(vector=vector, rip=rip, instruction=instruction):
            assert vector in _VECTORS, f"vector {vector}"
            assert not instruction or bench.memory.read(rip, len(instruction)) == instruction
            assert (ended.address is not None) == (vector == 14)
            privileged(instruction, bench.registers)
            begin_port_operation(instruction, bench.registers, bench.memory)
        case SystemCall(rip=rip):
            assert bench.memory.read(rip - 2, 2) == b"\x0f\x05" or WRITABLE_CODE <= rip < WRITABLE_CODE + PAGE_SIZE
        case TimestampRead() | GateReturn() | BudgetSpent():
            pass
        case _:
            raise AssertionError(f"{ended}")


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
