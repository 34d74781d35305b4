"""A loaded image as the stack walk sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mmsupervisor.debuginfo.symbols import Symbols

REGISTERS = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""General registers in the order of their encoding."""


@dataclass(frozen=True, slots=True)
class ImageView:
    """A loaded image.

    Attributes:
        name: The driver's name.
        base: Address of its first byte.
        size: Bytes.
        symbols: What is known of it.
        content: Its bytes in memory.
    """

    name: str
    base: int
    size: int
    symbols: Symbols
    content: bytes = field(repr=False)

    def holds(self, address: int) -> bool:
        """Whether an address lies in the image."""
        return self.base <= address < self.base + self.size

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at an offset; fewer, or none, beyond the end."""
        return self.content[offset : offset + size] if offset >= 0 else b""


ImageFinder = Callable[[int], ImageView | None]
"""Returns the image that holds an address, or None."""
