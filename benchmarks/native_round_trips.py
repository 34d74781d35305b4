"""What the native processor costs beside Unicorn, and beside the bare exchange with its stub.

    python benchmarks/native_round_trips.py [seconds per figure]

Everything is measured in turns, so that a busy computer troubles all alike, and the best turn counts. ``bare`` is the
same stub driven by nothing but send, wait and receive: what the kernel takes, which no supervisor in Python can go
below. The last column is what trial code measured in 2026 on a 2-core AMD Zen 5 virtual machine (one core, pinned);
only ratios travel between computers.
"""

from __future__ import annotations

import hashlib
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from processor_round_trips import CODE, CRC32, INPUT_SIZE, SHA_BLOCKS, Bench

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.processor.interface import ProcessorOptions
from mmsupervisor.processor.native.layout import CLOSE, FRAME_WORDS, MMAP, RIP, RSP
from mmsupervisor.processor.native.native_processor import NativeProcessor
from mmsupervisor.processor.native.stub_unsafe import Stub

TURNS = 5
WAIT = 1000

Step = Callable[[int], None]


@dataclass(frozen=True)
class Figure:
    """One line: what is measured, in which ways, and what the trial code had."""

    name: str
    unit: str
    ways: dict[str, Step]
    trial: str
    work: float = 0.0
    """Bytes of one step, if the figure is a speed."""


def bare(code: str) -> Step:
    """A loop of exits with nothing behind it; ``code`` is executed again and again."""
    memory = PhysicalMemory()
    bank = memory.add_ram(CODE, 0x10000, "code")
    memory.write(CODE, bytes.fromhex(code))
    assert bank.backing is not None
    assert bank.backing.descriptor is not None
    stub = Stub(trap_timestamps=False)
    stub.give_descriptor(bank.backing.descriptor, 10)
    stub.order([(MMAP, CODE, 0x10000, 5, 0x11, 10, 0), (CLOSE, 10)])
    offset = stub.frame_offset
    words = stub.frames[offset : offset + 8 * FRAME_WORDS].cast("Q")

    def step(count: int) -> None:
        words[RIP], words[RSP] = CODE, CODE + 0x8000
        for _ in range(count):
            assert stub.go(WAIT)

    return step


def start_and_close(count: int) -> None:
    memory = PhysicalMemory()
    for _ in range(count):
        NativeProcessor(memory, ProcessorOptions({})).close()


def both(prepare: Callable[[Bench], Step]) -> dict[str, Step]:
    return {name: prepare(Bench(name)) for name in ("unicorn", "native")}


def figures() -> list[Figure]:
    crc = zlib.crc32(bytes(range(256)) * (INPUT_SIZE // 256))
    return [
        Figure("system call", "us", {"bare": bare("0f05ebfc"), **both(Bench.system_call)}, "6.1"),
        Figure("#GP (hlt)", "us", {"bare": bare("f4"), **both(lambda bench: bench.fault("f4"))}, "9.4"),
        Figure("#PF", "us", both(lambda bench: bench.fault("8b042500000010")), "9.2"),
        Figure("enter, return by the gate", "us", both(Bench.enter_and_return), ""),
        Figure("device read", "us", both(Bench.device), ""),
        Figure("protection change and call", "us", both(Bench.protection), "17.5 + 6.1"),
        Figure("suspend and restore", "us", both(Bench.suspend), ""),
        Figure("start and close", "us", {"native": start_and_close}, "600"),
        Figure("CRC32 by table", "MB/s", both(lambda bench: bench.compute(CRC32, crc)), "454", INPUT_SIZE),
        Figure("SHA-256", "MB/s", both(Bench.compute_sha256), "266", SHA_BLOCKS * 64),
    ]


def host_sha256() -> float:
    """The host's own SHA-256, in megabytes a second, for scale."""
    data = bytes(1 << 20)
    begin = time.perf_counter()
    hashlib.sha256(data).digest()
    return len(data) / (time.perf_counter() - begin) / 1e6


def measure(figure: Figure, seconds: float) -> dict[str, float]:
    """Return the microseconds of one step for each way, the best of all turns."""
    counts: dict[str, int] = {}
    for name, step in figure.ways.items():
        count = 1
        while True:
            begin = time.perf_counter()
            step(count)
            if time.perf_counter() - begin > seconds / TURNS / 4:
                break
            count *= 2
        counts[name] = count
    best = dict.fromkeys(figure.ways, float("inf"))
    for _ in range(TURNS):
        for name, step in figure.ways.items():
            begin = time.perf_counter()
            step(counts[name])
            best[name] = min(best[name], (time.perf_counter() - begin) / counts[name] * 1e6)
    return best


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print(f"{'':28} {'bare':>9} {'unicorn':>9} {'native':>9}   trial (another computer)")
    for figure in figures():
        best = measure(figure, seconds)
        cells = []
        for name in ("bare", "unicorn", "native"):
            value = best.get(name)
            if value is not None and figure.work:
                value = figure.work / value
            cells.append(f"{value:9.1f}" if value is not None else " " * 9)
        print(f"{figure.name:28} {' '.join(cells)}   {figure.trial:10} {figure.unit}")
    print(f"{'SHA-256 of the host, library':28} {host_sha256():29.1f}")


if __name__ == "__main__":
    main()
