"""The memory map drawn to scale: one bar for each stretch of addresses in which something is mapped.

Addresses are far apart, so there is no bar for all of them: a gap that is larger than everything near it begins a new
bar. Each bar has its own scale, which it says; within it one picture element is the same number of bytes everywhere.
Most of MMRAM is free as a rule: what is in use of it is drawn once more by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from mmsupervisor.audit.page_map import Row

WIDTH = 1000
"""Width of a bar in units of the drawing."""

GAP = 16 << 20
"""Bytes of nothing that end a bar."""

GAP_IN_MMRAM = 1 << 18
"""Bytes of free MMRAM that end a bar of what is in use."""

FREE = "free MMRAM"

_HEIGHT, _TOP, _LEAST = 36, 4, 0.6
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of addresses.

    Attributes:
        start: First address.
        end: Address after the last one.
        rows: What is mapped there, by address.
    """

    start: int
    end: int
    rows: tuple[Row, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    def position(self, address: int) -> float:
        """Where an address lies, from 0 to :data:`WIDTH`."""
        return (address - self.start) / self.size * WIDTH


def bars(rows: Sequence[Row], gap: int = GAP) -> Iterator[Bar]:
    """Divide rows into bars, where there is a gap between them."""
    group: list[Row] = []
    for row in sorted(rows, key=lambda row: row.start):
        if group and row.start - group[-1].end >= gap:
            yield _bar(group)
            group = []
        group.append(row)
    if group:
        yield _bar(group)


def _bar(rows: Sequence[Row]) -> Bar:
    return Bar(rows[0].start, max(row.end for row in rows), tuple(rows))


def all_bars(rows: Sequence[Row]) -> Iterator[tuple[str, Bar]]:
    """Every bar with its title, and then what is in use of MMRAM."""
    for bar in bars(rows):
        yield f"{bar.start:#x} to {bar.end:#x}", bar
    used = [row for row in rows if "MMRAM" in row.system and row.use != FREE]
    for bar in bars(used, GAP_IN_MMRAM):
        yield f"in use of MMRAM, {bar.start:#x} to {bar.end:#x}", bar


def colour_class(row: Row) -> str:
    """Return the style of a row: by owner and access."""
    if not row.present:
        return "guard"
    if row.use == FREE:
        return "free"
    if row.executable:
        return f"{'u' if row.user else 's'}{'bad' if row.writable else 'x'}"
    return f"{'u' if row.user else 's'}{'w' if row.writable else 'r'}"


LEGEND = (
    ("uw", "ring 3, read and write"),
    ("ur", "ring 3, read only"),
    ("ux", "ring 3, code"),
    ("sw", "supervisor, read and write"),
    ("sr", "supervisor, read only"),
    ("sx", "supervisor, code"),
    ("free", "free MMRAM, the supervisor's"),
    ("guard", "not present on purpose"),
    ("ubad", "writable and executable"),
)
"""Styles and what they mean."""


def drawing(title: str, bar: Bar, flagged: Sequence[tuple[int, int]]) -> str:
    """Draw a bar as SVG; ``flagged`` are ranges with findings, marked above it."""
    scale = f"one unit is {human(bar.size / WIDTH)}; {human(bar.size)} in all"
    parts = [
        f'<figure><figcaption>{escape(title)} <span class="scale">({scale})</span></figcaption>',
        f'<svg class="map" viewBox="0 0 {WIDTH} {_HEIGHT + _TOP}" preserveAspectRatio="none" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect class="nothing" x="0" y="{_TOP}" width="{WIDTH}" height="{_HEIGHT}"/>',
    ]
    for row in bar.rows:
        left = bar.position(row.start)
        width = max(bar.position(row.end) - left, _LEAST)
        parts.append(
            f'<rect class="{colour_class(row)}" x="{left:.3f}" y="{_TOP}" width="{width:.3f}" height="{_HEIGHT}">'
            f"<title>{escape(describe(row))}</title></rect>"
        )
    for start, end in flagged:
        if start < bar.end and bar.start < end:
            left = bar.position(max(start, bar.start))
            width = max(bar.position(min(end, bar.end)) - left, 2)
            parts.append(f'<rect class="flag" x="{left:.3f}" y="0" width="{width:.3f}" height="{_TOP}"/>')
    parts.append("</svg></figure>")
    return "".join(parts)


def describe(row: Row) -> str:
    """Say what a row is, in one line."""
    what = ", ".join(row.contents) or row.use or "nothing known"
    return f"{row.start:#x} to {row.end:#x}, {row.pages:,} pages, {row.access}: {what}"


def human(size: float) -> str:
    """Write a number of bytes for people."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size:.4g} bytes"
