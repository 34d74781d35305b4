"""Every kind of finding of the audit of handlers, once. Numbers are stable."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.core.findings import Place


@dataclass(frozen=True, slots=True)
class AuditKind:
    """One kind of mistake that only an audit sees: the supervisor lets it pass.

    Attributes:
        number: Stable identifier, for example ``MM-4001``.
        title: Its name, a few words.
        meaning: What it means, one sentence.
        mend: What to change, one sentence.
    """

    number: str
    title: str
    meaning: str
    mend: str


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """A mistake that was seen.

    Attributes:
        kind: Which kind.
        place: Where in a driver, or None.
        subject: What it is about, where there is no place.
        detail: What was seen, with its numbers.
        address: The address that was touched, or None.
    """

    kind: AuditKind
    place: Place | None
    subject: str
    detail: str
    address: int | None = None

    def __str__(self) -> str:
        """One line: number, place or subject, detail, mend."""
        where = str(self.place) if self.place else self.subject
        return f"{self.kind.number} {self.kind.title}: {where}: {self.detail}. {self.kind.mend}"


_TABLE = (
    AuditKind(
        "MM-4001", "double fetch",
        "A driver read the same bytes outside MMRAM twice during one MMI; in between the outside may change them.",
        "Copy what is to be judged into MMRAM once, and judge and use the copy.",
    ),
    AuditKind(
        "MM-4002", "unvalidated pointer in a message",
        "A driver touched memory at an address that a message gave it, and had not asked whether it may.",
        "Ask MmIsBufferOutsideMmValid about all bytes before the first one is touched.",
    ),
    AuditKind(
        "MM-4003", "wrong validator",
        "A driver asked the validator of messages about memory outside MMRAM, or the other one about a message.",
        "MmCommBufferValid is for the message itself, MmIsBufferOutsideMmValid for what lies outside MMRAM.",
    ),
    AuditKind(
        "MM-4004", "callout",
        "A driver jumped out of MMRAM while it served an MMI.",
        "Call only what was loaded into MMRAM; keep no pointers of boot services for later.",
    ),
    AuditKind(
        "MM-4005", "code pointer outside MMRAM",
        "A driver read the address of code where the outside may change it.",
        "Keep function pointers in MMRAM.",
    ),
    AuditKind(
        "MM-4006", "uninitialised bytes in a reply",
        "What a reply holds depends on stack, pool or pages that the driver never wrote: others' data may leave so.",
        "Clear a reply before it is filled, padding included, and return no more bytes than were written.",
    ),
    AuditKind(
        "MM-4007", "address of MMRAM in a reply",
        "A reply holds an address in MMRAM, which tells the outside where things lie.",
        "Return an index or a handle of your own.",
    ),
)  # fmt: skip

AUDIT_KINDS: dict[str, AuditKind] = {kind.number: kind for kind in _TABLE}
"""All kinds by number."""
