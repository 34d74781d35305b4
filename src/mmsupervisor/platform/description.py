"""What a platform is made of: the facts that no firmware image holds.

The defaults describe a machine like QEMU's Q35 (docs/reference/q35-platform.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsupervisor.abi.profile import NEWEST_RELEASE, Profile
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.hob import ResourceType

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """A range that a resource descriptor HOB reports.

    Attributes:
        start: First address.
        size: Bytes.
        type: Its PI resource type.
        name: What it is.
    """

    start: int
    size: int
    type: ResourceType
    name: str


_Q35_MMIO = (
    MemoryRange(0xA0000, 0x60000, ResourceType.MEMORY_MAPPED_IO, "VGA and option ROMs"),
    MemoryRange(0xB000_0000, 256 * MIB, ResourceType.MEMORY_MAPPED_IO, "PCI Express configuration (ECAM)"),
    MemoryRange(0xC000_0000, 0x3C00_0000, ResourceType.MEMORY_MAPPED_IO, "PCI 32-bit window"),
    MemoryRange(0xFEC0_0000, 4 * KIB, ResourceType.MEMORY_MAPPED_IO, "I/O APIC"),
    MemoryRange(0xFED0_0000, 4 * KIB, ResourceType.MEMORY_MAPPED_IO, "HPET"),
    MemoryRange(0xFED1_C000, 16 * KIB, ResourceType.MEMORY_MAPPED_IO, "root complex registers"),
    MemoryRange(0xFEE0_0000, MIB, ResourceType.MEMORY_MAPPED_IO, "local APIC"),
    MemoryRange(0xFFC0_0000, 4 * MIB, ResourceType.MEMORY_MAPPED_IO, "flash"),
)

_Q35_MSRS = {
    0x1B: 0xFEE0_0900, 0x8B: 0, 0xFE: 0x508, 0x1A0: 1, 0x200: 0, 0x2FF: 0xC06, 0x277: 0x0007_0406_0007_0406,
    0xC000_0080: 0xD01, 0xC000_0081: 0, 0xC000_0082: 0, 0xC000_0083: 0, 0xC000_0084: 0, 0xC000_0100: 0,
    0xC000_0101: 0, 0xC000_0102: 0, 0xC001_0010: 0, 0xC001_0111: 0x30000, 0xC001_0112: 0, 0xC001_0113: 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlatformDescription:
    """A platform.

    Attributes:
        name: For reports.
        profile: Which generation of the reference.
        vendor: Whose save-state layout and policy levels.
        cpus: Number of CPUs.
        address_bits: Width of a physical address.
        low_memory: Bytes of memory from address 0, below the VGA hole; MMIO ranges begin there.
        memory_top: End of memory below 4 GiB; MMRAM ends here.
        mmram_size: Bytes of MMRAM, at the top of that memory.
        ranges: MMIO and firmware-device ranges, by address.
        msrs: MSRs that exist, with their value at reset.
        moves_comm_buffers: Whether DXE moves the comm buffers (PcdPeiMemoryBinsEnable off).
        withheld: PPIs and protocols that other firmware installs on such platforms, but not on this one.
        budget: Instructions that one entry into ring 3 may take.
    """

    name: str = "Q35-like default"
    profile: Profile = NEWEST_RELEASE
    vendor: Vendor = Vendor.AMD
    cpus: int = 4
    address_bits: int = 36
    low_memory: int = 0xA0000
    memory_top: int = 0x8000_0000
    mmram_size: int = 32 * MIB
    ranges: tuple[MemoryRange, ...] = _Q35_MMIO
    msrs: dict[int, int] = field(default_factory=lambda: dict(_Q35_MSRS))
    moves_comm_buffers: bool = True
    withheld: frozenset[Guid] = frozenset()
    budget: int = 200_000_000

    @property
    def mmram_base(self) -> int:
        """First address of MMRAM."""
        return self.memory_top - self.mmram_size
