"""The pages of the stand-in: tables that ring 3 may read, and addresses that stand for services.

The tables are normal memory, read-only for ring 3. A service is an address in a page that is not present: calling it
is a page fault, which the core brings here. No code of the stand-in runs in ring 3.
"""

from __future__ import annotations

from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute, PhysicalMemory
from mmsupervisor.pi.memory_types import MemoryType, pages_for

_ALIGNMENT = 16
_SLOT = 8
_USE = "stand-in for DXE: tables"


class TableArea:
    """Pages that are filled from their start; where one block is full, another is allocated."""

    def __init__(self, memory: PhysicalMemory, memory_map: UefiMemoryMap, pages: int) -> None:
        """Allocate the first block.

        Args:
            memory: The machine's memory.
            memory_map: Where the pages come from.
            pages: Pages of a block, except where more are needed at once.

        Raises:
            OutOfMemoryError: there is not as much memory.
        """
        self._memory = memory
        self._map = memory_map
        self._pages = pages
        self._is_open = False
        self._blocks: list[range] = []
        self._add_block(pages)

    def _add_block(self, pages: int) -> None:
        start = self._map.allocate(pages, MemoryType.RUNTIME_SERVICES_DATA, _USE)
        self._blocks.append(range(start, start + pages * PAGE_SIZE))
        self._next = start
        if self._is_open:
            self._open(self._blocks[-1])

    def put(self, content: bytes) -> int:
        """Append bytes, 16-byte aligned, and return their address.

        Raises:
            OutOfMemoryError: there is no memory left for them.
        """
        if self._next + len(content) > self._blocks[-1].stop:
            self._add_block(max(self._pages, pages_for(len(content))))
        address = self._next
        self._memory.write(address, content)
        self._next = -(-(address + len(content)) // _ALIGNMENT) * _ALIGNMENT
        return address

    def open(self) -> None:
        """Let ring 3 read all of it, from now on."""
        self._is_open = True
        for block in self._blocks:
            self._open(block)

    def _open(self, block: range) -> None:
        self._memory.assign(block.start, len(block), Attribute.RO | Attribute.XP, use=_USE)


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
