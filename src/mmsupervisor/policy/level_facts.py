"""What a level is judged by besides the policy, and what comes out: facts about memory, findings, verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mmsupervisor.policy.model import Place


class Area(Enum):
    """What a requirement is about."""

    STRUCTURE = "structure"
    IO = "IO"
    MSR = "MSR"
    SAVE_STATE = "SAVE_STATE"
    MEMORY = "MEMORY"
    INSTRUCTION = "INSTRUCTION"


@dataclass(frozen=True, slots=True)
class Region:
    """A range of physical memory.

    Attributes:
        start: First address.
        size: Bytes.
        name: What it is, for messages.
    """

    start: int
    size: int
    name: str = ""

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.start + self.size

    def __str__(self) -> str:
        """Name and addresses."""
        return f"{self.name or 'region'} {self.start:#x}..{self.end - 1:#x}"


CONVENTIONAL_MEMORY, RUNTIME_SERVICES_CODE = 7, 5
"""Types of UEFI memory that the checks look at (UEFI 2.10 §7.2, EFI_MEMORY_TYPE)."""


@dataclass(frozen=True, slots=True)
class MatEntry:
    """An entry of the UEFI memory attributes table.

    Attributes:
        type: EFI_MEMORY_TYPE.
        region: Where.
        is_execute_protected: Whether EFI_MEMORY_XP is set.
    """

    type: int
    region: Region
    is_execute_protected: bool


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """What a platform says about its memory.

    Attributes:
        mat: The memory attributes table; None if there is none.
        iommu: Register blocks of IOMMUs; None if no ACPI table describes any.
        txt: Intel's TXT regions; one with base 0 is no region.
        ecam: PCI configuration space in memory; None if nobody said.
        conventional: Memory that belongs to the operating system, as far as the table above does not name it.
    """

    mat: tuple[MatEntry, ...] | None = ()
    iommu: tuple[Region, ...] | None = None
    txt: tuple[Region, ...] = ()
    ecam: tuple[Region, ...] | None = None
    conventional: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True)
class LevelFinding:
    """One missing requirement, or a remark.

    Attributes:
        area: What it is about.
        limit: The level that it holds the policy at; None for a remark, which costs nothing.
        what: What is wrong.
        why: Why that matters, or what asks for it.
        mend: Which entry mends it; empty for a remark that needs none.
        place: Where the entry to blame stands, if one is to blame.
    """

    area: Area
    limit: int | None
    what: str
    why: str
    mend: str = ""
    place: Place | None = None

    def __str__(self) -> str:
        """One line."""
        cost = "remark" if self.limit is None else f"level {self.limit}"
        place = f" ({self.place})" if self.place else ""
        mend = f"; mend: {self.mend}" if self.mend else ""
        return f"{cost}: {self.area.value}: {self.what}{place}: {self.why}{mend}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one way of judging says.

    Attributes:
        level: 0, 10, 20 or 30; None if the judgement ends with an error.
        error: The error; empty if there is none.
        parts: Level of each area that was judged, in the order of the reference's log: memory, IO, MSR, save state.
        findings: What is missing, worst first, then remarks.
    """

    level: int | None
    error: str
    parts: dict[Area, int]
    findings: tuple[LevelFinding, ...]
