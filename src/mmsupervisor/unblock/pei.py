"""MmUnblockMemoryRequest in PEI: a HOB, judged at the core's entry (docs/reference/unblock.md §2.1)."""

from __future__ import annotations

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.memory_types import MemoryDescriptor
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import UnblockRegion
from mmsupervisor.unblock.interfaces import HobBuilder

_HOB_GUID = known_guid("gMmSupvUnblockRegionHobGuid")


def request_in_pei(
    hobs: HobBuilder, start: int, pages: int, requester: Guid, *, core_is_up: bool
) -> tuple[Status, str]:
    """Ask for memory in PEI. Neither address, alignment, pages nor memory type is looked at.

    Args:
        hobs: The HOB list.
        start: First address.
        pages: Number of pages.
        requester: File GUID of the calling module.
        core_is_up: Whether the supervisor's communication PPI is installed.

    Returns:
        The status, and the rule that decided.
    """
    if core_is_up:
        return Status.ACCESS_DENIED, "unblock.md §2.1 rule 1: the core has been loaded; ask earlier in PEI"
    region = UnblockRegion(MemoryDescriptor(0, start, 0, pages, 0), requester)
    try:
        hobs.append(GuidHob(_HOB_GUID, region.pack()))
    except ValueError:
        return Status.OUT_OF_RESOURCES, "unblock.md §2.1 rule 2: the HOB cannot be built"
    return Status.SUCCESS, "unblock.md §2.1 rule 3: a HOB, which the core judges at its entry"
