"""The debug directory: the name the linker gave an image.

Sources: Microsoft PE and COFF specification, "The .debug Section"; UEFI build tools write an ``NB10``, ``RSDS`` or
``MTOC`` record behind it. The path in it is the only name many images carry.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.pe.constants import Directory
from mmsupervisor.pi.pe.headers import PeImage

CODEVIEW = 2
"""Type of the entry that names a PDB or ELF file."""

MAX_ENTRIES = 64
"""Entries that are looked at; linkers write one to four."""

_ENTRY = struct.Struct("<IIHHIIII")
_RECORD_HEADERS = {b"NB10": 16, b"RSDS": 24, b"MTOC": 20}
_LONGEST_PATH = 4096


@dataclass(frozen=True, slots=True)
class DebugEntry:
    """One entry of the debug directory.

    Attributes:
        type: 2 for CodeView.
        size: Bytes of data.
        virtual_address: Where the data is in memory, 0 if it is not loaded.
        file_offset: Where it is in the file.
    """

    type: int
    size: int
    virtual_address: int
    file_offset: int


def debug_entries(image: PeImage) -> tuple[DebugEntry, ...]:
    """The entries of the debug directory; empty if there is none or it does not lie in the file."""
    directory = image.directory(Directory.DEBUG)
    if directory is None:
        return ()
    offset = image.file_offset(directory.virtual_address)
    if offset is None:
        return ()
    entries = []
    for index in range(min(directory.size // _ENTRY.size, MAX_ENTRIES)):
        try:
            fields = image.reader.unpack(_ENTRY, offset + index * _ENTRY.size, "debug directory entry")
        except FormatError:
            break
        entries.append(DebugEntry(fields[4], fields[5], fields[6], fields[7]))
    return tuple(entries)


def codeview_entry(image: PeImage) -> DebugEntry | None:
    """The first CodeView entry, the one firmware looks at, or None."""
    return next((entry for entry in debug_entries(image) if entry.type == CODEVIEW), None)


def record_is_short(image: PeImage, entry: DebugEntry) -> bool:
    """Whether a CodeView entry claims fewer bytes than the header of its record takes."""
    header = _RECORD_HEADERS.get(image.data[entry.file_offset : entry.file_offset + 4])
    return header is not None and entry.size < header


def pdb_path(image: PeImage) -> str | None:
    """Path of the file with the symbols as the linker wrote it, or None. Never raises: a name is a courtesy."""
    entry = codeview_entry(image)
    if entry is None:
        return None
    data = image.data[entry.file_offset : entry.file_offset + min(entry.size, _LONGEST_PATH)]
    header = _RECORD_HEADERS.get(data[:4])
    if header is None:
        return None
    path = data[header:].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
    return path or None


def module_name(image: PeImage) -> str | None:
    """Name of the module as the path's last part without its extension, or None."""
    path = pdb_path(image)
    if path is None:
        return None
    last = path.replace("\\", "/").rsplit("/", 1)[-1]
    return last.rsplit(".", 1)[0] or None
