"""What is wrong with a policy although the reference's own check lets it pass.

Nothing here is decided by the supervisor: these are findings for a person. SecurityPolicyCheck itself is in
:mod:`mmsupervisor.policy.check`; what it omits is listed at the end of ``docs/reference/isolation-policy.md`` §10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from mmsupervisor.policy.blob import ENTRY_LAYOUTS
from mmsupervisor.policy.compiled import io_cover_spans
from mmsupervisor.policy.decide import MSRS, PORTS, WIDTH_SIZES, io_covers
from mmsupervisor.policy.model import (
    ENTRY_TYPES,
    KNOWN_ATTRIBUTES,
    POLICY_HEADER_SIZE,
    POLICY_ROOT_SIZE,
    AccessAttr,
    AccessCondition,
    Attribute,
    Entry,
    Instruction,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Place,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    SaveStateField,
    entry_text,
)
from mmsupervisor.policy.steps import first_cover


class Lint(Enum):
    """A kind of finding, and what it means."""

    VERSION = "the version is not 1.0"
    HEADER_BITS = "header bits that must be zero are set; the check refuses them only all together"
    ROOTS_OUTSIDE = "roots are declared that are not in the blob"
    NO_MEM_ROOT = "there is no MEM root: the policy cannot be fetched"
    MEM_ROOT_IN_THE_WAY = "descriptors follow the MEM root's offset: fetching the policy writes over them"
    ROOT_MISSING = "there is no such root"
    SAVE_STATE_OPEN = "there is no SAVE_STATE root: every register is readable"
    ROOT_FORM = "the root's version or size field is not what it should be"
    ACCESS_ATTR = "the root is neither an allow nor a deny list: it allows everything"
    LIST_OUTSIDE = "descriptors are declared that are not in the blob"
    LISTS_SHARE_BYTES = "two parts of the policy share bytes"
    UNKNOWN_BITS = "attribute bits without a meaning"
    NAMES_NOTHING = "the attributes name no access of this kind: the entry has no effect but to end the walk"
    MEANINGLESS_BITS = "attribute bits that mean nothing on this kind of entry"
    EMPTY = "the range is empty"
    RUNS_OUT = "the range runs beyond the last port"
    WRAPS = "the range wraps at 32 bits and covers nothing"
    STRICT_NEVER = "no access has that strict width"
    STRICT_OPEN = "a strict deny entry leaves accesses of other widths to the same ports allowed"
    UNREACHABLE = "earlier entries take every access that this one covers"
    UNKNOWN_NUMBER = "a number without a meaning"
    CONDITION_NEVER_MET = "the condition can never hold"


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One finding.

    Attributes:
        kind: What is wrong.
        subject: With what: a root, a descriptor, or the header.
        place: Where that stands; None for the header.
    """

    kind: Lint
    subject: str
    place: Place | None = None

    def __str__(self) -> str:
        """One line: subject, meaning, place."""
        place = f" ({self.place})" if self.place else ""
        return f"{self.subject}: {self.kind.value}{place}"


def lint(policy: Policy) -> tuple[LintFinding, ...]:
    """Everything questionable about a policy: the header first, then root by root. Raises nothing."""
    findings = [*_lint_header(policy), *_lint_missing_roots(policy), *_lint_layout(policy)]
    for number, root in enumerate(policy.roots):
        findings += _lint_root(number, root)
    return tuple(findings)


def _lint_header(policy: Policy) -> Iterator[LintFinding]:
    if (policy.version_major, policy.version_minor) != (1, 0):
        yield LintFinding(Lint.VERSION, f"version {policy.version_major}.{policy.version_minor}")
    bits = {"Flags": policy.flags, "Capabilities": policy.capabilities, "Reserved": policy.reserved}
    for name, value in bits.items():
        if value:
            yield LintFinding(Lint.HEADER_BITS, f"{name} {value:#x}")
    if policy.root_count > len(policy.roots):
        yield LintFinding(Lint.ROOTS_OUTSIDE, f"{policy.root_count} roots, {len(policy.roots)} inside")


def _lint_missing_roots(policy: Policy) -> Iterator[LintFinding]:
    for kind in (RootType.IO, RootType.MSR, RootType.INSTRUCTION):
        if not policy.roots_of(kind):
            yield LintFinding(Lint.ROOT_MISSING, f"{kind.name}: everything is denied")
    if not policy.roots_of(RootType.SAVE_STATE):
        yield LintFinding(Lint.SAVE_STATE_OPEN, "save state")
    if not policy.roots_of(RootType.MEM):
        yield LintFinding(Lint.NO_MEM_ROOT, "memory")


def _parts(policy: Policy) -> Iterator[tuple[int, int, str, Place | None]]:
    """Start, end, name and place of everything that occupies bytes."""
    yield 0, POLICY_HEADER_SIZE, "the header", None
    if policy.roots:
        end = policy.root_offset + POLICY_ROOT_SIZE * len(policy.roots)
        yield policy.root_offset, end, "the roots", policy.roots[0].place
    for number, root in enumerate(policy.roots):
        if root.entries:
            end = root.offset + len(root.entries) * ENTRY_LAYOUTS[root.type].size
            yield root.offset, end, f"root {number} ({root.type_name})", root.place


def _lint_layout(policy: Policy) -> Iterator[LintFinding]:
    parts = sorted(_parts(policy), key=lambda part: part[:2])
    reach = parts[0]
    for part in parts[1:]:
        if part[0] < reach[1]:
            yield LintFinding(Lint.LISTS_SHARE_BYTES, f"{reach[2]} and {part[2]}", part[3])
        reach = max(reach, part, key=lambda one: one[1])
    for number, root in enumerate(policy.roots):
        follows = any(part[1] > root.offset for part in parts if part[2] != f"root {number} ({root.type_name})")
        if root.type == RootType.MEM and root.offset and follows:
            yield LintFinding(Lint.MEM_ROOT_IN_THE_WAY, f"root {number} (MEM) at {root.offset:#x}", root.place)


def _lint_root(number: int, root: PolicyRoot) -> Iterator[LintFinding]:
    subject = f"root {number} ({root.type_name})"
    if (root.version, root.root_size) != (1, POLICY_ROOT_SIZE):
        yield LintFinding(Lint.ROOT_FORM, f"{subject}: version {root.version}, size {root.root_size:#x}", root.place)
    if not root.has_legal_attr:
        yield LintFinding(Lint.ACCESS_ATTR, f"{subject}: AccessAttr {root.access_attr:#x}", root.place)
    if root.type not in ENTRY_TYPES:
        yield LintFinding(Lint.UNKNOWN_NUMBER, subject, root.place)
        return
    if root.lies_outside:
        yield LintFinding(
            Lint.LIST_OUTSIDE, f"{subject}: {root.count} declared, {len(root.entries)} inside", root.place
        )
    unreachable = _UNREACHABLE[RootType(root.type)](root.entries)
    for index, entry in enumerate(root.entries):
        kinds = [*_lint_attributes(entry), *_lint_entry(entry, root)]
        if index in unreachable:
            kinds.append(Lint.UNREACHABLE)
        for kind in kinds:
            yield LintFinding(kind, f"{subject} entry {index}, {entry_text(entry)}", entry.place)


_READ_WRITE = Attribute.READ | Attribute.WRITE
_USEFUL_BITS = {
    RootType.MEM: _READ_WRITE | Attribute.EXECUTE,
    RootType.IO: _READ_WRITE,
    RootType.MSR: _READ_WRITE,
    RootType.INSTRUCTION: Attribute.EXECUTE,
    RootType.SAVE_STATE: Attribute.READ | Attribute.COND_READ,
}
"""Bits that a decision looks at, by kind of entry. STRICT_WIDTH on a port is looked at too, but names no access."""


def _lint_attributes(entry: Entry) -> Iterator[Lint]:
    useful = _USEFUL_BITS[entry.KIND]
    if not entry.attributes & useful:
        yield Lint.NAMES_NOTHING
    if entry.attributes & ~KNOWN_ATTRIBUTES:
        yield Lint.UNKNOWN_BITS
    also = Attribute.STRICT_WIDTH if entry.KIND is RootType.IO else Attribute(0)
    if entry.attributes & KNOWN_ATTRIBUTES & ~(useful | also):
        yield Lint.MEANINGLESS_BITS


def _lint_entry(entry: Entry, root: PolicyRoot) -> Iterator[Lint]:
    match entry:
        case IoEntry():
            yield from _lint_io(entry, root)
        case MsrEntry() if not entry.length:
            yield Lint.EMPTY
        case MsrEntry() if entry.end >= MSRS:
            yield Lint.WRAPS
        case MemEntry() if not entry.size:
            yield Lint.EMPTY
        case InstructionEntry() if entry.instruction_index >= len(Instruction):
            yield Lint.UNKNOWN_NUMBER
        case SaveStateEntry():
            yield from _lint_save_state(entry)


def _lint_io(entry: IoEntry, root: PolicyRoot) -> Iterator[Lint]:
    if not entry.length_or_width:
        yield Lint.EMPTY
    if entry.end > PORTS:
        yield Lint.RUNS_OUT
    if entry.is_strict:
        if entry.length_or_width not in WIDTH_SIZES.values():
            yield Lint.STRICT_NEVER
        if root.access_attr == AccessAttr.DENY:
            yield Lint.STRICT_OPEN


def _lint_save_state(entry: SaveStateEntry) -> Iterator[Lint]:
    if entry.map_field >= len(SaveStateField) or entry.access_condition >= len(AccessCondition):
        yield Lint.UNKNOWN_NUMBER
    is_conditional = entry.attributes & Attribute.COND_READ and not entry.attributes & Attribute.READ
    if is_conditional and entry.access_condition != AccessCondition.IO_WR:
        yield Lint.CONDITION_NEVER_MET


def _owners(spans: Iterable[tuple[tuple[int, int], int]], limit: int) -> set[int]:
    return {owner for owner in first_cover(spans, limit).values if owner is not None}


def _unreachable_io(entries: tuple[Entry, ...]) -> set[int]:
    """Descriptors that cover some access, but never as the first one."""
    ports = {index: entry for index, entry in enumerate(entries) if isinstance(entry, IoEntry)}
    first: set[int] = set()
    for size in WIDTH_SIZES.values():
        spans = [(span, index) for index, entry in ports.items() for span in io_cover_spans(entry, size)]
        first |= _owners(spans, PORTS - size + 1)
    covering = {i for i, e in ports.items() if any(io_covers(e, e.io_address, s) for s in WIDTH_SIZES.values())}
    return covering - first


def _unreachable_msr(entries: tuple[Entry, ...]) -> set[int]:
    spans = [
        ((entry.msr_address, entry.end), index)
        for index, entry in enumerate(entries)
        if isinstance(entry, MsrEntry) and entry.length and entry.end < MSRS
    ]
    return {index for _, index in spans} - _owners(spans, MSRS)


def _unreachable_twin(entries: tuple[Entry, ...]) -> set[int]:
    seen: set[int] = set()
    twins: set[int] = set()
    for index, entry in enumerate(entries):
        if isinstance(entry, InstructionEntry | SaveStateEntry):
            number = entry.instruction_index if isinstance(entry, InstructionEntry) else entry.map_field
            if number in seen:
                twins.add(index)
            seen.add(number)
    return twins


_UNREACHABLE: dict[RootType, Callable[[tuple[Entry, ...]], set[int]]] = {
    RootType.MEM: lambda entries: set(),
    RootType.IO: _unreachable_io,
    RootType.MSR: _unreachable_msr,
    RootType.INSTRUCTION: _unreachable_twin,
    RootType.SAVE_STATE: _unreachable_twin,
}
