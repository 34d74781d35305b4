"""Two policies compared by meaning: what ring 3 may do under one and not under the other.

Every access is decided by both: each port at each width in each direction, each MSR, each instruction, each kind of
read of the save state, each byte of memory that a fetched policy reports. How the lists are written plays no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import MSRS, PORTS, WIDTH_SIZES
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.level_real import REGISTERS, TRAPS, read_widths
from mmsupervisor.policy.model import Attribute, Instruction, MemEntry, Policy, PolicyBoundsError, RootType
from mmsupervisor.policy.steps import Steps, first_cover, overlay

DIRECTIONS = {"read": Attribute.READ, "write": Attribute.WRITE}


@dataclass(frozen=True, slots=True)
class AccessChange:
    """Accesses that one policy allows and the other does not.

    Attributes:
        kind: What is accessed.
        access: ``read``, ``write`` or ``execute``.
        width: Bytes of the access; 0 where there is no width.
        first: First port, MSR or address at which the access may start; 0 for a name.
        last: Last one.
        subject: What is accessed, in words.
        allowed: Whether the first policy allows it, then the second; None where the walk would leave the policy.
        decisions: Their decisions; None likewise, and for memory, which nobody decides on.
    """

    kind: RootType
    access: str
    width: int
    first: int
    last: int
    subject: str
    allowed: tuple[bool | None, bool | None]
    decisions: tuple[Decision | None, Decision | None] = (None, None)

    def __str__(self) -> str:
        """One line without the direction: ``write 4 bytes: ports 0xcfc..0xcff``."""
        width = f" {self.width} byte{'s' * (self.width > 1)}" if self.width else ""
        return f"{self.access}{width}: {self.subject}"


def compare(a: Policy, b: Policy) -> tuple[AccessChange, ...]:
    """All differences, by kind, direction, width and number.

    Args:
        a: The first policy.
        b: The second one.
    """
    if a == b:
        return ()
    gates = CompiledPolicy(a), CompiledPolicy(b)
    return (
        *_ports(gates),
        *_msrs(gates),
        *_instructions(gates),
        *_save_states(gates),
        *_memory(a, b),
    )


T = TypeVar("T")

_Steps = Steps[Decision | None]
_Gates = tuple[CompiledPolicy, CompiledPolicy]
_Pair = tuple[Decision | None, Decision | None]


def _allowed(decision: Decision | None) -> bool | None:
    return None if decision is None else decision.allowed


def _attempt(otherwise: T, ask: Callable[..., T], *arguments: object) -> T:
    """What a gate answers, or something else where its walk would leave the policy."""
    try:
        return ask(*arguments)
    except PolicyBoundsError:
        return otherwise


def _differences(one: Steps[Decision | None], two: Steps[Decision | None]) -> Iterator[tuple[int, int, _Pair]]:
    """First, last and decisions of each stretch on which the answers differ and come from the same entries."""
    pairs: dict[object, _Pair] = {}

    def combine(values: _Pair) -> _Pair | None:
        a, b = values
        allowed = _allowed(a), _allowed(b)
        if allowed[0] == allowed[1]:
            return None
        return pairs.setdefault((allowed, a and a.index, b and b.index), values)

    for first, end, pair in overlay([one, two], combine).runs():
        if pair is not None:
            yield first, end - 1, pair


def _span(what: str, first: int, last: int) -> str:
    return f"{what} {first:#x}" if first == last else f"{what}s {first:#x}..{last:#x}"


def _ports(gates: _Gates) -> Iterator[AccessChange]:
    for access, mask in DIRECTIONS.items():
        for width, size in WIDTH_SIZES.items():
            nothing = _Steps([0], [None], PORTS - size + 1)
            one, two = (_attempt(nothing, gate.io_steps, width, mask) for gate in gates)
            yield from _changes(RootType.IO, access, size, one, two)


def _msrs(gates: _Gates) -> Iterator[AccessChange]:
    for access, mask in DIRECTIONS.items():
        one, two = (_attempt(_Steps([0], [None], MSRS), gate.msr_steps, mask) for gate in gates)
        yield from _changes(RootType.MSR, access, 0, one, two)


def _changes(kind: RootType, access: str, size: int, one: _Steps, two: _Steps) -> Iterator[AccessChange]:
    what = "port" if kind is RootType.IO else "MSR"
    for first, last, pair in _differences(one, two):
        allowed = _allowed(pair[0]), _allowed(pair[1])
        yield AccessChange(kind, access, size, first, last, _span(what, first, last), allowed, pair)


def _named(kind: RootType, access: str, size: int, subject: str, pair: _Pair) -> Iterator[AccessChange]:
    """A difference in something that has a name instead of a number."""
    allowed = _allowed(pair[0]), _allowed(pair[1])
    if allowed[0] != allowed[1]:
        yield AccessChange(kind, access, size, 0, 0, subject, allowed, pair)


def _instructions(gates: _Gates) -> Iterator[AccessChange]:
    for instruction in Instruction:
        one, two = (_attempt(None, gate.instruction, instruction) for gate in gates)
        yield from _named(RootType.INSTRUCTION, "execute", 0, instruction.name, (one, two))


def _save_states(gates: _Gates) -> Iterator[AccessChange]:
    for register, name in REGISTERS.items():
        for when, trap in TRAPS.items():
            for width in read_widths(register):
                one, two = (_attempt(None, gate.save_state, register, width, trap) for gate in gates)
                subject = f"{name} of the save state {when}"
                yield from _named(RootType.SAVE_STATE, "read", width, subject, (one, two))


_ADDRESSES = 1 << 64
_RIGHTS = {"read": Attribute.READ, "write": Attribute.WRITE, "execute": Attribute.EXECUTE}


def _memory(a: Policy, b: Policy) -> Iterator[AccessChange]:
    """What fetched policies report as mapped; nothing if neither was fetched."""
    tables = []
    for policy in (a, b):
        entries = [e for root in policy.roots_of(RootType.MEM)[:1] for e in root.entries if isinstance(e, MemEntry)]
        spans = [((e.base_address, e.base_address + e.size), number) for number, e in enumerate(entries)]
        tables.append((first_cover(spans, _ADDRESSES), entries))
    (one, ours), (two, theirs) = tables
    pairs: dict[tuple[int, int], tuple[int, int]] = {}

    def combine(values: tuple[int | None, int | None]) -> tuple[int, int]:
        bits = (
            0 if values[0] is None else ours[values[0]].attributes,
            0 if values[1] is None else theirs[values[1]].attributes,
        )
        return pairs.setdefault(bits, bits)

    for first, end, bits in overlay([one, two], combine).runs():
        for access, bit in _RIGHTS.items():
            allowed = bool(bits[0] & bit), bool(bits[1] & bit)
            if allowed[0] != allowed[1]:
                subject = f"memory {first:#x}..{end - 1:#x}"
                yield AccessChange(RootType.MEM, access, 0, first, end - 1, subject, allowed)
