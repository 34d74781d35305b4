"""What a crossing between ring 3 and the supervisor costs, for each processor: microseconds, and megabytes a second.

    python benchmarks/processor_round_trips.py [seconds per figure]

Figures are the best of several runs on one core. ``binding`` is the same stop and resume done in the plain way with
Unicorn's Python binding (a hook for each event, one call for each register), measured in the same run: only ratios
travel between computers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import replace

import unicorn
from sha256_code import INITIAL, STATE, sha256_code
from unicorn import unicorn_const, x86_const

from mmsupervisor.machine.memory import PAGE_SIZE, Attribute, PhysicalMemory
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import (
    Entry,
    Fault,
    GateReturn,
    MmioAccess,
    Processor,
    ProcessorOptions,
    SystemCall,
)
from mmsupervisor.processor.select import PROCESSORS, make_processor

CODE, DATA, STACK_END, DEVICE = 0x10_0000, 0x20_0000, 0x40_0000, 0x50_0000
TABLE = DATA
INPUT = DATA + 0x10000
INPUT_SIZE = 1 << 20
SHA_BLOCKS = 1024

CRC32 = (  # rsi: input, rcx: bytes, rdi: table; the sum in eax
    "b8ffffffff"  # mov eax, -1
    "0fb616"  # next: movzx edx, byte [rsi]
    "30c2"  # xor dl, al
    "c1e808"  # shr eax, 8
    "330497"  # xor eax, [rdi + rdx * 4]
    "48ffc6"  # inc rsi
    "48ffc9"  # dec rcx
    "75ed"  # jnz next
    "f7d0"  # not eax
    "0f05"
)


class NullDevice:
    def mmio_read(self, offset: int, width: int) -> int:
        return 0

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        pass


def build_memory() -> PhysicalMemory:
    memory = PhysicalMemory()
    memory.add_ram(CODE, STACK_END - CODE, "ram")
    memory.add_device(DEVICE, PAGE_SIZE, "device", NullDevice())
    memory.assign(CODE, 0x10000, Attribute.RO)
    memory.assign(DATA, STACK_END - DATA, Attribute.XP)
    memory.assign(DEVICE, PAGE_SIZE, Attribute.XP)
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0xEDB88320 if number & 1 else 0)  # noqa: PLW2901 - the usual way to write it
        table.append(number)
    memory.write(TABLE, struct.pack("<256I", *table))
    memory.write(INPUT, bytes(range(256)) * (INPUT_SIZE // 256))
    return memory


def best(action: Callable[[int], None], seconds: float) -> float:
    """Return the microseconds of one step, the best of five runs."""
    count = 64
    while True:
        begin = time.perf_counter()
        action(count)
        took = time.perf_counter() - begin
        if took > seconds / 10:
            break
        count *= 2
    fastest = took
    for _ in range(4):
        begin = time.perf_counter()
        action(count)
        fastest = min(fastest, time.perf_counter() - begin)
    return fastest / count * 1e6


class Bench:
    def __init__(self, name: str) -> None:
        self.memory = build_memory()
        self.processor: Processor = make_processor(name, self.memory, ProcessorOptions(amd_cpuid(39), budget=1 << 50))
        self.free = CODE

    def put(self, code: str) -> int:
        at = self.free
        data = bytes.fromhex(code)
        self.memory.write(at, data)
        self.processor.forget_code(CODE, 0x10000)
        self.free += len(data) + 63 & -64
        return at

    def enter(self, at: int) -> object:
        return self.processor.enter(Entry(at, STACK_END - 0x18))

    def system_call(self) -> Callable[[int], None]:
        self.enter(self.put("0f05 ebfc"))

        def step(count: int) -> None:
            resume = self.processor.resume
            for _ in range(count):
                ended = resume(1)
            assert isinstance(ended, SystemCall)

        return step

    def fault(self, code: str) -> Callable[[int], None]:
        at = self.put(code)

        def step(count: int) -> None:
            self.enter(at)
            resume = self.processor.resume
            for _ in range(count):
                ended = resume()
            assert isinstance(ended, Fault)

        return step

    def enter_and_return(self) -> Callable[[int], None]:
        entry = Entry(self.put("4157 ff1c24"), STACK_END - 0x18, (1, 2, 3, 4))

        def step(count: int) -> None:
            enter = self.processor.enter
            for _ in range(count):
                ended = enter(entry)
            assert isinstance(ended, GateReturn)

        return step

    def device(self) -> Callable[[int], None]:
        at = self.put("8b042500005000 ebf7")

        def step(count: int) -> None:
            self.enter(at)
            resume = self.processor.resume
            for _ in range(count):
                ended = resume(1)
            assert isinstance(ended, MmioAccess)

        return step

    def protection(self) -> Callable[[int], None]:
        self.enter(self.put("0f05 8b042500002000 ebf5"))

        def step(count: int) -> None:
            resume = self.processor.resume
            for number in range(count):
                self.memory.assign(DATA, PAGE_SIZE, Attribute.XP if number & 1 else Attribute.RO | Attribute.XP)
                ended = resume(1)
            assert isinstance(ended, SystemCall)

        return step

    def suspend(self) -> Callable[[int], None]:
        self.enter(self.put("0f05 ebfc"))

        def step(count: int) -> None:
            for _ in range(count):
                self.processor.restore(self.processor.suspend())

        return step

    def compute(self, code: str, expected: int) -> Callable[[int], None]:
        at = self.put(code)
        begin = self.put("0f05")

        def step(count: int) -> None:
            for _ in range(count):
                self.enter(begin)
                registers = self.processor.registers()
                self.processor.set_registers(replace(registers, rip=at, rsi=INPUT, rcx=INPUT_SIZE, rdi=TABLE))
                ended = self.processor.resume()
            assert isinstance(ended, SystemCall)
            assert ended.number == expected

        return step

    def compute_sha256(self) -> Callable[[int], None]:
        message = self.memory.read(INPUT, SHA_BLOCKS * 64)
        padding = b"\x80" + bytes(55) + struct.pack(">Q", len(message) * 8)
        self.memory.write(INPUT + len(message), padding)
        at = self.put(sha256_code().hex())
        begin = self.put("0f05")
        work = DATA + 0x8000

        def step(count: int) -> None:
            for _ in range(count):
                self.memory.write(work + STATE, struct.pack("<9I", *INITIAL, SHA_BLOCKS + 1))
                self.enter(begin)
                registers = self.processor.registers()
                self.processor.set_registers(replace(registers, rip=at, r12=INPUT, rdi=work))
                ended = self.processor.resume()
            assert isinstance(ended, SystemCall)
            digest = struct.pack(">8I", *struct.unpack("<8I", self.memory.read(work + STATE, 32)))
            assert digest == hashlib.sha256(message).digest()

        return step


def plain_binding() -> Callable[[int], None]:
    """The same system call round trip in the binding's own way."""
    engine = unicorn.Uc(unicorn_const.UC_ARCH_X86, unicorn_const.UC_MODE_64)
    engine.mem_map(CODE, 0x1000)
    engine.mem_write(CODE, bytes.fromhex("0f05ebfc"))
    seen = []

    def on_system_call(uc: unicorn.Uc, _data: object) -> None:
        seen.append(1)
        uc.emu_stop()

    engine.hook_add(unicorn_const.UC_HOOK_INSN, on_system_call, None, 1, 0, x86_const.UC_X86_INS_SYSCALL)
    names = ("RAX", "RDX", "R8", "R9", "RSP", "RIP")
    numbers = [getattr(x86_const, f"UC_X86_REG_{name}") for name in names]

    def step(count: int) -> None:
        rip = CODE
        for _ in range(count):
            engine.emu_start(rip, 0)
            values = [engine.reg_read(number) for number in numbers]
            rip = values[-1]
            engine.reg_write(x86_const.UC_X86_REG_RAX, 1)
            engine.reg_write(x86_const.UC_X86_REG_RCX, rip)

    return step


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    reference = best(plain_binding(), seconds)
    print(f"{'binding':10} {'system call':34} {reference:10.2f} us")
    for name in PROCESSORS:
        measure(name, seconds, reference)


def measure(name: str, seconds: float, reference: float) -> None:
    bench = Bench(name)
    for what, prepare in (
        ("system call", bench.system_call),
        ("#GP (hlt)", lambda: bench.fault("f4")),
        ("#GP (in al, dx)", lambda: bench.fault("ec")),
        ("#PF", lambda: bench.fault("8b042500000010")),
        ("enter, return by the gate", bench.enter_and_return),
        ("device read", bench.device),
        ("protection change and system call", bench.protection),
        ("suspend and restore", bench.suspend),
    ):
        figure = best(prepare(), seconds)
        ratio = f"   {figure / reference:.2f} of the binding" if what == "system call" else ""
        print(f"{name:10} {what:34} {figure:10.2f} us{ratio}")
    crc = zlib.crc32(bytes(range(256)) * (INPUT_SIZE // 256))
    figure = best(bench.compute(CRC32, crc), seconds)
    print(f"{name:10} {'CRC32 by table':34} {INPUT_SIZE / figure:10.1f} MB/s")
    figure = best(bench.compute_sha256(), seconds)
    print(f"{name:10} {'SHA-256':34} {SHA_BLOCKS * 64 / figure:10.1f} MB/s")


if __name__ == "__main__":
    main()
