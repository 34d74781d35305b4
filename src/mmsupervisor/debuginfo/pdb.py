"""Program databases of Microsoft's and LLVM's linkers: names of functions and source lines.

Reading them is purepdb's work (optional extra ``pdb``). Frame rules are not taken: images of these linkers carry
their own (``.pdata``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmsupervisor.debuginfo.symbols import LineTable, SourceLine, Symbols, make_symbols
from mmsupervisor.pi.errors import FormatError, MissingLibraryError
from mmsupervisor.pi.limits import Allowance


def read_pdb(data: bytes, file: str, allowance: Allowance) -> Symbols:
    """Read a program database; see :func:`mmsupervisor.debuginfo.read.read_symbols`."""
    try:
        from purepdb import PDB
    except ImportError as error:
        raise MissingLibraryError(f"{file}: reading a program database", "pdb") from error
    try:
        with PDB.from_bytes(data) as pdb:
            names = {one.rva: one.name for one in pdb.functions() if one.rva is not None}
            lines = [one for one in _lines(pdb) if one.rva is not None and one.is_source]
            rows = sorted((one.rva, SourceLine(one.file, one.line)) for one in lines)
    except Exception as error:  # hostile input meets more than the library's own exceptions
        raise FormatError(file, 0, f"its program database cannot be read ({type(error).__name__}: {error})") from error
    allowance.take_items(len(names) + len(rows), file, 0)
    if not names and not rows:
        raise FormatError(file, 0, "there is neither a name nor a source line in it")
    by_offset = dict(rows)
    return make_symbols(names, LineTable(tuple(by_offset), tuple(by_offset.values())))


def _lines(pdb: Any) -> Iterator[Any]:
    """Iterate over the lines; the library's generator of them has no types."""
    yield from pdb.lines()
