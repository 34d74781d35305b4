"""What is measured: one figure a line, its value in each way, and the target it has."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.timing import Timing

WAYS = ("in-process", "C", "bare", "unicorn", "native", "Qiling")
"""Columns: the same code in this process; a loop in C; the native stub with nothing behind it; who runs drivers."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach.

    Attributes:
        text: In words.
        met: Whether it does.
    """

    text: str
    met: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One line.

    Attributes:
        section: What it belongs to.
        name: What is measured.
        unit: Of the values.
        best: By way, where nobody disturbed.
        middle: By way, the median.
        targets: What it is to reach.
        at: Its place on the axis of growth, or None.
        note: What else to know.
    """

    section: str
    name: str
    unit: str
    best: dict[str, float]
    middle: dict[str, float] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    at: int | None = None
    note: str = ""

    def as_fields(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def times(
    section: str, name: str, taken: dict[str, Timing], *targets: Target, at: int | None = None, note: str = ""
) -> Figure:
    """Make a figure of times in microseconds."""
    best, middle = ({way: getattr(one, part) for way, one in taken.items()} for part in ("best", "middle"))
    return Figure(section, name, "us", best, middle, targets, at, note)


def rates(
    section: str, name: str, unit: str, per_step: float, taken: dict[str, Timing], *targets: Target, note: str = ""
) -> Figure:
    """Make a figure of what is done in a second, given what a step does; megabytes and so on by ``per_step``."""
    best = {way: per_step / one.best * 1e6 for way, one in taken.items()}
    middle = {way: per_step / one.middle * 1e6 for way, one in taken.items()}
    return Figure(section, name, unit, best, middle, targets, note=note)
