"""Leaving a function by its own code: read on from where it stands to its RET, and see what that does to the stack.

Compilers balance the stack on every path of a function, so that any path to a RET tells where the return address
lies, and which registers the epilogue restores from where. Calls on the way come back with the stack as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from iced_x86 import Code, Decoder, FlowControl, Instruction, Mnemonic, OpKind, Register, RegisterExt

from mmsupervisor.debuginfo.image_view import REGISTERS, ImageView

_MOST_INSTRUCTIONS = 2000
_MOST_PATHS = 64
_MASK64 = (1 << 64) - 1
_LONGEST_STUB = 0x60
_STUB_TAIL = 10
_TIDYING = (Mnemonic.POP, Mnemonic.POPFQ, Mnemonic.MOV, Mnemonic.ADD, Mnemonic.LEA, Mnemonic.NOP, Mnemonic.LEAVE)
_FAR = (Code.CALL_M1664, Code.CALL_M1632, Code.CALL_M1616, Code.JMP_M1664, Code.JMP_M1632, Code.JMP_M1616)
_NAMES = {getattr(Register, name.upper()): name for name in REGISTERS}
_VOLATILE = ("rax", "rcx", "rdx", "r8", "r9", "r10", "r11")


class Leaving(Enum):
    """What reading ahead found where it found no return address."""

    ENTRY = "entry"
    UNKNOWN = "unknown"


StackReader = Callable[[int], int | None]


@dataclass(slots=True)
class _Path:
    """A path under way: the next instruction, and the registers that are known there."""

    address: int
    registers: dict[str, int]


def leave_by_code(image: ImageView, registers: dict[str, int], read: StackReader) -> dict[str, int] | Leaving:
    """Read ahead from ``rip`` to a RET.

    Args:
        image: The image that holds ``rip``.
        registers: The registers that are known, by name, ``rip`` and ``rsp`` among them.
        read: Reads 8 bytes of the stack, or returns None outside it.

    Returns:
        The caller's registers; or that the function is the one ring 3 was entered with, since it leaves by a far
        transfer; or that no path could be followed to its end.
    """
    paths = [_Path(registers["rip"], dict(registers))]
    seen: set[int] = set()
    left = _MOST_INSTRUCTIONS
    for _ in range(_MOST_PATHS):
        if not paths:
            break
        path = paths.pop(0)
        while left and path.address not in seen and image.holds(path.address):
            left -= 1
            seen.add(path.address)
            instruction = Decoder(64, image.read(path.address - image.base, 15), ip=path.address).decode()
            if instruction.is_invalid:
                break
            ended = _step(instruction, path, paths, read)
            if ended is not None:
                return ended
            if not path.address:
                break
    return Leaving.UNKNOWN


def _step(
    instruction: Instruction, path: _Path, paths: list[_Path], read: StackReader
) -> dict[str, int] | Leaving | None:
    """Take one instruction; return how the function is left, or None to go on. Address 0 ends the path."""
    flow = instruction.flow_control
    if instruction.code in _FAR:
        return Leaving.ENTRY
    if flow == FlowControl.RETURN:
        value = read(path.registers["rsp"]) if instruction.mnemonic == Mnemonic.RET else None
        if value is not None:
            return path.registers | {"rip": value, "rsp": path.registers["rsp"] + 8}
        path.address = 0
        return None
    if flow == FlowControl.UNCONDITIONAL_BRANCH:
        path.address = instruction.near_branch_target
        return None
    if flow in (FlowControl.INDIRECT_BRANCH, FlowControl.EXCEPTION):
        path.address = 0
        return None
    if flow == FlowControl.CONDITIONAL_BRANCH:
        paths.append(_Path(instruction.near_branch_target, dict(path.registers)))
    if flow in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
        for name in _VOLATILE:
            path.registers.pop(name, None)
    elif not _apply(instruction, path.registers, read):
        path.address = 0
        return None
    path.address = instruction.next_ip
    return None


def _apply(instruction: Instruction, registers: dict[str, int], read: StackReader) -> bool:
    """Do what an instruction does to the registers that are followed; False if RSP is lost by it."""
    target = _NAMES.get(instruction.op0_register) if instruction.op_count and _is_register(instruction, 0) else None
    match instruction.mnemonic:
        case Mnemonic.PUSH | Mnemonic.PUSHFQ:
            registers["rsp"] -= 8
        case Mnemonic.POPFQ:
            registers["rsp"] += 8
        case Mnemonic.POP:
            return _pop(registers, target, read)
        case Mnemonic.LEAVE:
            if "rbp" not in registers:
                return False
            registers["rsp"] = registers["rbp"]
            return _pop(registers, "rbp", read)
        case Mnemonic.ADD | Mnemonic.SUB if target == "rsp":
            if not _is_immediate(instruction, 1):
                return False
            amount = instruction.immediate(1)
            sign = 1 if instruction.mnemonic == Mnemonic.ADD else -1
            registers["rsp"] = registers["rsp"] + sign * amount & _MASK64
        case Mnemonic.LEA | Mnemonic.MOV if target is not None:
            return _assign(instruction, target, registers)
        case Mnemonic.CMP | Mnemonic.TEST | Mnemonic.NOP:
            pass
        case _:
            if instruction.op_count and _is_register(instruction, 0):
                written = _NAMES.get(RegisterExt.full_register(instruction.op0_register), "")
                if written == "rsp":
                    return False
                registers.pop(written, None)
    return True


def _pop(registers: dict[str, int], target: str | None, read: StackReader) -> bool:
    value = read(registers["rsp"])
    registers["rsp"] += 8
    if target is None:
        return True
    if value is None:
        registers.pop(target, None)
        return target != "rsp"
    registers[target] = value
    return True


def _assign(instruction: Instruction, target: str, registers: dict[str, int]) -> bool:
    """LEA and MOV between the registers that are followed: ``mov rsp, r11``, ``lea rsp, [rbp-0x28]``."""
    value: int | None = None
    if instruction.mnemonic == Mnemonic.MOV and _is_register(instruction, 1):
        value = registers.get(_NAMES.get(instruction.op1_register, ""))
    elif instruction.mnemonic == Mnemonic.LEA and instruction.memory_index == Register.NONE:
        base = registers.get(_NAMES.get(instruction.memory_base, ""))
        value = None if base is None else base + instruction.memory_displacement & _MASK64
    if value is None:
        registers.pop(target, None)
        return target != "rsp"
    registers[target] = value
    return True


def _is_register(instruction: Instruction, operand: int) -> bool:
    return _kind(instruction, operand) == int(OpKind.REGISTER)


def _is_immediate(instruction: Instruction, operand: int) -> bool:
    return _kind(instruction, operand) in (OpKind.IMMEDIATE8TO64, OpKind.IMMEDIATE32TO64, OpKind.IMMEDIATE8)


def _kind(instruction: Instruction, operand: int) -> int:
    return int(instruction.op0_kind if operand == 0 else instruction.op1_kind)


def is_stub(image: ImageView, address: int) -> bool:
    """Whether the code at an address is the end of a stub: it does nothing but tidy up and return.

    A function that makes one system call and is told of everything by its caller is of no interest by itself: where
    the system call was decided on is in the function that called it.

    Args:
        image: The image that holds it.
        address: The instruction behind the system call.
    """
    start = image.symbols.start_of(address - image.base)
    if start is not None and address - image.base - start > _LONGEST_STUB:
        return False
    decoder = Decoder(64, image.read(address - image.base, 15 * _STUB_TAIL), ip=address)
    for _ in range(_STUB_TAIL):
        instruction = decoder.decode()
        if instruction.flow_control == FlowControl.RETURN:
            return instruction.mnemonic == Mnemonic.RET
        if instruction.is_invalid or instruction.mnemonic not in _TIDYING:
            return False
    return False
