"""Code that is about to run for the first time: what is reachable in it, and what must not reach the host's processor.

From an address that ring 3 is at, direct jumps and calls are followed. What only an indirect jump reaches is found when
ring 3 stops there, or judged by its surroundings (:mod:`likely_code`); else the host executes it as it is
(docs/limitations.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from iced_x86 import Code, Decoder, FlowControl, Instruction, OpKind

from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE
from mmsupervisor.processor.instructions import MAX_INSTRUCTION
from mmsupervisor.processor.native import likely_code
from mmsupervisor.processor.native.instruction_rules import must_be_replaced

_REPLACED, _JUMPS, _ENDS = 1, 2, 4
"""What an instruction is to the survey: replaced; goes to an address that it names; nothing follows it."""

_TIMESTAMP = re.compile(rb"\x0f(?:\x31|\x01\xf9)", re.DOTALL)
_ELSEWHERE = frozenset(
    (FlowControl.RETURN, FlowControl.INDIRECT_BRANCH, FlowControl.EXCEPTION, FlowControl.UNCONDITIONAL_BRANCH)
)
_BRANCHES = frozenset((FlowControl.CONDITIONAL_BRANCH, FlowControl.CALL, FlowControl.UNCONDITIONAL_BRANCH))
_NEAR = frozenset((OpKind.NEAR_BRANCH16, OpKind.NEAR_BRANCH32, OpKind.NEAR_BRANCH64))

_kinds: dict[int, int] = {}


def _kind(instruction: Instruction) -> int:
    """Return what an instruction is to the survey; but for INT, all of one code are the same."""
    code = instruction.code
    kind = _kinds.get(code)
    if kind is None:
        flow = instruction.flow_control
        kind = _REPLACED if must_be_replaced(instruction) and not instruction.is_invalid else 0
        if flow in _BRANCHES and instruction.op0_kind in _NEAR:
            kind |= _JUMPS
        if flow in _ELSEWHERE or instruction.is_invalid:
            kind |= _ENDS
        if code != Code.INT_IMM8:
            _kinds[code] = kind
    return kind


class _Page:
    """One page of code: what is known of it.

    Attributes:
        known: Size of the instruction found at each offset, 0 where none was: however hostile the code is, what is
            kept of it is not much larger.
        replaced: Offsets of those that must not reach the host.
        code: Its bytes, and some of the next page.
        is_searched: Whether code that only indirect jumps reach was looked for.
    """

    __slots__ = ("_address", "_decoder", "code", "is_searched", "known", "replaced")

    def __init__(self, address: int, code: bytes) -> None:
        self._address = address
        self.known = bytearray(PAGE_SIZE)
        self.code = code
        self.is_searched = False
        self.replaced: set[int] = set()
        self._decoder = Decoder(64, code, ip=address)

    def covers(self, offset: int) -> bool:
        """Return whether a byte belongs to an instruction that was found."""
        starts = range(min(offset, PAGE_SIZE - 1), max(offset - MAX_INSTRUCTION, -1), -1)
        return any(offset - start < self.known[start] for start in starts)

    def follow(self, offset: int, waiting: list[int]) -> int | None:
        """Take note of unknown instructions from an offset on; addresses that they name are added to ``waiting``.

        Returns:
            Where control goes on in another page, or None.
        """
        decoder, known, address = self._decoder, self.known, self._address
        decoder.position, decoder.ip = offset, address + offset
        while not known[offset]:
            instruction = decoder.decode()
            known[offset] = size = instruction.len or 1
            kind = _kind(instruction)
            if kind:
                if kind & _REPLACED:
                    self.replaced.add(offset)
                if kind & _JUMPS:
                    waiting.append(instruction.near_branch_target)
                if kind & _ENDS:
                    return None
            offset += size
            if offset >= PAGE_SIZE:
                return address + offset
        return None


class CodeSurvey:
    """What is known of the code that ring 3 may execute."""

    def __init__(self, read_page: Callable[[int], bytes | None]) -> None:
        """Know nothing yet.

        Args:
            read_page: Gives a page's bytes, and then some of the next page's, if ring 3 may execute it; else None.
        """
        self._read_page = read_page
        self._pages: dict[int, _Page] = {}

    def knows(self, address: int) -> bool:
        """Return whether an instruction at an address was found already."""
        page = self._pages.get(address & ~PAGE_MASK)
        return page is not None and page.known[address & PAGE_MASK] != 0

    def explore(self, start: int) -> set[int]:
        """Follow the code from an address; return the pages in which something new was found."""
        touched: set[int] = set()
        waiting = [start]
        while waiting:
            address: int | None = waiting.pop()
            while address is not None:
                page = self._page(address & ~PAGE_MASK)
                offset = address & PAGE_MASK
                if page is None or page.known[offset]:
                    break
                touched.add(address & ~PAGE_MASK)
                address = page.follow(offset, waiting)
        return touched

    def _page(self, address: int) -> _Page | None:
        page = self._pages.get(address)
        if page is None:
            code = self._read_page(address)
            if code is None:
                return None
            page = self._pages[address] = _Page(address, code)
        return page

    def replaced(self, page: int) -> set[int]:
        """Return the offsets in a page of instructions that must not reach the host."""
        return self._pages[page].replaced if page in self._pages else set()

    def look_for_likely(self, page: int) -> None:
        """Find instructions to be replaced that only an indirect jump reaches; see :mod:`likely_code`."""
        known = self._pages.get(page)
        if known is None or known.is_searched:
            return
        known.is_searched = True
        for suspect in likely_code.suspects(known.code):
            if not known.covers(suspect):
                found = likely_code.find_around(known.code, page, suspect, known.covers)
                for offset, size in found or []:
                    known.known[offset] = size
                    known.replaced.add(offset)

    def may_read_timestamp(self, page: int) -> bool:
        """Return whether a page holds the bytes of RDTSC or RDTSCP anywhere outside the instructions found."""
        known = self._pages.get(page)
        if known is None:
            return False
        return any(not known.covers(match.start()) for match in _TIMESTAMP.finditer(known.code, 0, PAGE_SIZE + 2))

    def forget(self, start: int, size: int) -> None:
        """Forget what was found in a range; the page before it too, whose last instruction may reach into it."""
        first = start - PAGE_SIZE
        if size > len(self._pages) * PAGE_SIZE:
            for page in [page for page in self._pages if first <= page < start + size]:
                del self._pages[page]
        else:
            for page in range(first, start + size, PAGE_SIZE):
                self._pages.pop(page, None)


SPILL = MAX_INSTRUCTION - 1
"""Bytes of the next page that an instruction of this one can reach."""
