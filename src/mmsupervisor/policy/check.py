"""SecurityPolicyCheck: what the supervisor itself demands of a policy, in its order and with its omissions.

Facts: ``docs/reference/isolation-policy.md`` §10. What a careful reader would also object to is in
:mod:`mmsupervisor.policy.lint` and never here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import ENTRY_LAYOUTS
from mmsupervisor.policy.model import (
    ENTRY_TYPES,
    POLICY_HEADER_SIZE,
    POLICY_ROOT_SIZE,
    AccessCondition,
    Attribute,
    Entry,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Place,
    Policy,
    PolicyBoundsError,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    entry_text,
)

CHECK_RULES = {
    1: "Reserved, Flags and Capabilities are all three not zero",
    2: "a second root of the same type",
    3: "a root of unknown type",
    4: "a root's reserved bytes are not zero",
    5: "an I/O entry overlaps an earlier one in a way that is not allowed, or one of the two is empty",
    6: "an I/O entry's reserved field is not zero",
    7: "a memory entry overlaps an earlier one, one of the two is empty or wraps, or its reserved field is not zero",
    8: "an MSR entry overlaps an earlier one, or one of the two is empty",
    9: "an instruction is named twice, or the entry's reserved field is not zero",
    10: "a save-state entry repeats a field, has attributes or a condition that do not go together, or reserved bits",
    11: "the header announces a legacy memory list",
    12: "header, roots and descriptors do not add up to Size",
}
"""The rules by their number in §10."""


@dataclass(frozen=True, slots=True)
class Violation:
    """The first rule that a policy breaks.

    Attributes:
        rule: Number in :data:`CHECK_RULES`.
        detail: What exactly is wrong, as one clause.
        place: Where the offending root or descriptor stands; None for the header.
        root: Number of the root, if it is about one.
        entry: Number of the descriptor in its root, if it is about one.
        other: For a pair, the number of the earlier descriptor.
    """

    rule: int
    detail: str
    place: Place | None = None
    root: int | None = None
    entry: int | None = None
    other: int | None = None

    def __str__(self) -> str:
        """One line: the rule, the detail, the place."""
        place = f" ({self.place})" if self.place else ""
        return f"policy check rule {self.rule}: {self.detail}{place} [isolation-policy.md §10]"


def security_policy_check(policy: Policy) -> Violation | None:
    """Check a policy as the supervisor does, at boot and at every fetch.

    Returns:
        The first violation in the reference's order, None for a policy that passes.

    Raises:
        PolicyBoundsError: no violation before the check would leave the blob.
    """
    if policy.reserved and policy.flags and policy.capabilities:
        return Violation(1, CHECK_RULES[1])
    seen: set[int] = set()
    for number, root in enumerate(policy.roots):
        if violation := _check_root(policy, number, root, seen):
            return violation
        seen.add(root.type)
    if policy.root_count > len(policy.roots):
        raise policy.roots_beyond()
    if policy.memory_policy_count:
        return Violation(11, f"MemoryPolicyCount is {policy.memory_policy_count}")
    total = POLICY_HEADER_SIZE + sum(
        POLICY_ROOT_SIZE + ENTRY_LAYOUTS[root.type].size * len(root.entries) for root in policy.roots
    )
    if total != policy.size:
        return Violation(12, f"the parts add up to {total:#x} bytes, Size is {policy.size:#x}")
    return None


def objection(policy: Policy) -> str:
    """Why the supervisor refuses a policy, as one line that begins with its name; empty for one that passes."""
    try:
        violation = security_policy_check(policy)
    except PolicyBoundsError as error:
        return str(error)
    return f"{policy.file}: {violation}" if violation is not None else ""


def check_status(policy: Policy | None) -> Status:
    """What SecurityPolicyCheck returns.

    On a clean policy the reference may return an indeterminate value (§17.2); this is EFI_SUCCESS here.

    Raises:
        PolicyBoundsError: as :func:`security_policy_check`.
    """
    if policy is None:
        return Status.INVALID_PARAMETER
    return Status.SECURITY_VIOLATION if security_policy_check(policy) else Status.SUCCESS


def _check_root(policy: Policy, number: int, root: PolicyRoot, seen: set[int]) -> Violation | None:
    """Rules 2 to 10 on one root."""
    if root.type not in ENTRY_TYPES:
        return Violation(3, f"root {number} has type {root.type:#x}", root.place, number)
    if root.type in seen:
        return Violation(2, f"root {number} is a second {root.type_name} root", root.place, number)
    pairs = _PAIR_CHECKS[RootType(root.type)]
    for index, (entry, partner) in enumerate(zip(root.entries, pairs(root.entries), strict=True)):
        rule, detail = _PAIR_RULES[RootType(root.type)], ""
        if partner is not None:
            detail = f"{root.type_name} entries {partner} and {index} clash: "
            detail += f"{entry_text(root.entries[partner])} and {entry_text(entry)}"
        elif broken := _check_alone(entry):
            rule, detail = broken
        if detail:
            return Violation(rule, detail, entry.place, number, index, partner)
    if root.lies_outside:
        raise policy.walk_beyond(root)
    if any(root.reserved):
        return Violation(4, f"root {number} has reserved bytes {root.reserved.hex()}", root.place, number)
    return None


def _check_alone(entry: Entry) -> tuple[int, str] | None:
    """The rules that look at one descriptor, as (rule, detail). An MSR descriptor has none."""
    if isinstance(entry, SaveStateEntry):
        clash = _save_state_clash(entry)
        if clash:
            return 10, f"{entry_text(entry)}: {clash}"
    if not isinstance(entry, MsrEntry) and entry.reserved:
        rule = {RootType.IO: 6, RootType.MEM: 7, RootType.INSTRUCTION: 9}.get(entry.KIND, 10)
        return rule, f"{entry_text(entry)}: the reserved field is {entry.reserved:#x}"
    return None


def _save_state_clash(entry: SaveStateEntry) -> str:
    both = Attribute.READ | Attribute.COND_READ
    if entry.attributes & (Attribute.WRITE | Attribute.COND_WRITE):
        return "writing is not supported"
    if entry.attributes & both == both:
        return "reading is both conditional and unconditional"
    if not entry.attributes & Attribute.COND_READ and entry.access_condition != AccessCondition.UNCONDITIONAL:
        return "a condition without a conditional read"
    return ""


# --------------------------------------------------------------------------------------------------- pairs
#
# The reference compares every descriptor with every earlier one. The finders below give the same answer (the first
# earlier descriptor that clashes) without looking at all pairs unless there is a clash.


def io_pair_clashes(earlier: IoEntry, later: IoEntry) -> bool:
    """Rule 5 on one pair: a strict entry may not be swallowed whole, any other may not be touched."""
    if earlier.is_strict:
        return later.io_address <= earlier.io_address and later.end >= earlier.end
    return _ranges_clash(
        (earlier.io_address, earlier.length_or_width), (later.io_address, later.length_or_width), _NEVER_WRAPS
    )


_NEVER_WRAPS = 1 << 64
"""The reference compares in 64 bits, in which neither ports nor MSRs can wrap."""


def _ranges_clash(one: tuple[int, int], two: tuple[int, int], modulus: int) -> bool:
    """Whether two (base, size) ranges overlap, or one of them is empty or wraps."""
    if _is_odd(*one, modulus) or _is_odd(*two, modulus):
        return True
    return one[0] < two[0] + two[1] and two[0] < one[0] + one[1]


def _is_odd(base: int, size: int, modulus: int) -> bool:
    return size == 0 or base + size > modulus


class _Disjoint:
    """Ranges of which no two overlap, asked whether a new one overlaps any."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def touches(self, start: int, end: int) -> bool:
        at = bisect_right(self._starts, start)
        return (at > 0 and self._ends[at - 1] > start) or (at < len(self._starts) and self._starts[at] < end)

    def add(self, start: int, end: int) -> None:
        insort(self._starts, start)
        insort(self._ends, end)


class _Innermost:
    """Ranges of which none contains another, asked whether a new one contains any. Starts and ends both ascend."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def has_one_inside(self, start: int, end: int) -> bool:
        at = bisect_left(self._starts, start)
        return at < len(self._starts) and self._ends[at] <= end

    def add(self, start: int, end: int) -> None:
        """Add a range that contains none of the others; drop those that contain it, which no longer matter."""
        last = bisect_right(self._starts, start)
        first = bisect_left(self._ends, end)
        if first < last:
            del self._starts[first:last], self._ends[first:last]
            last = first
        self._starts.insert(last, start)
        self._ends.insert(last, end)


def _io_partners(entries: Sequence[Entry]) -> Iterator[int | None]:
    ports = [entry for entry in entries if isinstance(entry, IoEntry)]
    ranges, strict, empty, any_range = _Disjoint(), _Innermost(), False, False
    for index, entry in enumerate(ports):
        start, end = entry.io_address, entry.end
        clash = strict.has_one_inside(start, end) or empty or (any_range and start == end)
        if clash or ranges.touches(start, end):
            yield next(j for j in range(index) if io_pair_clashes(ports[j], entry))
            return
        yield None
        if entry.is_strict:
            strict.add(start, end)
            continue
        any_range = True
        if start == end:
            empty = True
        else:
            ranges.add(start, end)


def _range_partners(ranges: Sequence[tuple[int, int]], modulus: int) -> Iterator[int | None]:
    seen, odd = _Disjoint(), False
    for index, (base, size) in enumerate(ranges):
        odd = odd or _is_odd(base, size, modulus)
        if index and (odd or seen.touches(base, base + size)):
            yield next(j for j in range(index) if _ranges_clash(ranges[j], (base, size), modulus))
            return
        yield None
        seen.add(base, base + size)


def _mem_partners(entries: Sequence[Entry]) -> Iterator[int | None]:
    return _range_partners([(e.base_address, e.size) for e in entries if isinstance(e, MemEntry)], 1 << 64)


def _msr_partners(entries: Sequence[Entry]) -> Iterator[int | None]:
    return _range_partners([(e.msr_address, e.length) for e in entries if isinstance(e, MsrEntry)], _NEVER_WRAPS)


def _twin_partners(entries: Sequence[Entry]) -> Iterator[int | None]:
    """Instructions and save-state fields: the first earlier descriptor of the same number."""
    seen: dict[int, int] = {}
    for index, entry in enumerate(entries):
        number = entry.instruction_index if isinstance(entry, InstructionEntry) else _map_field(entry)
        yield seen.get(number)
        seen.setdefault(number, index)


def _map_field(entry: Entry) -> int:
    return entry.map_field if isinstance(entry, SaveStateEntry) else -1


_PAIR_CHECKS: dict[RootType, Callable[[Sequence[Entry]], Iterator[int | None]]] = {
    RootType.IO: _io_partners,
    RootType.MEM: _mem_partners,
    RootType.MSR: _msr_partners,
    RootType.INSTRUCTION: _twin_partners,
    RootType.SAVE_STATE: _twin_partners,
}
_PAIR_RULES = {
    RootType.IO: 5,
    RootType.MEM: 7,
    RootType.MSR: 8,
    RootType.INSTRUCTION: 9,
    RootType.SAVE_STATE: 10,
}
