"""Names, source lines and frame rules within one image, whatever file they were read from."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TypeAlias

Saved: TypeAlias = tuple[tuple[str, int], ...]
"""Registers that a function has saved, each with the distance of its slot from the canonical frame address."""


@dataclass(frozen=True, slots=True, order=True)
class SourceLine:
    """A line of source.

    Attributes:
        file: The source file, as the compiler recorded it.
        line: Its number, from 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class LineTable:
    """Which line each instruction comes from.

    Attributes:
        offsets: Offsets in the image at which another line begins, ascending.
        lines: The line from each of them on; None where code of no known line begins.
    """

    offsets: tuple[int, ...] = ()
    lines: tuple[SourceLine | None, ...] = ()

    def at(self, offset: int) -> SourceLine | None:
        """Return the line of the instruction at an offset, or None."""
        index = bisect_right(self.offsets, offset) - 1
        return None if index < 0 else self.lines[index]


@dataclass(frozen=True, slots=True)
class FrameRule:
    """How to leave a function, for a run of its instructions.

    Attributes:
        end: Offset after the last instruction for which it holds.
        base: Register from which the canonical frame address is counted; the return address lies 8 below that.
        distance: Bytes from that register to the canonical frame address.
        saved: Registers to be restored.
    """

    end: int
    base: str
    distance: int
    saved: Saved = ()


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Rules for walking the stack (DWARF call frame information).

    Attributes:
        offsets: Offsets at which another rule begins, ascending.
        rules: The rule from each of them on.
    """

    offsets: tuple[int, ...] = ()
    rules: tuple[FrameRule, ...] = ()

    def at(self, offset: int) -> FrameRule | None:
        """Return the rule for the instruction at an offset, or None."""
        index = bisect_right(self.offsets, offset) - 1
        return self.rules[index] if index >= 0 and offset < self.rules[index].end else None


@dataclass(frozen=True, slots=True)
class Symbols:
    """What is known of one image.

    Attributes:
        offsets: Offsets of names in the image, ascending, in bytes.
        names: The name at each of them.
        lines: Its source lines.
        frames: Its frame rules.
    """

    offsets: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    lines: LineTable = field(default_factory=LineTable)
    frames: FrameTable = field(default_factory=FrameTable)

    def name_of(self, offset: int) -> str:
        """Return ``name+0x..`` of the last symbol at or before an offset, or an empty string."""
        start = self.start_of(offset)
        if start is None:
            return ""
        name = self.names[bisect_right(self.offsets, offset) - 1]
        return name if offset == start else f"{name}+{offset - start:#x}"

    def start_of(self, offset: int) -> int | None:
        """Return the offset of the last symbol at or before an offset, or None."""
        index = bisect_right(self.offsets, offset) - 1
        return None if index < 0 else self.offsets[index]

    def offset_of(self, name: str) -> int | None:
        """Return the offset of a name, or None."""
        return self.offsets[self.names.index(name)] if name in self.names else None


def make_symbols(found: dict[int, str], lines: LineTable | None = None, frames: FrameTable | None = None) -> Symbols:
    """Make symbols of names by offset."""
    offsets = sorted(found)
    names = tuple(found[offset] for offset in offsets)
    return Symbols(tuple(offsets), names, lines or LineTable(), frames or FrameTable())
