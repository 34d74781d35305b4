"""Exit codes: one table for all commands. ``docs/exit-codes.md`` shows it to users, and a test compares the two."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit code says.

    Scripts rely on the numbers: a code never changes its meaning. Below 10 are codes of every command, from 10 on
    those of commands that run drivers; from 64 on others gave the numbers.
    """

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        """Keep the meaning beside the number."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "the command did what was asked, and its input is sound"
    INTERNAL_ERROR = 1, "a fault of mmsup itself; `MMSUP_DEBUG=1` shows where"
    USAGE = 2, "the arguments are wrong; nothing was done"
    MALFORMED = 3, "an input is damaged, or is nothing the command can work on; what could be read was still reported"
    UNREADABLE = (
        4,
        "an input cannot be read, or an output cannot be written: missing, no permission, a folder, in the way",
    )
    LIMIT = 5, "an input asks for more than the bounds for hostile input allow, or than there is memory for"
    MISSING_LIBRARY = 6, "an optional library is missing, and without it nothing in the input could be read"
    NOT_MET = 7, "an input was judged and does not meet what was asked of it: a check, a level, no new access"
    VIOLATION = 10, "a driver broke a rule that is fatal: a device would write telemetry and reset"
    DRIVER_ERROR = 11, "a driver returned an error"
    NOT_DISPATCHED = 12, "a driver was refused, or its dependencies never came true"
    NOT_HANDLED = 13, "no handler took a message"
    BUDGET_SPENT = 14, "a driver used up the instructions or the time it was given"
    LAUNCH_FAILED = 15, "the supervisor's core or its launcher could not become operational"
    SETUP = 69, "the Python environment of the checkout cannot be set up; the line says what to install"
    INTERRUPTED = 130, "stopped by Ctrl-C"
    BROKEN_PIPE = 141, "the reader of the output went away; nothing is said about the input"


_BY_SEVERITY = (
    ExitCode.INTERNAL_ERROR,
    ExitCode.UNREADABLE,
    ExitCode.LIMIT,
    ExitCode.MALFORMED,
    ExitCode.MISSING_LIBRARY,
    ExitCode.OK,
)


def most_severe(codes: Iterable[ExitCode]) -> ExitCode:
    """The code of a command that worked on several inputs, from the codes of each; OK for none.

    Severe is what says less about its input: mmsup's own fault, then not read at all, then read in part.
    """
    return min(codes, key=_BY_SEVERITY.index, default=ExitCode.OK)


def table() -> tuple[tuple[int, str, str], ...]:
    """Number, name and meaning of every code, in order of the numbers."""
    return tuple((code.value, code.name, code.meaning) for code in ExitCode)
