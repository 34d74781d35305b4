"""The terminal: what goes to standard output, what to standard error, and how it looks there.

Reports go to standard output; errors, warnings and progress to standard error. Colour is on a terminal only and
never if ``NO_COLOR`` is set. Where output is no terminal it is 100 columns wide, unless ``COLUMNS`` says otherwise,
so that it does not depend on the machine.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PIPE_WIDTH = 100
"""Columns where the output is no terminal."""

MIN_WIDTH = 80
"""Narrower terminals get lines of this width: folded by the terminal they read better than columns of letters."""


def output() -> Console:
    """A console on standard output, for reports."""
    return _console(sys.stdout)


def messages() -> Console:
    """A console on standard error, for progress."""
    return _console(sys.stderr)


def _console(stream: IO[str]) -> Console:
    from rich.console import Console

    class Plain(Console):
        """Leaves a broken pipe to the end of the program; Rich would end it here, with a code of its own."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    is_terminal = stream.isatty()
    width = None if is_terminal or os.environ.get("COLUMNS", "").isdigit() else PIPE_WIDTH
    console = Plain(
        file=stream,
        width=width,
        force_terminal=is_terminal,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )
    console.width = max(console.width, MIN_WIDTH)
    return console


def show(console: Console, renderable: RenderableType) -> None:
    """Print, without the blanks that tables fill lines with where the output is no terminal."""
    if console.is_terminal:
        console.print(renderable, crop=False)
        return
    with console.capture() as capture:
        console.print(renderable, crop=False)
    console.file.write("\n".join(line.rstrip() for line in capture.get().split("\n")))


def table(*columns: str, right: Iterable[str] = (), fold: Iterable[str] = (), header: bool = True) -> Table:
    """A table without lines around it: columns of words that survive a pipe.

    Args:
        columns: Titles.
        right: Those whose cells are numbers.
        fold: Those whose cells may be folded when the line is full; others are never broken.
        header: Whether the titles are shown.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=header, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=justify, no_wrap=column not in fold, overflow="fold")
    return made


def plain(text: str) -> str:
    """Text from an input, made safe for a terminal: what is not printable is shown as an escape.

    Names in firmware and names of files may hold control sequences; those must not reach a terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say_error(text: str) -> None:
    """Print one line for an error to standard error, after the program's name."""
    sys.stderr.write(f"mmsup: {plain(text)}\n")


def require_streams() -> None:
    """Stand in for standard streams that the caller closed: without, Python has None there, and fails anywhere.

    What is said on a closed standard error is lost. The null device also takes up the descriptor, which else would
    go to the next file that is opened.

    Raises:
        OSError: standard output is closed, so that there is no place for a report.
    """
    if sys.stderr is None:
        sys.stderr = _null_device()
    if sys.stdout is None:
        sys.stdout = _null_device()
        raise OSError(errno.EBADF, "is closed", "standard output")


def _null_device() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def tolerate_any_text() -> None:
    """Make the standard streams escape what their encoding cannot say, such as file names that are no text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def progress(text: str, *, is_long: bool) -> Iterator[None]:
    """Show that something goes on, on a terminal's standard error only, and take it away at the end.

    Args:
        text: What is done.
        is_long: Whether the user would wonder; without, nothing is shown.
    """
    if not is_long or not sys.stderr.isatty():
        yield
        return
    with messages().status(plain(text)):
        yield
