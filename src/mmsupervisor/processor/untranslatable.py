"""Instructions that must never reach Unicorn: translating them ends the whole program, by abort().

They are bit tests with LOCK on a register, #UD on the machine; Unicorn 2.1.4 makes of them an access through an
address that it never computed. No callback comes before the translation, so the code of a page is looked at before
anything in it is executed. Where such an instruction can begin becomes an exit: Unicorn translates nothing there.
"""

from __future__ import annotations

import re

from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.processor.code_view import CodeView
from mmsupervisor.processor.instructions import MAX_INSTRUCTION

_OPERATION = re.compile(rb"\x0f(?=([\xa3\xab\xb3\xbb][\xc0-\xff]|\xba[\xe0-\xff].))", re.DOTALL)
"""Only looked ahead to, but for its first byte: the operand of one may be the beginning of another."""

_LOCK = 0xF0
_PREFIXES = frozenset({_LOCK, 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3, *range(0x40, 0x50)})


def untranslatable_offsets(code: bytes) -> list[int]:
    """Return the offsets at which such an instruction begins, whatever the code around it is, ascending."""
    found: list[int] = []
    for operation in _OPERATION.finditer(code):
        locked = False
        first = max(operation.end(1) - MAX_INSTRUCTION, 0)
        for offset in range(operation.start() - 1, first - 1, -1):
            if code[offset] not in _PREFIXES:
                break
            locked = locked or code[offset] == _LOCK
            if locked:
                found.append(offset)
    return sorted(found)


class Untranslatable:
    """Where such instructions begin in the pages that were looked at.

    Attributes:
        starts: Their addresses.
    """

    def __init__(self, code: CodeView) -> None:
        """Look at nothing yet."""
        self._code = code
        self._by_page: dict[int, list[int]] = {}
        self.starts: frozenset[int] = frozenset()

    def knows(self, page: int) -> bool:
        """Whether a page was looked at."""
        return page in self._by_page

    def look_at(self, page: int) -> bool:
        """Look at a page, its last instruction included where that ends in the next; return whether starts changed."""
        offsets = untranslatable_offsets(self._code.read_on(page, PAGE_SIZE))
        before = self._by_page.get(page, [])
        self._by_page[page] = [page + offset for offset in offsets if offset < PAGE_SIZE]
        if self._by_page[page] == before:
            return False
        self.starts = frozenset(start for starts in self._by_page.values() for start in starts)
        return True

    def look_again(self, start: int, size: int) -> bool:
        """Look at the known pages of a range, and at the one in front of it; return whether starts changed."""
        pages = [page for page in self._by_page if start - PAGE_SIZE <= page < start + size]
        changed = [page for page in pages if self.look_at(page)]
        return bool(changed)
