"""Names of a PE image's sections, long ones too (Microsoft PE and COFF specification, "Section Table")."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mmsupervisor.pi.pe import PeImage

_SYMBOL_SIZE = 18
_COFF_SYMBOLS = struct.Struct("<II")
_LONGEST = 64


def section_names(image: PeImage) -> Iterator[str]:
    """Yield the names of sections; ``/123`` is an offset in the string table behind the COFF symbols."""
    table, count = image.reader.unpack(_COFF_SYMBOLS, image.header_offset + 12, "COFF symbol table")
    strings = table + count * _SYMBOL_SIZE
    for section in image.sections:
        if section.name.startswith("/") and section.name[1:].isdigit() and table:
            tail = bytes(image.reader.data[strings + int(section.name[1:]) :][:_LONGEST])
            yield tail.partition(b"\0")[0].decode("ascii", "replace")
        else:
            yield section.name
