r"""Names from a symbol file in text: our own format, or the map of a linker.

========================  ===========================================================================================
our own                   one line a symbol: RVA and size in hexadecimal, ``code`` or ``data``, source file, name
                          (``firmware/README.md``)
GNU ld, ``-Map``          the part after "Linker script and memory map": global symbols, and sections that hold one
                          function or variable each. edk2's GCC tool chains write it beside each ``.dll``. Addresses
                          count from 0, or from ``__image_base__`` where the linker made a PE image
LLVM lld, ``-Map``        columns VMA, LMA, Size, Align, Out, In, Symbol
Microsoft link, ``/MAP``  "Publics by Value" and "Static symbols": the column Rva+Base, less the preferred load address
========================  ===========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmsupervisor.debuginfo.symbols import Symbols, make_symbols
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.limits import Allowance

_LD_TITLE = "Linker script and memory map"
_LD_SYMBOL = re.compile(r"^ {2,}0x([0-9a-f]{8,16}) {2,}([A-Za-z_$?@][\w.$?@]*)$", re.MULTILINE)
_LD_SECTION = re.compile(
    r"^ \.(?:text|data|rdata|rodata|bss)[.$]([A-Za-z_$?@][\w.$?@]*)\s+0x([0-9a-f]{8,16}) +0x([0-9a-f]+) ", re.MULTILINE
)
_LD_BASE = re.compile(r"^ +0x([0-9a-f]{8,16}) +(?:__image_base__|__ImageBase)(?: = .*)?$", re.MULTILINE)
_LLD_TITLE = re.compile(r"^ *VMA +LMA +Size +Align +Out +In +Symbol$", re.MULTILINE)
_LLD_SYMBOL = re.compile(r"^ *([0-9a-f]+) +[0-9a-f]+ +[0-9a-f]+ +\d+ {17,}([A-Za-z_$?@][\w.$?@]*)$", re.MULTILINE)
_MICROSOFT_TITLE = re.compile(r"^ *Address +Publics by Value +Rva\+Base", re.MULTILINE)
_MICROSOFT_BASE = re.compile(r"^ *Preferred load address is ([0-9a-fA-F]+)", re.MULTILINE)
_MICROSOFT_SYMBOL = re.compile(r"^ *([0-9a-fA-F]{4}):[0-9a-fA-F]{8} +(\S+) +([0-9a-fA-F]{8,16}) ", re.MULTILINE)
_OUR_LINE = re.compile(r"([0-9a-f]{8}) ([0-9a-f]{8}) (?:code|data) (\S+) (\S+)")
_ABSOLUTE = 0


def read_symbol_map(data: bytes, file: str, allowance: Allowance | None = None) -> Symbols:
    """Read a symbol file in text.

    Args:
        data: Its bytes.
        file: Its name in messages.
        allowance: Bounds for hostile input.

    Raises:
        FormatError: it has none of these forms, or holds no symbol.
        LimitError: it holds more symbols than the limits allow.
    """
    allowance = allowance or Allowance()
    text = data.decode("utf-8", errors="replace").replace("\r\n", "\n")
    found = dict(_names(text, file))
    allowance.take_items(len(found), file, 0)
    if not found:
        raise FormatError(file, 0, "there is no symbol in it")
    return make_symbols(found)


def _names(text: str, file: str) -> Iterator[tuple[int, str]]:
    if _LD_TITLE in text:
        return _from_ld(text)
    if _MICROSOFT_TITLE.search(text):
        return _from_microsoft(text)
    if _LLD_TITLE.search(text):
        return ((int(address, 16), name) for address, name in _LLD_SYMBOL.findall(text))
    return _from_ours(text, file)


def _from_ours(text: str, file: str) -> Iterator[tuple[int, str]]:
    position = 0
    for line in text.splitlines(keepends=True):
        content = line.strip()
        if content and not content.startswith("#"):
            match = _OUR_LINE.fullmatch(content)
            if match is None:
                raise FormatError(file, position, "neither a line of our symbol files nor the map of a linker we know")
            yield int(match[1], 16), match[4]
        position += len(line.encode())


def _from_ld(text: str) -> Iterator[tuple[int, str]]:
    """Yield sections first: a global symbol at the same address is the better name."""
    placed = text.partition(_LD_TITLE)[2]
    match = _LD_BASE.search(placed)
    base = int(match[1], 16) if match else 0
    for name, address, size in _LD_SECTION.findall(placed):
        if int(size, 16) and int(address, 16) >= base:
            yield int(address, 16) - base, name
    for address, name in _LD_SYMBOL.findall(placed):
        if int(address, 16) > base:
            yield int(address, 16) - base, name


def _from_microsoft(text: str) -> Iterator[tuple[int, str]]:
    """Yield symbols of sections; those of section 0 are absolute numbers. Static ones come last in the file.

    ``?Name@@...`` is C++: what is before the first ``@`` says enough.
    """
    match = _MICROSOFT_BASE.search(text)
    base = int(match[1], 16) if match else 0
    for section, name, address in reversed(_MICROSOFT_SYMBOL.findall(text)):
        if int(section, 16) != _ABSOLUTE and int(address, 16) >= base:
            yield int(address, 16) - base, name[1:].partition("@")[0] if name.startswith("?") else name
