"""What the audit of handlers finds; its kinds are declared with all others, in ``abi``."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.abi.finding_kind import FindingKind
from mmsupervisor.abi.findings_audit import AUDIT_KINDS as _KINDS
from mmsupervisor.core.findings import Place


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

    kind: FindingKind
    place: Place | None
    subject: str
    detail: str
    address: int | None = None

    def __str__(self) -> str:
        """One line: number, place or subject, detail, mend."""
        where = str(self.place) if self.place else self.subject
        return f"{self.kind.number} {self.kind.title}: {where}: {self.detail}. {self.kind.mend}"


AUDIT_KINDS: dict[str, FindingKind] = {kind.number: kind for kind in _KINDS}
"""All kinds by number."""
