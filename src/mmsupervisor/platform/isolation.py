"""What a platform and its booted core give to the measurement of levels (``docs/reference/levels.md`` §5)."""

from __future__ import annotations

from collections.abc import Iterable

from mmsupervisor.core.entry import Core
from mmsupervisor.core.memory_policy import page_leaves
from mmsupervisor.devices.pci import ECAM_SIZE
from mmsupervisor.machine.save_state import Vendor as Cpu
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.memory_types import PAGE_SIZE, MemoryDescriptor, MemoryType
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.policy.blob import read_blob_as_runtime
from mmsupervisor.policy.level_facts import MatEntry, MemoryFacts, Region
from mmsupervisor.policy.level_tables import Vendor
from mmsupervisor.policy.memory_policy import fetch_policy
from mmsupervisor.policy.model import Policy

_TXT_PRIVATE, _TXT_PUBLIC = 0xFED2_0000, 0xFED3_0000
_FETCH_ROOM = 0x1_0000
"""Bytes that a caller of the fetch request has by default: a comm buffer of 16 pages."""


class NotFetchableError(MmSupervisorError):
    """The policy in force cannot be fetched."""


def level_vendor(description: PlatformDescription) -> Vendor:
    """Whose lists the reference's checker would take on this platform."""
    return Vendor.AMD if description.vendor is Cpu.AMD else Vendor.INTEL


def memory_facts(description: PlatformDescription, memory_map: Iterable[MemoryDescriptor] = ()) -> MemoryFacts:
    """A platform's memory as the measurement of levels sees it.

    Args:
        description: The platform. Unless it says otherwise, its memory attributes table is there and empty: nothing of
            the platform itself is runtime code, and such tables name no conventional memory.
        memory_map: UEFI's memory map of a boot: its free memory will be the operating system's.
    """
    security = description.security
    mat = tuple(
        MatEntry(item.type, Region(item.start, item.size, "memory attributes table"), item.execute_protected)
        for item in security.memory_attributes
    )
    iommu = tuple(Region(base, PAGE_SIZE, "IOMMU registers") for base in security.iommu_registers)
    txt = (
        Region(_TXT_PRIVATE, PAGE_SIZE, "TXT private space"),
        Region(security.txt_heap.start, security.txt_heap.size, "TXT heap"),
        Region(security.txt_dpr.start, security.txt_dpr.size, "TXT DMA-protected range"),
        Region(_TXT_PUBLIC, PAGE_SIZE, "TXT public space"),
    )
    ecam = description.devices.ecam
    return MemoryFacts(
        mat=mat if security.memory_attributes_table else None,
        iommu=iommu if security.iommu_table else None,
        txt=tuple(region for region in txt if region.size),
        ecam=(Region(ecam, ECAM_SIZE, "PCI configuration space (ECAM)"),) if ecam else (),
        conventional=tuple(
            Region(item.physical_start, item.number_of_pages * PAGE_SIZE, "free memory")
            for item in memory_map
            if item.type == MemoryType.CONVENTIONAL
        ),
    )


def fetched_policy(core: Core | None, name: str) -> Policy:
    """The policy in force with its memory entries, as a fetch request would answer (``isolation-policy.md`` §13).

    Args:
        core: The core of a system that is locked.
        name: What messages call the policy.

    Raises:
        NotFetchableError: there is no core, no policy, or it is not locked yet.
        PolicyRequestError: the fetch request would be refused.
    """
    supervisor = core.supervisor if core is not None else None
    if supervisor is None or supervisor.policy_blob is None or supervisor.snapshot is None:
        raise NotFetchableError(f"{name}: there is no locked supervisor with a policy to fetch")
    blob = fetch_policy(
        supervisor.policy_blob, supervisor.snapshot, _FETCH_ROOM, page_leaves(supervisor), supervisor.mmram.contains
    )
    return read_blob_as_runtime(blob, f"{name}, as fetched")  # its offsets are no offsets in the image
