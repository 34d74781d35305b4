"""The least policy that lets what was observed: deny by default, and every rule because of somebody.

Ports get strict rules, one for each port and width: the only kind that the reference cannot stretch to its neighbours
(``isolation-policy.md`` §6). MSRs get a rule each. Of the save state the narrowest rules are taken that let every
observed read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from mmsupervisor.learn.denials import would_be_denied
from mmsupervisor.learn.observation import Observation
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.level_facts import LevelFinding
from mmsupervisor.policy.level_tables import MOST, Vendor
from mmsupervisor.policy.levels import judge
from mmsupervisor.policy.model import (
    AccessAttr,
    AccessCondition,
    Attribute,
    Entry,
    InstructionEntry,
    IoEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    SaveStateField,
)
from mmsupervisor.policy.questions import InstructionQuestion, MsrQuestion, PortQuestion

KINDS = (RootType.IO, RootType.MSR, RootType.INSTRUCTION, RootType.SAVE_STATE)
"""The lists of a learned policy, in their order; each is there, empty or not."""


@dataclass(frozen=True, slots=True)
class LearnedRule:
    """A rule and what it is there for.

    Attributes:
        entry: The rule.
        observations: What would be denied without it.
    """

    entry: Entry
    observations: tuple[Observation, ...]

    @property
    def count(self) -> int:
        """How many accesses need it."""
        return sum(one.count for one in self.observations)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why some of what was observed is not to be allowed.

    Attributes:
        observations: The accesses.
        why: What would be wrong with allowing them.
    """

    observations: tuple[Observation, ...]
    why: str

    @property
    def drivers(self) -> tuple[str, ...]:
        """Whose accesses they are, in the order of the first."""
        return tuple(dict.fromkeys(one.place.driver for one in self.observations))


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned.

    Attributes:
        rules: The rules, list by list.
        refusals: What must stay denied, and why; the policy lets none of it.
        vendor: Whose minimum was held.
        level: The wanted level.
    """

    rules: tuple[LearnedRule, ...]
    refusals: tuple[Refusal, ...]
    vendor: Vendor
    level: int

    @property
    def policy(self) -> Policy:
        """The policy of the rules."""
        return policy_of(rule.entry for rule in self.rules)


def policy_of(entries: Iterable[Entry], file: str = "learned") -> Policy:
    """Make a policy of rules: four allow lists, in the order that is given."""
    listed = tuple(entries)
    return assemble(
        (PolicyRoot(kind, AccessAttr.ALLOW, tuple(one for one in listed if one.KIND is kind)) for kind in KINDS),
        file=file,
    )


def learn(observations: Sequence[Observation], vendor: Vendor, level: int = MOST) -> Lesson:
    """Find the least rules for what was observed, without those that a level forbids.

    Args:
        observations: What was observed.
        vendor: Whose minimum is to be held.
        level: The wanted level; 0 for none.
    """
    rules = [
        *_ports(observations),
        *_msrs(observations),
        *_instructions(observations),
        *_save_state(observations, level),
    ]
    refusals = list(_inexpressible(observations, [rule.entry for rule in rules]))
    kept = rules
    if not judge(policy_of(rule.entry for rule in rules), vendor).reaches(level):
        kept = []
        for rule in rules:
            if broken := _broken(rule.entry, vendor, level):
                refusals.append(Refusal(rule.observations, "; ".join(_clause(one) for one in broken)))
            else:
                kept.append(rule)
    return Lesson(tuple(_serving(kept, observations)), tuple(refusals), vendor, level)


def _serving(rules: Sequence[LearnedRule], observations: Sequence[Observation]) -> Iterator[LearnedRule]:
    """The rules that let something, each with what it lets.

    One that was found for an access which stays denied all the same, because another rule for it was refused or because
    no list can let it, would open more than anybody needs.
    """
    lost = {denial.observation for denial in would_be_denied(observations, policy_of(rule.entry for rule in rules))}
    for rule in rules:
        if served := tuple(one for one in rule.observations if one not in lost):
            yield LearnedRule(rule.entry, served)


# ------------------------------------------------------------------------------------------------------------ rules


def _group(
    observations: Iterable[Observation], key: Callable[[Observation], tuple[int, ...] | None]
) -> list[tuple[tuple[int, ...], tuple[Observation, ...]]]:
    """Observations by a key, in order of the keys; those without one are left out."""
    found: dict[tuple[int, ...], list[Observation]] = {}
    for one in observations:
        if (value := key(one)) is not None:
            found.setdefault(value, []).append(one)
    return [(value, tuple(found[value])) for value in sorted(found)]


def _directions(observations: Iterable[Observation]) -> int:
    bits = 0
    for one in observations:
        if isinstance(one.question, PortQuestion | MsrQuestion):
            bits |= int(one.question.access)
    return bits


def _ports(observations: Iterable[Observation]) -> Iterator[LearnedRule]:
    """Strict rules; of several at one port the widest comes first, as the supervisor's check demands (§10 rule 5)."""

    def key(one: Observation) -> tuple[int, int] | None:
        return (one.question.port, -one.question.size) if isinstance(one.question, PortQuestion) else None

    for (port, size), group in _group(observations, key):
        yield LearnedRule(IoEntry(port, -size, _directions(group) | Attribute.STRICT_WIDTH), group)


def _msrs(observations: Iterable[Observation]) -> Iterator[LearnedRule]:
    for (msr,), group in _group(
        observations, lambda one: (one.question.msr,) if isinstance(one.question, MsrQuestion) else None
    ):
        yield LearnedRule(MsrEntry(msr, 1, _directions(group)), group)


def _instructions(observations: Iterable[Observation]) -> Iterator[LearnedRule]:
    def key(one: Observation) -> tuple[int] | None:
        return (int(one.question.instruction),) if isinstance(one.question, InstructionQuestion) else None

    for (index,), group in _group(observations, key):
        yield LearnedRule(InstructionEntry(index, int(Attribute.EXECUTE)), group)


_RAX, _TRAP = SaveStateField.RAX, SaveStateField.IO_TRAP
_READ, _WHEN_WRITTEN = (int(Attribute.READ), 0), (int(Attribute.COND_READ), int(AccessCondition.IO_WR))
_LEVEL_WITHOUT_CONDITIONS = 30
"""From this level on, I/O trap information must be readable without a condition or not at all (levels.md §4)."""


def _save_state(observations: Sequence[Observation], level: int) -> list[LearnedRule]:
    """The narrowest rules that let as many of the observed reads as any can.

    Reading the trap information needs RAX too (``isolation-policy.md`` §9 step 11), so the two are chosen together.
    """
    reads = [one for one in observations if one.question.KIND is RootType.SAVE_STATE]
    conditional = () if level >= _LEVEL_WITHOUT_CONDITIONS else (_WHEN_WRITTEN,)
    choices = [
        [SaveStateEntry(field, *form) for field, form in ((_RAX, rax), (_TRAP, trap)) if form is not None]
        for rax, trap in product((None, _WHEN_WRITTEN, _READ), (None, *conditional, _READ))
    ]

    def lost_by(entries: list[SaveStateEntry]) -> int:
        return len(would_be_denied(reads, policy_of(entries)))

    best = min(choices, key=lost_by)  # of several the first, and narrow ones come first
    lost = {denial.observation for denial in would_be_denied(reads, policy_of(best))}
    rules = []
    for entry in best:
        without = would_be_denied(reads, policy_of(one for one in best if one is not entry))
        needed = tuple(denial.observation for denial in without if denial.observation not in lost)
        rules.append(LearnedRule(entry, needed))
    return rules


# --------------------------------------------------------------------------------------------------------- refusals


def _inexpressible(observations: Sequence[Observation], entries: Sequence[Entry]) -> Iterator[Refusal]:
    """What the rules do not let although they are there for it: no allow list can."""
    denials = would_be_denied(observations, policy_of(entries))
    for question in dict.fromkeys(denial.observation.question for denial in denials):
        found = [denial for denial in denials if denial.observation.question == question]
        why = f"no allow list can let it: {found[0].decision.reason.value} [{found[0].decision.rule}]"
        yield Refusal(tuple(denial.observation for denial in found), why)


def _broken(entry: Entry, vendor: Vendor, level: int) -> list[LevelFinding]:
    """What of the wanted level a rule breaks. Rules of allow lists break it one by one, never together."""
    report = judge(policy_of((entry,)), vendor)
    if report.reaches(level):
        return []
    findings = {one.what: one for verdict in (report.reference, report.real) for one in verdict.findings}
    return [replace(one, mend="") for one in findings.values() if one.limit is not None and one.limit < level]


def _clause(finding: LevelFinding) -> str:
    what = finding.what.replace("allow entry 0", "the rule")  # a policy of this rule alone was judged
    return f"it holds the policy at {finding.limit}: {what}: {finding.why}"
