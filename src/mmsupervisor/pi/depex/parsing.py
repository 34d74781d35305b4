"""Reading dependency expressions, and printing them.

A malformed expression is content, not a broken file: it has a meaning to the dispatcher (FALSE). So nothing is
refused here; what is wrong is listed as flaws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmsupervisor.pi.depex.expression import Opcode
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader

MAX_INFIX = 1024
"""Longest expression, in instructions, that is printed in infix form."""

_WITH_GUID = (Opcode.BEFORE, Opcode.AFTER, Opcode.PUSH)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        offset: From the start of the expression, in bytes.
        code: The opcode byte; :class:`~mmsupervisor.pi.depex.expression.Opcode` names the known ones.
        guid: Operand of BEFORE, AFTER and PUSH; None if the expression ends within it.
    """

    offset: int
    code: int
    guid: Guid | None = None

    @property
    def name(self) -> str:
        """Name of the opcode; an unknown one is given in hexadecimal."""
        try:
            return Opcode(self.code).name
        except ValueError:
            return f"opcode {self.code:#04x}"

    @property
    def is_cut(self) -> bool:
        """Whether the expression ends within the operand."""
        return self.guid is None and self.code in _WITH_GUID

    def __str__(self) -> str:
        """The opcode and its operand's name."""
        return self.name if self.guid is None else f"{self.name} {self.guid.label}"


@dataclass(frozen=True, slots=True)
class Order:
    """A driver that stands by another one instead of waiting for protocols.

    Attributes:
        before: Whether it runs before the other; else after.
        file: FFS file name of the other driver.
    """

    before: bool
    file: Guid


@dataclass(frozen=True, slots=True)
class Depex:
    """A dependency expression.

    Attributes:
        instructions: Up to and with the first END or unknown opcode.
        trailing: Bytes after that.
    """

    instructions: tuple[Instruction, ...]
    trailing: bytes = b""

    @property
    def order(self) -> Order | None:
        """What it stands by, if the first opcode is BEFORE or AFTER, else None."""
        first = self.instructions[0] if self.instructions else None
        if first is None or first.guid is None or first.code not in (Opcode.BEFORE, Opcode.AFTER):
            return None
        return Order(first.code == Opcode.BEFORE, first.guid)

    @property
    def pushed(self) -> tuple[Guid, ...]:
        """The protocols that are asked for, each once, in order."""
        return tuple(dict.fromkeys(i.guid for i in self.instructions if i.code == Opcode.PUSH and i.guid is not None))

    @property
    def postfix(self) -> str:
        """The instructions as they stand, for example ``PUSH gEfiMmCpuProtocolGuid; END``."""
        return "; ".join(map(str, self.instructions))

    @property
    def infix(self) -> str:
        """The expression as one would write it; the postfix form where it is malformed or very long."""
        return _infix(self.instructions) or self.postfix

    @property
    def flaws(self) -> tuple[str, ...]:
        """What breaks the grammar of PI 1.8 vol. 2 §10.7, each in words; empty for a sound expression."""
        return tuple(_flaws(self))

    def __str__(self) -> str:
        """The infix form."""
        return self.infix


def parse_depex(reader: Reader, allowance: Allowance | None = None) -> Depex:
    """Read an expression.

    Args:
        reader: The data of the DEPEX section.
        allowance: Bounds the number of instructions; a fresh one if None.

    Raises:
        LimitError: more instructions than ``allowance`` leaves.
    """
    budget = Allowance() if allowance is None else allowance
    instructions: list[Instruction] = []
    offset = 0
    while offset < len(reader):
        budget.take_items(1, reader.file, reader.base + offset)
        code = reader.u8(offset, "opcode")
        guid = None
        size = 1
        if code in _WITH_GUID:
            size += GUID_SIZE
            if offset + size <= len(reader):
                guid = reader.guid(offset + 1, "operand")
        instructions.append(Instruction(offset, code, guid))
        offset += size
        if code == Opcode.END or code > Opcode.SOR:
            break
    return Depex(tuple(instructions), bytes(reader.data[min(offset, len(reader)) :]))


_ATOM, _NOT, _AND, _OR = 4, 3, 2, 1


def _infix(instructions: tuple[Instruction, ...]) -> str | None:
    if not instructions or len(instructions) > MAX_INFIX or instructions[-1].code != Opcode.END:
        return None
    body = instructions[:-1]
    prefix = ""
    if body and body[0].code in (Opcode.SOR, Opcode.BEFORE, Opcode.AFTER):
        prefix = str(body[0])
        body = body[1:]
        if not body and not prefix.startswith(Opcode.SOR.name):
            return prefix
        prefix += " "
    stack: list[tuple[str, int]] = []
    for instruction in body:
        if not _print_one(instruction, stack):
            return None
    return prefix + stack[0][0] if len(stack) == 1 else None


def _print_one(instruction: Instruction, stack: list[tuple[str, int]]) -> bool:
    """Replace operands on the stack of (text, precedence) by the operation; False if that cannot be."""
    match instruction.code:
        case Opcode.PUSH if instruction.guid is not None:
            stack.append((instruction.guid.label, _ATOM))
        case Opcode.TRUE | Opcode.FALSE:
            stack.append((instruction.name, _ATOM))
        case Opcode.NOT if stack:
            stack.append((f"NOT {_wrapped(stack.pop(), _NOT)}", _NOT))
        case Opcode.AND | Opcode.OR if len(stack) > 1:
            level = _AND if instruction.code == Opcode.AND else _OR
            right, left = stack.pop(), stack.pop()
            stack.append((f"{_wrapped(left, level)} {instruction.name} {_wrapped(right, level)}", level))
        case _:
            return False
    return True


def _wrapped(item: tuple[str, int], level: int) -> str:
    text, precedence = item
    return f"({text})" if precedence < level else text


def _flaws(depex: Depex) -> Iterator[str]:
    if not depex.instructions:
        yield "the expression is empty"
        return
    last = depex.instructions[-1]
    if last.is_cut:
        yield f"the expression ends within the operand of {last.name} at {last.offset:#x}"
    elif last.code > Opcode.SOR:
        yield f"{last.name} at {last.offset:#x} is not defined"
    elif last.code != Opcode.END:
        yield "there is no END"
    if depex.trailing:
        yield f"{len(depex.trailing)} bytes follow the end"
    yield from _misplaced(depex)
    yield from _stack_flaws(depex)


def _misplaced(depex: Depex) -> Iterator[str]:
    for index, instruction in enumerate(depex.instructions):
        if index and instruction.code in (Opcode.BEFORE, Opcode.AFTER, Opcode.SOR):
            yield f"{instruction.name} at {instruction.offset:#x} is not the first opcode"
    if depex.order is not None and len(depex.instructions) > 2:
        yield f"{depex.instructions[0].name} is not followed by END at once"


def _stack_flaws(depex: Depex) -> Iterator[str]:
    depth = 0
    for instruction in depex.instructions:
        match instruction.code:
            case Opcode.PUSH | Opcode.TRUE | Opcode.FALSE:
                depth += 1
            case Opcode.AND | Opcode.OR | Opcode.NOT:
                needed = 1 if instruction.code == Opcode.NOT else 2
                if depth < needed:
                    yield f"{instruction.name} at {instruction.offset:#x} finds {depth} values"
                    return
                depth -= needed - 1
            case Opcode.END if depth != 1 and depex.order is None:
                yield f"END at {instruction.offset:#x} finds {depth} values"
