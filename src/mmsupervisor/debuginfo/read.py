"""Symbols from a file of any form that we read."""

from __future__ import annotations

from mmsupervisor.debuginfo.maps import read_symbol_map
from mmsupervisor.debuginfo.sections import section_names
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.pi.errors import FormatError, MissingLibraryError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.pe import parse_pe
from mmsupervisor.pi.reader import Reader

_ELF = b"\x7fELF"
_PE = b"MZ"
_PDB = b"Microsoft C/C++ MSF"


def read_symbols(data: bytes, file: str, *, image: bytes | None = None) -> Symbols:
    """Read what a file knows of a driver: a map, a program database, an ELF file or PE image with DWARF.

    Args:
        data: The file's bytes.
        file: Its name in messages.
        image: The driver's PE image: addresses in an ELF file are counted from its ``.text``, which is taken to be
            the image's. Without it they are taken as offsets in the image.

    Raises:
        FormatError: it is damaged, or holds no names.
        LimitError: it holds more than the limits for inputs allow.
        MissingLibraryError: the library that reads DWARF, or program databases, is not installed.
    """
    if data.startswith(_PDB):
        from mmsupervisor.debuginfo.pdb import read_pdb

        return read_pdb(data, file, Allowance())
    if data.startswith((_ELF, _PE)):
        from mmsupervisor.debuginfo.dwarf import read_dwarf

        return read_dwarf(data, file, Allowance(), text_offset=None if image is None else _text_offset(image))
    return read_symbol_map(data, file)


def embedded_symbols(image: bytes, file: str) -> Symbols:
    """Read the DWARF that a driver's own image carries; none where it carries none or it cannot be read."""
    try:
        parsed = parse_pe(Reader(image, file))
        if not any(name == ".debug_info" for name in section_names(parsed)):
            return Symbols()
        return read_symbols(image, file)
    except (FormatError, MissingLibraryError):
        return Symbols()


def _text_offset(image: bytes) -> int | None:
    try:
        sections = parse_pe(Reader(image, "")).sections
    except FormatError:
        return None
    return next((section.virtual_address for section in sections if section.name == ".text"), None)
