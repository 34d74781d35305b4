"""Segments as the machine has them: what selectors mean, and the instructions that load, store or judge one.

The host has another descriptor table, with other selectors for ring 3. None of these instructions may therefore reach
it: each is executed here, by the machine's table (docs/reference/syscall-abi.md §2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from iced_x86 import Code, Instruction, MemorySizeExt, Mnemonic, OpKind, Register

from mmsupervisor.machine.memory import Access, PhysicalMemory
from mmsupervisor.processor import page_map
from mmsupervisor.processor.decoder import AddressFault, MemoryFault
from mmsupervisor.processor.exceptions import GENERAL_PROTECTION, STACK_SEGMENT
from mmsupervisor.processor.instructions import (
    MASK64,
    RegisterFile,
    is_canonical,
    memory_uses,
    register_parts,
)
from mmsupervisor.processor.interface import CALL_GATE_SELECTOR, Registers
from mmsupervisor.processor.native.instruction_rules import reads_selector
from mmsupervisor.processor.ring3_setup import DESCRIPTORS, USER_CODE, USER_DATA, setup_page
from mmsupervisor.processor.special import loads_descriptor

_TABLE: tuple[int, ...] = struct.unpack("<14Q", setup_page()[DESCRIPTORS])

ZERO_FLAG = 0x40
NESTED_TASK_FLAG = 0x4000
_POPPED_FLAGS = 0x24_4DD5
"""What POPF and IRET change at this privilege: the status and direction flags, TF, NT, AC, ID."""

_RPL = 3
_LOCAL_TABLE = 4


@dataclass(frozen=True, slots=True)
class Selectors:
    """The segment registers that ring 3 can change; CS and SS are constant in it."""

    ds: int = USER_DATA
    es: int = USER_DATA
    fs: int = USER_DATA
    gs: int = USER_DATA
    ss: int = USER_DATA
    cs: int = USER_CODE


INITIAL = Selectors()

_NAMES = {
    Register.DS: "ds",
    Register.ES: "es",
    Register.FS: "fs",
    Register.GS: "gs",
    Register.SS: "ss",
    Register.CS: "cs",
}
_PUSHES_FLAGS = frozenset((Mnemonic.PUSHF, Mnemonic.PUSHFD, Mnemonic.PUSHFQ))
_JUDGES = frozenset((Mnemonic.LAR, Mnemonic.LSL, Mnemonic.VERR, Mnemonic.VERW))
_FAR_LOADS = {Mnemonic.LFS: "fs", Mnemonic.LGS: "gs", Mnemonic.LSS: "ss"}
_RETURNS = frozenset((Mnemonic.RETF, Mnemonic.IRET, Mnemonic.IRETD, Mnemonic.IRETQ))
_TRANSFERS = frozenset((Mnemonic.CALL, Mnemonic.JMP))


class SegmentFault(Exception):  # noqa: N818 - what the machine calls it
    """A selector is refused.

    Attributes:
        vector: Of the exception.
        error_code: What it pushes.
    """

    def __init__(self, vector: int, error_code: int) -> None:
        """Record the exception."""
        self.vector = vector
        self.error_code = error_code
        super().__init__(f"vector {vector}, error code {error_code:#x}")


def concerns(instruction: Instruction) -> bool:
    """Return whether the instruction is one of those that are executed here."""
    return loads_descriptor(instruction) or reads_selector(instruction) or instruction.mnemonic in _PUSHES_FLAGS


# Descriptors


@dataclass(frozen=True, slots=True)
class _Descriptor:
    """A descriptor of the machine's table; all of them are flat."""

    value: int

    @property
    def is_segment(self) -> bool:
        return bool(self.value >> 44 & 1)

    @property
    def privilege(self) -> int:
        return self.value >> 45 & 3

    @property
    def is_present(self) -> bool:
        return bool(self.value >> 47 & 1)

    @property
    def is_code(self) -> bool:
        return self.is_segment and bool(self.value >> 43 & 1)

    @property
    def can_be_read(self) -> bool:
        return self.is_segment and (not self.is_code or bool(self.value >> 41 & 1))

    @property
    def can_be_written(self) -> bool:
        return self.is_segment and not self.is_code and bool(self.value >> 41 & 1)

    @property
    def is_64_bit_code(self) -> bool:
        return self.is_code and bool(self.value >> 53 & 1)


def _find(selector: int) -> _Descriptor | None:
    """Return the descriptor of a selector that is not null, or None if there is none."""
    index = selector >> 3
    if selector & _LOCAL_TABLE or index >= len(_TABLE) or not _TABLE[index]:
        return None
    return _Descriptor(_TABLE[index])


def _refuse(selector: int, vector: int = GENERAL_PROTECTION) -> SegmentFault:
    return SegmentFault(vector, selector & 0xFFFC)


def _check_data(name: str, selector: int) -> None:
    """Raise what loading a selector into DS, ES, FS, GS or SS raises."""
    if not selector & ~_RPL:
        if name == "ss":
            raise SegmentFault(GENERAL_PROTECTION, 0)
        return
    descriptor = _find(selector)
    if descriptor is None or descriptor.privilege != _RPL:
        raise _refuse(selector)
    if name == "ss" and (selector & _RPL != _RPL or not descriptor.can_be_written):
        raise _refuse(selector)
    if not descriptor.can_be_read:
        raise _refuse(selector)


def _check_code(selector: int, *, returns: bool) -> None:
    """Raise what going on in a code segment raises; ring 3 can go to its own only."""
    if not selector & ~_RPL:
        raise SegmentFault(GENERAL_PROTECTION, 0)
    descriptor = _find(selector)
    if descriptor is None or not descriptor.is_code or descriptor.privilege != _RPL:
        raise _refuse(selector)
    if returns and selector & _RPL != _RPL:
        raise _refuse(selector)
    if not descriptor.is_64_bit_code:
        raise _refuse(selector)


# Execution


class _Step:
    """One instruction at work on a copy of the registers."""

    def __init__(self, instruction: Instruction, registers: Registers, memory: PhysicalMemory) -> None:
        self.instruction = instruction
        self.file = RegisterFile(registers)
        self.values = self.file.values
        self._registers = registers
        self._memory = memory

    def _check(self, address: int, size: int, access: Access, *, stack: bool) -> None:
        last = address + size - 1
        if not (is_canonical(address) and is_canonical(last)):
            raise AddressFault(STACK_SEGMENT if stack else GENERAL_PROTECTION)
        for at in sorted({address, max(address, last & -0x1000)}):
            if not page_map.direct_access(self._memory.state(at)) & access:
                raise MemoryFault(at, access)

    def read(self, address: int, size: int, *, stack: bool = False) -> int:
        self._check(address, size, Access.READ, stack=stack)
        return int.from_bytes(self._memory.read(address, size), "little")

    def write(self, address: int, size: int, value: int, *, stack: bool = False) -> None:
        self._check(address, size, Access.WRITE, stack=stack)
        self._memory.write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def push(self, value: int, size: int) -> None:
        top = self.values["rsp"] - size & MASK64
        self.write(top, size, value, stack=True)
        self.values["rsp"] = top

    def pop(self, size: int) -> int:
        value = self.read(self.values["rsp"], size, stack=True)
        self.values["rsp"] = self.values["rsp"] + size & MASK64
        return value

    def operand_address(self) -> tuple[int, int, bool]:
        """Return address, size and stack use of the explicit memory operand."""
        size = MemorySizeExt.size(self.instruction.memory_size)
        use = next(use for use in memory_uses(self.instruction, self._registers) if use.size == size)
        return use.address, size, use.stack

    def source(self, number: int) -> int:
        """Return a 16-bit selector operand."""
        if self.instruction.op_kind(number) == OpKind.REGISTER:
            return self.file.read(self.instruction.op_register(number)) & 0xFFFF
        address, _, stack = self.operand_address()
        return self.read(address, 2, stack=stack)

    def finish(self) -> Registers:
        self.values["rip"] = self.instruction.next_ip
        return self.file.frozen()


Outcome = tuple[Registers, Selectors] | None
"""Registers and selectors afterwards; None is the way back through the call gate."""


def execute(instruction: Instruction, registers: Registers, selectors: Selectors, memory: PhysicalMemory) -> Outcome:
    """Execute one of these instructions.

    Raises:
        SegmentFault: the machine refuses a selector.
        MemoryFault: it refuses memory that the instruction needs.
        AddressFault: an address is not canonical.
    """
    step = _Step(instruction, registers, memory)
    mnemonic = instruction.mnemonic
    if mnemonic in _PUSHES_FLAGS:
        step.push(registers.rflags & ~0x3_0000, 2 if mnemonic == Mnemonic.PUSHF else 8)
        return step.finish(), selectors
    if mnemonic in _JUDGES:
        _judge(step)
        return step.finish(), selectors
    if mnemonic in _RETURNS:
        return _return(step), selectors
    if mnemonic in _TRANSFERS:
        after = _transfer(step)
        return None if after is None else (after, selectors)
    if reads_selector(instruction):
        _store(step, selectors)
        return step.finish(), selectors
    return _load(step, selectors)


def _judge(step: _Step) -> None:
    """LAR, LSL, VERR, VERW."""
    instruction = step.instruction
    mnemonic = instruction.mnemonic
    operand = 1 if mnemonic in (Mnemonic.LAR, Mnemonic.LSL) else 0
    selector = step.source(operand)
    descriptor = _find(selector) if selector & ~_RPL else None
    usable = descriptor is not None and descriptor.is_segment and descriptor.privilege == _RPL
    if usable and descriptor is not None:
        if mnemonic == Mnemonic.LAR:
            step.file.write(instruction.op0_register, descriptor.value >> 32 & 0xF0_FF00)
        elif mnemonic == Mnemonic.LSL:
            step.file.write(instruction.op0_register, 0xFFFF_FFFF)
        else:
            usable = descriptor.can_be_read if mnemonic == Mnemonic.VERR else descriptor.can_be_written
    flags = step.values["rflags"] & ~ZERO_FLAG
    step.values["rflags"] = flags | ZERO_FLAG if usable else flags


def _operand_size(instruction: Instruction) -> int:
    if instruction.code in (Code.RETFQ, Code.RETFQ_IMM16, Code.IRETQ):
        return 8
    return 2 if instruction.code in (Code.RETFW, Code.RETFW_IMM16, Code.IRETW) else 4


def _return(step: _Step) -> Registers:
    """RETF and IRET: to the code segment of ring 3 or nowhere."""
    instruction = step.instruction
    if instruction.mnemonic != Mnemonic.RETF and step.values["rflags"] & NESTED_TASK_FLAG:
        raise SegmentFault(GENERAL_PROTECTION, 0)  # IRET of a nested task, which 64-bit mode does not have
    size = _operand_size(instruction)
    rip = step.pop(size)
    selector = step.pop(size) & 0xFFFF
    values = step.values
    if instruction.mnemonic == Mnemonic.RETF:
        _check_code(selector, returns=True)
        if instruction.op_count:
            values["rsp"] = values["rsp"] + instruction.immediate16 & MASK64
    else:
        flags = step.pop(size)
        rsp = step.pop(size)
        stack = step.pop(size) & 0xFFFF
        _check_code(selector, returns=True)
        _check_data("ss", stack)
        values["rsp"] = rsp
        values["rflags"] = values["rflags"] & ~_POPPED_FLAGS | flags & _POPPED_FLAGS
    if not is_canonical(rip):
        raise SegmentFault(GENERAL_PROTECTION, 0)
    values["rip"] = rip
    return step.file.frozen()


def _transfer(step: _Step) -> Registers | None:
    """Far CALL and JMP through memory; None is the call gate."""
    address, size, stack = step.operand_address()
    pointer = step.read(address, size, stack=stack)
    offset_bits = 8 * (size - 2)
    selector, rip = pointer >> offset_bits, pointer & (1 << offset_bits) - 1
    calls = step.instruction.mnemonic == Mnemonic.CALL
    if calls and selector == CALL_GATE_SELECTOR:
        return None
    _check_code(selector, returns=False)
    if not is_canonical(rip):
        raise SegmentFault(GENERAL_PROTECTION, 0)
    if calls:
        step.push(USER_CODE, size - 2)
        step.push(step.instruction.next_ip, size - 2)
    step.values["rip"] = rip
    return step.file.frozen()


def _store(step: _Step, selectors: Selectors) -> None:
    """MOV from a segment register, and PUSH of one."""
    instruction = step.instruction
    if instruction.mnemonic == Mnemonic.PUSH:
        size = 2 if instruction.stack_pointer_increment == -2 else 8
        step.push(getattr(selectors, _NAMES[instruction.op0_register]), size)
        return
    value = getattr(selectors, _NAMES[instruction.op1_register])
    if instruction.op0_kind == OpKind.REGISTER:
        step.file.write(instruction.op0_register, value)
    else:
        address, _, stack = step.operand_address()
        step.write(address, 2, value, stack=stack)


def _load(step: _Step, selectors: Selectors) -> Outcome:
    """MOV to a segment register, POP of one, LFS, LGS and LSS."""
    instruction = step.instruction
    mnemonic = instruction.mnemonic
    if mnemonic in _FAR_LOADS:
        address, size, stack = step.operand_address()
        name = _FAR_LOADS[mnemonic]
        pointer = step.read(address, size, stack=stack)
        selector, offset = pointer >> 8 * (size - 2), pointer & (1 << 8 * (size - 2)) - 1
        _check_data(name, selector)
        width = register_parts()[instruction.op0_register].width
        step.file.write(instruction.op0_register, offset & (1 << 8 * width) - 1)
    else:
        name = _NAMES[instruction.op0_register]
        pops = mnemonic == Mnemonic.POP
        selector = step.pop(instruction.stack_pointer_increment) & 0xFFFF if pops else step.source(1)
        _check_data(name, selector)
    return step.finish(), replace(selectors, **{name: selector})
