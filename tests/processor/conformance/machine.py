"""A small machine with a page of every kind, to run a few instructions on any processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mmsupervisor.machine.memory import PAGE_SIZE, Attribute, PhysicalMemory
from mmsupervisor.processor.interface import Entry, Exit, Processor, ProcessorOptions, Registers, SystemCall

RX, RW, RO, RWX = Attribute.RO, Attribute.XP, Attribute.RO | Attribute.XP, Attribute.NONE
SUPERVISOR = Attribute.SP | Attribute.XP
ABSENT = Attribute.RP | Attribute.XP

START = 0x0F_F000
"""A page with SYSCALL at its start."""

CODE = 0x10_0000
CODE_END = CODE + 4 * PAGE_SIZE
"""First address after the code pages: read-write memory that must not be executed."""

DATA = CODE_END
STACK_END = 0x20_0000
READ_ONLY = 0x20_0000
SUPERVISOR_PAGE = 0x20_1000
ABSENT_PAGE = 0x20_2000
WRITABLE_CODE = 0x20_3000
BEHIND = 0x20_4000
"""Read-write page in front of a hole."""

HOLE = 0x20_5000
DEVICE = 0x30_0000
FLASH = 0x31_0000

TOP = 0x7F_FFFF_F000
"""Last page below the address width of the machine."""


class ByteDevice:
    """A device that is bytes; the tests answer its exits from here."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)

    def mmio_read(self, offset: int, width: int) -> int:
        return int.from_bytes(self.content[offset : offset + width], "little")

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        self.content[offset : offset + width] = value.to_bytes(width, "little")


def build_memory() -> PhysicalMemory:
    memory = PhysicalMemory()
    memory.add_ram(START, HOLE - START, "ram")
    memory.add_device(DEVICE, 2 * PAGE_SIZE, "device", ByteDevice(2 * PAGE_SIZE))
    memory.add_ram(DEVICE + 2 * PAGE_SIZE, PAGE_SIZE, "behind the device")
    memory.add_flash(FLASH, PAGE_SIZE, "flash", ByteDevice(PAGE_SIZE))
    memory.add_ram(TOP, PAGE_SIZE, "top")
    for base, size, attributes in (
        (START, PAGE_SIZE, RX),
        (CODE, CODE_END - CODE, RX),
        (DATA, STACK_END - DATA, RW),
        (READ_ONLY, PAGE_SIZE, RO),
        (SUPERVISOR_PAGE, PAGE_SIZE, SUPERVISOR),
        (ABSENT_PAGE, PAGE_SIZE, ABSENT),
        (WRITABLE_CODE, PAGE_SIZE, RWX),
        (BEHIND, PAGE_SIZE, RW),
        (DEVICE, 3 * PAGE_SIZE, RW),
        (FLASH, PAGE_SIZE, Attribute.NONE),
        (TOP, PAGE_SIZE, RWX),
    ):
        memory.assign(base, size, attributes)
    memory.write(START, bytes.fromhex("0f05"))  # syscall
    return memory


MakeProcessor = Callable[[PhysicalMemory, ProcessorOptions], Processor]


class Bench:
    """A processor with the machine's memory.

    Attributes:
        memory: The memory.
        processor: What is tested.
    """

    def __init__(
        self, make: Callable[[PhysicalMemory, ProcessorOptions], Processor], options: ProcessorOptions
    ) -> None:
        self.memory = build_memory()
        self.processor = make(self.memory, options)

    def put(self, code: str, at: int = CODE) -> None:
        """Write instructions, given as hexadecimal digits."""
        data = bytes.fromhex(code)
        self.memory.write(at, data)
        first = at & -PAGE_SIZE
        self.processor.forget_code(first, (at + len(data) - first + PAGE_SIZE - 1) & -PAGE_SIZE)

    def enter(self, code: str, *arguments: int, at: int = CODE) -> Exit:
        """Enter ring 3 at ``code``."""
        self.put(code, at)
        return self.processor.enter(Entry(at, STACK_END - 0x18, arguments, rax=at))

    def run(self, code: str, at: int = CODE, **registers: int) -> Exit:
        """Execute ``code`` with registers of one's choice."""
        self.put(code, at)
        begun = self.processor.enter(Entry(START, STACK_END - 0x18))
        assert isinstance(begun, SystemCall)
        base = Registers(rsp=STACK_END - 0x18, rip=at)
        self.processor.set_registers(replace(base, **registers))
        return self.processor.resume()

    def go(self, rip: int) -> Exit:
        """Enter ring 3 at what is already in memory."""
        return self.processor.enter(Entry(rip, STACK_END - 0x18))

    @property
    def registers(self) -> Registers:
        """The registers at the last exit."""
        return self.processor.registers()
