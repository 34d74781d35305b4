"""What a platform is made of: the facts that no firmware image holds.

The defaults describe a machine like QEMU's Q35 (docs/reference/q35-platform.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mmsupervisor.abi.profile import NEWEST_RELEASE, Profile
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.hob import ResourceType
from mmsupervisor.pi.pcd_database import DatumType
from mmsupervisor.pi.supervisor_hobs import MemoryProtectionSettings

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

    @property
    def end(self) -> int:
        """Address after the last one."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Some physical addresses.

    Attributes:
        start: First address.
        size: Bytes.
    """

    start: int
    size: int

    @property
    def end(self) -> int:
        """Address after the last one."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class PcdValue:
    """The value of a PCD, for drivers that still ask for it.

    Attributes:
        token: Its number: in the build's database, or in the token space.
        space: The token space, or None for a number of the build's database.
        type: What the value is.
        value: A number, or bytes for ``VOID*``.
    """

    token: int
    space: Guid | None
    type: DatumType
    value: int | bytes


@dataclass(frozen=True, slots=True)
class StoreContent:
    """What the flash's writable part begins with, where no file is named.

    Attributes:
        name: Where it comes from, for reports.
        data: Its bytes.
    """

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The devices of the platform. Address or port 0 means: not there.

    Attributes:
        debug_port: The debug console's port.
        serial_port: First of the serial port's eight.
        pm_base: First of the 128 power-management ports.
        pm_timer_ticks: How far the power-management timer goes on with each reading, in 279 ns.
        ecam: PCI configuration space as memory, 256 MiB.
        root_complex: Root complex registers, as the LPC bridge tells.
        date: What the real-time clock says, always.
        flash_code: File with the flash's write-protected part, which ends at 4 GiB.
        flash_code_start: Where the code begins in the booted image, which is the code if there is no such file.
        flash_variables: File with its writable part, below that.
        flash_variables_size: Bytes of that file, from its start, that are the writable part; 0 for all.
        flash_erased: Bytes of a writable part that begins erased and is kept nowhere, where no file is named.
        flash_content: What such a part begins with instead, where it is not erased.
        files: Python files with devices of the user, which run on the host.
    """

    debug_port: int = 0x402
    serial_port: int = 0x3F8
    pm_base: int = 0x600
    pm_timer_ticks: int = 36
    ecam: int = 0xB000_0000
    root_complex: int = 0xFED1_C000
    date: datetime = datetime(2026, 1, 1)  # noqa: DTZ001  (a wall clock has no zone)
    flash_code: Path | None = None
    flash_code_start: int = 0
    flash_variables: Path | None = None
    flash_variables_size: int = 0
    flash_erased: int = 0
    flash_content: StoreContent | None = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryAttributesEntry:
    """An entry of UEFI's memory attributes table (UEFI 2.10 §4.6.4).

    Attributes:
        start: First address.
        size: Bytes.
        type: EFI memory type.
        execute_protected: Whether EFI_MEMORY_XP is set.
    """

    start: int
    size: int
    type: int
    execute_protected: bool


@dataclass(frozen=True, slots=True)
class SecurityFacts:
    """What the level measurement is told of the platform (docs/reference/levels.md).

    Attributes:
        iommu_table: Whether there is an ACPI table for IOMMUs (DMAR or IVRS, by vendor).
        iommu_registers: Base addresses of IOMMU registers in it, a page each.
        txt_heap: Intel TXT's heap; size 0 is none.
        txt_dpr: Intel TXT's DMA-protected range; size 0 is none.
        memory_attributes_table: Whether UEFI publishes a memory attributes table.
        memory_attributes: Its entries.
    """

    iommu_table: bool = False
    iommu_registers: tuple[int, ...] = ()
    txt_heap: AddressRange = AddressRange(0, 0)
    txt_dpr: AddressRange = AddressRange(0, 0)
    memory_attributes_table: bool = True
    memory_attributes: tuple[MemoryAttributesEntry, ...] = ()


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

_WRITE_BACK = 0x0606_0606_0606_0606
_Q35_MTRRS = {  # as many as MTRRCAP, 0xFE, announces: 8 pairs, and the fixed ones, uncached from 0xA0000 to 1 MiB
    0xFE: 0x508, 0x2FF: 0xC06,
    **dict.fromkeys(range(0x200, 0x210), 0),
    0x250: _WRITE_BACK, 0x258: _WRITE_BACK, 0x259: 0, **dict.fromkeys(range(0x268, 0x270), 0),
}  # fmt: skip
_Q35_MSRS = {
    **_Q35_MTRRS, 0x10: 0, 0x1B: 0xFEE0_0900, 0x8B: 0, 0x1A0: 1, 0x277: 0x0007_0406_0007_0406,
    0xC000_0080: 0xD01, 0xC000_0081: 0, 0xC000_0082: 0, 0xC000_0083: 0, 0xC000_0084: 0, 0xC000_0100: 0,
    0xC000_0101: 0, 0xC000_0102: 0, 0xC000_0103: 0, 0xC001_0010: 0, 0xC001_0111: 0x30000,
    0xC001_0112: 0, 0xC001_0113: 0,
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
        until: How far a boot goes that is not told otherwise.
        low_memory: Bytes of memory from address 0, below the VGA hole; MMIO ranges begin there.
        memory_top: End of memory below 4 GiB; MMRAM ends here.
        above_4g: Bytes of memory from 4 GiB on.
        mmram_size: Bytes of MMRAM, at the top of memory below 4 GiB.
        more_mmram: Further ranges of MMRAM, in the order of the HOB.
        ranges: MMIO and firmware-device ranges, by address.
        msrs: MSRs that exist, with their value at reset.
        moves_comm_buffers: Whether DXE moves the comm buffers (PcdPeiMemoryBinsEnable off).
        withheld: PPIs and protocols that are never installed on this platform, whoever would install them.
        budget: Instructions that one entry into ring 3 may take.
        protected: IOMMU regions that stay readable for ring 3 (gMmProtectedRegionHobGuid).
        protection: Heap guards (gMmMemoryProtectionSettingsGuid), or None for no such HOB.
        visible_volumes: Names of the volumes that have a HOB at the launch; none named: all of the image.
        pcds: PCD values for drivers that still ask for them.
        devices: The devices.
        security: What the level measurement is told.
    """

    name: str = "Q35-like default"
    profile: Profile = NEWEST_RELEASE
    vendor: Vendor = Vendor.AMD
    cpus: int = 4
    address_bits: int = 36
    until: Phase = Phase.READY_TO_BOOT
    low_memory: int = 0xA0000
    memory_top: int = 0x8000_0000
    above_4g: int = 0
    mmram_size: int = 32 * MIB
    more_mmram: tuple[AddressRange, ...] = ()
    ranges: tuple[MemoryRange, ...] = _Q35_MMIO
    msrs: dict[int, int] = field(default_factory=lambda: dict(_Q35_MSRS))
    moves_comm_buffers: bool = True
    withheld: frozenset[Guid] = frozenset()
    budget: int = 200_000_000
    protected: tuple[AddressRange, ...] = ()
    protection: MemoryProtectionSettings | None = None
    visible_volumes: tuple[str, ...] = ()
    pcds: tuple[PcdValue, ...] = ()
    devices: DeviceFacts = field(default_factory=DeviceFacts)
    security: SecurityFacts = field(default_factory=SecurityFacts)

    @property
    def mmram_base(self) -> int:
        """First address of MMRAM."""
        return self.memory_top - self.mmram_size
