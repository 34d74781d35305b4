"""A decision of the policy gate, and everything it can be about.

Steps are those of ``docs/reference/isolation-policy.md``: §6 for I/O, MSR and instructions, §9 for the save state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.model import AccessAttr, Entry, PolicyRoot, RootType, entry_text
from mmsupervisor.policy.surprises import Surprise


class Reason(Enum):
    """Why a decision is what it is."""

    BAD_MASK = "the access is neither a read nor a write"
    BAD_WIDTH = "the width is not 0, 1 or 2"
    BAD_ADDRESS = "the port is above 0xffff"
    BAD_RANGE = "the access runs beyond port 0xffff"
    BAD_INDEX = "there is no instruction with that index"
    NO_POLICY = "there is no policy"
    NO_ROOT = "the policy has no root of that type"
    NO_MATCH = "no entry covers the access"
    NOT_NAMED = "the first entry that covers the access does not name it"
    MATCH = "an entry names the access"
    NOT_ENFORCED = "the processor ID is never refused"
    NO_FIELD = "a policy cannot name that register"
    NO_IO_INFO = "the I/O trap information of that CPU cannot be read"
    BAD_CONDITION = "an unconditional read carries a condition"
    CONDITION_UNMET = "the entry's condition does not hold"
    TOO_WIDE = "the read is wider than the entry allows"
    RAX_REFUSED = "the I/O information contains RAX, and RAX is refused"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy gate answers to one access, and which rule says so.

    Attributes:
        status: What the reference's gate returns.
        kind: What was asked for.
        reason: Why.
        step: Step of the sheet's table that decided.
        root: The root that was used, if the walk came that far.
        entry: The descriptor that ended the walk, whether or not it names the access.
        index: The descriptor's number in its root.
        surprises: Surprises without which the status would be another one, in the order of :class:`Surprise`.
        cause: For RAX_REFUSED, the refusal of RAX.
    """

    status: Status
    kind: RootType
    reason: Reason
    step: int
    root: PolicyRoot | None = None
    entry: Entry | None = None
    index: int | None = None
    surprises: tuple[Surprise, ...] = ()
    cause: Decision | None = None

    @property
    def allowed(self) -> bool:
        """Whether the access may go ahead."""
        return self.status is Status.SUCCESS

    @property
    def rule(self) -> str:
        """The deciding step, as a reference into the fact sheet."""
        section = (
            9 if self.kind is RootType.SAVE_STATE else {RootType.MSR: 7, RootType.INSTRUCTION: 8}.get(self.kind, 6)
        )
        return f"isolation-policy.md §{section} step {self.step}"

    def __str__(self) -> str:
        """One line: status, list, reason, the entry with its place, the step."""
        parts = [self.status.name]
        if self.root is not None:
            attr = self.root.access_attr
            named = (
                f"{AccessAttr(attr).name.lower()} list" if self.root.has_legal_attr else f"list of attribute {attr:#x}"
            )
            # A list without a rule for the access has no rule to name; where it is written, it names itself.
            written = self.entry is None and self.root.place is not None and self.root.place.line is not None
            parts.append(f"{self.root.type_name} {named}" + (f" ({self.root.place})" if written else ""))
        parts.append(self.reason.value)
        if self.entry is not None:
            place = f" ({self.entry.place})" if self.entry.place else ""
            parts.append(f"entry {self.index} {entry_text(self.entry)}{place}")
        if self.cause is not None:
            parts.append(str(self.cause))
        return ": ".join(parts) + f" [{self.rule}]"
