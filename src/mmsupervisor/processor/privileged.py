"""Names for the privileged instructions that ring 3 tried, for reports and for the relaxation that performs them.

The decoder marks most of them as privileged by itself. The table below has its own list, because what ring 3 may not
use in this machine is more than that: RDPMC with CR4.PCE clear, the store instructions under UMIP, and so on
(docs/reference/syscall-abi.md §9).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from iced_x86 import Instruction, Mnemonic, OpKind, Register

from mmsupervisor.processor.instructions import RegisterFile, decode, register_parts
from mmsupervisor.processor.interface import Registers


class PrivilegedGroup(Enum):
    """What a privileged instruction is about."""

    INTERRUPT_FLAG = "interrupt flag"
    HALT = "halt"
    CACHE = "cache"
    MSR = "model-specific register"
    CONTROL_REGISTER = "control register"
    DEBUG_REGISTER = "debug register"
    DESCRIPTOR_TABLE = "descriptor table"
    PORT = "port"
    COUNTER = "counter"
    EXTENDED_STATE = "extended state"
    MODE = "change of mode"
    IDENTIFICATION = "identification"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Privileged:
    """A privileged instruction.

    Attributes:
        name: Mnemonic in lower case; ``"mov"`` for moves of control and debug registers.
        group: What it is about.
        length: Bytes.
        write: Whether it changes what it is about.
        number: Of the MSR, counter, control or debug register; None for other instructions.
        value: What is written there; 0 if nothing is.
    """

    name: str
    group: PrivilegedGroup
    length: int
    write: bool = False
    number: int | None = None
    value: int = 0


_G = PrivilegedGroup
_READS: dict[int, PrivilegedGroup] = {
    Mnemonic.RDMSR: _G.MSR,
    Mnemonic.RDPMC: _G.COUNTER,
    Mnemonic.RDTSC: _G.COUNTER,
    Mnemonic.RDTSCP: _G.COUNTER,
    Mnemonic.XGETBV: _G.EXTENDED_STATE,
    Mnemonic.CPUID: _G.IDENTIFICATION,
    Mnemonic.SGDT: _G.DESCRIPTOR_TABLE,
    Mnemonic.SIDT: _G.DESCRIPTOR_TABLE,
    Mnemonic.SLDT: _G.DESCRIPTOR_TABLE,
    Mnemonic.STR: _G.DESCRIPTOR_TABLE,
    Mnemonic.SMSW: _G.CONTROL_REGISTER,
    Mnemonic.IN: _G.PORT,
    Mnemonic.INSB: _G.PORT,
    Mnemonic.INSW: _G.PORT,
    Mnemonic.INSD: _G.PORT,
}
_WRITES: dict[int, PrivilegedGroup] = {
    Mnemonic.CLI: _G.INTERRUPT_FLAG,
    Mnemonic.STI: _G.INTERRUPT_FLAG,
    Mnemonic.HLT: _G.HALT,
    Mnemonic.WBINVD: _G.CACHE,
    Mnemonic.WBNOINVD: _G.CACHE,
    Mnemonic.INVD: _G.CACHE,
    Mnemonic.INVLPG: _G.CACHE,
    Mnemonic.WRMSR: _G.MSR,
    Mnemonic.XSETBV: _G.EXTENDED_STATE,
    Mnemonic.LGDT: _G.DESCRIPTOR_TABLE,
    Mnemonic.LIDT: _G.DESCRIPTOR_TABLE,
    Mnemonic.LLDT: _G.DESCRIPTOR_TABLE,
    Mnemonic.LTR: _G.DESCRIPTOR_TABLE,
    Mnemonic.LMSW: _G.CONTROL_REGISTER,
    Mnemonic.CLTS: _G.CONTROL_REGISTER,
    Mnemonic.OUT: _G.PORT,
    Mnemonic.OUTSB: _G.PORT,
    Mnemonic.OUTSW: _G.PORT,
    Mnemonic.OUTSD: _G.PORT,
    Mnemonic.SWAPGS: _G.MSR,
    Mnemonic.SYSRET: _G.MODE,
    Mnemonic.SYSRETQ: _G.MODE,
    Mnemonic.SYSENTER: _G.MODE,
    Mnemonic.SYSEXIT: _G.MODE,
    Mnemonic.SYSEXITQ: _G.MODE,
    Mnemonic.RSM: _G.MODE,
}
_NAMES = {number: name.lower() for name, number in vars(Mnemonic).items() if isinstance(number, int)}
_NUMBER_IN_RCX = (Mnemonic.RDMSR, Mnemonic.WRMSR, Mnemonic.RDPMC, Mnemonic.XGETBV, Mnemonic.XSETBV)
_VALUE_IN_RDX_RAX = (Mnemonic.WRMSR, Mnemonic.XSETBV)
_INTO_RDX_RAX = (Mnemonic.RDMSR, Mnemonic.RDPMC, Mnemonic.XGETBV)
_LOW = 0xFFFF_FFFF


def privileged(code: bytes, registers: Registers) -> Privileged | None:
    """Return what the instruction at the start of ``code`` is, or None if ring 3 may use it (or there is none)."""
    instruction = decode(code, registers.rip)
    if instruction is None:
        return None
    moved = _moved_register(instruction, registers)
    if moved is not None:
        return moved
    mnemonic = instruction.mnemonic
    group = _READS.get(mnemonic) or _WRITES.get(mnemonic)
    if group is None:
        if not instruction.is_privileged:
            return None
        group = PrivilegedGroup.OTHER
    number = registers.rcx & _LOW if mnemonic in _NUMBER_IN_RCX else None
    value = (registers.rdx & _LOW) << 32 | registers.rax & _LOW if mnemonic in _VALUE_IN_RDX_RAX else 0
    return Privileged(_NAMES[mnemonic], group, instruction.len, mnemonic in _WRITES, number, value)


def _moved_register(instruction: Instruction, registers: Registers) -> Privileged | None:
    """Return a move from or to a control or debug register."""
    if instruction.mnemonic != Mnemonic.MOV or instruction.op_count != 2:
        return None
    for operand in (0, 1):
        register = (
            instruction.op_register(operand) if instruction.op_kind(operand) == OpKind.REGISTER else Register.NONE
        )
        for first, last, group in (
            (Register.CR0, Register.CR15, PrivilegedGroup.CONTROL_REGISTER),
            (Register.DR0, Register.DR15, PrivilegedGroup.DEBUG_REGISTER),
        ):
            if first <= register <= last:
                write = operand == 0
                value = RegisterFile(registers).read(instruction.op_register(1)) if write else 0
                return Privileged("mov", group, instruction.len, write, register - first, value)
    return None


def perform(code: bytes, registers: Registers, value: int = 0) -> Registers:
    """Return the registers after a privileged instruction that the supervisor performed for ring 3.

    Args:
        code: The instruction.
        registers: The registers before it.
        value: What it read: of an MSR, a counter, a control or debug register.

    Raises:
        ValueError: it is not a privileged instruction, or one that has its own way
            (:mod:`mmsupervisor.processor.port_instructions`) or cannot be performed (a change of mode, a store of a
            descriptor table).
    """
    what = privileged(code, registers)
    instruction = decode(code, registers.rip)
    if what is None or instruction is None:
        raise ValueError(f"{code.hex()} is not a privileged instruction")
    if what.group in (PrivilegedGroup.PORT, PrivilegedGroup.MODE, PrivilegedGroup.OTHER) or _stores(instruction):
        raise ValueError(f"{what.name} cannot be performed for ring 3")
    file = RegisterFile(registers)
    if instruction.mnemonic in _INTO_RDX_RAX:
        file.values["rax"] = value & _LOW
        file.values["rdx"] = value >> 32 & _LOW
    elif what.name == "mov" and not what.write:
        file.write(instruction.op0_register, value)
    file.values["rip"] = instruction.next_ip
    return file.frozen()


def _stores(instruction: Instruction) -> bool:
    """Return whether a reading instruction has an operand of its own to put the result in."""
    if instruction.mnemonic not in _READS or instruction.op_count == 0:
        return False
    kind = instruction.op0_kind
    return kind == OpKind.MEMORY or (kind == OpKind.REGISTER and instruction.op0_register in register_parts())
