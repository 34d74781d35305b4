"""StandaloneMmUnblockMem: the DXE driver behind MmUnblockMemoryRequest (docs/reference/unblock.md §2.2, §2.3)."""

from __future__ import annotations

from mmsupervisor.abi.requests import Request
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.memory_types import PAGE_SIZE, MemoryAttribute, MemoryDescriptor, MemoryType
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import UnblockRegion
from mmsupervisor.unblock.interfaces import MemoryMap, SupervisorRequests

_RUNTIME = (MemoryType.RUNTIME_SERVICES_CODE, MemoryType.RUNTIME_SERVICES_DATA)
_ALLOWED = (MemoryType.RESERVED, *_RUNTIME, MemoryType.ACPI_NVS)


def check_memory_map(memory_map: MemoryMap, start: int) -> Status:
    """Judge the descriptor that holds an address, as the driver does.

    Only that descriptor is judged: the loop that should go on to the next ones compares pages with bytes
    (docs/reference/developer-considerations.md §10.4).

    Returns:
        SUCCESS, ACCESS_DENIED for a type that does not qualify, NO_MAPPING for an address in no descriptor.
    """
    for descriptor in memory_map.descriptors():
        if descriptor.physical_start <= start < descriptor.physical_start + descriptor.number_of_pages * PAGE_SIZE:
            read_only = descriptor.type in _RUNTIME and descriptor.attribute & MemoryAttribute.RO
            return Status.SUCCESS if descriptor.type in _ALLOWED and not read_only else Status.ACCESS_DENIED
    return Status.NO_MAPPING


class StandaloneMmUnblockMem:
    """The driver, dispatched.

    Attributes:
        ready_to_lock: Its own flag. It waits for an event group that nobody signals, so it stays False
            (docs/reference/unblock.md, surprise 4); the supervisor's own lock does the work.
    """

    def __init__(self, memory_map: MemoryMap) -> None:
        """Begin before the supervisor channel is there."""
        self._memory_map = memory_map
        self.channel: SupervisorRequests | None = None
        self.ready_to_lock = False

    @property
    def protocol_installed(self) -> bool:
        """Whether its protocol is there: as soon as the supervisor channel is (dxe-launch.md §6)."""
        return self.channel is not None

    def request(self, start: int, pages: int, requester: Guid | None) -> tuple[int, str]:
        """Serve the protocol's RequestUnblockPages.

        Returns:
            The status, and the rule that decided.
        """
        if requester is None or start == 0 or start % PAGE_SIZE:
            return Status.INVALID_PARAMETER, "unblock.md §2.3 rule 1: no identifier, address 0 or not page aligned"
        if pages == 0:
            return Status.SUCCESS, "unblock.md §2.3 rule 2: no pages, nothing is sent"
        if self.ready_to_lock:
            return Status.ACCESS_DENIED, "unblock.md §2.3 rule 3: ready to lock"
        if self.channel is None:
            return Status.NOT_READY, "unblock.md §2.3 rule 4: the supervisor channel is not there"
        judged = check_memory_map(self._memory_map, start)
        if judged is not Status.SUCCESS:
            return Status.ACCESS_DENIED, f"unblock.md §2.3 rule 5: the UEFI memory map says {judged.efi_name}"
        descriptor = MemoryDescriptor(MemoryType.RUNTIME_SERVICES_DATA, start, 0, pages, 0)
        parameters = UnblockRegion(descriptor, requester).pack()
        status, _ = self.channel.request(Request.UNBLOCK_MEM, parameters, "StandaloneMmUnblockMem")
        return status, "unblock.md §2.3 rule 8: what the supervisor answered (§5)"


def request_in_dxe(
    driver: StandaloneMmUnblockMem | None, start: int, pages: int, requester: Guid | None
) -> tuple[int, str]:
    """Serve MmUnblockMemoryRequest of the DXE library.

    Args:
        driver: The driver, or None while it is not dispatched.
        start: First address.
        pages: Number of pages.
        requester: File GUID of the calling module.

    Returns:
        The status, and the rule that decided.
    """
    if driver is None or not driver.protocol_installed:
        return Status.NOT_AVAILABLE_YET, "unblock.md §2.2: the unblock protocol is not there yet"
    return driver.request(start, pages, requester)
