"""A processor alone, with code to run on it: exits of every kind, and something to compute."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import unicorn
from unicorn import unicorn_const, x86_const

from benchmarks.programs import BRANCHY, CRC32, HANDLER, HANDLER_PAGES, branchy, crc32_table
from benchmarks.sha256_code import INITIAL, STATE, sha256_code
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
from mmsupervisor.processor.select import make_processor

CODE, DATA, STACK_END, DEVICE = 0x10_0000, 0x20_0000, 0x40_0000, 0x50_0000
TABLE = DATA
INPUT = 0x100_0000
INPUT_SIZE = 4 << 20
CONTENT = bytes(range(256)) * (INPUT_SIZE // 256)
SHA_BLOCKS = 16384


class NullDevice:
    def mmio_read(self, offset: int, width: int) -> int:
        return 0

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        pass


def build_memory() -> PhysicalMemory:
    memory = PhysicalMemory()
    memory.add_ram(CODE, STACK_END - CODE, "ram")
    memory.add_ram(INPUT, 2 * INPUT_SIZE, "input")
    memory.assign(INPUT, 2 * INPUT_SIZE, Attribute.XP)
    memory.add_device(DEVICE, PAGE_SIZE, "device", NullDevice())
    memory.assign(CODE, 0x10000, Attribute.RO)
    memory.assign(DATA, STACK_END - DATA, Attribute.XP)
    memory.assign(DEVICE, PAGE_SIZE, Attribute.XP)
    memory.write(TABLE, crc32_table())
    memory.write(INPUT, CONTENT)
    return memory


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

    def compute_crc32(self) -> Callable[[int], None]:
        at = self.put(CRC32.hex())
        expected = zlib.crc32(CONTENT)
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
        digest = hashlib.sha256(message).digest()
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
            assert struct.pack(">8I", *struct.unpack("<8I", self.memory.read(work + STATE, 32))) == digest

        return step

    def compute_branchy(self, rounds: int) -> Callable[[int], None]:
        at = self.put(BRANCHY.hex())
        begin = self.put("0f05")
        expected = branchy(rounds)

        def step(count: int) -> None:
            for _ in range(count):
                self.enter(begin)
                self.processor.set_registers(replace(self.processor.registers(), rip=at, rcx=rounds))
                ended = self.processor.resume()
            assert isinstance(ended, SystemCall)
            assert ended.number == expected

        return step

    def reset(self) -> Callable[[int], None]:
        """A handler of 300 instructions that writes to five pages, entered and the pages put back each time."""
        entry = Entry(self.put(HANDLER.hex()), STACK_END - 0x18)
        kept = [(page, self.memory.read(page, PAGE_SIZE)) for page in HANDLER_PAGES]

        def step(count: int) -> None:
            enter, write = self.processor.enter, self.memory.write
            for _ in range(count):
                ended = enter(entry)
                for page, content in kept:
                    write(page, content)
            assert isinstance(ended, GateReturn)

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
