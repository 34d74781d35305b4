"""The machine's memory in the stub: the same pages at the same addresses, with the rights that ring 3 has.

A page is executable only once its code was surveyed: the first fetch faults, and is answered here. Instructions that
must not reach the host's processor are overwritten with HLT in a copy of the page that only the stub sees; a page that
ring 3 may also write cannot be shown a copy and is executed as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmsupervisor.machine.backing_unsafe import HostBacking
from mmsupervisor.machine.interval_map import Interval, IntervalMap
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Bank, PageState, PhysicalMemory
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor import page_map
from mmsupervisor.processor.native.code_survey import SPILL, CodeSurvey
from mmsupervisor.processor.native.layout import CLOSE, MMAP, MPROTECT, STUB
from mmsupervisor.processor.native.stub_unsafe import Stub

_SHARED_FIXED = 0x11
_HLT = 0xF4
_COPIES = 256
"""Pages in one block of copies."""

_UNKNOWN = -1
"""Rights of pages in the stub that have to be ordered anew, whatever they are to be."""


class _Orders:
    """System calls to be ordered together, with the descriptors they need."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._numbers: dict[int, int] = {}
        self.calls: list[tuple[int, ...]] = []

    def map(self, address: int, size: int, access: int, descriptor: int, offset: int) -> None:
        """Map a file of ours, whose descriptor the stub has only while it executes these orders."""
        number = self._numbers.get(descriptor)
        if number is None:
            number = self._numbers[descriptor] = self._stub.give_descriptor(descriptor)
        self.calls.append((MMAP, address, size, access, _SHARED_FIXED, number, offset))

    def map_copy(self, address: int, access: int, number: int, offset: int) -> None:
        """Map a page of a file whose descriptor the stub keeps."""
        self.calls.append((MMAP, address, PAGE_SIZE, access, _SHARED_FIXED, number, offset))

    def protect(self, address: int, size: int, access: int) -> None:
        self.calls.append((MPROTECT, address, size, access))

    def execute(self) -> None:
        self.calls += [(CLOSE, number) for number in self._numbers.values()]
        if self.calls:
            self._stub.order(self.calls)


class _Copies:
    """Host memory for pages that the stub is shown instead of the machine's."""

    def __init__(self) -> None:
        self._blocks: list[HostBacking] = []
        self._free: list[int] = []

    def take(self) -> int:
        """Return the number of a free page."""
        if not self._free:
            first = len(self._blocks) * _COPIES
            self._blocks.append(HostBacking(_COPIES * PAGE_SIZE, "mm-code"))
            self._free = list(range(first + _COPIES - 1, first - 1, -1))
        return self._free.pop()

    def give_back(self, number: int) -> None:
        """Free a page."""
        self._free.append(number)

    def view(self, number: int) -> memoryview:
        """Return a page's bytes."""
        offset = number % _COPIES * PAGE_SIZE
        return self._blocks[number // _COPIES].buffer[offset : offset + PAGE_SIZE]

    def descriptor(self, block: int) -> int:
        """Return the descriptor of a block."""
        descriptor = self._blocks[block].descriptor
        if descriptor is None:
            raise MmSupervisorError("native processor: this host has no memory that processes can share")
        return descriptor

    def close(self) -> None:
        """Give the memory back."""
        for block in self._blocks:
            block.close()


class StubMemory:
    """Keeps the stub's mappings in step with the machine's page map.

    Attributes:
        may_read_timestamp: Whether ring 3 may execute what could be RDTSC, with nothing known about it.
    """

    def __init__(self, memory: PhysicalMemory, lowest: int) -> None:
        """Prepare for ``memory``; nothing is mapped before :meth:`attach`.

        Args:
            memory: The machine's.
            lowest: First address that the host lets a process map.
        """
        self._memory = memory
        self._lowest = lowest
        self._changes = memory.subscribe()
        self._stub: Stub | None = None
        self._banks: list[Bank] = []
        self._seen: tuple[Bank, ...] = ()
        self._rights = IntervalMap(STUB, _UNKNOWN)
        self._executable: dict[int, int | None] = {}
        self._copies = _Copies()
        self._given: list[int] = []
        self._survey = CodeSurvey(self._read_code)
        self.may_read_timestamp = False

    def attach(self, stub: Stub) -> None:
        """Map everything into a fresh stub; code is surveyed anew when it is reached."""
        self._stub = stub
        self._banks.clear()
        self._seen = ()
        self._rights = IntervalMap(STUB, _UNKNOWN)
        self._given.clear()
        for number in self._executable.values():
            if number is not None:
                self._copies.give_back(number)
        self._executable.clear()
        self._survey = CodeSurvey(self._read_code)
        self._changes.clear()
        self._map_new_banks()

    def detach(self) -> None:
        """The stub is gone."""
        self._stub = None

    @property
    def has_changed(self) -> bool:
        """Whether :meth:`apply` has something to do."""
        return bool(self._changes)

    def _orders(self) -> _Orders:
        if self._stub is None:
            raise RuntimeError("no stub is attached")
        return _Orders(self._stub)

    # Following the page map

    def apply(self) -> None:
        """Take over what happened to memory."""
        self._map_new_banks()
        orders = self._orders()
        for start, end in _merged((change.start, change.start + change.size) for change in self._changes):
            self._close_code(start, end, orders)
            self._protect(start, end, orders)
        self._changes.clear()
        orders.execute()

    def _map_new_banks(self) -> None:
        banks = self._memory.banks
        if banks == self._seen:
            return
        self._seen = banks
        orders = self._orders()
        for bank in banks:
            if bank in self._banks or bank.backing is None or bank.backing.descriptor is None:
                continue
            if bank.end > STUB:
                raise MmSupervisorError(f"native processor: bank {bank.name!r} at {bank.base:#x} is too high")
            self._banks.append(bank)
            base = max(bank.base, self._lowest)
            if base < bank.end:
                orders.map(base, bank.end - base, 0, bank.backing.descriptor, base - bank.base)
                self._protect(base, bank.end, orders)
        orders.execute()

    def _protect(self, start: int, end: int, orders: _Orders) -> None:
        """Give pages the rights of the page map, except execution; those that have them already cost nothing."""
        for bank in self._banks:
            if bank.end <= start or end <= bank.base:
                continue
            first, last = max(start, bank.base, self._lowest), min(end, bank.end)
            for run_start, run_end, access in _runs(self._memory.pages.slice(first, last)):
                if any(piece.value != access for piece in self._rights.slice(run_start, run_end)):
                    orders.protect(run_start, run_end - run_start, access)
                    self._rights.update(run_start, run_end, lambda _, access=access: access)  # type: ignore[misc]

    def _close_code(self, start: int, end: int, orders: _Orders) -> None:
        """Forget the code of a range; where a copy was shown, show the machine's page."""
        self._survey.forget(start, end - start)
        for page in _within(self._executable, start - PAGE_SIZE, end):
            number = self._executable.pop(page)
            if number is not None:
                self._copies.give_back(number)
                self._show_original(page, orders)
            elif page < start:
                orders.protect(page, PAGE_SIZE, self._access(page) & ~page_map.EXECUTE)
            else:  # the caller orders rights for the range, those of neighbours in one go
                self._rights.update(page, page + PAGE_SIZE, lambda _: _UNKNOWN)

    def _show_original(self, page: int, orders: _Orders) -> None:
        # Not the bank that the page shows: a flash may show its registers for a while.
        bank = next(bank for bank in self._banks if bank.base <= page < bank.end)
        if bank.backing is None or bank.backing.descriptor is None:
            raise RuntimeError("a bank without memory has been mapped")
        access = self._access(page) & ~page_map.EXECUTE
        orders.map(page, PAGE_SIZE, access, bank.backing.descriptor, page - bank.base)

    def _access(self, page: int) -> int:
        return page_map.direct_access(self._memory.state(page))

    def forget_code(self, start: int, size: int) -> None:
        """The supervisor wrote to a range that ring 3 may execute."""
        orders = self._orders()
        self._close_code(start, start + size, orders)
        self._protect(start, start + size, orders)
        orders.execute()

    # Code

    def _read_code(self, page: int) -> bytes | None:
        if not self._access(page) & page_map.EXECUTE:
            return None
        code = self._memory.read(page, PAGE_SIZE)
        following = page + PAGE_SIZE
        if self._access(following) & page_map.EXECUTE:
            code += self._memory.read(following, SPILL)
        return code

    def knows_code(self, address: int) -> bool:
        """Return whether the code at an address was surveyed."""
        return self._survey.knows(address)

    def can_execute(self, address: int) -> bool:
        """Return whether ring 3 may execute a page, and the host can too."""
        return address >= self._lowest and bool(self._access(address) & page_map.EXECUTE)

    def can_read(self, address: int) -> bool:
        """Return whether ring 3 may read a page that is memory."""
        return bool(self._access(address) & page_map.READ)

    def open_code(self, rip: int, address: int) -> bool:
        """Survey the code that runs next and make what was found executable; False if it already was.

        Args:
            rip: Where the instruction begins.
            address: Which of its bytes cannot be fetched: in another page, if it lies across two.
        """
        pages = self._survey.explore(rip)
        page = address & ~PAGE_MASK
        if page not in self._executable:
            pages.add(page)
        orders = self._orders()
        for found in sorted(pages):
            if found >= self._lowest:
                self._make_executable(found, orders)
        orders.execute()
        return bool(orders.calls)

    def _make_executable(self, page: int, orders: _Orders) -> None:
        access = self._access(page)
        self._survey.look_for_likely(page)
        if access & page_map.WRITE or self._survey.may_read_timestamp(page):
            self.may_read_timestamp = True
        replaced = set() if access & page_map.WRITE else self._survey.replaced(page)
        shown = self._executable.get(page)
        if replaced:
            number = self._copies.take() if shown is None else shown
            view = self._copies.view(number)
            if shown is None:
                view[:] = self._memory.read(page, PAGE_SIZE)
                orders.map_copy(page, access, *self._place_of_copy(number))
            for offset in replaced:
                view[offset] = _HLT
            self._executable[page] = number
        elif page not in self._executable:
            self._executable[page] = None
            orders.protect(page, PAGE_SIZE, access)

    def _place_of_copy(self, number: int) -> tuple[int, int]:
        """Return the stub's descriptor and the offset of a copy; giving a descriptor takes long, so it is kept."""
        block, offset = divmod(number, _COPIES)
        if self._stub is not None:
            for further in range(len(self._given), block + 1):
                self._given.append(self._stub.give_descriptor(self._copies.descriptor(further)))
        return self._given[block], offset * PAGE_SIZE

    def close(self) -> None:
        """Stop following the machine's memory."""
        self._memory.unsubscribe(self._changes)
        self._copies.close()


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _runs(pieces: Iterable[Interval[PageState]]) -> list[tuple[int, int, int]]:
    """Return ranges with the access that they get: none where a flash shows its registers."""
    runs: list[tuple[int, int, int]] = []
    for piece in pieces:
        access = page_map.direct_access(piece.value) & ~page_map.EXECUTE
        if runs and runs[-1][1] == piece.start and runs[-1][2] == access:
            runs[-1] = (runs[-1][0], piece.end, access)
        else:
            runs.append((piece.start, piece.end, access))
    return runs


def _within(pages: Iterable[int], start: int, end: int) -> list[int]:
    return sorted(page for page in pages if start <= page < end)
