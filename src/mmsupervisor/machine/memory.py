"""Physical memory: one interval map of what each page is, and the banks behind it.

Addresses are physical and virtual at once: the supervisor maps everything to itself
(docs/reference/memory.md §3). The state of a page is kept as the attributes that the reference's own
query reports (§1), so that a page-table view can be made from the map at any time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntFlag
from itertools import product
from typing import Protocol

from mmsupervisor.machine.backing_unsafe import HostBacking
from mmsupervisor.machine.interval_map import Interval, IntervalMap
from mmsupervisor.pi.errors import MmSupervisorError

PAGE_SIZE = 0x1000
"""Bytes in a page."""

PAGE_MASK = PAGE_SIZE - 1
"""Offset bits within a page."""

_NOTHING = memoryview(b"")


class Attribute(IntFlag):
    """What a page-table leaf denies (docs/reference/memory.md §1); values are UEFI's EFI_MEMORY_*."""

    NONE = 0
    RP = 0x2000
    XP = 0x4000
    RO = 0x20000
    SP = 0x40000


ATTRIBUTES = Attribute.RP | Attribute.XP | Attribute.RO | Attribute.SP
"""All attributes the map keeps."""


class Access(IntFlag):
    """What code may do with a page."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXECUTE = 4


def _ring3_access(attributes: int) -> Access:
    if attributes & (Attribute.RP | Attribute.SP):
        return Access.NONE
    access = Access.READ
    if not attributes & Attribute.RO:
        access |= Access.WRITE
    if not attributes & Attribute.XP:
        access |= Access.EXECUTE
    return access


# Arithmetic with flags of an enumeration is slow, and every change of a page asks for these.
_ATTRIBUTES = {
    rp | xp | ro | sp: Attribute(rp | xp | ro | sp)
    for rp, xp, ro, sp in product(*((0, int(bit)) for bit in (Attribute.RP, Attribute.XP, Attribute.RO, Attribute.SP)))
}
_ABSENT = int(Attribute.RP)
_RING3 = {bits: _ring3_access(bits) for bits in _ATTRIBUTES}


class BusError(MmSupervisorError):
    """The supervisor itself touched an address with nothing behind it.

    Attributes:
        address: The first such address.
    """

    def __init__(self, address: int, what: str) -> None:
        """Record the address and what was tried."""
        self.address = address
        super().__init__(f"{what} at {address:#x}: no memory there")


class MmioDevice(Protocol):
    """A device that answers memory-mapped accesses. Offsets are bytes from the start of its bank."""

    def mmio_read(self, offset: int, width: int) -> int:
        """Return ``width`` bytes (1, 2, 4 or 8) as a little-endian number."""

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        """Take ``width`` bytes (1, 2, 4 or 8)."""


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """A range of physical addresses with something behind it.

    Attributes:
        base: First address, page aligned.
        size: Bytes, whole pages.
        name: What it is, for reports.
        backing: Host memory, or None for a device.
        device: The device, or None for memory.
        writable: Whether stores reach the memory; False for flash in array mode (stores go to the device).
        answers_within: Whether a processor may hand the device its accesses without an exit. They then come as the
            machine's bus brings them: four bytes at the most, and single bytes where they are not aligned.
    """

    base: int
    size: int
    name: str
    backing: HostBacking | None = None
    device: MmioDevice | None = None
    writable: bool = True
    answers_within: bool = False

    @property
    def end(self) -> int:
        """Address after the last one."""
        return self.base + self.size


@dataclass(frozen=True, slots=True)
class PageState:
    """What holds for one run of pages.

    Attributes:
        attributes: What the page-table leaf denies.
        use: What the pages are for, in words, for reports; empty if nothing is known.
        bank: What is behind them, or None for a hole.
    """

    attributes: Attribute = Attribute.RP | Attribute.XP | Attribute.SP
    use: str = ""
    bank: Bank | None = None

    @property
    def ring3(self) -> Access:
        """What ring 3 may do, as its page tables say; a device's pages included."""
        return _RING3[self.attributes]

    @property
    def direct(self) -> Access:
        """The part of :attr:`ring3` that needs no device: what a processor may map to host memory."""
        if self.bank is None or self.bank.backing is None:
            return Access.NONE
        access = _RING3[self.attributes]
        return access if self.bank.writable else access & ~Access.WRITE

    def with_attributes(self, bits: int) -> PageState:
        """Return the same state with other attributes, given as a number."""
        return PageState(_ATTRIBUTES[bits], self.use, self.bank)


@dataclass(frozen=True, slots=True)
class ProtectionChange:
    """Pages whose direct ring-3 access changed: what a processor has to apply before it goes on.

    Attributes:
        start: First address, page aligned.
        size: Bytes, whole pages.
        access: What ring 3 may now do without an exit.
    """

    start: int
    size: int
    access: Access


def _contents(bank: Bank) -> memoryview:
    """Return what can be read and written in a bank without its device: nothing where there is no memory."""
    return bank.backing.buffer if bank.backing is not None else _NOTHING


class PhysicalMemory:
    """All physical memory of the machine.

    Attributes:
        address_bits: Width of a physical address.
        pages: The interval map.
    """

    def __init__(self, address_bits: int = 39) -> None:
        """Begin with an empty machine: everything is a hole and not present."""
        self.address_bits = address_bits
        self.pages: IntervalMap[PageState] = IntervalMap(1 << address_bits, PageState())
        self._banks: list[Bank] = []
        self._bases: list[int] = []
        self._contents: list[memoryview] = []
        self._registers: dict[Bank, Bank] = {}
        self._pending: list[list[ProtectionChange]] = []

    # Banks

    @property
    def banks(self) -> tuple[Bank, ...]:
        """All banks in address order."""
        return tuple(self._banks)

    def add_ram(self, base: int, size: int, name: str) -> Bank:
        """Put zero-filled memory at a range.

        Raises:
            ValueError: the range is unaligned, empty, beyond the address width or taken.
        """
        self._check_free(base, size, name)
        return self._add(Bank(base, size, name, backing=HostBacking(size, "mm-ram")))

    def add_device(self, base: int, size: int, name: str, device: MmioDevice) -> Bank:
        """Put a device at a range; raises as :meth:`add_ram` does."""
        self._check_free(base, size, name)
        return self._add(Bank(base, size, name, device=device))

    def add_flash(self, base: int, size: int, name: str, device: MmioDevice) -> Bank:
        """Put memory whose reads are direct and whose stores go to ``device``; raises as :meth:`add_ram` does.

        :meth:`show_flash` lets reads go to the device as well, and back.
        """
        self._check_free(base, size, name)
        bank = Bank(base, size, name, backing=HostBacking(size, "mm-flash"), device=device, writable=False)
        self._registers[bank] = Bank(base, size, name, device=device, answers_within=True)
        return self._add(bank)

    def show_flash(self, bank: Bank, *, array: bool) -> None:
        """Let reads of a flash bank reach its memory (array mode), or its device (all other modes).

        The bank's pages then show a bank without memory, so that every way to reach them changes at once: direct
        access of processors ends by the usual :class:`ProtectionChange`, and :meth:`read` raises.

        Args:
            bank: What :meth:`add_flash` returned.
            array: Whether it is in array mode, as it is at first.

        Raises:
            KeyError: the bank is no flash of this memory.
        """
        shown = bank if array else self._registers[bank]
        self._update(bank.base, bank.size, lambda state: replace(state, bank=shown))
        self._contents[self._banks.index(bank)] = _contents(shown)

    def _check_free(self, base: int, size: int, name: str) -> None:
        if base & PAGE_MASK or size & PAGE_MASK or size <= 0 or base < 0 or base + size > self.pages.limit:
            raise ValueError(f"bank {name!r} at {base:#x}, {size:#x} bytes, is not whole pages in range")
        if any(piece.value.bank is not None for piece in self.pages.slice(base, base + size)):
            raise ValueError(f"bank {name!r} at {base:#x} overlaps another")

    def _add(self, bank: Bank) -> Bank:
        place = bisect_right(self._bases, bank.base)
        self._banks.insert(place, bank)
        self._bases.insert(place, bank.base)
        self._contents.insert(place, _contents(bank))
        self._update(bank.base, bank.size, lambda state: replace(state, bank=bank))
        return bank

    # Contents, as the supervisor and the outside see them: attributes do not matter here

    def read(self, address: int, length: int) -> bytes:
        """Return bytes of memory.

        Raises:
            BusError: some of them are in a hole or a device without memory.
        """
        # A message takes a dozen of these: what lies in one bank is found without asking what its pages are.
        place = bisect_right(self._bases, address) - 1
        if place >= 0:
            offset = address - self._bases[place]
            contents = self._contents[place]
            if offset + length <= len(contents):
                return contents[offset : offset + length].tobytes()
        return self._read_pieces(address, length)

    def _read_pieces(self, address: int, length: int) -> bytes:
        bank = self._bank_at(address, "read")
        if address + length <= bank.end:
            offset = address - bank.base
            return bytes(self._buffer(bank, address, "read")[offset : offset + length])
        first = bank.end - address
        return self.read(address, first) + self.read(bank.end, length - first)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes into memory (a flash bank included: that is how its array is filled).

        Raises:
            BusError: some of them are in a hole or a device without memory. Nothing is written then.
        """
        length = len(data)
        place = bisect_right(self._bases, address) - 1
        if place >= 0:
            offset = address - self._bases[place]
            contents = self._contents[place]
            if offset + length <= len(contents):
                contents[offset : offset + length] = data
                return
        self._write_pieces(address, data)

    def _write_pieces(self, address: int, data: bytes | bytearray | memoryview) -> None:
        pieces: list[tuple[memoryview, int, int]] = []
        at, end = address, address + len(data)
        while at < end or not pieces:
            bank = self._bank_at(at, "write")
            stop = min(end, bank.end)
            pieces.append((self._buffer(bank, at, "write"), at - bank.base, stop - at))
            at = stop
        done = 0
        for buffer, offset, length in pieces:
            buffer[offset : offset + length] = data[done : done + length]
            done += length

    def fill(self, address: int, length: int, value: int = 0) -> None:
        """Set bytes to one value; raises as :meth:`write` does."""
        self.write(address, bytes([value]) * length)

    def read_u64(self, address: int) -> int:
        """Return a little-endian 64-bit number; raises as :meth:`read` does."""
        return int.from_bytes(self.read(address, 8), "little")

    def write_u64(self, address: int, value: int) -> None:
        """Store a little-endian 64-bit number; raises as :meth:`write` does."""
        self.write(address, value.to_bytes(8, "little"))

    def copy(self, target: int, source: int, length: int) -> None:
        """Copy bytes between ranges that do not overlap; raises as :meth:`read` and :meth:`write` do."""
        to, of = bisect_right(self._bases, target) - 1, bisect_right(self._bases, source) - 1
        if to >= 0 and of >= 0:
            first, start = target - self._bases[to], source - self._bases[of]
            if first + length <= len(self._contents[to]) and start + length <= len(self._contents[of]):
                self._contents[to][first : first + length] = self._contents[of][start : start + length]
                return
        self.write(target, self.read(source, length))

    def _bank_at(self, address: int, what: str) -> Bank:
        bank = self.pages[address].bank if 0 <= address < self.pages.limit else None
        if bank is None:
            raise BusError(address, what)
        return bank

    @staticmethod
    def _buffer(bank: Bank, address: int, what: str) -> memoryview:
        if bank.backing is None:
            raise BusError(address, f"{what} of device {bank.name!r}")
        return bank.backing.buffer

    # Attributes

    def set_attributes(self, base: int, length: int, attributes: Attribute) -> None:
        """Deny more. With RP, only presence changes (docs/reference/memory.md §1)."""
        denied = int(Attribute.RP if attributes & Attribute.RP else attributes)
        self._update(base, length, lambda state: state.with_attributes(int(state.attributes) | denied))

    def clear_attributes(self, base: int, length: int, attributes: Attribute) -> None:
        """Deny less.

        Clearing RP writes the leaf anew: what is not named in the same call is denied afterwards, except
        execution, which is then allowed (docs/reference/memory.md §1).
        """
        if attributes & Attribute.RP:
            left = int((Attribute.RO | Attribute.SP) & ~attributes)
            self._update(base, length, lambda state: state.with_attributes(left))
        else:
            kept = ~int(attributes)
            self._update(base, length, lambda state: state.with_attributes(int(state.attributes) & kept))

    def assign(self, base: int, length: int, attributes: Attribute, use: str | None = None) -> None:
        """Write leaves outright, and the use of the pages where given."""
        self._update(
            base,
            length,
            lambda state: replace(state, attributes=attributes, use=state.use if use is None else use),
        )

    def set_use(self, base: int, length: int, use: str) -> None:
        """Say what pages are for."""
        self._update(base, length, lambda state: replace(state, use=use))

    def slice(self, base: int, length: int) -> Iterator[Interval[PageState]]:
        """Iterate over the page states of a byte range, cut to the range."""
        return self.pages.slice(base, base + length)

    def _update(self, base: int, length: int, change: Callable[[PageState], PageState]) -> None:
        if base & PAGE_MASK or length & PAGE_MASK:
            raise ValueError(f"range {base:#x} + {length:#x} is not whole pages")
        pending = self._pending

        def note(start: int, end: int, before: PageState, after: PageState) -> None:
            now = after.direct
            if now != before.direct:
                for changes in pending:
                    changes.append(ProtectionChange(start, end - start, now))

        self.pages.update(base, base + length, change, note if pending else None)

    def first_absent(self, address: int, length: int) -> int | None:
        """Return the first address of a byte range that lies in a page which is not present, or None."""
        alone = self.pages.only(address, address + length)
        if alone is not None and not int(alone.attributes) & _ABSENT:
            return None
        for piece in self.slice(address, length):
            if int(piece.value.attributes) & _ABSENT:
                return piece.start
        return None

    # What a processor needs

    def subscribe(self) -> list[ProtectionChange]:
        """Return a list to which every later change of direct access is appended; the caller empties it."""
        pending: list[ProtectionChange] = []
        self._pending.append(pending)
        return pending

    def unsubscribe(self, pending: list[ProtectionChange]) -> None:
        """Stop appending to a list that :meth:`subscribe` gave."""
        self._pending = [other for other in self._pending if other is not pending]

    def state(self, address: int) -> PageState:
        """Return the state of the page that holds an address; a state of holes beyond the address width."""
        return self.pages[address] if 0 <= address < self.pages.limit else PageState()

    def close(self) -> None:
        """Give all host memory back."""
        for bank in self._banks:
            if bank.backing is not None:
                bank.backing.close()
        self._banks.clear()
        self._bases.clear()
        self._contents.clear()
