"""String instructions that touch a device: one element at a time."""

from __future__ import annotations

from collections.abc import Callable

from iced_x86 import Instruction, OpKind

from mmsupervisor.machine.memory import Access
from mmsupervisor.processor import alu
from mmsupervisor.processor.alu import DF, STATUS, ZF, mask
from mmsupervisor.processor.decoder import Execution, Steps
from mmsupervisor.processor.instructions import MASK64

_SUFFIXES = {"B": 1, "W": 2, "D": 4, "Q": 8}


def is_string(instruction: Instruction) -> bool:
    """Return whether it is a string instruction (MOVSD and CMPSD are names of SSE instructions too)."""
    return bool(instruction.is_string_instruction)


class Element:
    """Pointers and counter of a string instruction, with its address size."""

    def __init__(self, execution: Execution, width: int) -> None:
        """Begin in front of the element."""
        instruction = execution.instruction
        narrow = (OpKind.MEMORY_SEG_ESI, OpKind.MEMORY_ESEDI)
        kinds = [instruction.op_kind(i) for i in range(instruction.op_count)]
        self._mask = mask(4) if any(kind in narrow for kind in kinds) else MASK64
        self._values = execution.file.values
        self._execution = execution
        self._step = -width if self._values["rflags"] & DF else width

    def nothing_to_do(self) -> bool:
        """Leave the instruction if it is repeated zero times; return whether it was."""
        instruction = self._execution.instruction
        repeated = instruction.has_rep_prefix or instruction.has_repne_prefix
        if not repeated or self._values["rcx"] & self._mask:
            return False
        self._values["rip"] = instruction.next_ip
        return True

    def pointer(self, name: str) -> int:
        """Return RSI or RDI, or ESI or EDI."""
        return self._values[name] & self._mask

    def finish(self, *pointers: str, compares: bool = False) -> None:
        """Move the pointers on, count, and leave the instruction if it was the last element."""
        instruction = self._execution.instruction
        for name in pointers:
            self._values[name] = self._values[name] + self._step & self._mask
        if instruction.has_rep_prefix or instruction.has_repne_prefix:
            count = self._values["rcx"] - 1 & self._mask
            self._values["rcx"] = count
            equal = bool(self._values["rflags"] & ZF)
            stopped = compares and equal == bool(instruction.has_repne_prefix)
            if count and not stopped:
                return  # RIP stays: the processor executes the next element
        self._values["rip"] = instruction.next_ip


def _compare(execution: Execution, left: int, right: int, width: int) -> None:
    _, flags = alu.subtract(left, right, width)
    values = execution.file.values
    values["rflags"] = values["rflags"] & ~STATUS | flags


def _accumulator(execution: Execution, width: int) -> int:
    return execution.file.values["rax"] & mask(width)


def _movs(execution: Execution, width: int) -> Steps:
    element = Element(execution, width)
    source, target = element.pointer("rsi"), element.pointer("rdi")
    execution.require(source, width, Access.READ)
    execution.require(target, width, Access.WRITE)
    value = yield from execution.load(source, width)
    yield from execution.store(target, width, value)
    element.finish("rsi", "rdi")


def _stos(execution: Execution, width: int) -> Steps:
    element = Element(execution, width)
    target = element.pointer("rdi")
    execution.require(target, width, Access.WRITE)
    yield from execution.store(target, width, _accumulator(execution, width))
    element.finish("rdi")


def _lods(execution: Execution, width: int) -> Steps:
    element = Element(execution, width)
    source = element.pointer("rsi")
    execution.require(source, width, Access.READ)
    value = yield from execution.load(source, width)
    execution.file.write(execution.instruction.op0_register, value)
    element.finish("rsi")


def _cmps(execution: Execution, width: int) -> Steps:
    element = Element(execution, width)
    source, target = element.pointer("rsi"), element.pointer("rdi")
    execution.require(source, width, Access.READ)
    execution.require(target, width, Access.READ)
    left = yield from execution.load(source, width)
    right = yield from execution.load(target, width)
    _compare(execution, left, right, width)
    element.finish("rsi", "rdi", compares=True)


def _scas(execution: Execution, width: int) -> Steps:
    element = Element(execution, width)
    target = element.pointer("rdi")
    execution.require(target, width, Access.READ)
    value = yield from execution.load(target, width)
    _compare(execution, _accumulator(execution, width), value, width)
    element.finish("rdi", compares=True)


def _of_width(handler: Callable[[Execution, int], Steps], width: int) -> Callable[[Execution], Steps]:
    return lambda execution: handler(execution, width)


STRING_HANDLERS: dict[str, Callable[[Execution], Steps]] = {
    stem + suffix: _of_width(handler, width)
    for stem, handler in (("MOVS", _movs), ("STOS", _stos), ("LODS", _lods), ("CMPS", _cmps), ("SCAS", _scas))
    for suffix, width in _SUFFIXES.items()
}
"""Handlers by mnemonic."""
