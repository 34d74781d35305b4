"""The pages of the stand-in: tables that ring 3 may read, and addresses that stand for services.

The tables are normal memory, read-only for ring 3. A service is an address in a page that is not present: calling it
is a page fault, which the core brings here. No code of the stand-in runs in ring 3.
"""

from __future__ import annotations

from mmsupervisor.machine.memory import PAGE_SIZE, Attribute, PhysicalMemory

_ALIGNMENT = 16
_SLOT = 8


class TableArea:
    """A block of pages that is filled from its start.

    Attributes:
        base: First address.
        pages: Number of pages.
    """

    def __init__(self, memory: PhysicalMemory, base: int, pages: int) -> None:
        """Take zero-filled pages of normal memory."""
        self.base = base
        self.pages = pages
        self._memory = memory
        self._next = base

    def put(self, content: bytes) -> int:
        """Append bytes, 16-byte aligned, and return their address.

        Raises:
            MemoryError: the area is full.
        """
        address = self._next
        end = address + len(content)
        if end > self.base + self.pages * PAGE_SIZE:
            raise MemoryError(f"the stand-in's tables need more than {self.pages} pages")
        self._memory.write(address, content)
        self._next = -(-end // _ALIGNMENT) * _ALIGNMENT
        return address

    def open(self) -> None:
        """Let ring 3 read the tables."""
        size = self.pages * PAGE_SIZE
        self._memory.assign(self.base, size, Attribute.RO | Attribute.XP, use="stand-in for DXE: tables")


class ServiceAddresses:
    """Addresses that stand for services, in one page that is never present."""

    def __init__(self, memory: PhysicalMemory, page: int) -> None:
        """Take a page of normal memory."""
        self._page = page
        memory.set_use(page, PAGE_SIZE, "stand-in for DXE: services")

    def address_of(self, index: int) -> int:
        """Return the address of service number ``index``.

        Raises:
            IndexError: the page has no room for so many.
        """
        if not 0 <= index < PAGE_SIZE // _SLOT:
            raise IndexError(f"service {index} is beyond the page")
        return self._page + _SLOT * index

    def index_of(self, address: int) -> int | None:
        """Return the number of the service at an address, or None if there can be none."""
        offset = address - self._page
        return offset // _SLOT if 0 <= offset < PAGE_SIZE and offset % _SLOT == 0 else None
