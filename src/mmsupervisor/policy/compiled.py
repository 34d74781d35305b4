"""Compiled decisions: the same answers as the plain ones, found by bisection instead of by a walk.

For each width and access, a table over all ports says where the decision changes; the same for MSRs. The tables are
made without asking the plain decisions, from the ranges that the descriptors cover, so that comparing the two means
something; ``tests/policy/test_policy_compiled.py`` does. Tables are made when they are first needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.decide import (
    MSRS,
    PORTS,
    WIDTH_SIZES,
    conclude,
    decide_instruction,
    decide_io,
    decide_msr,
    io_request_error,
    is_denied,
    msr_request_error,
    no_root,
)
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import AccessAttr, Entry, IoEntry, MsrEntry, Policy, PolicyRoot, RootType
from mmsupervisor.policy.save_state import (
    IO_INFO_SIZE,
    POLICY_FIELDS,
    IoTrap,
    SaveStateRegister,
    decide_save_state_read,
)
from mmsupervisor.policy.steps import Span, Steps, first_cover, overlay
from mmsupervisor.policy.surprises import Surprise

_Table = Steps[Decision | None]
"""Decisions by port or MSR; None where the walk would leave the blob."""

_NO_FIELD = -1
"""Stands for every save-state register that a policy cannot name."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A surprise, where it can be, and whether it goes with a match or with none."""

    surprise: Surprise
    with_match: bool
    where: Steps[int | None]


class CompiledPolicy:
    """What a run asks. Every method returns what the plain function of the same arguments returns, or raises it.

    Attributes:
        policy: The policy that was compiled.
    """

    __slots__ = ("_instructions", "_msrs", "_ports", "_save_states", "policy")

    def __init__(self, policy: Policy) -> None:
        """Wrap a policy; tables are made when they are first needed."""
        self.policy = policy
        self._ports: dict[tuple[int, int], _Table] = {}
        self._msrs: dict[int, _Table] = {}
        self._instructions: dict[int, Decision] = {}
        self._save_states: dict[tuple[int, int, IoTrap | Status], Decision] = {}

    def io(self, address: int, width: int, mask: int) -> Decision:
        """Decide a port access; see :func:`~mmsupervisor.policy.decide.decide_io`.

        Raises:
            PolicyBoundsError: the walk runs beyond the blob.
        """
        table = self._ports.get((width, mask))
        if table is None or not 0 <= address < table.limit:
            if malformed := io_request_error(address, width, mask):
                return malformed
            table = self._ports[width, mask] = _compile_io(self.policy, WIDTH_SIZES[width], mask)
        return table.at(address) or decide_io(self.policy, address, width, mask)

    def msr(self, msr: int, mask: int) -> Decision:
        """Decide an MSR access; see :func:`~mmsupervisor.policy.decide.decide_msr`.

        Raises:
            PolicyBoundsError: the walk runs beyond the blob.
        """
        table = self._msrs.get(mask)
        if table is None:
            if malformed := msr_request_error(mask):
                return malformed
            table = self._msrs[mask] = _compile_msr(self.policy, mask)
        return table.at(msr % MSRS) or decide_msr(self.policy, msr, mask)

    def io_steps(self, width: int, mask: int) -> Steps[Decision | None]:
        """Decisions on every port at once, as far as an access of that width fits; None where the walk leaves the blob.

        Args:
            width: 0, 1 or 2 for 1, 2 or 4 bytes.
            mask: READ, WRITE or both.

        Raises:
            PolicyBoundsError: looking for the root runs beyond the blob.
        """
        if (width, mask) not in self._ports:
            self._ports[width, mask] = _compile_io(self.policy, WIDTH_SIZES[width], mask)
        return self._ports[width, mask]

    def msr_steps(self, mask: int) -> Steps[Decision | None]:
        """Decisions on every MSR at once, as :meth:`io_steps`.

        Raises:
            PolicyBoundsError: looking for the root runs beyond the blob.
        """
        if mask not in self._msrs:
            self._msrs[mask] = _compile_msr(self.policy, mask)
        return self._msrs[mask]

    def instruction(self, index: int) -> Decision:
        """Decide an instruction; see :func:`~mmsupervisor.policy.decide.decide_instruction`.

        Raises:
            PolicyBoundsError: the walk runs beyond the blob.
        """
        decision = self._instructions.get(index)
        if decision is None:
            decision = decide_instruction(self.policy, index)
            if decision.root is not None:
                self._instructions[index] = decision
        return decision

    def save_state(self, register: int, width: int, io: IoTrap | Status) -> Decision:
        """Decide a save-state read; see :func:`~mmsupervisor.policy.save_state.decide_save_state_read`.

        Registers without a field are all alike, and so are widths beyond everything that is compared with one.

        Raises:
            PolicyBoundsError: the walk runs beyond the blob.
        """
        known = register in POLICY_FIELDS or register == SaveStateRegister.PROCESSOR_ID
        beyond = max(IO_INFO_SIZE, io.io_width if isinstance(io, IoTrap) else 0) + 1
        key = (register if known else _NO_FIELD, min(width, beyond), io)
        decision = self._save_states.get(key)
        if decision is None:
            decision = self._save_states[key] = decide_save_state_read(self.policy, *key)
        return decision


def _compile_io(policy: Policy, size: int, mask: int) -> _Table:
    """The table of one width and mask; its points are the ports at which such an access may start."""
    mask = int(mask)  # tested against every entry: an integer is much quicker than a flag
    limit = PORTS - size + 1
    root = policy.first_root(RootType.IO)
    if root is None:
        return Steps([0], [no_root(RootType.IO)], limit)
    layers = []
    owner = first_cover(_io_spans(root, size), limit)
    if root.access_attr == AccessAttr.ALLOW:
        layers.append(_Layer(Surprise.PARTIAL_OVERLAP, True, _partly_covered(root, owner, size)))
    elif root.access_attr == AccessAttr.DENY:
        strict = first_cover(_missed_by_strict(root, size, mask), limit)
        layers.append(_Layer(Surprise.STRICT_OTHER_WIDTH, False, strict))
        enclosing = first_cover(_missed_by_enclosing(root, size, mask), limit)
        layers.append(_Layer(Surprise.ENCLOSING_ACCESS, False, enclosing))
    if root.has_legal_attr:
        named = first_cover(_io_spans(root, size, mask), limit)
        layers.append(_Layer(Surprise.FIRST_MATCH_STOPS, False, named))
    later = [(other, first_cover(_io_spans(other, size), limit)) for other in policy.roots_of(RootType.IO)[1:]]
    return _join(root, mask, owner, layers, later)


def _compile_msr(policy: Policy, mask: int) -> _Table:
    mask = int(mask)
    root = policy.first_root(RootType.MSR)
    if root is None:
        return Steps([0], [no_root(RootType.MSR)], MSRS)
    layers = []
    if root.has_legal_attr:
        layers.append(_Layer(Surprise.MSR_RANGE_WRAPS, False, first_cover(_missed_by_wrapping(root, mask), MSRS)))
        layers.append(_Layer(Surprise.FIRST_MATCH_STOPS, False, first_cover(_msr_spans(root, mask), MSRS)))
    later = [(other, first_cover(_msr_spans(other), MSRS)) for other in policy.roots_of(RootType.MSR)[1:]]
    return _join(root, mask, first_cover(_msr_spans(root), MSRS), layers, later)


def _missed_by_wrapping(root: PolicyRoot, mask: int) -> Iterator[tuple[Span, int]]:
    """MSRs of a descriptor which names them and whose range wraps."""
    for entry in root.entries:
        if isinstance(entry, MsrEntry) and entry.end >= MSRS and entry.attributes & mask:
            yield (entry.msr_address, MSRS), 0


def _msr_spans(root: PolicyRoot, mask: int | None = None) -> Iterator[tuple[Span, int]]:
    """What each descriptor covers; with a mask, only those that name the access. A range that wraps covers nothing."""
    for number, entry in enumerate(root.entries):
        if isinstance(entry, MsrEntry) and entry.end < MSRS and (mask is None or entry.attributes & mask):
            yield (entry.msr_address, entry.end), number


def _io_spans(root: PolicyRoot, size: int, mask: int | None = None) -> Iterator[tuple[Span, int]]:
    """Where an access of ``size`` bytes must start to be covered by each descriptor; mask as for MSRs."""
    for number, entry in enumerate(root.entries):
        if isinstance(entry, IoEntry) and (mask is None or entry.attributes & mask):
            for span in io_cover_spans(entry, size):
                yield span, number


def io_cover_spans(entry: IoEntry, size: int) -> Iterable[Span]:
    """Where accesses of ``size`` bytes that a descriptor covers start: its first byte in the range, or its last."""
    if entry.is_strict:
        return ((entry.io_address, entry.io_address + 1),) if entry.length_or_width == size else ()
    last = size - 1
    return (entry.io_address, entry.end), (entry.io_address - last, entry.end - last)


def _touching(entry: IoEntry, size: int) -> Span:
    """Starts of accesses that share a byte with a range that is not empty."""
    return entry.io_address - size + 1, entry.end


def _missed_by_strict(root: PolicyRoot, size: int, mask: int) -> Iterator[tuple[Span, int]]:
    """Accesses that touch a strict descriptor which names them, and that are not exactly it."""
    for entry in root.entries:
        if isinstance(entry, IoEntry) and entry.is_strict and entry.attributes & mask and entry.length_or_width:
            first, end = _touching(entry, size)
            hole = entry.io_address if entry.length_or_width == size else end
            yield (first, hole), 0
            yield (hole + 1, end), 0


def _missed_by_enclosing(root: PolicyRoot, size: int, mask: int) -> Iterator[tuple[Span, int]]:
    """Accesses that begin before a descriptor which names them and end behind it."""
    for entry in root.entries:
        if isinstance(entry, IoEntry) and not entry.is_strict and entry.attributes & mask and entry.length_or_width:
            yield (entry.end - size + 1, entry.io_address), 0


def _partly_covered(root: PolicyRoot, owner: Steps[int | None], size: int) -> Steps[int | None]:
    """Where the covering descriptor does not hold all bytes of the access."""
    spans: list[tuple[Span, int]] = []
    for first, end, number in owner.runs():
        entry = None if number is None else root.entries[number]
        if isinstance(entry, IoEntry):
            spans.append(((first, min(end, entry.io_address)), 0))
            spans.append(((max(first, entry.end - size + 1), end), 0))
    return first_cover(spans, owner.limit)


def _join(
    root: PolicyRoot,
    mask: int,
    owner: Steps[int | None],
    layers: list[_Layer],
    later: list[tuple[PolicyRoot, Steps[int | None]]],
) -> _Table:
    """Make decisions of what covers what.

    Args:
        root: The root that is used.
        mask: The access.
        owner: The descriptor that ends the walk.
        layers: Where there are surprises.
        later: Roots of the same type that are not used, each with what ends its walk.
    """
    kind = RootType(root.type)
    made: dict[tuple[int | None, bool, tuple[Surprise, ...]], Decision] = {}

    def names(entry: Entry) -> bool:
        return bool(entry.attributes & mask)

    def combine(values: tuple[Any, ...]) -> Decision | None:
        stop, flags, others = values[0], values[1 : 1 + len(layers)], values[1 + len(layers) :]
        if stop is None and root.lies_outside:
            return None
        found = stop is not None and names(root.entries[stop])
        surprises = [] if root.has_legal_attr else [Surprise.ACCESS_ATTR_ILLEGAL]
        surprises += [
            layer.surprise
            for layer, flag in zip(layers, flags, strict=True)
            if flag is not None and layer.with_match == found
        ]
        denied = is_denied(root, found)
        for (unused, _), end in zip(later, others, strict=True):
            if end is None and unused.lies_outside:
                continue
            if is_denied(unused, end is not None and names(unused.entries[end])) != denied:
                surprises.append(Surprise.FIRST_ROOT_ONLY)
        key = (stop, found, tuple(surprises))
        if key not in made:
            made[key] = conclude(kind, root, stop, found, surprises)
        return made[key]

    return overlay([owner, *(layer.where for layer in layers), *(cover for _, cover in later)], combine)
