"""Dependency expressions as trees: write them down, encode them, read text.

>>> text = encode(Push(Guid.parse("gEfiMmCpuProtocolGuid")) & ~Push(Guid.parse("gEfiPcdProtocolGuid")))
>>> text[0], text[-1]
(2, 8)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid


class Opcode(IntEnum):
    """Opcodes (PI 1.8 vol. 2 §10.7); SOR is for DXE drivers only."""

    BEFORE = 0x00
    AFTER = 0x01
    PUSH = 0x02
    AND = 0x03
    OR = 0x04
    NOT = 0x05
    TRUE = 0x06
    FALSE = 0x07
    END = 0x08
    SOR = 0x09


class DepexSyntaxError(MmSupervisorError):
    """Text that is not a dependency expression."""


class Expression:
    """A dependency expression; combine with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: Expression) -> And:
        """Both."""
        return And(self, other)

    def __or__(self, other: Expression) -> Or:
        """At least one."""
        return Or(self, other)

    def __invert__(self) -> Not:
        """Not this."""
        return Not(self)


@dataclass(frozen=True, slots=True)
class Push(Expression):
    """True if a protocol is installed.

    Attributes:
        guid: The protocol.
    """

    guid: Guid


@dataclass(frozen=True, slots=True)
class Constant(Expression):
    """Always true or always false.

    Attributes:
        value: Which.
    """

    value: bool


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """The opposite of its operand."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Expression):
    """True if both operands are."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Or(Expression):
    """True if one operand is."""

    left: Expression
    right: Expression


TRUE = Constant(True)
"""The expression TRUE."""

FALSE = Constant(False)
"""The expression FALSE."""


def all_of(*guids: Guid) -> Expression:
    """All of these protocols, encoded as the build tools do: the pushes, then one AND for each but the first."""
    if not guids:
        return TRUE
    expression: Expression = Push(guids[-1])
    for guid in reversed(guids[:-1]):
        expression = And(Push(guid), expression)
    return expression


def encode(expression: Expression, *, schedule_on_request: bool = False) -> bytes:
    """The bytes of an expression, END included.

    Args:
        expression: The expression.
        schedule_on_request: Whether SOR goes first.
    """
    body = b"".join(_opcodes(expression))
    return (bytes([Opcode.SOR]) if schedule_on_request else b"") + body + bytes([Opcode.END])


def encode_before(file: Guid) -> bytes:
    """The expression that puts a driver right before another, named by its FFS file."""
    return bytes([Opcode.BEFORE]) + file.raw + bytes([Opcode.END])


def encode_after(file: Guid) -> bytes:
    """The expression that puts a driver right after another, named by its FFS file."""
    return bytes([Opcode.AFTER]) + file.raw + bytes([Opcode.END])


def _opcodes(expression: Expression) -> Iterator[bytes]:
    """Postfix order without recursion: a node is visited, then its operands' opcodes come out before its own."""
    pending: list[Expression | Opcode] = [expression]
    while pending:
        item = pending.pop()
        match item:
            case Opcode():
                yield bytes([item])
            case Push(guid):
                yield bytes([Opcode.PUSH]) + guid.raw
            case Constant(value):
                yield bytes([Opcode.TRUE if value else Opcode.FALSE])
            case Not(operand):
                pending += [Opcode.NOT, operand]
            case And(left, right):
                pending += [Opcode.AND, right, left]
            case Or(left, right):
                pending += [Opcode.OR, right, left]


_TOKEN = re.compile(r"\s*(?:([()])|([A-Za-z0-9_{}-]+))")
_PRECEDENCE = {"OR": 1, "AND": 2, "NOT": 3}
_MAX_TOKENS = 10_000


def parse_expression(text: str) -> Expression:
    """Read an expression such as ``gEfiMmCpuProtocolGuid AND NOT (gOtherGuid OR TRUE)``.

    Words are GUIDs in registry form, known GUID names, TRUE, FALSE, AND, OR, NOT; NOT binds closest, then AND, then
    OR; equal ones group to the left. Upper and lower case are equal for the operators.

    Raises:
        DepexSyntaxError: the text is not an expression.
        GuidSyntaxError: a word is neither a GUID nor a known name.
    """
    output: list[Expression] = []
    operators: list[str] = []
    expect_operand = True
    for token in _tokens(text):
        word = token.upper()
        is_operand_start = word not in ("AND", "OR", ")")
        if is_operand_start != expect_operand:
            raise DepexSyntaxError(f"{text!r}: {token!r} is not expected there")
        if word in ("(", "NOT"):
            operators.append(word)
        elif word == ")":
            _reduce(output, operators, 0)
            if not operators:
                raise DepexSyntaxError(f"{text!r}: ')' without '('")
            operators.pop()
        elif word in _PRECEDENCE:
            _reduce(output, operators, _PRECEDENCE[word])
            operators.append(word)
            expect_operand = True
        else:
            output.append(_operand(token))
            expect_operand = False
    if expect_operand:
        raise DepexSyntaxError(f"{text!r}: the expression ends where a GUID, TRUE, FALSE, NOT or '(' should follow")
    _reduce(output, operators, 0)
    if operators:
        raise DepexSyntaxError(f"{text!r}: '(' without ')'")
    return output[0]


def _tokens(text: str) -> Iterator[str]:
    position = 0
    stripped = text.rstrip()
    for _ in range(_MAX_TOKENS):
        if position >= len(stripped):
            return
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise DepexSyntaxError(f"{text!r}: unexpected character at column {position + 1}")
        yield match.group(1) or match.group(2)
        position = match.end()
    raise DepexSyntaxError(f"an expression of more than {_MAX_TOKENS} words")


def _reduce(output: list[Expression], operators: list[str], precedence: int) -> None:
    while operators and operators[-1] != "(" and _PRECEDENCE[operators[-1]] >= max(precedence, 1):
        operator = operators.pop()
        right = output.pop()
        if operator == "NOT":
            output.append(Not(right))
        elif operator == "AND":
            output.append(And(output.pop(), right))
        else:
            output.append(Or(output.pop(), right))


def _operand(token: str) -> Expression:
    constants: dict[str, Expression] = {"TRUE": TRUE, "FALSE": FALSE}
    return constants.get(token.upper()) or Push(Guid.parse(token))
