"""A base policy and what platforms add to it, layer by layer.

A layer is a policy of its own: proprietary MSRs, ports, instructions. Its lists must be of the base's kind; its rules
come behind the base's, so that none of them can turn a decision that a base rule makes (the first match counts). In an
allow list a new rule opens something, and that is what layers are for; but what the levels ask to be closed
(``docs/reference/levels.md``) stays closed unless the layer, or the caller, says that it may be opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mmsupervisor.policy.clashes import TakenNumbers, rules_clash
from mmsupervisor.policy.level_real import real_verdict
from mmsupervisor.policy.level_reference import reference_verdict
from mmsupervisor.policy.level_tables import Vendor
from mmsupervisor.policy.model import (
    AccessAttr,
    Entry,
    Policy,
    PolicyRoot,
    RootType,
    entry_text,
)
from mmsupervisor.policy.source import Note, PolicySource, RootNotes
from mmsupervisor.policy.toml_names import default_layout


@dataclass(frozen=True, slots=True)
class LayerProblem:
    """Why a layer cannot be put on as it is.

    Attributes:
        layer: The layer's file.
        text: What clashes, or what it would open.
        is_weakening: Whether it opens what the levels ask to be closed, which a layer may be allowed to do.
    """

    layer: str
    text: str
    is_weakening: bool = False

    def __str__(self) -> str:
        """One line."""
        return f"{self.layer}: {'weakens the minimum: ' if self.is_weakening else ''}{self.text}"


@dataclass(frozen=True, slots=True)
class LayeredPolicy:
    """The outcome.

    Attributes:
        source: Base and layers together, with all their notes.
        problems: Conflicts, and weakenings that nobody allowed; if there are any, the policy is not to be used.
        remarks: Rules that were there already, and weakenings that were allowed.
    """

    source: PolicySource
    problems: tuple[LayerProblem, ...]
    remarks: tuple[LayerProblem, ...]


def put_on(
    base: PolicySource,
    layers: Iterable[PolicySource],
    vendors: Sequence[Vendor] = tuple(Vendor),
    *,
    may_weaken: bool = False,
) -> LayeredPolicy:
    """Put layers on a base.

    Args:
        base: The base.
        layers: The layers, lowest first.
        vendors: Whose minimum is held.
        may_weaken: Whether every layer may weaken the minimum; else those that say so of themselves.
    """
    source = replace(base, policy=_laid_out(base.policy.roots, base.policy.file))
    problems = _lost(base.policy)
    remarks: list[LayerProblem] = []
    for layer in layers:
        before = source.policy
        merged = _Merge(source, layer)
        source = merged.result()
        problems += _lost(layer.policy) + merged.conflicts
        remarks += merged.repeated
        weakenings = list(_weakenings(before, source.policy, layer, vendors))
        (remarks if may_weaken or layer.weakens_minimum else problems).extend(weakenings)
    return LayeredPolicy(source, tuple(problems), tuple(remarks))


def _laid_out(roots: Sequence[PolicyRoot], file: str) -> Policy:
    return default_layout(tuple(roots), memory_root=True, file=file)


def _lost(policy: Policy) -> list[LayerProblem]:
    """What putting policies together would drop: everything but types, lists and rules."""
    plain = [PolicyRoot(root.type, root.access_attr, root.entries) for root in policy.roots]
    if policy == default_layout(tuple(plain), memory_root=False, file=policy.file):
        return []
    return [LayerProblem(policy.file, "header, layout, reserved fields of lists, or bytes beside them would be lost")]


def _weakenings(
    before: Policy, after: Policy, layer: PolicySource, vendors: Sequence[Vendor]
) -> Iterator[LayerProblem]:
    """Requirements that are held before and not after, by either way of judging."""
    seen = set()
    for vendor in vendors:
        for judge in (real_verdict, reference_verdict):
            held, now = judge(before, vendor), judge(after, vendor)
            known = {(one.area, one.what) for one in held.findings}
            for one in now.findings:
                if one.limit is not None and (one.area, one.what) not in known and one.what not in seen:
                    seen.add(one.what)
                    yield LayerProblem(layer.policy.file, f"{one.what} ({one.why})", is_weakening=True)
            if now.error and not held.error:
                yield LayerProblem(layer.policy.file, now.error, is_weakening=True)


class _Merge:
    """One layer put on a source."""

    def __init__(self, below: PolicySource, layer: PolicySource) -> None:
        self._below = below
        self._layer = layer
        self.conflicts: list[LayerProblem] = []
        self.repeated: list[LayerProblem] = []
        self._roots = [root for root in below.policy.roots if not _is_placeholder(root)]
        self._memory = [root for root in below.policy.roots if _is_placeholder(root)][:1]
        self._notes = [
            below.notes_of(number) for number, root in enumerate(below.policy.roots) if not _is_placeholder(root)
        ]
        for number, root in enumerate(layer.policy.roots):
            if not _is_placeholder(root):
                self._add(root, layer.notes_of(number))

    def result(self) -> PolicySource:
        policy = _laid_out([*self._roots, *self._memory], self._below.policy.file)
        return replace(self._below, policy=policy, notes=tuple(self._notes))

    def _conflict(self, text: str) -> None:
        self.conflicts.append(LayerProblem(self._layer.policy.file, text))

    def _add(self, root: PolicyRoot, notes: RootNotes) -> None:
        if root.type == RootType.MEM:
            self._conflict("memory entries, which the supervisor itself fills in")
            return
        number = next((i for i, one in enumerate(self._roots) if one.type == root.type), None)
        if number is None:
            self._roots.append(root)
            self._notes.append(notes)
            return
        below = self._roots[number]
        if below.access_attr != root.access_attr:
            self._conflict(f"the {root.type_name} list is {_kind(root)}, and {_kind(below)} below")
            return
        entries = list(below.entries)
        said = [self._notes[number].of(index) for index in range(len(entries))]
        known, taken = set(entries), TakenNumbers(entries)
        for index, entry in enumerate(root.entries):
            if entry in known:
                self.repeated.append(LayerProblem(self._layer.policy.file, f"{_spot(entry)} is there already"))
            elif taken.may_clash(entry) and (clash := next((one for one in entries if rules_clash(one, entry)), None)):
                self._conflict(f"{_spot(entry)} clashes with {_spot(clash)}")
            else:
                known.add(entry)
                taken.add(entry)
                entries.append(entry)
                said.append(notes.of(index))
        self._roots[number] = replace(below, entries=tuple(entries))
        self._notes[number] = RootNotes(self._notes[number].note or notes.note, tuple[Note, ...](said))


def _is_placeholder(root: PolicyRoot) -> bool:
    return root.type == RootType.MEM and not root.entries


def _kind(root: PolicyRoot) -> str:
    names = {AccessAttr.ALLOW: "an allow list", AccessAttr.DENY: "a deny list"}
    return next((name for attr, name in names.items() if attr == root.access_attr), "neither kind of list")


def _spot(entry: Entry) -> str:
    return f"{entry_text(entry)} ({entry.place})" if entry.place else entry_text(entry)
