"""Port instructions that ring 3 tried: what they would do, and their registers once somebody did it.

A processor reports IN, OUT, INS and OUTS as #GP. Under the relaxation that allows direct I/O the supervisor executes
them here: :func:`begin_port_operation`, then :meth:`PortOperation.step` until it returns registers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from iced_x86 import Mnemonic, OpKind, Register

from mmsupervisor.machine.memory import Access, PhysicalMemory
from mmsupervisor.processor.decoder import Execution, NoVectorRegisters, Touch
from mmsupervisor.processor.instructions import decode, register_parts
from mmsupervisor.processor.interface import Registers
from mmsupervisor.processor.string_instructions import Element


@dataclass(frozen=True, slots=True)
class PortTouch:
    """One access to an I/O port.

    Attributes:
        port: Port number.
        width: Bytes: 1, 2 or 4.
        write: Direction.
        value: What is written; 0 for a read.
    """

    port: int
    width: int
    write: bool
    value: int


_Steps = Generator[PortTouch | Touch, int, None]


class PortOperation:
    """A port instruction under way; of a repeated one, its next element."""

    def __init__(self, execution: Execution, steps: _Steps) -> None:
        """Begin; nothing is touched yet."""
        self._execution = execution
        self._steps = steps
        self._begun = False

    def step(self, value: int = 0) -> PortTouch | Touch | Registers:
        """Go on to the next touch, answering the last with ``value``; registers mean that it is complete.

        Only INS and OUTS on a device's page give a :class:`~mmsupervisor.processor.decoder.Touch`.

        Raises:
            MemoryFault: INS or OUTS may not touch its memory; no port was touched.
            AddressFault: the address of its memory is not canonical.
        """
        try:
            if self._begun:
                return self._steps.send(value)
            self._begun = True
            return next(self._steps)
        except StopIteration:
            return self._execution.file.frozen()


def _port(execution: Execution, operand: int) -> int:
    instruction = execution.instruction
    if instruction.op_kind(operand) == OpKind.REGISTER:
        return execution.file.read(Register.DX)
    return instruction.immediate8


def _in(execution: Execution) -> _Steps:
    register = execution.instruction.op0_register
    width = register_parts()[register].width
    value = yield PortTouch(_port(execution, 1), width, False, 0)
    execution.file.write(register, value)
    execution.file.values["rip"] = execution.instruction.next_ip


def _out(execution: Execution) -> _Steps:
    register = execution.instruction.op1_register
    width = register_parts()[register].width
    yield PortTouch(_port(execution, 0), width, True, execution.file.read(register))
    execution.file.values["rip"] = execution.instruction.next_ip


def _ins(width: int) -> Callable[[Execution], _Steps]:
    def steps(execution: Execution) -> _Steps:
        element = Element(execution, width)
        if element.nothing_to_do():
            return
        target = element.pointer("rdi")
        execution.require(target, width, Access.WRITE)
        value = yield PortTouch(execution.file.read(Register.DX), width, False, 0)
        yield from execution.store(target, width, value)
        element.finish("rdi")

    return steps


def _outs(width: int) -> Callable[[Execution], _Steps]:
    def steps(execution: Execution) -> _Steps:
        element = Element(execution, width)
        if element.nothing_to_do():
            return
        source = element.pointer("rsi")
        execution.require(source, width, Access.READ)
        value = yield from execution.load(source, width)
        yield PortTouch(execution.file.read(Register.DX), width, True, value)
        element.finish("rsi")

    return steps


_HANDLERS: dict[int, Callable[[Execution], _Steps]] = {
    Mnemonic.IN: _in,
    Mnemonic.OUT: _out,
    Mnemonic.INSB: _ins(1),
    Mnemonic.INSW: _ins(2),
    Mnemonic.INSD: _ins(4),
    Mnemonic.OUTSB: _outs(1),
    Mnemonic.OUTSW: _outs(2),
    Mnemonic.OUTSD: _outs(4),
}


def begin_port_operation(code: bytes, registers: Registers, memory: PhysicalMemory) -> PortOperation | None:
    """Return the port instruction at the start of ``code`` at work, or None if it is another one."""
    instruction = decode(code, registers.rip)
    if instruction is None or instruction.mnemonic not in _HANDLERS:
        return None
    execution = Execution(instruction, registers, NoVectorRegisters(), memory)
    return PortOperation(execution, _HANDLERS[instruction.mnemonic](execution))
