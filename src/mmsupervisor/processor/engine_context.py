"""Where a saved context of Unicorn keeps two things that its interface does not give.

Unicorn offers no way to read an exception's error code, nor to say that an exception was dealt with: it takes the
second #GP for a double fault. Both are found in a saved context by looking, once for each engine, at what a few
instructions leave there; no offset is written down, so that another build works or is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mmsupervisor.pi.errors import MmSupervisorError

NOTHING_IN_FLIGHT = 0xFFFF_FFFF
"""What the word of the exception in flight holds when there is none."""

_HLT = bytes.fromhex("f4")  # #GP(0) in ring 3
_DIV_ECX = bytes.fromhex("f7f1")  # #DE with ECX zero
_MOV_DS_EAX = bytes.fromhex("8ed8")  # #GP(selector)


class EngineError(MmSupervisorError):
    """The emulator cannot be used: its build lacks a behaviour that is needed, or it is closed."""


@dataclass(frozen=True, slots=True)
class ContextLayout:
    """Positions within a context, in words of 32 bits.

    Attributes:
        in_flight: The vector of an exception that was not dealt with.
        error_code: The error code of the last exception.
    """

    in_flight: int
    error_code: int


def find_layout(clean: list[int], probe: Callable[[bytes, int], list[int]]) -> ContextLayout:
    """Find the positions.

    Args:
        clean: A context before any exception, as words.
        probe: Executes an instruction in ring 3 with a value in RAX and returns the context after its exception.

    Raises:
        EngineError: they cannot be told.
    """
    halted, divided = probe(_HLT, 0), probe(_DIV_ECX, 0)
    # The selectors have marks above their 16 bits, so that RAX itself is not mistaken for the error code.
    first, second = probe(_MOV_DS_EAX, 0x1111_1238), probe(_MOV_DS_EAX, 0x2222_4568)
    return ContextLayout(
        _only("the exception in flight", zip(clean, halted, divided, strict=True), (NOTHING_IN_FLIGHT, 13, 0)),
        _only("the error code", zip(first, second, halted, strict=True), (0x1238, 0x4568, 0)),
    )


def _only(what: str, words: zip[tuple[int, int, int]], wanted: tuple[int, int, int]) -> int:
    found = [position for position, seen in enumerate(words) if seen == wanted]
    if len(found) != 1:
        raise EngineError(f"Unicorn's context shows {what} at {len(found)} places, not at one")
    return found[0]
