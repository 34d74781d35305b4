"""Writing what is in an image to files of its own: drivers, dependency expressions, policies.

Names in an image are hostile: file names are made of a small set of characters, never lead out of the folder and
never meet an existing file unawares. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmsupervisor.inventory.model import ImageReport, Payload
from mmsupervisor.pi.errors import MmSupervisorError

MAX_STEM = 80
"""Longest file name that is made of a name in an image, without its ending."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


class OutputError(MmSupervisorError):
    """A file cannot be written; the text is one line with its path."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written.

    Attributes:
        path: Where it is.
        size: Bytes.
        sha256: SHA-256 in lower-case hexadecimal.
    """

    path: Path
    size: int
    sha256: str


def write_payloads(report: ImageReport, folder: Path, *, overwrite: bool = False) -> tuple[Written, ...]:
    """Write all payloads of an image into a folder, which is made if need be.

    Args:
        report: The image.
        folder: Where to.
        overwrite: Whether existing files are replaced; without, nothing at all is written if one is there.

    Raises:
        OutputError: a file is in the way, or cannot be written.
    """
    planned = [(folder / name, payload) for name, payload in file_names(report.payloads)]
    if not planned:
        return ()
    if not overwrite:
        for path, _ in planned:
            if os.path.lexists(path):
                raise OutputError(f"{path}: is there already; nothing was written (--force replaces files)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(_write(path, payload.data, overwrite) for path, payload in planned)
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: {error.strerror or error}") from error


def file_names(payloads: Iterable[Payload]) -> Iterator[tuple[str, Payload]]:
    """File names for payloads: different from each other, upper and lower case not told apart."""
    stems: dict[int, str] = {}
    taken: dict[str, int] = {}
    for payload in payloads:
        if payload.file not in stems:
            stems[payload.file] = _free_stem(safe_name(payload.owner), taken)
        yield f"{stems[payload.file]}.{payload.suffix}", payload


def _free_stem(stem: str, taken: dict[str, int]) -> str:
    """The stem, or the first free one with a number; ``taken`` knows the last number of each."""
    number, candidate = taken.get(stem.casefold(), 1), stem
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{stem}-{number}"
    taken[stem.casefold()] = number
    taken.setdefault(candidate.casefold(), 1)
    return candidate


def safe_name(text: str) -> str:
    """A file name made of any text: letters, digits, ``._-``, no leading dot or dash, nothing that Windows reserves."""
    name = _UNSAFE.sub("_", text)[:MAX_STEM].strip("._-")
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name


def _write(path: Path, data: memoryview, overwrite: bool) -> Written:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("xb") as stream:
            stream.write(data)
        if overwrite:
            scratch.replace(path)
        else:
            _put(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return Written(path, len(data), hashlib.sha256(data).hexdigest())


def _put(scratch: Path, path: Path) -> None:
    """Give a complete file its name, unless that is taken by now."""
    try:
        path.hardlink_to(scratch)
    except FileExistsError:
        raise OutputError(f"{path}: is there already (--force replaces files)") from None
    except OSError:
        # No hard links on this file system: the name is claimed first, then replaced.
        with path.open("xb"):
            pass
        try:
            scratch.replace(path)
        except OSError:
            path.unlink()
            raise
