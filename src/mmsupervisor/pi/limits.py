"""Bounds for hostile input: how deep, how large, how many."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsupervisor.pi.errors import LimitError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may spend on one input.

    Attributes:
        input_bytes: Largest file that is read.
        nesting: Deepest chain of volume, section and encapsulation.
        expanded_bytes: Bytes that decompression may produce in all.
        items: Files, sections, relocations and the like, counted together.
    """

    input_bytes: int = 512 * MIB
    nesting: int = 32
    expanded_bytes: int = 1024 * MIB
    items: int = 1_000_000


DEFAULT_LIMITS = Limits()
"""Large enough for every real image, small enough for a laptop."""


@dataclass(slots=True)
class Allowance:
    """What is left of the limits while one input is read. One object is passed down the whole parse.

    Attributes:
        limits: The bounds.
        expanded: Bytes produced by decompression so far.
        items: Items counted so far.
    """

    limits: Limits = field(default_factory=Limits)
    expanded: int = 0
    items: int = 0

    def check_depth(self, depth: int, file: str, offset: int) -> None:
        """Refuse nesting beyond the bound.

        Raises:
            LimitError: ``depth`` is larger than ``limits.nesting``.
        """
        if depth > self.limits.nesting:
            raise LimitError(file, offset, f"nested deeper than {self.limits.nesting} levels")

    def take_items(self, count: int, file: str, offset: int) -> None:
        """Count items.

        Raises:
            LimitError: more than ``limits.items`` in all.
        """
        self.items += count
        if self.items > self.limits.items:
            raise LimitError(file, offset, f"holds more than {self.limits.items} items")

    @property
    def is_exceeded(self) -> bool:
        """Whether something was refused because more of it was asked for than is left."""
        return self.items > self.limits.items or self.expanded > self.limits.expanded_bytes

    @property
    def expandable(self) -> int:
        """Bytes that decompression may still produce."""
        return max(self.limits.expanded_bytes - self.expanded, 0)

    def take_expanded(self, count: int, file: str, offset: int) -> None:
        """Count decompressed bytes.

        Raises:
            LimitError: more than ``limits.expanded_bytes`` in all.
        """
        self.expanded += count
        if self.expanded > self.limits.expanded_bytes:
            raise LimitError(file, offset, f"expands to more than {self.limits.expanded_bytes // MIB} MiB")
