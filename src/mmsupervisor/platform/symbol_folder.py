"""Symbols of an image's drivers from a folder: a file a driver, as builds leave them."""

from __future__ import annotations

from pathlib import Path

from mmsupervisor.debuginfo.read import read_symbols
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.pi.container import Image, InputError
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import DEFAULT_LIMITS
from mmsupervisor.pi.volume import File, FileType, SectionType, files

FORMS = (".debug", ".pdb", ".map")
"""Endings of symbol files, the one that tells most first."""

_BOUND = DEFAULT_LIMITS.input_bytes
_DRIVERS = (FileType.MM_STANDALONE, FileType.MM)


def read_symbol_folder(image: Image, folder: Path) -> dict[Guid, Symbols]:
    """Read the symbols of each driver that has a file in a folder: ``NAME.debug``, ``NAME.pdb`` or ``NAME.map``.

    NAME is the driver's name or its file GUID, in any case of letters. Of several files the one that tells most is
    taken.

    Args:
        image: The image with the drivers.
        folder: The folder.

    Returns:
        Symbols by file GUID.

    Raises:
        InputError: the folder, or a file, cannot be read.
        FormatError: a file is damaged, or holds no names.
        LimitError: it holds more than the limits for inputs allow.
        MissingLibraryError: the library that reads it is not installed.
    """
    there = {path.name.lower(): path for path in _list(folder)}
    found: dict[Guid, Symbols] = {}
    for place in (place for kind in _DRIVERS for place in files(image, kind)):
        file = place.node
        names = (place.node.ui_name or "", str(file.guid)) if isinstance(file, File) else ()
        wanted = (f"{name}{form}".lower() for form in FORMS for name in names if name)
        path = next((there[name] for name in wanted if name in there), None)
        if path is not None and isinstance(file, File):
            section = file.first_section(SectionType.PE32, open_encapsulations=False)
            code = None if section is None else bytes(section.data)
            found[file.guid] = read_symbols(read_input_file(path, _BOUND), str(path), image=code)
    return found


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error
