"""Code that is about to run for the first time: what is reachable in it, and what must not reach the host's processor.

From an address that ring 3 is at, direct jumps and calls are followed. What only an indirect jump reaches is found when
ring 3 stops there, or judged by its surroundings (:mod:`likely_code`); else the host executes it as it is
(docs/limitations.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from iced_x86 import Decoder, FlowControl, Instruction, OpKind

from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE
from mmsupervisor.processor.instructions import MAX_INSTRUCTION
from mmsupervisor.processor.native import likely_code
from mmsupervisor.processor.native.instruction_rules import must_be_replaced

_TIMESTAMP = re.compile(rb"\x0f(?:\x31|\x01\xf9)", re.DOTALL)
_ENDS = frozenset((FlowControl.RETURN, FlowControl.INDIRECT_BRANCH, FlowControl.EXCEPTION))
_BRANCHES = frozenset((FlowControl.CONDITIONAL_BRANCH, FlowControl.CALL, FlowControl.UNCONDITIONAL_BRANCH))
_NEAR = frozenset((OpKind.NEAR_BRANCH16, OpKind.NEAR_BRANCH32, OpKind.NEAR_BRANCH64))


class _Page:
    """One page of code: what is known of it.

    Attributes:
        known: Size of each instruction found, by its offset.
        replaced: Offsets of those that must not reach the host.
        code: Its bytes, and some of the next page.
        is_searched: Whether code that only indirect jumps reach was looked for.
    """

    __slots__ = ("_decoder", "code", "is_searched", "known", "replaced")

    def __init__(self, address: int, code: bytes) -> None:
        self.known: dict[int, int] = {}
        self.code = code
        self.is_searched = False
        self.replaced: set[int] = set()
        self._decoder = Decoder(64, code, ip=address)

    def covers(self, offset: int) -> bool:
        """Return whether a byte belongs to an instruction that was found."""
        starts = range(offset, offset - MAX_INSTRUCTION, -1)
        return any(offset - start < self.known.get(start, 0) for start in starts)

    def decode(self, address: int) -> Instruction:
        decoder = self._decoder
        decoder.position = address & PAGE_MASK
        decoder.ip = address
        return decoder.decode()


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
        return page is not None and address & PAGE_MASK in page.known

    def explore(self, start: int) -> set[int]:
        """Follow the code from an address; return the pages in which something new was found."""
        touched: set[int] = set()
        waiting = [start]
        while waiting:
            address = waiting.pop()
            touched.update(self._straight(address, waiting))
        return touched

    def _straight(self, address: int, waiting: list[int]) -> Iterator[int]:
        """Follow unknown instructions until control goes elsewhere; yield the page of each."""
        while True:
            page = self._page(address & ~PAGE_MASK)
            if page is None or address & PAGE_MASK in page.known:
                return
            instruction = page.decode(address)
            page.known[address & PAGE_MASK] = instruction.len or 1
            yield address & ~PAGE_MASK
            if instruction.is_invalid:
                return
            if must_be_replaced(instruction):
                page.replaced.add(address & PAGE_MASK)
            flow = instruction.flow_control
            if flow in _BRANCHES and instruction.op0_kind in _NEAR:
                waiting.append(instruction.near_branch_target)
            if flow in _ENDS or flow == FlowControl.UNCONDITIONAL_BRANCH:
                return
            address = instruction.next_ip

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
