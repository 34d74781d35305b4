"""Instructions that end in an exit of their own kind: the call gate, CPUID, the timestamp, what ring 3 may not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from iced_x86 import Instruction, Mnemonic, OpKind, Register

from mmsupervisor.machine.memory import BusError, PhysicalMemory
from mmsupervisor.processor.exceptions import DEBUG, GENERAL_PROTECTION, INVALID_OPCODE
from mmsupervisor.processor.instructions import decode, memory_uses
from mmsupervisor.processor.interface import CALL_GATE_SELECTOR, CpuIdLeaf, CpuIdTable, Registers
from mmsupervisor.processor.trapped import is_absent

_NOTHING = CpuIdLeaf(0, 0, 0, 0)
_INTEL_EBX = int.from_bytes(b"Genu", "little")


def is_system_call(instruction: Instruction) -> bool:
    """Return whether it is SYSCALL."""
    return instruction.mnemonic == Mnemonic.SYSCALL


def is_cpuid(instruction: Instruction) -> bool:
    """Return whether it is CPUID."""
    return instruction.mnemonic == Mnemonic.CPUID


def is_timestamp(instruction: Instruction) -> bool:
    """Return whether it is RDTSC or RDTSCP."""
    return instruction.mnemonic in (Mnemonic.RDTSC, Mnemonic.RDTSCP)


def is_timestamp_with_cpu(instruction: Instruction) -> bool:
    """Return whether it is RDTSCP."""
    return instruction.mnemonic == Mnemonic.RDTSCP


def answer_cpuid(table: CpuIdTable, registers: Registers, length: int) -> Registers:
    """Return the registers after CPUID."""
    leaf, subleaf = registers.rax & 0xFFFF_FFFF, registers.rcx & 0xFFFF_FFFF
    answer = table.get((leaf, subleaf)) or table.get((leaf, 0)) or _NOTHING
    return replace(
        registers, rax=answer.eax, rbx=answer.ebx, rcx=answer.ecx, rdx=answer.edx, rip=registers.rip + length
    )


def answer_timestamp(registers: Registers, instruction: Instruction, ticks: int) -> Registers:
    """Return the registers after RDTSC or RDTSCP."""
    after = replace(
        registers, rax=ticks & 0xFFFF_FFFF, rdx=ticks >> 32 & 0xFFFF_FFFF, rip=registers.rip + instruction.len
    )
    return replace(after, rcx=0) if is_timestamp_with_cpu(instruction) else after


def refusal(instruction: Instruction, table: CpuIdTable) -> tuple[int, int]:
    """Return vector and error code of a trapped instruction (docs/reference/syscall-abi.md §9)."""
    if instruction.mnemonic in (Mnemonic.INT, Mnemonic.INT3):
        number = 3 if instruction.mnemonic == Mnemonic.INT3 else instruction.immediate8
        return GENERAL_PROTECTION, number << 3 | 2  # the gate's privilege level is 0: error code of the gate, IDT
    if instruction.mnemonic == Mnemonic.INT1:
        return DEBUG, 0
    if is_absent(instruction):
        return INVALID_OPCODE, 0
    if instruction.mnemonic in (Mnemonic.SYSENTER, Mnemonic.SYSEXIT, Mnemonic.SYSEXITQ):
        leaf = table.get((0, 0), _NOTHING)
        # With IA32_SYSENTER_CS zero Intel raises #GP; AMD has no such instruction in 64-bit mode.
        return (GENERAL_PROTECTION if leaf.ebx == _INTEL_EBX else INVALID_OPCODE), 0
    return GENERAL_PROTECTION, 0


def loads_descriptor(instruction: Instruction) -> bool:
    """Return whether the instruction makes the processor read its descriptor table."""
    if instruction.mnemonic in (
        Mnemonic.LAR,
        Mnemonic.LSL,
        Mnemonic.VERR,
        Mnemonic.VERW,
        Mnemonic.LFS,
        Mnemonic.LGS,
        Mnemonic.LSS,
        Mnemonic.RETF,
        Mnemonic.IRET,
        Mnemonic.IRETD,
        Mnemonic.IRETQ,
    ):
        return True
    if instruction.mnemonic in (Mnemonic.CALL, Mnemonic.JMP):
        return instruction.is_call_far_indirect or instruction.is_jmp_far_indirect
    if instruction.mnemonic in (Mnemonic.MOV, Mnemonic.POP) and instruction.op0_kind == OpKind.REGISTER:
        segments = (Register.ES, Register.CS, Register.SS, Register.DS, Register.FS, Register.GS)
        return instruction.op0_register in segments
    return False


_CALL_FAR_RSP = bytes.fromhex("ff1c24")
_POINTER_OFFSET_BYTES = 4


def is_gate_call(code: bytes, rip: int, rsp: int, registers: Callable[[], Registers], memory: PhysicalMemory) -> bool:
    """Return whether ``code`` is a far call through the supervisor's call gate; the offset does not matter.

    To be asked after #GP only: the processor has then read the pointer, so that ring 3 may read it.
    """
    if code.startswith(_CALL_FAR_RSP):  # what every ring-3 entry stub ends with
        selector_at = rsp + _POINTER_OFFSET_BYTES
    else:
        instruction = decode(code, rip)
        if instruction is None or not instruction.is_call_far_indirect:
            return False
        pointer = memory_uses(instruction, registers())[0]
        selector_at = pointer.address + pointer.size - 2
    try:
        return int.from_bytes(memory.read(selector_at, 2), "little") == CALL_GATE_SELECTOR
    except BusError:
        return False
