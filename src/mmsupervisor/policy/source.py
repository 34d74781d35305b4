"""A policy with what people say about it: why each rule is there, who looked at it, when, and where that is written."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.policy.model import Policy


@dataclass(frozen=True, slots=True)
class Note:
    """What is said about a root or a rule; each may be empty.

    Attributes:
        reason: Why it is there.
        reviewer: Who agreed to it.
        date: When, as YYYY-MM-DD.
        reference: Where it is written: a manual's section, a bug's number.
    """

    reason: str = ""
    reviewer: str = ""
    date: str = ""
    reference: str = ""

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return any((self.reason, self.reviewer, self.date, self.reference))


NO_NOTE = Note()


@dataclass(frozen=True, slots=True)
class RootNotes:
    """Notes on one root and its rules.

    Attributes:
        note: On the root itself.
        entries: On each rule; as many as there are rules, or none at all.
    """

    note: Note = NO_NOTE
    entries: tuple[Note, ...] = ()

    def of(self, index: int) -> Note:
        """The note on one rule."""
        return self.entries[index] if index < len(self.entries) else NO_NOTE


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy and its notes.

    Attributes:
        policy: The policy.
        title: What it is, in one line.
        vendor: ``amd``, ``intel``, or empty for a policy of no vendor.
        notes: Notes on each root; as many as there are roots, or fewer.
        weakens_minimum: Whether the author of a layer says that it may weaken the minimum.
    """

    policy: Policy
    title: str = ""
    vendor: str = ""
    notes: tuple[RootNotes, ...] = ()
    weakens_minimum: bool = False

    def notes_of(self, root: int) -> RootNotes:
        """The notes on one root."""
        return self.notes[root] if root < len(self.notes) else RootNotes()

    def note_of(self, root: int, entry: int) -> Note:
        """The note on one rule."""
        return self.notes_of(root).of(entry)
