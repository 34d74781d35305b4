"""What an expression amounts to: as the MM core of the reference reads it, and as the specification does.

Sources: docs/reference/boot-flow.md §6.2; PI 1.8 vol. 2 §10.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import product
from operator import and_, or_

from mmsupervisor.pi.depex.expression import Opcode
from mmsupervisor.pi.depex.parsing import Depex, Instruction
from mmsupervisor.pi.guid import Guid

Installed = Callable[[Guid], bool]
"""Says whether a protocol is installed."""

MAX_UNKNOWNS = 12
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
    values, reason, misplaced = _execute(depex, lambda guid: _YES if installed(guid) else _NO)
    return Verdict(values == _YES, reason, misplaced)


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

    Exact for expressions without NOT, for those that push no protocol twice, and for those that push at most
    :data:`MAX_UNKNOWNS` different ones; for others a True may be wrong, a False never is.

    Args:
        depex: The expression.
        fixed: Protocols that are known to be there or not.
    """
    known = {} if fixed is None else fixed
    unknown = [guid for guid in depex.pushed if guid not in known]
    if not any(instruction.code == Opcode.NOT for instruction in depex.instructions):
        return evaluate(depex, lambda guid: known.get(guid, True)).value
    if len(unknown) > MAX_UNKNOWNS:
        free = dict.fromkeys(unknown, _EITHER)
        values, _, _ = _execute(depex, lambda guid: free.get(guid) or (_YES if known.get(guid, True) else _NO))
        return True in values
    trials = (
        {**known, **dict(zip(unknown, tried, strict=True))} for tried in product((True, False), repeat=len(unknown))
    )
    return any(_is_true_for(depex, trial) for trial in trials)


def _is_true_for(depex: Depex, installed: Mapping[Guid, bool]) -> bool:
    # A misplaced BEFORE or AFTER is looked up too and is not among the pushed ones: taken as installed.
    return evaluate(depex, lambda guid: installed.get(guid, True)).value


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


# The values an operand may have: one for an evaluation, both where a protocol may be there or not.
_Values = frozenset[bool]
_YES: _Values = frozenset({True})
_NO: _Values = frozenset({False})
_EITHER: _Values = _YES | _NO


def _execute(depex: Depex, look_up: Callable[[Guid], _Values]) -> tuple[_Values, Reason, tuple[int, ...]]:
    if depex.instructions and depex.instructions[0].code in (Opcode.BEFORE, Opcode.AFTER):
        return _NO, Reason.ORDERED, ()
    stack: list[_Values] = []
    misplaced: list[int] = []
    for instruction in depex.instructions:
        if instruction.code in (Opcode.BEFORE, Opcode.AFTER):
            misplaced.append(instruction.offset)
        reason = _step(instruction, stack, look_up)
        if reason is Reason.END:
            return stack[-1], reason, tuple(misplaced)
        if reason is not None:
            return _NO, reason, tuple(misplaced)
    return _NO, Reason.PAST_END, tuple(misplaced)


def _step(instruction: Instruction, stack: list[_Values], look_up: Callable[[Guid], _Values]) -> Reason | None:
    """Execute one instruction; a reason ends the evaluation, with the result on the stack if it is END."""
    match instruction.code:
        case Opcode.BEFORE | Opcode.AFTER | Opcode.PUSH:
            if instruction.guid is None:
                return Reason.CUT
            stack.append(look_up(instruction.guid))
        case Opcode.TRUE | Opcode.FALSE:
            stack.append(_YES if instruction.code == Opcode.TRUE else _NO)
        case Opcode.AND | Opcode.OR | Opcode.NOT:
            return _operate(instruction.code, stack)
        case Opcode.END:
            return Reason.END if stack else Reason.STACK_EMPTY
        case Opcode.SOR:
            return Reason.SCHEDULE_ON_REQUEST
        case _:
            return Reason.UNKNOWN_OPCODE
    return None


def _operate(code: int, stack: list[_Values]) -> Reason | None:
    if len(stack) < (1 if code == Opcode.NOT else 2):
        return Reason.STACK_EMPTY
    right = stack.pop()
    if code == Opcode.NOT:
        stack.append(frozenset(not value for value in right))
        return None
    left = stack.pop()
    combine = and_ if code == Opcode.AND else or_
    stack.append(frozenset(combine(one, two) for one in left for two in right))
    return None
