"""What ``mmsup policy`` takes and writes: options shared by its commands, files, JSON."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from mmsupervisor.cli.console import plain
from mmsupervisor.inventory.payloads import OutputError

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add ``--json``."""
    help_text = "Print a JSON document (docs/json-schemas.md) instead of text."
    return click.option("--json", "as_json", is_flag=True, help=help_text)(function)


def reference_option(function: F) -> F:
    """Add ``--as-reference``."""
    help_text = "Read XML and legacy blobs as the reference's tool does, with all that it misreads without a word."
    return click.option("--as-reference", is_flag=True, help=help_text)(function)


def print_json(document: dict[str, Any]) -> None:
    """Print a document."""
    click.echo(json.dumps(document, indent=2))


def print_lines(lines: Iterable[str]) -> None:
    """Print text, made safe for terminals: names and reasons come from inputs."""
    for line in lines:
        click.echo(plain(line))


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse, before long work is done for it, an output that could not be written.

    Raises:
        OutputError: it is there and may not be overwritten, is a folder, or its folder is not there.
    """
    if path.is_dir():
        raise OutputError(f"{path}: {os.strerror(errno.EISDIR)}")
    if path.exists() and not overwrite:
        raise OutputError(_IS_THERE.format(path))
    if not path.parent.is_dir():
        raise OutputError(f"{path}: {os.strerror(errno.ENOENT)}")


_IS_THERE = "{}: is there already; nothing was written (--force replaces it)"


def write_output(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write an output; ``-`` is standard output.

    Raises:
        OutputError: it cannot be written, or is there and may not be overwritten.
    """
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        with path.open("wb" if overwrite else "xb") as stream:
            stream.write(data)
    except FileExistsError as error:
        raise OutputError(_IS_THERE.format(path)) from error
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error
