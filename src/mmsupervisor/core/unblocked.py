"""The list of regions outside MMRAM that are open, and the rules for opening them (docs/reference/unblock.md §5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import MemoryUnblocked
from mmsupervisor.core.ownership import range_attributes
from mmsupervisor.machine.events import Hex
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.memory_types import MemoryDescriptor
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import UnblockRegion

if TYPE_CHECKING:
    from mmsupervisor.core.supervisor import Supervisor

_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class UnblockParameters:
    """An unblock request with its very bytes: "identical" compares padding too (docs/reference/unblock.md §5).

    Attributes:
        raw: The 56 bytes of :class:`UnblockRegion`.
        region: What they say.
    """

    raw: bytes
    region: UnblockRegion

    SIZE: ClassVar[int] = UnblockRegion.SIZE

    @classmethod
    def parse(cls, raw: bytes) -> UnblockParameters:
        """Read the 56 bytes."""
        return cls(raw, UnblockRegion.parse(Reader(raw, "unblock parameters")))

    @classmethod
    def make(cls, start: int, pages: int, identifier: Guid, *, memory_type: int = 0, attribute: int = 0) -> Self:
        """Build a request from its fields."""
        region = UnblockRegion(MemoryDescriptor(memory_type, start, 0, pages, attribute), identifier)
        return cls(region.pack(), region)

    @property
    def start(self) -> int:
        """First address."""
        return self.region.memory.physical_start

    @property
    def pages(self) -> int:
        """Number of 4 KiB pages."""
        return self.region.memory.number_of_pages

    @property
    def attribute(self) -> int:
        """Attribute as asked for; only EFI_MEMORY_SP counts."""
        return self.region.memory.attribute

    @property
    def type(self) -> int:
        """Memory type as given; compared, never judged."""
        return self.region.memory.type

    @property
    def identifier(self) -> Guid:
        """Who asked."""
        return self.region.identifier

    @property
    def descriptor(self) -> bytes:
        """The 40 bytes of the memory descriptor."""
        return self.raw[: MemoryDescriptor.SIZE]

    @property
    def size(self) -> int:
        """Bytes, wrapped to 64 bits as the reference computes them."""
        return (self.pages << 12) & _MAX

    @property
    def end(self) -> int:
        """Address after the last one, wrapped to 64 bits as the reference computes it."""
        return (self.start + self.size) & _MAX

    @property
    def supervisor(self) -> bool:
        """Whether the pages become the supervisor's."""
        return bool(self.attribute & Attribute.SP)


class UnblockedList:
    """All open regions in the order in which they were opened.

    Attributes:
        regions: The regions. They never merge.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        """Begin with none."""
        self._supervisor = supervisor
        self.regions: list[UnblockParameters] = []

    def request(self, wanted: UnblockParameters) -> str:
        """Open a region by all rules, in the reference's order.

        Returns:
            What was done, in words.

        Raises:
            CoreError: with the status of the first rule that is broken.
        """
        supervisor = self._supervisor
        if supervisor.lifecycle.ready_to_lock:
            raise CoreError(Status.ACCESS_DENIED, "the supervisor is locked: unblocking ends with ready to lock")
        if wanted.identifier.is_zero:
            raise CoreError(Status.INVALID_PARAMETER, "the identifier of the requester is all zero")
        if supervisor.mmram.contains(wanted.start, wanted.size):
            raise CoreError(Status.SECURITY_VIOLATION, f"{wanted.start:#x} lies in MMRAM")
        try:
            return self._open_where_free(wanted)
        except CoreError as error:
            supervisor.failed_assert("unblock.md §5 rule 11", error.detail, subject="unblocked memory")
            raise

    def _open_where_free(self, wanted: UnblockParameters) -> str:
        """Apply the rules whose failure is an ASSERT too, and open the region."""
        supervisor = self._supervisor
        if self._compare(wanted) is not None:
            return "already open, identical"
        attributes = range_attributes(supervisor.memory, wanted.start, wanted.size)
        if attributes & Attribute.RO or not attributes & Attribute.RP:
            raise CoreError(Status.SECURITY_VIOLATION, f"pages from {wanted.start:#x} are present already")
        if wanted.start & 0xFFF:
            # The reference has no rule here and reaches an ASSERT in its page-table code (unblock.md §5).
            supervisor.reference_bug("unblock.md surprise 2", f"start {wanted.start:#x} is not page aligned")
            raise CoreError(Status.SECURITY_VIOLATION, f"start {wanted.start:#x} is not page aligned")
        self._open(wanted)
        return "opened"

    def _compare(self, wanted: UnblockParameters) -> UnblockParameters | None:
        """Walk the list; the first entry that is hit decides."""
        for entry in self.regions:
            if wanted.start == entry.start and wanted.end == entry.end:
                if wanted.descriptor == entry.descriptor:
                    self._note_same(wanted, entry)
                    return entry
                self._note_clash(wanted, entry)
                raise CoreError(
                    Status.SECURITY_VIOLATION,
                    f"{wanted.start:#x} is open already with another descriptor (type {entry.type}, "
                    f"attribute {entry.attribute:#x}), asked for by {entry.identifier.label}",
                )
            if entry.start <= wanted.start < entry.end or entry.start < wanted.end <= entry.end:
                raise CoreError(
                    Status.SECURITY_VIOLATION,
                    f"{wanted.start:#x} + {wanted.size:#x} overlaps the region at {entry.start:#x}, "
                    f"asked for by {entry.identifier.label}",
                )
        return None

    def _note_same(self, wanted: UnblockParameters, entry: UnblockParameters) -> None:
        if wanted.identifier != entry.identifier:
            detail = f"{wanted.start:#x}: the list goes on to show {entry.identifier.label} only"
            self._supervisor.reference_bug("unblock.md surprise 6", detail)

    def _note_clash(self, wanted: UnblockParameters, entry: UnblockParameters) -> None:
        if wanted.supervisor == entry.supervisor:
            detail = f"{wanted.start:#x}: the same region, but bytes of the descriptor differ that mean nothing"
            self._supervisor.reference_bug("unblock.md surprise 1", detail)

    def _open(self, wanted: UnblockParameters) -> None:
        supervisor = self._supervisor
        attributes = Attribute.XP | (Attribute.SP if wanted.supervisor else Attribute.NONE)
        memory = supervisor.memory
        memory.clear_attributes(wanted.start, wanted.size, Attribute.RP | Attribute.RO | Attribute.SP)
        memory.set_attributes(wanted.start, wanted.size, attributes)
        memory.set_use(wanted.start, wanted.size, f"unblocked for {wanted.identifier.label}")
        self.regions.append(wanted)
        owner = "supervisor" if wanted.supervisor else "user"
        supervisor.log.emit(MemoryUnblocked(Hex(wanted.start), Hex(wanted.size), owner, wanted.identifier.label))

    def block(self, start: int, pages: int) -> None:
        """Close a region again (docs/reference/unblock.md §5.1).

        Raises:
            CoreError: NOT_FOUND if no entry has that start and that number of pages.
        """
        for entry in self.regions:
            if entry.start == start and entry.pages == pages:
                self._supervisor.memory.set_attributes(start, entry.size, Attribute.RP)
                self._supervisor.memory.set_use(start, entry.size, "blocked again")
                self.regions.remove(entry)
                return
        raise CoreError(Status.NOT_FOUND, f"no open region has {pages} pages at {start:#x}")

    def holds(self, address: int, length: int) -> bool:
        """Whether a range lies in one open region (docs/reference/memory.md §8.3, last part)."""
        if not self._supervisor.lifecycle.initialised:
            return True
        if length == 0 or _MAX - length + 1 < length:
            return False
        return any(entry.start <= address and address + length <= entry.end for entry in self.regions)

    def is_outside_and_open(self, address: int, length: int) -> bool:
        """Whether a range is wholly outside MMRAM and in one open region (docs/reference/memory.md §8.3)."""
        limit = self._supervisor.memory.pages.limit - 1
        if length > limit or address > limit or (length and address + length - 1 > limit):
            return False
        if self._supervisor.mmram.touches(address, max(length, 1)):
            return False
        return self.holds(address, length)
