"""The reference's surprises that change a decision, each with its number in the fact sheets.

A decision carries those without which it would have been the other one, so that a run can report ``reference-bug``
with a number somebody can look up.
"""

from __future__ import annotations

from enum import Enum


class Surprise(Enum):
    """A surprise: where it stands under ``docs/reference/``, and what happens in one clause."""

    SAVE_STATE_ROOT_ABSENT = ("isolation-policy.md §17.1", "without a save-state root every register is readable")
    STRICT_OTHER_WIDTH = ("isolation-policy.md §17.4", "a strict entry protects its ports at exactly one width only")
    FIRST_MATCH_STOPS = (
        "isolation-policy.md §17.5",
        "the first covering entry ends the walk although a later one names the access",
    )
    RAX_WIDTH_ENUM = ("isolation-policy.md §17.6", "the width of a RAX read is limited by an enum value, not by bytes")
    FIRST_ROOT_ONLY = ("isolation-policy.md §17.10", "only the first root of a type counts; a later one says otherwise")
    CONDITION_NEVER_MET = (
        "isolation-policy.md §17.11",
        "a conditional read is only ever granted for IO_WR on an output trap",
    )
    PARTIAL_OVERLAP = ("isolation-policy.md §6", "an allow entry authorises an access that merely starts or ends in it")
    ACCESS_ATTR_ILLEGAL = (
        "isolation-policy.md §6",
        "a root that is neither an allow nor a deny list allows everything",
    )
    MSR_RANGE_WRAPS = ("isolation-policy.md §7", "the end of an MSR range is computed in 32 bits and wraps")
    ENCLOSING_ACCESS = ("syscall-abi.md §11.12", "an access that encloses a smaller entry on both sides is not covered")
    IO_INFO_NEEDED = (
        "save-state.md surprise 4",
        "even an unconditional RAX entry needs the I/O trap information of that CPU",
    )

    def __init__(self, source: str, text: str) -> None:
        """Split the member's value; see the class."""
        self.source = source
        self.text = text
