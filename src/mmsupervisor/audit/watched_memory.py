"""The machine's memory with some pages shown as if a device stood behind them.

A processor that is given this memory ends with :class:`~mmsupervisor.processor.interface.MmioAccess` wherever ring 3
touches a watched page that it may touch: with address, width, direction and the instruction. Page attributes, and with
them every decision of the supervisor and every page fault, stay those of the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mmsupervisor.machine.interval_map import Interval, IntervalMap
from mmsupervisor.machine.memory import PAGE_SIZE, Access, Bank, PageState, PhysicalMemory, ProtectionChange


class _WatchedPages(IntervalMap[PageState]):
    """The machine's page map, in which watched pages have a bank without memory."""

    __slots__ = ("_banks", "_known", "_real", "watched")

    def __init__(self, real: IntervalMap[PageState]) -> None:
        """Show a map as it is."""
        super().__init__(real.limit, PageState())
        self._real = real
        self._banks: dict[Bank, Bank] = {}
        self._known: dict[int, tuple[PageState, PageState]] = {}
        self.watched: IntervalMap[bool] = IntervalMap(real.limit, False)

    def __getitem__(self, address: int) -> PageState:
        state = self._real[address]
        return self._hidden(state) if self.watched[address] else state

    def slice(self, start: int, end: int) -> Iterator[Interval[PageState]]:
        """Iterate over the intervals of a range, cut to the range and to what is watched."""
        for piece in self._real.slice(start, end):
            for part in self.watched.slice(piece.start, piece.end):
                yield Interval(part.start, part.end, self._hidden(piece.value) if part.value else piece.value)

    def _hidden(self, state: PageState) -> PageState:
        """Return a state with a bank that has no memory. Answers are kept by identity, with what they answer."""
        known = self._known.get(id(state))
        if known is None:
            known = self._known[id(state)] = (state, self._without_memory(state))
        return known[1]

    def _without_memory(self, state: PageState) -> PageState:
        bank = state.bank
        if bank is None or bank.backing is None:
            return state
        if bank not in self._banks:
            self._banks[bank] = Bank(bank.base, bank.size, bank.name)
        return replace(state, bank=self._banks[bank])

    def forget(self) -> None:
        """Forget the answers, so that they do not pile up."""
        self._known.clear()


class WatchedMemory(PhysicalMemory):
    """Physical memory as a watching processor's inner processor sees it; all contents are the machine's own."""

    def __init__(self, real: PhysicalMemory) -> None:
        """Show memory as it is."""
        super().__init__(real.address_bits)
        self._real = real
        self._pages = _WatchedPages(real.pages)
        self.pages = self._pages
        self._subscribed: list[list[ProtectionChange]] = []

    @property
    def banks(self) -> tuple[Bank, ...]:
        """All banks of the machine, in address order."""
        return self._real.banks

    def read(self, address: int, length: int) -> bytes:
        """Return bytes of memory; raises as the machine's memory does."""
        return self._real.read(address, length)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes into memory; raises as the machine's memory does."""
        self._real.write(address, data)

    def subscribe(self) -> list[ProtectionChange]:
        """Return a list to which changes of the machine's memory and of what is watched are appended."""
        changes = self._real.subscribe()
        self._subscribed.append(changes)
        return changes

    def unsubscribe(self, pending: list[ProtectionChange]) -> None:
        """Stop appending to a list that :meth:`subscribe` gave."""
        self._subscribed = [other for other in self._subscribed if other is not pending]
        self._real.unsubscribe(pending)

    # Watching

    def is_watched(self, address: int) -> bool:
        """Whether the page of an address is watched."""
        return 0 <= address < self.pages.limit and self._pages.watched[address]

    def watch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Watch these pages, each first address and bytes, and no others."""
        wanted: IntervalMap[bool] = IntervalMap(self.pages.limit, False)
        for start, size in ranges:
            wanted.update(start, start + size, lambda _: True)
        self._pages.forget()
        before, self._pages.watched = self._pages.watched, wanted
        for piece in before:
            for part in wanted.slice(piece.start, piece.end):
                if part.value != piece.value:
                    self._announce(part.start, part.size)

    def lift(self, page: int) -> None:
        """Stop watching one page."""
        self._pages.watched.update(page, page + PAGE_SIZE, lambda _: False)
        self._announce(page, PAGE_SIZE)

    def watch_again(self, page: int) -> None:
        """Watch a page that was lifted."""
        self._pages.watched.update(page, page + PAGE_SIZE, lambda _: True)
        self._announce(page, PAGE_SIZE)

    def _announce(self, start: int, size: int) -> None:
        # Watched pages are never executable; what was watched and is again reachable is so for data only.
        for piece in self._pages.slice(start, start + size):
            if piece.value.bank is not None:
                for changes in self._subscribed:
                    changes.append(ProtectionChange(piece.start, piece.size, piece.value.direct & ~Access.EXECUTE))
