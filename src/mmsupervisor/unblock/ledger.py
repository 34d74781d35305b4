"""Who asked for which memory, when, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import ERROR_BIT, status_name


@dataclass(frozen=True, slots=True)
class UnblockRecord:
    """One request.

    Attributes:
        number: Running number, from 1.
        window: Where it was made: ``PEI`` or ``DXE``.
        phase: The phase at that time, or ``before launch``.
        requester: Who asked.
        start: First address.
        pages: Number of pages.
        status: What the requester was answered.
        rule: The rule that decided, with its place in the fact sheet.
    """

    number: int
    window: str
    phase: str
    requester: Guid
    start: int
    pages: int
    status: int
    rule: str

    @property
    def granted(self) -> bool:
        """Whether the answer was no error. A HOB is judged only later, at the core's entry."""
        return not self.status & ERROR_BIT

    def as_fields(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            "number": self.number,
            "window": self.window,
            "phase": self.phase,
            "requester": self.requester.label,
            "start": f"{self.start:#x}",
            "pages": self.pages,
            "status": status_name(self.status),
            "rule": self.rule,
        }


class UnblockLedger:
    """All requests of one boot.

    Attributes:
        records: In order.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.records: list[UnblockRecord] = []

    def note(
        self, window: str, phase: str, requester: Guid, region: tuple[int, int], answer: tuple[int, str]
    ) -> UnblockRecord:
        """Record a request.

        Args:
            window: ``PEI`` or ``DXE``.
            phase: The phase at that time.
            requester: Who asked.
            region: First address and number of pages.
            answer: Status and the rule that decided.
        """
        number = len(self.records) + 1
        record = UnblockRecord(number, window, phase, requester, region[0], region[1], answer[0], answer[1])
        self.records.append(record)
        return record
