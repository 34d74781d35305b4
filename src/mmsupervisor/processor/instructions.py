"""Instructions as data: decoding, registers by their encoding, and the memory an instruction touches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

from iced_x86 import (
    CodeSize,
    Decoder,
    DecoderError,
    Instruction,
    InstructionInfoFactory,
    MemorySizeExt,
    Mnemonic,
    Register,
    UsedMemory,
)

from mmsupervisor.processor.interface import Registers

MAX_INSTRUCTION = 15
"""Bytes of the longest instruction."""

MASK64 = (1 << 64) - 1

_FIELDS = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"]
"""General registers in the order of their encoding."""


REGISTER_NAMES = tuple(Registers.__slots__)
"""General registers in the order of ``Registers``."""

register_values: Callable[[Registers], tuple[int, ...]] = attrgetter(*REGISTER_NAMES)
"""Return the registers in that order."""


def is_canonical(address: int) -> bool:
    """Return whether bits 63 to 47 of an address are all equal."""
    return address < 1 << 47 or address >= MASK64 + 1 - (1 << 47)


def decode(code: bytes, address: int) -> Instruction | None:
    """Return the instruction at the start of ``code``, or None if there is no whole valid one."""
    instruction = Decoder(64, code, ip=address).decode()
    return None if instruction.is_invalid else instruction


def is_undefined(code: bytes, address: int) -> bool:
    """Return whether ``code`` begins with something that is no instruction, however it goes on."""
    decoder = Decoder(64, code, ip=address)
    return decoder.decode().is_invalid and decoder.last_error == DecoderError.INVALID_INSTRUCTION


@dataclass(frozen=True, slots=True)
class RegisterPart:
    """Where a register lies within a 64-bit one.

    Attributes:
        field: Name of the 64-bit register, as in ``Registers``.
        shift: Lowest bit.
        width: Bytes.
    """

    field: str
    shift: int
    width: int


@cache
def register_parts() -> dict[int, RegisterPart]:
    """Return the part of each general register by the decoder's register number."""
    parts: dict[int, RegisterPart] = {}
    low_bytes = [
        "AL",
        "CL",
        "DL",
        "BL",
        "SPL",
        "BPL",
        "SIL",
        "DIL",
        "R8L",
        "R9L",
        "R10L",
        "R11L",
        "R12L",
        "R13L",
        "R14L",
        "R15L",
    ]
    words = [
        "AX",
        "CX",
        "DX",
        "BX",
        "SP",
        "BP",
        "SI",
        "DI",
        "R8W",
        "R9W",
        "R10W",
        "R11W",
        "R12W",
        "R13W",
        "R14W",
        "R15W",
    ]
    for index, field in enumerate(_FIELDS):
        wide = field.upper()
        double = "E" + wide[1:] if index < 8 else wide + "D"
        for name, width in ((low_bytes[index], 1), (words[index], 2), (double, 4), (wide, 8)):
            parts[getattr(Register, name)] = RegisterPart(field, 0, width)
    for name, field in (("AH", "rax"), ("CH", "rcx"), ("DH", "rdx"), ("BH", "rbx")):
        parts[getattr(Register, name)] = RegisterPart(field, 8, 1)
    return parts


class RegisterFile:
    """General registers that can be changed, by name or by the decoder's number.

    Attributes:
        values: The 64-bit registers by name, ``rip`` and ``rflags`` included.
    """

    __slots__ = ("values",)

    def __init__(self, registers: Registers) -> None:
        """Begin with a copy of ``registers``."""
        self.values: dict[str, int] = dict(zip(REGISTER_NAMES, register_values(registers), strict=True))

    def read(self, register: int) -> int:
        """Return a register, zero-extended.

        Raises:
            KeyError: it is not a general register.
        """
        part = register_parts()[register]
        return self.values[part.field] >> part.shift & (1 << 8 * part.width) - 1

    def write(self, register: int, value: int) -> None:
        """Set a register: 4 bytes clear the upper half, 1 and 2 bytes leave the rest; raises as :meth:`read` does."""
        part = register_parts()[register]
        if part.width >= 4:
            self.values[part.field] = value & (1 << 8 * part.width) - 1
            return
        mask = (1 << 8 * part.width) - 1 << part.shift
        self.values[part.field] = self.values[part.field] & ~mask | value << part.shift & mask

    def frozen(self) -> Registers:
        """Return the registers as a value."""
        return Registers(*self.values.values())


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """One range of memory that an instruction touches.

    Attributes:
        address: First byte, linear.
        size: Bytes.
        stack: Whether the stack segment is used, so that a fault of the address is #SS and not #GP.
    """

    address: int
    size: int
    stack: bool


_FACTORY = InstructionInfoFactory()


def memory_uses(instruction: Instruction, registers: Registers) -> list[MemoryUse]:
    """Return what an instruction touches in its next step; a repeated one its next element only."""
    file = RegisterFile(registers)
    used: Iterable[UsedMemory] = _FACTORY.info(instruction).used_memory()
    return [_resolve(memory, instruction, file) for memory in used]


def _resolve(memory: UsedMemory, instruction: Instruction, file: RegisterFile) -> MemoryUse:
    address = memory.displacement
    if memory.base in register_parts():
        address += file.read(memory.base)
    if memory.index in register_parts():
        address += file.read(memory.index) * memory.scale
    bit_tests = (Mnemonic.BT, Mnemonic.BTS, Mnemonic.BTR, Mnemonic.BTC)
    if instruction.mnemonic in bit_tests and instruction.op1_register in register_parts():
        address += bit_string_offset(file, instruction.op1_register)
    address &= (1 << 32) - 1 if memory.address_size == CodeSize.CODE32 else MASK64
    stack = memory.segment == Register.SS
    return MemoryUse(address, MemorySizeExt.size(memory.memory_size), stack)


def bit_string_offset(file: RegisterFile, register: int) -> int:
    """Return how far a bit index in a register moves the operand of BT and its relatives, in bytes, with a sign."""
    width = register_parts()[register].width
    bits = 8 * width
    index = file.read(register)
    if index >> bits - 1:
        index -= 1 << bits
    return (index // bits) * width
