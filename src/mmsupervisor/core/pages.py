"""Page services of MMRAM: who owns which page, allocation from the top (docs/reference/memory.md §2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.mmram import Mmram, range_end
from mmsupervisor.machine.interval_map import IntervalMap
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Attribute, PhysicalMemory
from mmsupervisor.pi.status import Status

PAGE_SHIFT = 12


class AllocateType(IntEnum):
    """EFI_ALLOCATE_TYPE."""

    ANY_PAGES = 0
    MAX_ADDRESS = 1
    ADDRESS = 2


class PageType(IntEnum):
    """The two memory types that MMRAM pages are allocated as, and free memory; values of EFI_MEMORY_TYPE."""

    RUNTIME_SERVICES_CODE = 5
    RUNTIME_SERVICES_DATA = 6
    CONVENTIONAL = 7


class Owner(Enum):
    """Whose pages they are."""

    USER = "user"
    SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class PageRecord:
    """What the memory map records of a run of pages.

    Attributes:
        type: Allocated as what, or free.
        owner: Whose.
    """

    type: PageType
    owner: Owner

    @property
    def free(self) -> bool:
        """Whether nobody has the pages."""
        return self.type is PageType.CONVENTIONAL


_FREE_USE = "free MMRAM"
_FREE = PageRecord(PageType.CONVENTIONAL, Owner.SUPERVISOR)


class PageServices:
    """The core's page allocator.

    Attributes:
        records: The memory map by address; None outside MMRAM.
        protecting: Whether attributes are applied at once. False until the core is initialised: before
            that everything is open, and lock-down applies what the map says.
        guarded_types: Types whose allocations get a page that is not present before and after them
            (docs/reference/memory.md §6); set by the memory protection HOB.
        guards: Addresses of these pages.
    """

    def __init__(self, memory: PhysicalMemory, mmram: Mmram) -> None:
        """Add the free ranges first, then the allocated ones, as the core does at entry."""
        self._memory = memory
        self.records: IntervalMap[PageRecord | None] = IntervalMap(memory.pages.limit, None)
        self.protecting = False
        self.guarded_types: frozenset[PageType] = frozenset()
        self.guards: set[int] = set()
        for region in mmram.ranges:
            if region.is_free:
                self.records.update(region.physical_start, range_end(region), lambda _: _FREE)
        taken = PageRecord(PageType.RUNTIME_SERVICES_DATA, Owner.SUPERVISOR)
        for region in mmram.ranges:
            if not region.is_free:
                self.records.update(region.physical_start, range_end(region), lambda _: taken)

    @property
    def free_pages(self) -> int:
        """Number of pages nobody has."""
        return sum(piece.size for piece in self.records if piece.value is not None and piece.value.free) // PAGE_SIZE

    def allocate(
        self,
        pages: int,
        page_type: PageType,
        owner: Owner,
        use: str,
        *,
        kind: int = AllocateType.ANY_PAGES,
        address: int = 0,
    ) -> int:
        """Allocate pages from the highest free range that is large enough, at its end.

        Args:
            pages: Number of pages. Zero is not refused: the end of the highest free range is returned and
                nothing is reserved, as in the reference.
            page_type: Code or data.
            owner: Whose they become.
            use: What they are for, for reports.
            kind: EFI_ALLOCATE_TYPE.
            address: The wanted address or the highest address, for the kinds that have one.

        Returns:
            The physical address. The contents are not cleared.

        Raises:
            CoreError: INVALID_PARAMETER for another kind, OUT_OF_RESOURCES, NOT_FOUND for a wanted address.
        """
        if kind not in tuple(AllocateType):
            raise CoreError(Status.INVALID_PARAMETER, f"allocation type {kind} is unknown")
        size = pages << PAGE_SHIFT
        limit = address + 1 if kind == AllocateType.MAX_ADDRESS else self.records.limit
        if kind == AllocateType.ADDRESS:
            base = self._wanted(address, size)
        elif pages and page_type in self.guarded_types:
            return self._allocate_guarded(pages, page_type, owner, use, limit=limit)
        else:
            base = self._highest(size, limit)
        if size:
            self.records.update(base, base + size, lambda _: PageRecord(page_type, owner))
            self._memory.set_use(base, size, use)
            if self.protecting:
                self.protect(base, size, page_type, owner)
        return base

    def _allocate_guarded(self, pages: int, page_type: PageType, owner: Owner, use: str, *, limit: int) -> int:
        """Allocate pages with a guard page on either side; raises as :meth:`allocate` does."""
        size = (pages + 2) << PAGE_SHIFT
        start = self._highest(size, limit)
        record = PageRecord(page_type, owner)
        self.records.update(start, start + size, lambda _: record)
        base, end = start + PAGE_SIZE, start + size - PAGE_SIZE
        self._memory.set_use(base, end - base, use)
        if self.protecting:
            self.protect(base, end - base, page_type, owner)
        self._set_guard(start)
        self._set_guard(end)
        return base

    def _set_guard(self, page: int) -> None:
        self.guards.add(page)
        self._memory.set_use(page, PAGE_SIZE, "guard page")
        self._memory.set_attributes(page, PAGE_SIZE, Attribute.RP)

    def _with_guards(self, address: int, size: int) -> tuple[int, int]:
        """Return what is really freed where guards stand around: the guards too, but not the new ones.

        Where pages of the same allocation stay beside the freed ones, the outermost freed page becomes their guard.
        """
        start, end = address, address + size
        if self._is_held(start - PAGE_SIZE):
            self._set_guard(start)
            start += PAGE_SIZE
        elif start - PAGE_SIZE in self.guards:
            start -= PAGE_SIZE
        if self._is_held(end):
            if end > start:
                self._set_guard(end - PAGE_SIZE)
                end -= PAGE_SIZE
        elif end in self.guards:
            end += PAGE_SIZE
        self.guards -= set(range(start, end, PAGE_SIZE))
        return start, max(end - start, 0)

    def _is_held(self, page: int) -> bool:
        """Whether a page is allocated, of a guarded type, and no guard itself."""
        record = self.records[page]
        return record is not None and record.type in self.guarded_types and page not in self.guards

    def _highest(self, size: int, limit: int) -> int:
        best = None
        for piece in self.records:
            if piece.value is None or not piece.value.free:
                continue
            end = min(piece.end, limit) & ~PAGE_MASK
            if end - size >= piece.start and end > piece.start:
                best = end - size
        if best is None:
            raise CoreError(Status.OUT_OF_RESOURCES, f"no free range of MMRAM has {size >> PAGE_SHIFT} pages")
        return best

    def _wanted(self, address: int, size: int) -> int:
        pieces = list(self.records.slice(address, address + size)) if not address & PAGE_MASK else []
        whole = sum(piece.size for piece in pieces) == size and bool(pieces)
        if not whole or any(piece.value is None or not piece.value.free for piece in pieces):
            raise CoreError(Status.NOT_FOUND, f"{size >> PAGE_SHIFT} pages at {address:#x} are not free")
        return address

    def free(self, address: int, pages: int, owner: Owner) -> bool:
        """Give pages back.

        Returns:
            Whether they were freed. Pages recorded for the other owner are left alone, and the reference's
            status is nevertheless EFI_SUCCESS (docs/reference/memory.md, surprise 11).

        Raises:
            CoreError: NOT_FOUND if the range is not wholly allocated MMRAM, INVALID_PARAMETER if unaligned.
        """
        size = pages << PAGE_SHIFT
        if address & PAGE_MASK:
            raise CoreError(Status.INVALID_PARAMETER, f"address {address:#x} is not page aligned")
        pieces = list(self.records.slice(address, address + size))
        if not pieces or any(piece.value is None or piece.value.free for piece in pieces):
            raise CoreError(Status.NOT_FOUND, f"{pages} pages at {address:#x} are not allocated")
        if any(piece.value is not None and piece.value.owner is not owner for piece in pieces):
            return False
        if self.guards and pieces[0].value is not None and pieces[0].value.type in self.guarded_types:
            address, size = self._with_guards(address, size)
        self.records.update(address, address + size, lambda _: _FREE)
        for piece in list(self._memory.slice(address, size)):
            self._memory.set_use(piece.start, piece.size, f"{_FREE_USE}, was {piece.value.use}")
        if self.protecting:
            self._memory.assign(address, size, Attribute.XP | Attribute.SP)
        return True

    def protect(self, base: int, size: int, page_type: PageType, owner: Owner) -> None:
        """Give pages the attributes of their record: code is executable, data is not; all is writable."""
        attributes = Attribute.NONE if page_type is PageType.RUNTIME_SERVICES_CODE else Attribute.XP
        if owner is Owner.SUPERVISOR:
            attributes |= Attribute.SP
        self._memory.assign(base, size, attributes)

    def protect_all(self) -> None:
        """Apply the whole map, as lock-down does, and apply every later change at once."""
        self._protect_records()
        for page in sorted(self.guards):
            self._memory.set_attributes(page, PAGE_SIZE, Attribute.RP)
        self.protecting = True

    def _note_free(self, start: int, size: int) -> None:
        """Say of free pages that they are, and of those that were freed still what they were."""
        for piece in list(self._memory.slice(start, size)):
            if not piece.value.use.startswith(_FREE_USE):
                self._memory.set_use(piece.start, piece.size, _FREE_USE)

    def _protect_records(self) -> None:
        for piece in list(self.records):
            if piece.value is None:
                continue
            self.protect(piece.start, piece.size, piece.value.type, piece.value.owner)
            if piece.value.free:
                self._note_free(piece.start, piece.size)


class SupervisorPool:
    """Small objects of the supervisor: only their addresses are seen, as opaque handles in ring 3.

    The objects themselves are Python's; the addresses lie in supervisor pages, so that a driver that uses a
    handle as a pointer faults as it would on the device.
    """

    _ALIGNMENT = 64

    def __init__(self, pages: PageServices) -> None:
        """Begin with no page."""
        self._pages = pages
        self._free: dict[int, list[int]] = {}
        self._next = 0
        self._end = 0

    def allocate(self, size: int) -> int:
        """Return the address of ``size`` bytes; raises as :meth:`PageServices.allocate` does."""
        size = -(-size // self._ALIGNMENT) * self._ALIGNMENT
        reusable = self._free.get(size)
        if reusable:
            return reusable.pop()
        if size > self._end - self._next:
            pages = max(1, -(-size // PAGE_SIZE))
            self._next = self._pages.allocate(
                pages, PageType.RUNTIME_SERVICES_DATA, Owner.SUPERVISOR, "supervisor pool"
            )
            self._end = self._next + pages * PAGE_SIZE
        address = self._next
        self._next += size
        return address

    def free(self, address: int, size: int) -> None:
        """Take bytes back for later objects of the same size."""
        size = -(-size // self._ALIGNMENT) * self._ALIGNMENT
        self._free.setdefault(size, []).append(address)
