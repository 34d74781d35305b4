"""From exceptions to one line and an exit code, at the one place where the command line ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mmsupervisor.cli.console import say_error
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.pi.errors import LimitError, MissingLibraryError, MmSupervisorError

DEBUG_VARIABLE = "MMSUP_DEBUG"
"""Set to anything but nothing or 0, errors come with their traceback."""


@dataclass(slots=True)
class Outcome:
    """How a guarded piece of work ended.

    Attributes:
        code: The exit code it stands for.
        line: What was said of it; empty if nothing went wrong.
    """

    code: ExitCode = ExitCode.OK
    line: str = ""


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code that an exception stands for."""
    from mmsupervisor.inventory.payloads import OutputError
    from mmsupervisor.pi.container import InputError

    match error:
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case BrokenPipeError():
            return ExitCode.BROKEN_PIPE
        case LimitError() | MemoryError():
            return ExitCode.LIMIT
        case MissingLibraryError():
            return ExitCode.MISSING_LIBRARY
        case InputError() | OutputError() | OSError():
            return ExitCode.UNREADABLE
        case MmSupervisorError():
            return ExitCode.MALFORMED
        case _:
            return ExitCode.INTERNAL_ERROR


def line_of(error: BaseException) -> str:
    """What is said of an exception, in one line; empty if nothing needs to be said."""
    match error:
        case BrokenPipeError() | KeyboardInterrupt():
            return ""
        case MmSupervisorError():
            return str(error)
        case MemoryError():
            return "there is not enough memory for this input"
        case OSError(filename=filename, strerror=strerror) if strerror:
            return f"{os.fsdecode(filename)}: {strerror}" if isinstance(filename, str | bytes) else strerror
        case _:
            kind = type(error).__name__
            return f"internal error: {kind}: {error}; set {DEBUG_VARIABLE}=1 to see where, and please report it"


@contextmanager
def guard(*, per_input: bool = False) -> Iterator[Outcome]:
    """Turn any exception in the block into one line on standard error and an exit code.

    Args:
        per_input: Whether another input follows: Ctrl-C and a broken pipe then go on upwards, since they
            end the whole command.
    """
    outcome = Outcome()
    try:
        yield outcome
    except (KeyboardInterrupt, BrokenPipeError) as error:
        if per_input:
            raise
        outcome.code = exit_code_of(error)
        _forget_output(error)
    except Exception as error:
        outcome.code = exit_code_of(error)
        outcome.line = line_of(error)
        _show_traceback()
        say_error(outcome.line)


def _show_traceback() -> None:
    if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
        import traceback

        traceback.print_exc()


def _forget_output(error: BaseException) -> None:
    """Keep the interpreter from flushing to a reader that is gone, which would print a warning at exit."""
    if isinstance(error, BrokenPipeError):
        null = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):
            os.dup2(null, sys.stdout.fileno())
        os.close(null)
    else:
        sys.stderr.write("\n")
