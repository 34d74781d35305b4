"""Symbols from a file of any form that we read."""

from __future__ import annotations

from mmsupervisor.debuginfo.maps import read_symbol_map
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.pe import parse_pe
from mmsupervisor.pi.reader import Reader

_ELF = b"\x7fELF"
_PE = b"MZ"
_PDB = b"Microsoft C/C++ MSF"


def read_symbols(data: bytes, file: str, *, image: bytes | None = None) -> Symbols:
    """Read what a file knows of a driver: a map, an ELF file with DWARF, or a PE image with DWARF in it.

    Args:
        data: The file's bytes.
        file: Its name in messages.
        image: The driver's PE image: addresses in an ELF file are counted from its ``.text``, which is taken to be
            the image's. Without it they are taken as offsets in the image.

    Raises:
        FormatError: it holds no names, or is a program database, which nothing here reads.
        LimitError: it holds more than the limits for inputs allow.
        MissingLibraryError: it holds DWARF, and the library that reads DWARF is not installed.
    """
    if data.startswith(_PDB):
        rule = "a program database (PDB) is not read; give the map that the linker writes with /MAP"
        raise FormatError(file, 0, rule)
    if data.startswith((_ELF, _PE)):
        from mmsupervisor.debuginfo.dwarf import read_dwarf

        return read_dwarf(data, file, Allowance(), text_offset=None if image is None else _text_offset(image))
    return read_symbol_map(data, file)


def _text_offset(image: bytes) -> int | None:
    try:
        sections = parse_pe(Reader(image, "")).sections
    except FormatError:
        return None
    return next((section.virtual_address for section in sections if section.name == ".text"), None)
