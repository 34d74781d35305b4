"""What the launchers need of the world they run in. The platform provides it; the core is one of these too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.hob import GuidHob, HobRecord
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.status import Status


@dataclass(frozen=True, slots=True)
class CoreImage:
    """The core as the launcher finds it in a volume.

    Attributes:
        size: SizeOfImage in bytes.
        alignment: SectionAlignment in bytes.
        version: Subsystem version, major in the upper 16 bits; what a version request answers.
        patch_level: Image version, major in the upper 16 bits.
    """

    size: int
    alignment: int
    version: int
    patch_level: int


class MmAccess(Protocol):
    """The MM Access PPI or protocol (PI 1.8 vol. 4 §3)."""

    def capabilities(self) -> tuple[MmramDescriptor, ...]:
        """Return all MMRAM ranges."""

    def open(self, index: int) -> Status:
        """Make a range visible."""

    def close(self, index: int) -> Status:
        """Hide a range."""

    def lock(self, index: int) -> Status:
        """Hide a range until reset."""


class HobStore(Protocol):
    """The HOB list of PEI, in memory."""

    @property
    def address(self) -> int:
        """Address of the list."""

    def guid_hobs(self, name: Guid) -> Iterator[GuidHob]:
        """Iterate over the GUID HOBs of a name, in order."""

    def append(self, record: HobRecord) -> None:
        """Put a HOB at the end."""

    def replace(self, old: HobRecord, new: HobRecord) -> None:
        """Write another record in the place of one."""

    def forget(self, name: Guid) -> None:
        """Zero the name of the first GUID HOB of that name: it is no longer found."""


class CoreEntry(Protocol):
    """The core's entry point."""

    def __call__(self, hob_list: int) -> Status:
        """Run it on a HOB list and return its status."""


class MmiTrigger(Protocol):
    """MM Control: raises a software MMI."""

    def __call__(self, source: str) -> Status:
        """Raise one; ``source`` names the sender in traces. Returns what Trigger returns."""


class SmmAccess2(Protocol):
    """The SMM Access 2 protocol of DXE: the launcher makes one call for all ranges."""

    def capabilities(self) -> tuple[MmramDescriptor, ...]:
        """Return all MMRAM ranges."""

    def open(self) -> Status:
        """Make all ranges visible."""

    def close(self) -> Status:
        """Hide all ranges."""

    def lock(self) -> Status:
        """Hide all ranges until reset."""


class MemorySpace(Protocol):
    """The memory-space services of gDS (PI 1.8 vol. 2 §7.2). Attributes are bits of MemoryAttribute."""

    def capabilities(self, address: int) -> int:
        """Return what the descriptor at an address can do."""

    def set_capabilities(self, start: int, size: int, capabilities: int) -> Status:
        """Set what a range can do."""

    def attributes(self, address: int) -> int:
        """Return the attributes of the descriptor at an address."""

    def set_attributes(self, start: int, size: int, attributes: int) -> Status:
        """Set the attributes of a range."""


class PageAllocator(Protocol):
    """Pages of normal memory."""

    def allocate(self, pages: int, memory_type: int, owner: str) -> int:
        """Allocate pages and return their address."""

    def free(self, start: int) -> None:
        """Give an allocation back."""


class BootEvent(Protocol):
    """An event of UEFI; its creator may close it."""


class BootServices(Protocol):
    """Protocols and events of UEFI. Notifications of one event group run newest first, as in the DXE core."""

    def has(self, protocol: Guid) -> bool:
        """Whether a protocol is in the database."""

    def install(self, *protocols: Guid) -> None:
        """Install protocols on one handle in one call; notifications run after all are there."""

    def notify_on_protocol(self, protocol: Guid, function: Callable[[], None]) -> BootEvent:
        """Call ``function`` at every later installation of a protocol, and once now."""

    def create_event(self, group: Guid, function: Callable[[], None]) -> BootEvent:
        """Call ``function`` whenever an event group is signalled."""

    def close_event(self, event: BootEvent) -> None:
        """Call it no more."""


class AddressSpace(Protocol):
    """Where pointers of DXE code lead, before and after SetVirtualAddressMap."""

    def convert_pointer(self, address: int) -> int | None:
        """Return the virtual address of a physical one, or None where the memory is not runtime memory."""

    def physical(self, pointer: int) -> int:
        """Return where a pointer leads now."""


class ReferenceBugs(Protocol):
    """Takes note of bugs of the reference that are reproduced."""

    def __call__(self, source: str, detail: str) -> None:
        """Note one; ``source`` is its place in the fact sheets."""
