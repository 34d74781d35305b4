"""Findings of a run: what broke which rule, where, and what to change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmsupervisor.abi.findings import FINDING_KINDS, FindingKind
from mmsupervisor.pi.errors import MmSupervisorError

if TYPE_CHECKING:
    from mmsupervisor.core.scene import Scene


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a driver's image.

    Attributes:
        driver: Name of the driver; outside all images, of the one whose routine was running, or empty.
        address: Physical address.
        offset: Offset in the image in bytes, or None outside all images.
        symbol: ``name+0x..`` where symbols are known, or empty.
    """

    driver: str
    address: int
    offset: int | None = None
    symbol: str = ""

    def __str__(self) -> str:
        """``Driver+0x1234 (symbol+0x10)``; outside all images the address."""
        if self.offset is None:
            where = f"{self.address:#x} (in no image)"
            return f"{self.driver}, at {where}" if self.driver else where
        text = f"{self.driver}+{self.offset:#x}"
        return f"{text} ({self.symbol})" if self.symbol else text


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        kind: Which kind.
        place: Where in a driver, or None if it is about a file or a message.
        subject: What it is about where there is no place: a file, a message.
        detail: The access or request, with its numbers.
        rule: The rule that was broken, with its place (policy entry, fact sheet).
        mend: What to change, more exact than the kind's where possible.
        status: Internal EFI_STATUS of the reference, or None.
        vector: Exception vector, or None for no exception.
        error_code: Its error code, or None.
        address: The address that was touched, or None.
        written: Where in the policy the rule is written, ``file:line`` or an offset in a blob; empty for other rules.
        scene: Where and how it was made, once it was recorded; findings are equal whatever their scenes.
    """

    kind: FindingKind
    place: Place | None
    subject: str
    detail: str
    rule: str
    mend: str
    status: int | None = None
    vector: int | None = None
    error_code: int | None = None
    address: int | None = None
    written: str = ""
    scene: Scene | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """One line: number, place or subject, detail, rule, mend."""
        where = str(self.place) if self.place else self.subject
        rule = f" [{self.rule}]" if self.rule else ""
        return f"{self.kind.number} {self.kind.title}: {where}: {self.detail}{rule}. {self.mend}"


def make_finding(
    number: str,
    detail: str,
    *,
    place: Place | None = None,
    subject: str = "",
    rule: str = "",
    mend: str = "",
    status: int | None = None,
    vector: int | None = None,
    error_code: int | None = None,
    address: int | None = None,
    written: str = "",
) -> Finding:
    """Build a finding; the kind's own mend serves where no better one is given."""
    kind = FINDING_KINDS[number]
    return Finding(kind, place, subject, detail, rule, mend or kind.mend, status, vector, error_code, address, written)


class SystemStopError(MmSupervisorError):
    """The system is dead: on the device it would have reset. No MMI is served any more.

    Attributes:
        finding: Why.
    """

    def __init__(self, finding: Finding) -> None:
        """Record the cause."""
        self.finding = finding
        super().__init__(str(finding))
