"""Names of parts: the path is the caller's business, a report says only how a part was reached from the input."""

from __future__ import annotations

from collections.abc import Callable

PartName = Callable[[str], str]
"""Turns a part's name of the parser into the one of the report."""


def part_names(root: str) -> PartName:
    """Return what takes the input's own name off the name of a part; ``root`` is the input's name."""

    def name(part: str) -> str:
        return part.removeprefix(root).removeprefix("!")

    return name
