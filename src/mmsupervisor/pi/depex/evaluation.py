"""What an expression amounts to: as the MM core of the reference reads it, and as the specification does.

Sources: docs/reference/boot-flow.md §6.2; PI 1.8 vol. 2 §10.7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import and_, or_
from typing import NamedTuple

from mmsupervisor.pi.depex.expression import Opcode
from mmsupervisor.pi.depex.parsing import Depex, Instruction
from mmsupervisor.pi.guid import Guid

Installed = Callable[[Guid], bool]
"""Says whether a protocol is installed."""

MAX_REPEATED = 12
"""Number of protocols for which all combinations are tried."""


class Reason(Enum):
    """Why an evaluation ended."""

    END = "END was reached"
    ORDERED = "BEFORE or AFTER comes first: the driver is not schedulable by itself"
    PAST_END = "the expression has no END"
    CUT = "the expression ends within an operand"
    STACK_EMPTY = "an opcode found too few values"
    SCHEDULE_ON_REQUEST = "SOR is not handled: the driver never dispatches"
    UNKNOWN_OPCODE = "an opcode is not defined"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of an evaluation.

    Attributes:
        value: Whether the driver is schedulable now.
        reason: Why the evaluation ended; for everything but END the value is False.
        misplaced: Offsets of BEFORE or AFTER that are not first: the reference asserts, then takes them as PUSH.
    """

    value: bool
    reason: Reason
    misplaced: tuple[int, ...] = ()


def evaluate(depex: Depex, installed: Installed) -> Verdict:
    """Evaluate as the MM core does, on each pass anew.

    Bytes after END are ignored, values left on the stack too.

    Args:
        depex: The expression.
        installed: Asked for each PUSH, in order, again for a repeated one.
    """
    value, reason, misplaced = _execute(depex, lambda guid: _Worlds.certain(int(installed(guid))), everywhere=1)
    return Verdict(value.must != 0, reason, misplaced)


@dataclass(frozen=True, slots=True)
class SpecificationReading:
    """What the specification makes of an expression.

    Attributes:
        value: The result; None if the grammar is broken, or another driver decides (BEFORE, AFTER).
        schedule_on_request: Whether the driver waits for a call of Schedule() before the result counts.
        flaws: What breaks the grammar.
    """

    value: bool | None
    schedule_on_request: bool
    flaws: tuple[str, ...]


def read_by_specification(depex: Depex, installed: Installed) -> SpecificationReading:
    """Read an expression by PI 1.8, for display and to find what differs in the MM core."""
    flaws = depex.flaws
    on_request = bool(depex.instructions) and depex.instructions[0].code == Opcode.SOR
    if flaws or depex.order is not None:
        return SpecificationReading(None, on_request, flaws)
    rest = Depex(depex.instructions[1:]) if on_request else depex
    return SpecificationReading(evaluate(rest, installed).value, on_request, ())


def can_be_true(depex: Depex, fixed: Mapping[Guid, bool] | None = None) -> bool:
    """Whether some set of installed protocols makes the expression true for the MM core.

    Exact, but for expressions with NOT that ask for more than :data:`MAX_REPEATED` protocols more than once each:
    there a True may be wrong, a False never is. The expression is gone through once, whatever is in it.

    Args:
        depex: The expression.
        fixed: Protocols that are known to be there or not.
    """
    known = {} if fixed is None else fixed
    unknown = [guid for guid in depex.pushed if guid not in known]
    repeated = _repeated(depex, unknown)[:MAX_REPEATED]
    everywhere = (1 << (1 << len(repeated))) - 1
    looked_up = dict.fromkeys(unknown, _Worlds(may=everywhere, must=0))
    looked_up |= {guid: _Worlds.certain(_half(everywhere, bit)) for bit, guid in enumerate(repeated)}
    looked_up |= {guid: _Worlds.certain(everywhere if there else 0) for guid, there in known.items()}
    # A misplaced BEFORE or AFTER is looked up too and is not among the pushed ones: taken as installed.
    installed = _Worlds.certain(everywhere)
    value, _, _ = _execute(depex, lambda guid: looked_up.get(guid, installed), everywhere)
    return value.may != 0


def _repeated(depex: Depex, unknown: Sequence[Guid]) -> list[Guid]:
    """The protocols whose two answers must be tried, since one answer would be used in several places.

    Without NOT there is nothing to try: the more is installed, the more is true.
    """
    if not any(instruction.code == Opcode.NOT for instruction in depex.instructions):
        return []
    uses = Counter(instruction.guid for instruction in depex.instructions)
    return [guid for guid in unknown if uses[guid] > 1]


def _half(everywhere: int, bit: int) -> int:
    """Of 2**n worlds, one bit each, those whose number has a bit set."""
    return everywhere ^ everywhere // ((1 << (1 << bit)) + 1)


def can_be_true_without(depex: Depex, missing: Guid) -> bool:
    """Whether the MM core could find the expression true while one protocol is not installed.

    Check C4 (a driver that could run before the broker) is this with ``gMmRing3HandlerReadyProtocol``.

    Args:
        depex: The expression.
        missing: The protocol that is not there.
    """
    return can_be_true(depex, {missing: False})


def required_guids(depex: Depex) -> tuple[Guid, ...]:
    """The protocols without which the expression cannot be true, in order.

    Empty for an expression that is never true: nothing that is installed would help it.
    """
    if not can_be_true(depex):
        return ()
    return tuple(guid for guid in depex.pushed if not can_be_true_without(depex, guid))


class _Worlds(NamedTuple):
    """In which of several worlds, one bit each, an operand may be true, and in which it must be.

    The two differ where a protocol may be there or not. A single world is a plain evaluation.
    """

    may: int
    must: int

    @classmethod
    def certain(cls, worlds: int) -> _Worlds:
        return cls(worlds, worlds)


_NOWHERE = _Worlds.certain(0)


def _execute(
    depex: Depex, look_up: Callable[[Guid], _Worlds], everywhere: int
) -> tuple[_Worlds, Reason, tuple[int, ...]]:
    if depex.instructions and depex.instructions[0].code in (Opcode.BEFORE, Opcode.AFTER):
        return _NOWHERE, Reason.ORDERED, ()
    stack: list[_Worlds] = []
    misplaced: list[int] = []
    for instruction in depex.instructions:
        if instruction.code in (Opcode.BEFORE, Opcode.AFTER):
            misplaced.append(instruction.offset)
        reason = _step(instruction, stack, look_up, everywhere)
        if reason is Reason.END:
            return stack[-1], reason, tuple(misplaced)
        if reason is not None:
            return _NOWHERE, reason, tuple(misplaced)
    return _NOWHERE, Reason.PAST_END, tuple(misplaced)


def _step(
    instruction: Instruction, stack: list[_Worlds], look_up: Callable[[Guid], _Worlds], everywhere: int
) -> Reason | None:
    """Execute one instruction; a reason ends the evaluation, with the result on the stack if it is END."""
    match instruction.code:
        case Opcode.BEFORE | Opcode.AFTER | Opcode.PUSH:
            if instruction.guid is None:
                return Reason.CUT
            stack.append(look_up(instruction.guid))
        case Opcode.TRUE | Opcode.FALSE:
            stack.append(_Worlds.certain(everywhere) if instruction.code == Opcode.TRUE else _NOWHERE)
        case Opcode.AND | Opcode.OR | Opcode.NOT:
            return _operate(instruction.code, stack, everywhere)
        case Opcode.END:
            return Reason.END if stack else Reason.STACK_EMPTY
        case Opcode.SOR:
            return Reason.SCHEDULE_ON_REQUEST
        case _:
            return Reason.UNKNOWN_OPCODE
    return None


def _operate(code: int, stack: list[_Worlds], everywhere: int) -> Reason | None:
    if len(stack) < (1 if code == Opcode.NOT else 2):
        return Reason.STACK_EMPTY
    right = stack.pop()
    if code == Opcode.NOT:
        stack.append(_Worlds(may=everywhere ^ right.must, must=everywhere ^ right.may))
        return None
    left = stack.pop()
    combine = and_ if code == Opcode.AND else or_
    stack.append(_Worlds(combine(left.may, right.may), combine(left.must, right.must)))
    return None
