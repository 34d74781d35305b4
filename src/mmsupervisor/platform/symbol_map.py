"""Names of functions and variables from a symbol file: our own format, or the map that GNU ld writes.

Our own format (``firmware/README.md``) has one line a symbol: RVA and size in hexadecimal, ``code`` or ``data``, the
source file, the name. Of ``ld -Map`` output the part after "Linker script and memory map" is read: global symbols,
and sections that hold one function or variable each (``-ffunction-sections``). Addresses in it count from address 0,
or from ``__image_base__`` where the linker made a PE image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmsupervisor.core.modules import Symbols
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.limits import Allowance

_LD_TITLE = "Linker script and memory map"
_LD_SYMBOL = re.compile(r"^ {2,}0x([0-9a-f]{8,16}) {2,}([A-Za-z_$?@][\w.$?@]*)$", re.MULTILINE)
_LD_SECTION = re.compile(
    r"^ \.(?:text|data|rdata|rodata|bss)[.$]([A-Za-z_$?@][\w.$?@]*)\s+0x([0-9a-f]{8,16}) +0x([0-9a-f]+) ", re.MULTILINE
)
_LD_BASE = re.compile(r"^ +0x([0-9a-f]{8,16}) +(?:__image_base__|__ImageBase)(?: = .*)?$", re.MULTILINE)
_OUR_LINE = re.compile(r"([0-9a-f]{8}) ([0-9a-f]{8}) (?:code|data) (\S+) (\S+)")


def read_symbol_map(data: bytes, file: str, allowance: Allowance | None = None) -> Symbols:
    """Read a symbol file of either format.

    Args:
        data: Its bytes.
        file: Its name in messages.
        allowance: Bounds for hostile input.

    Raises:
        FormatError: it is neither, or holds no symbol.
    """
    allowance = allowance or Allowance()
    text = data.decode("utf-8", errors="replace")
    found = dict(_from_ld(text) if _LD_TITLE in text else _from_ours(text, file))
    allowance.take_items(len(found), file, 0)
    if not found:
        raise FormatError(file, 0, "there is no symbol in it")
    offsets = sorted(found)
    return Symbols(tuple(offsets), tuple(found[offset] for offset in offsets))


def _from_ours(text: str, file: str) -> Iterator[tuple[int, str]]:
    position = 0
    for line in text.splitlines(keepends=True):
        content = line.strip()
        if content and not content.startswith("#"):
            match = _OUR_LINE.fullmatch(content)
            if match is None:
                raise FormatError(file, position, "neither a line of our symbol files nor a map of GNU ld")
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
