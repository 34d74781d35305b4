"""Reading an input file whole: within a bound, and not for ever."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

from mmsupervisor.pi.errors import LimitError, MmSupervisorError
from mmsupervisor.pi.limits import MIB

MOST_WAIT = 30.0
"""Seconds without a byte after which a pipe or a terminal is given up."""

_CHUNK = MIB

STANDARD_INPUT = "-"
"""Names standard input; a file of that name is ``./-``."""


class InputError(MmSupervisorError):
    """The input cannot be read at all: no such file, no permission, a folder, a pipe that nobody writes to."""


def read_input_file(path: Path, bound: int) -> bytes:
    """Read a file. Pipes and devices are read too, until they end.

    Args:
        path: The file, or :data:`STANDARD_INPUT`.
        bound: Largest size, in bytes.

    Raises:
        InputError: the file cannot be read.
        LimitError: it is larger than the bound.
    """
    try:
        with open(path, "rb", opener=_open) as stream:
            status = os.fstat(stream.fileno())
            if status.st_size > bound:
                raise _too_large(path, bound)
            if stat.S_ISREG(status.st_mode) or not hasattr(os, "O_NONBLOCK"):
                data = stream.read(bound + 1)
            else:
                data = _read_slowly(stream.fileno(), bound + 1, path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if len(data) > bound:
        raise _too_large(path, bound)
    return data


def _open(name: str, _flags: int) -> int:
    if name == STANDARD_INPUT:
        return os.dup(0)
    # A pipe is opened without waiting: who waits for its writer must be able to give up.
    return os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))


def _too_large(path: Path, bound: int) -> LimitError:
    return LimitError(str(path), bound, f"file is larger than {bound // MIB} MiB")


def _read_slowly(descriptor: int, most: int, path: Path) -> bytes:
    """Up to ``most`` bytes of something that may have none yet."""
    data = bytearray()
    while len(data) < most:
        if not select.select([descriptor], [], [], MOST_WAIT)[0]:
            raise InputError(f"{path}: nothing came out of it for {MOST_WAIT:.0f} seconds")
        chunk = os.read(descriptor, min(_CHUNK, most - len(data)))
        if not chunk:
            break
        data += chunk
    return bytes(data)
