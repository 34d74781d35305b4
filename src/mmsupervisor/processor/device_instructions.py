"""The instructions that may touch a device, declared as a table of what each does."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from iced_x86 import EncodingKind, Instruction, MemorySizeExt, Mnemonic, OpKind, Register

from mmsupervisor.machine.memory import Access
from mmsupervisor.processor import alu
from mmsupervisor.processor.alu import CF, STATUS, ZF, mask
from mmsupervisor.processor.decoder import AddressFault, Execution, Load, Steps
from mmsupervisor.processor.exceptions import GENERAL_PROTECTION
from mmsupervisor.processor.instructions import MASK64, bit_string_offset, register_parts
from mmsupervisor.processor.string_instructions import STRING_HANDLERS, is_string

Handler = Callable[[Execution], Steps]
Binary = Callable[[int, int, int, int], tuple[int, int]]

READ_WRITE = Access.READ | Access.WRITE

_BINARY: dict[str, Binary] = {
    "ADD": lambda left, right, width, _carry: alu.add(left, right, width),
    "ADC": alu.add,
    "SUB": lambda left, right, width, _carry: alu.subtract(left, right, width),
    "SBB": alu.subtract,
    "CMP": lambda left, right, width, _carry: alu.subtract(left, right, width),
    "AND": lambda left, right, width, _carry: alu.logic(left & right, width),
    "TEST": lambda left, right, width, _carry: alu.logic(left & right, width),
    "OR": lambda left, right, width, _carry: alu.logic(left | right, width),
    "XOR": lambda left, right, width, _carry: alu.logic(left ^ right, width),
}
_ONLY_FLAGS = {"CMP", "TEST"}


# Operands


def _memory_operand(instruction: Instruction) -> int:
    """Return the number of the memory operand."""
    return next(i for i in range(instruction.op_count) if instruction.op_kind(i) == OpKind.MEMORY)


def _address(execution: Execution) -> int:
    """Return the address of the explicit memory operand; segments have base 0 in 64-bit mode here."""
    instruction, file = execution.instruction, execution.file
    address = instruction.memory_displacement
    parts = register_parts()
    narrow = instruction.memory_base == Register.EIP
    for register, scale in ((instruction.memory_base, 1), (instruction.memory_index, instruction.memory_index_scale)):
        if register in parts:
            address += file.read(register) * scale
            narrow = narrow or parts[register].width == 4
    if instruction.memory_base == Register.NONE and instruction.memory_index == Register.NONE:
        narrow = instruction.memory_displ_size == 4 and address <= mask(4)
    return address & (mask(4) if narrow else MASK64)


def _width(instruction: Instruction) -> int:
    return MemorySizeExt.size(instruction.memory_size)


def _plain_operand(execution: Execution, number: int, width: int) -> int:
    """Return a register or immediate operand, as ``width`` bytes."""
    instruction = execution.instruction
    if instruction.op_kind(number) == OpKind.REGISTER:
        return execution.file.read(instruction.op_register(number))
    return instruction.immediate(number) & mask(width)


def _finish(execution: Execution) -> None:
    execution.file.values["rip"] = execution.instruction.next_ip


def _set_flags(execution: Execution, flags: int, affected: int = STATUS) -> None:
    values = execution.file.values
    values["rflags"] = values["rflags"] & ~affected | flags & affected


# Moves


def _move(execution: Execution) -> Steps:
    instruction = execution.instruction
    width = _width(instruction)
    address = _address(execution)
    if _memory_operand(instruction) == 0:
        execution.require(address, width, Access.WRITE)
        yield from execution.store(address, width, _plain_operand(execution, 1, width))
    else:
        execution.require(address, width, Access.READ)
        value = yield from execution.load(address, width)
        execution.file.write(instruction.op0_register, value)
    _finish(execution)


def _swap_bytes(value: int, width: int) -> int:
    return int.from_bytes(value.to_bytes(width, "little"), "big")


def _move_big_endian(execution: Execution) -> Steps:
    instruction = execution.instruction
    width = _width(instruction)
    address = _address(execution)
    if _memory_operand(instruction) == 0:
        execution.require(address, width, Access.WRITE)
        value = _swap_bytes(_plain_operand(execution, 1, width), width)
        yield from execution.store(address, width, value)
    else:
        execution.require(address, width, Access.READ)
        value = yield from execution.load(address, width)
        execution.file.write(instruction.op0_register, _swap_bytes(value, width))
    _finish(execution)


def _move_sign_extended(execution: Execution) -> Steps:
    instruction = execution.instruction
    width = _width(instruction)
    address = _address(execution)
    execution.require(address, width, Access.READ)
    value = yield from execution.load(address, width)
    wider = register_parts()[instruction.op0_register].width
    execution.file.write(instruction.op0_register, alu.sign_extend(value, width, wider))
    _finish(execution)


# Arithmetic and logic


def _binary(name: str) -> Handler:
    compute = _BINARY[name]

    def handler(execution: Execution) -> Steps:
        instruction = execution.instruction
        width = _width(instruction)
        address = _address(execution)
        to_memory = _memory_operand(instruction) == 0
        keeps = name in _ONLY_FLAGS
        execution.require(address, width, READ_WRITE if to_memory and not keeps else Access.READ)
        value = yield from execution.load(address, width)
        other = _plain_operand(execution, 1 if to_memory else 0, width)
        left, right = (value, other) if to_memory else (other, value)
        result, flags = compute(left, right, width, execution.file.values["rflags"] & CF)
        if not keeps:
            if to_memory:
                yield from execution.store(address, width, result)
            else:
                execution.file.write(instruction.op0_register, result)
        _set_flags(execution, flags)
        _finish(execution)

    return handler


def _unary(compute: Callable[[int, int], tuple[int, int]], affected: int) -> Handler:
    def handler(execution: Execution) -> Steps:
        width = _width(execution.instruction)
        address = _address(execution)
        execution.require(address, width, READ_WRITE)
        value = yield from execution.load(address, width)
        result, flags = compute(value, width)
        yield from execution.store(address, width, result)
        _set_flags(execution, flags, affected)
        _finish(execution)

    return handler


def _exchange(execution: Execution) -> Steps:
    instruction = execution.instruction
    width = _width(instruction)
    address = _address(execution)
    execution.require(address, width, READ_WRITE)
    register = instruction.op_register(1 - _memory_operand(instruction))
    value = yield from execution.load(address, width)
    yield from execution.store(address, width, execution.file.read(register))
    execution.file.write(register, value)
    _finish(execution)


def _exchange_add(execution: Execution) -> Steps:
    instruction = execution.instruction
    width = _width(instruction)
    address = _address(execution)
    execution.require(address, width, READ_WRITE)
    value = yield from execution.load(address, width)
    result, flags = alu.add(value, execution.file.read(instruction.op1_register), width)
    yield from execution.store(address, width, result)
    execution.file.write(instruction.op1_register, value)
    _set_flags(execution, flags)
    _finish(execution)


def _accumulator(width: int) -> int:
    return {1: Register.AL, 2: Register.AX, 4: Register.EAX, 8: Register.RAX}[width]


def _compare_exchange(execution: Execution) -> Steps:
    instruction = execution.instruction
    width = _width(instruction)
    address = _address(execution)
    execution.require(address, width, READ_WRITE)
    accumulator = _accumulator(width)
    value = yield from execution.load(address, width)
    _, flags = alu.subtract(execution.file.read(accumulator), value, width)
    # The processor writes in either case: what it read, if the comparison failed.
    equal = bool(flags & ZF)
    yield from execution.store(address, width, execution.file.read(instruction.op1_register) if equal else value)
    if not equal:
        execution.file.write(accumulator, value)
    _set_flags(execution, flags)
    _finish(execution)


def _bit(change: Callable[[int, int], int] | None) -> Handler:
    def handler(execution: Execution) -> Steps:
        instruction = execution.instruction
        width = _width(instruction)
        address = _address(execution)
        if instruction.op1_register in register_parts():
            index = execution.file.read(instruction.op1_register)
            address = address + bit_string_offset(execution.file, instruction.op1_register) & MASK64
        else:
            index = instruction.immediate8
        bit = 1 << index % (8 * width)
        execution.require(address, width, READ_WRITE if change else Access.READ)
        value = yield from execution.load(address, width)
        if change:
            yield from execution.store(address, width, change(value, bit))
        _set_flags(execution, CF if value & bit else 0, CF)
        _finish(execution)

    return handler


# Stack


def _push(execution: Execution) -> Steps:
    width = _width(execution.instruction)
    address = _address(execution)
    values = execution.file.values
    top = values["rsp"] - width & MASK64
    execution.require(address, width, Access.READ)
    execution.require(top, width, Access.WRITE)
    value = yield from execution.load(address, width)
    yield from execution.store(top, width, value)
    values["rsp"] = top
    _finish(execution)


def _pop(execution: Execution) -> Steps:
    width = _width(execution.instruction)
    values = execution.file.values
    top = values["rsp"]
    execution.require(top, width, Access.READ)
    values["rsp"] = top + width & MASK64  # an operand that is based on RSP sees the new value
    address = _address(execution)
    execution.require(address, width, Access.WRITE)
    value = yield from execution.load(top, width)
    yield from execution.store(address, width, value)
    _finish(execution)


# SSE moves


def _vector_number(register: int) -> int | None:
    return register - Register.XMM0 if Register.XMM0 <= register <= Register.XMM15 else None


def _vector_move(*, shift: int = 0, keep: bool = False, aligned: bool = False) -> Handler:
    """Return a move between memory and the bits of an SSE register from ``shift`` on.

    ``keep`` leaves the register's other bits on a load; else they become zero.
    """

    def handler(execution: Execution) -> Steps:
        instruction = execution.instruction
        width = _width(instruction)
        address = _address(execution)
        if aligned and address & 15:
            raise AddressFault(GENERAL_PROTECTION)
        to_memory = _memory_operand(instruction) == 0
        execution.require(address, width, Access.WRITE if to_memory else Access.READ)
        register = instruction.op_register(1 if to_memory else 0)
        number = _vector_number(register)
        if to_memory:
            whole = execution.file.read(register) if number is None else execution.vectors.read_vector(number)
            yield from execution.store(address, width, whole >> shift & mask(width))
        else:
            value: int = yield from _loaded(execution, address, width)
            if number is None:
                execution.file.write(register, value)
            else:
                rest = execution.vectors.read_vector(number) & ~(mask(width) << shift) if keep else 0
                execution.vectors.write_vector(number, rest | value << shift)
        _finish(execution)

    return handler


def _loaded(execution: Execution, address: int, width: int) -> Load:
    return execution.load(address, width)


_VECTOR_MOVES: dict[str, Handler] = {
    **dict.fromkeys(
        ["MOVAPS", "MOVAPD", "MOVDQA", "MOVNTDQ", "MOVNTPS", "MOVNTPD", "MOVNTDQA"], _vector_move(aligned=True)
    ),
    **dict.fromkeys(["MOVUPS", "MOVUPD", "MOVDQU", "LDDQU", "MOVD", "MOVQ", "MOVSS", "MOVSD"], _vector_move()),
    **dict.fromkeys(["MOVLPS", "MOVLPD"], _vector_move(keep=True)),
    **dict.fromkeys(["MOVHPS", "MOVHPD"], _vector_move(shift=64, keep=True)),
}


# The table


@cache
def _handlers() -> dict[int, Handler]:
    """Return the handlers by the decoder's mnemonic numbers."""
    named: dict[str, Handler] = {
        "MOV": _move,
        "MOVZX": _move,
        "MOVNTI": _move,
        "MOVSX": _move_sign_extended,
        "MOVSXD": _move_sign_extended,
        "MOVBE": _move_big_endian,
        **{name: _binary(name) for name in _BINARY},
        "INC": _unary(lambda value, width: alu.add(value, 1, width), STATUS & ~CF),
        "DEC": _unary(lambda value, width: alu.subtract(value, 1, width), STATUS & ~CF),
        "NEG": _unary(lambda value, width: alu.subtract(0, value, width), STATUS),
        "NOT": _unary(lambda value, width: (value ^ mask(width), 0), 0),
        "XCHG": _exchange,
        "XADD": _exchange_add,
        "CMPXCHG": _compare_exchange,
        "BT": _bit(None),
        "BTS": _bit(lambda value, bit: value | bit),
        "BTR": _bit(lambda value, bit: value & ~bit),
        "BTC": _bit(lambda value, bit: value ^ bit),
        "PUSH": _push,
        "POP": _pop,
        **_VECTOR_MOVES,
    }
    return {getattr(Mnemonic, name): handler for name, handler in named.items()}


@cache
def _string_handlers() -> dict[int, Handler]:
    """Return the handlers of string instructions; MOVSD is the name of an SSE move as well."""
    return {getattr(Mnemonic, name): handler for name, handler in STRING_HANDLERS.items()}


def known_mnemonics() -> list[str]:
    """Return the mnemonics that may touch a device, sorted; for documentation and tests."""
    names = {value: name for name, value in vars(Mnemonic).items() if isinstance(value, int)}
    return sorted(names[number] for number in {*_handlers(), *_string_handlers()})


def steps_of(execution: Execution) -> Steps | None:
    """Return the instruction at work, or None if it is not known."""
    instruction = execution.instruction
    table = _string_handlers() if is_string(instruction) else _handlers()
    handler = table.get(instruction.mnemonic)
    if handler is None or not operands_known(instruction):
        return None
    return handler(execution)


def operands_known(instruction: Instruction) -> bool:
    """Return whether registers other than general and SSE ones stay out of it (no segment, MMX or control register)."""
    if instruction.encoding != EncodingKind.LEGACY:
        return False
    if is_string(instruction):
        return True
    if not any(instruction.op_kind(i) == OpKind.MEMORY for i in range(instruction.op_count)):
        return False
    return all(
        instruction.op_kind(i) != OpKind.REGISTER
        or instruction.op_register(i) in register_parts()
        or Register.XMM0 <= instruction.op_register(i) <= Register.XMM15
        for i in range(instruction.op_count)
    )
