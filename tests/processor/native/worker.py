"""Runs hostile code on the native processor in a process of its own, and says what came of it.

    python -m tests.processor.native.worker [WEAKNESS]

Reads one attack a line as JSON and answers with one line of JSON. A weakness takes one wall of the containment away, to
show that the attacks notice.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import Died, Entry, Exit, ProcessorOptions, SystemCall
from mmsupervisor.processor.native import filters, stub_image
from mmsupervisor.processor.native.layout import CODE, CONTROL, CONTROL_SIZE, FRAMES, FRAMES_SIZE, VSYSCALL
from mmsupervisor.processor.native.native_processor import NativeProcessor
from tests.processor.conformance.machine import CODE as GUEST_CODE
from tests.processor.conformance.machine import START, Bench

MOST_EXITS = 20


def weaken(what: str) -> None:
    """Take a wall away."""
    if what == "ring3-filter":
        # An unconditional verdict: allow.
        filters_program = bytes.fromhex("0600 00 00 0000ff7f")
        stub_image.filters.ring3_filter = lambda *_: filters_program  # type: ignore[assignment]
        stub_image.filters.stub_filter = _permissive_stub_filter(filters.stub_filter)  # type: ignore[assignment]
    elif what == "unmapping":
        kept = stub_image._calls
        stub_image._calls = lambda data, **named: [  # type: ignore[assignment]
            call for call in kept(data, **named) if call[0] != stub_image.MUNMAP
        ]
    elif what == "descriptors":
        kept = stub_image._calls
        stub_image._calls = lambda data, **named: [  # type: ignore[assignment]
            call for call in kept(data, **named) if call != (stub_image.CLOSE_RANGE, 0, 0xFFFF_FFFF, 0)
        ]
    elif what:
        raise ValueError(what)


def _permissive_stub_filter(strict: Any) -> Any:
    """Notify of the two calls of the stub's own only, and let everything else happen."""

    def make(_address: int, _numbers: Any) -> bytes:
        import struct

        lines = [
            (0x20, 0, 0, 0),
            (0x15, 2, 0, stub_image.RT_SIGRETURN),
            (0x15, 1, 0, 0x7F00_0001),
            (0x06, 0, 0, 0x7FFF_0000),
            (0x06, 0, 0, 0x7FC0_0000),
        ]
        return b"".join(struct.pack("<HBBI", *line) for line in lines)

    return make


def strange_mappings(processor: NativeProcessor, bench: Bench) -> list[str]:
    """Lines of the stub's address space that are neither the machine's memory nor the stub's own."""
    assert processor._stub is not None
    own = [(CODE, PAGE_SIZE), (CONTROL, CONTROL_SIZE), (FRAMES, FRAMES_SIZE), (VSYSCALL, PAGE_SIZE)]
    allowed = own + [(bank.base, bank.size) for bank in bench.memory.banks if bank.backing is not None]
    strange = []
    for line in Path(f"/proc/{processor._stub.pid}/maps").read_text().splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        rights = line.split()[1]
        inside = any(base <= start and end <= base + size for base, size in allowed)
        if not inside or (start < CODE and _too_much(bench, start, end, rights)):
            strange.append(line)
    return strange


def _too_much(bench: Bench, start: int, end: int, rights: str) -> bool:
    access = sum(bit for letter, bit in (("r", 1), ("w", 2), ("x", 4)) if letter in rights)
    return any(access & ~int(piece.value.direct) for piece in bench.memory.slice(start, end - start))


def strange_descriptors(processor: NativeProcessor) -> list[str]:
    """Descriptors of the stub other than copies of ring 3's own code."""
    assert processor._stub is not None
    folder = Path(f"/proc/{processor._stub.pid}/fd")
    targets = [str(entry.readlink()) for entry in folder.iterdir()]
    return sorted(target for target in targets if not target.startswith("/memfd:mm-code"))


def _goes_on(order: dict[str, Any], ended: Exit) -> bool:
    wanted = order.get("goes_on", False)
    return (wanted == "always" and not isinstance(ended, Died)) or (wanted is True and isinstance(ended, SystemCall))


def attack(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one attack on a fresh processor."""
    options = ProcessorOptions(amd_cpuid(39), budget=order.get("budget", 20_000_000))
    bench = Bench(NativeProcessor, options)
    processor = bench.processor
    assert isinstance(processor, NativeProcessor)
    try:
        assert processor._stub is not None
        place = FRAMES + processor._stub.frame_offset
        for address, content in order.get("memory", {}).items():
            digits = content.replace("{place}", place.to_bytes(8, "little").hex())
            bench.memory.write(int(address), bytes.fromhex(digits))
        at = order.get("at", GUEST_CODE)
        registers = order.get("registers", {})
        if order.get("claims_place"):  # what the handler gives of its frame: ring 3 can guess it
            registers["rdx"] = registers["r14"] = place
        ended = bench.enter(order["code"]) if order.get("plain") else bench.run(order["code"], at=at, **registers)
        exits = [repr(ended)]
        kinds = [type(ended).__name__]
        numbers = [getattr(ended, "number", getattr(ended, "vector", None))]
        while len(exits) < MOST_EXITS and _goes_on(order, ended):
            ended = processor.resume(order.get("answer", 0))
            exits.append(repr(ended))
            kinds.append(type(ended).__name__)
            numbers.append(getattr(ended, "number", getattr(ended, "vector", None)))
        rax = processor.registers().rax
        again = processor.enter(Entry(START, 0x1F_0000))
        return {
            "kinds": kinds,
            "numbers": numbers,
            "exits": exits,
            "rax": rax,
            "usable": isinstance(again, SystemCall),
            "mappings": strange_mappings(processor, bench),
            "descriptors": strange_descriptors(processor),
        }
    finally:
        processor.close()
        bench.memory.close()


def main() -> None:
    weaken(sys.argv[1] if len(sys.argv) > 1 else "")
    for line in sys.stdin:
        try:
            answer = attack(json.loads(line))
        except Exception as failure:
            answer = {"failure": f"{type(failure).__name__}: {failure}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
