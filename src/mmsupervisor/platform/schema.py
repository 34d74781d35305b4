"""Every key of a platform file, declared once: validation, the default file and docs/platform.md are made from it."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.machine.routing import PORTS
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.pi.memory_types import MemoryType
from mmsupervisor.pi.pcd_database import DatumType
from mmsupervisor.platform.description import MIB
from mmsupervisor.platform.kinds import Choice, Date, File, Flag, GuidValue, Kind, ListOf, Number, PcdData, Text

ADDRESS_BITS = 48
"""Widest physical address that a platform may have."""

_END = 1 << ADDRESS_BITS
_GIB_4 = 1 << 32
_PAGE = Number(most=_END - PAGE_SIZE, multiple=PAGE_SIZE, is_hex=True, unit="address")
_PAGES = Number(least=PAGE_SIZE, most=_END, multiple=PAGE_SIZE, is_hex=True, unit="bytes")
_REGISTER = Number(is_hex=True, unit="value")
_BITS = Number(most=0xFFFF_FFFF, is_hex=True, unit="bits")
_COMM_PAGES = Number(least=1, most=0x1000, unit="pages")

RANGE_TYPES = {"mmio": 1, "firmware-device": 3, "reserved": 5}
"""Names of the resource types that a range may have."""

MAT_TYPES = {
    "runtime-code": int(MemoryType.RUNTIME_SERVICES_CODE),
    "runtime-data": int(MemoryType.RUNTIME_SERVICES_DATA),
    "conventional": int(MemoryType.CONVENTIONAL),
}
"""Names of the memory types that an entry of the memory attributes table may have."""


def _port(count: int) -> Number:
    return Number(most=PORTS - count, is_hex=True, unit="port, 0 for none")


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        name: Its name.
        kind: What its value is.
        meaning: What it means, one sentence without a full stop.
        is_needed: Whether it must be there; else its absence means the default.
        default_text: What an absent key means, where the default file cannot show it.
    """

    name: str
    kind: Kind
    meaning: str
    is_needed: bool = False
    default_text: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One table.

    Attributes:
        name: Its name, with dots.
        meaning: What it describes.
        keys: Its keys.
        is_array: Whether there may be several (``[[name]]``). Written once, they replace all defaults.
        entries: For a table whose keys are numbers: the kind of its values. Written, it replaces the default table.
    """

    name: str
    meaning: str
    keys: tuple[Key, ...] = ()
    is_array: bool = False
    entries: Kind | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """The parts of the name."""
        return tuple(self.name.split("."))


ENTRY_NUMBER = Number(most=0xFFFF_FFFF, is_hex=True, unit="MSR")
"""Keys of a table whose keys are numbers."""

SECTIONS: tuple[Section, ...] = (
    Section(
        "platform",
        "The platform as a whole.",
        (
            Key("name", Text(), "Its name in reports"),
            Key("profile", Choice(tuple(PROFILES)), "Which generation of the reference it runs, as it was built"),
            Key("until", Choice(tuple(phase.value for phase in Phase)), "How far a boot goes"),
            Key("budget", Number(least=1, unit="instructions"), "What one entry into ring 3 may take"),
        ),
    ),
    Section(
        "processor",
        "The CPUs.",
        (
            Key("vendor", Choice(tuple(vendor.value for vendor in Vendor)), "Whose save-state layout and CPUID"),
            Key("cpus", Number(least=1, most=64), "How many there are; the first is the BSP"),
            Key("address_bits", Number(least=32, most=ADDRESS_BITS, unit="bits"), "Width of a physical address"),
        ),
    ),
    Section("processor.msrs", "MSRs that exist, and their value at reset. Others are a #GP.", entries=_REGISTER),
    Section(
        "memory",
        "Normal memory.",
        (
            Key(
                "low",
                Number(least=2 * PAGE_SIZE, most=MIB, multiple=PAGE_SIZE, is_hex=True, unit="bytes"),
                "From address 0 to the VGA hole; what follows 1 MiB is memory again",
            ),
            Key(
                "top",
                Number(least=128 * MIB, most=_GIB_4, multiple=PAGE_SIZE, is_hex=True, unit="address"),
                "End of memory below 4 GiB",
            ),
            Key(
                "above_4g",
                Number(most=_END - _GIB_4, multiple=PAGE_SIZE, is_hex=True, unit="bytes"),
                "Memory from 4 GiB on; 0 for none",
            ),
        ),
    ),
    Section(
        "mmram",
        "MMRAM (TSEG): it ends where memory below 4 GiB ends.",
        (Key("size", Number(least=PAGE_SIZE, most=_GIB_4, multiple=PAGE_SIZE, is_hex=True, unit="bytes"), "Its size"),),
    ),
    Section(
        "mmram.more",
        "A further range of MMRAM, within memory.",
        (Key("start", _PAGE, "First address", is_needed=True), Key("size", _PAGES, "Its size", is_needed=True)),
        is_array=True,
    ),
    Section(
        "range",
        "A range that PEI reports by a resource descriptor HOB. MMIO and firmware devices are open to user drivers "
        "in MM. Where no device of the platform answers, reads give all ones.",
        (
            Key("name", Text(), "What it is", is_needed=True),
            Key("start", _PAGE, "First address", is_needed=True),
            Key("size", _PAGES, "Its size", is_needed=True),
            Key("type", Choice(tuple(RANGE_TYPES)), "Its resource type", default_text='"mmio"'),
        ),
        is_array=True,
    ),
    Section(
        "protected",
        "IOMMU registers that ring 3 may read and not write (gMmProtectedRegionHobGuid).",
        (Key("start", _PAGE, "First address", is_needed=True), Key("size", _PAGES, "Their size", is_needed=True)),
        is_array=True,
    ),
    Section(
        "protection",
        "Heap guards in MM (gMmMemoryProtectionSettingsGuid).",
        (
            Key("enabled", Flag(), "Whether the HOB is there; without it nothing below matters"),
            Key("null_pointer_detection", Flag(), "Whether page 0 is checked"),
            Key("page_guard", Flag(), "Whether pages have guards"),
            Key("pool_guard", Flag(), "Whether pool has guards"),
            Key("guard_at_head", Flag(), "Whether a pool's guard is in front of it"),
            Key("page_types", _BITS, "Bit n: pages of EFI memory type n are guarded"),
            Key("pool_types", _BITS, "Bit n: pools of EFI memory type n are guarded"),
        ),
    ),
    Section(
        "communication",
        "Comm buffers.",
        (
            Key("supervisor_pages", _COMM_PAGES, "Size of the supervisor's", default_text="the profile's"),
            Key("user_pages", _COMM_PAGES, "Size of the user's", default_text="the profile's"),
            Key("moves", Flag(), "Whether DXE moves them (PcdPeiMemoryBinsEnable is off)"),
        ),
    ),
    Section(
        "image",
        "What the boot takes from the firmware image, and what other firmware leaves out.",
        (
            Key(
                "visible_volumes",
                ListOf(Text('where `mmsup info` says the volume is, such as "LZMA@0x90 0xe0090"')),
                "Volumes that have a HOB at the launch; an empty list is all that PEI would report",
            ),
            Key("withheld", ListOf(GuidValue()), "PPIs and protocols that are never installed on this platform"),
        ),
    ),
    Section(
        "pcd",
        "The value of a PCD, for drivers that still ask for it. Supervised drivers have no PCD service.",
        (
            Key("token", Number(most=0xFFFF_FFFF, is_hex=True), "Its token number", is_needed=True),
            Key("space", GuidValue(), "Its token space", default_text="a token number of the build's own database"),
            Key("type", Choice(tuple(kind.value for kind in DatumType)), "What the value is", is_needed=True),
            Key("value", PcdData(), "The value", is_needed=True),
        ),
        is_array=True,
    ),
    Section(
        "devices",
        "Devices of the platform (docs/devices.md). APM (0xB2), CMOS (0x70) and PCI configuration (0xCF8) are "
        "always there.",
        (
            Key("debug_port", _port(1), "QEMU's debug console"),
            Key("serial_port", _port(8), "First of the serial port's eight ports"),
            Key(
                "pm_base",
                Number(most=PORTS - 0x80, multiple=0x80, is_hex=True, unit="port, 0 for none"),
                "First of the 128 power-management ports (PMBASE)",
            ),
            Key(
                "pm_timer_ticks",
                Number(least=1, most=0x7F_FFFF, unit="ticks of 279 ns"),
                "How far the timer goes on with each reading",
            ),
            Key(
                "ecam",
                Number(most=_GIB_4 - (1 << 28), multiple=1 << 28, is_hex=True, unit="address, 0 for none"),
                "PCI configuration space as memory (PCIEXBAR)",
            ),
            Key(
                "root_complex",
                Number(most=_GIB_4 - 0x4000, multiple=0x4000, is_hex=True, unit="address, 0 for none"),
                "What the LPC bridge tells as RCBA",
            ),
            Key("date", Date(), "What the real-time clock says, always"),
            Key("files", ListOf(File()), "Python files with devices of one's own: code that runs on this computer"),
        ),
    ),
    Section(
        "flash",
        "Parallel flash that ends at 4 GiB. Without a writable part or `code` there is none, with two exceptions. An "
        "image of up to 16 MiB that begins with a variable store is the whole flash, that store its writable part. "
        "Below an image of OVMF's code comes the store beside it (`OVMF_VARS_4M.fd` for `OVMF_CODE_4M.fd`), else an "
        "empty one.",
        (
            Key(
                "code", File(), "Its write-protected part", default_text="the booted image, if there is a writable part"
            ),
            Key(
                "variables",
                File(),
                "Its writable part, below the other; the file changes only when asked. Of a file with a whole flash "
                "only the store in front is taken",
                default_text="none",
            ),
            Key(
                "erased",
                Number(most=16 * MIB, multiple=PAGE_SIZE, is_hex=True, unit="bytes"),
                "Size of a writable part that begins erased and is kept nowhere, where `variables` is not there",
            ),
        ),
    ),
    Section(
        "security",
        "Facts for measuring the policy level (docs/reference/levels.md): `mmsup policy level --boot` judges by them "
        "what a boot mapped. They change nothing of the boot itself.",
        (
            Key("iommu_table", Flag(), "Whether there is a DMAR (Intel) or IVRS (AMD) table"),
            Key("iommu_registers", ListOf(_PAGE), "Register pages in that table"),
            Key("txt_heap_start", _PAGE, "Intel TXT's heap"),
            Key("txt_heap_size", Number(most=_END, multiple=PAGE_SIZE, is_hex=True, unit="bytes"), "0 for none"),
            Key("txt_dpr_start", _PAGE, "Intel TXT's DMA-protected range"),
            Key("txt_dpr_size", Number(most=_END, multiple=PAGE_SIZE, is_hex=True, unit="bytes"), "0 for none"),
            Key("memory_attributes_table", Flag(), "Whether UEFI publishes a memory attributes table"),
        ),
    ),
    Section(
        "security.memory_attributes",
        "An entry of the memory attributes table: runtime memory of UEFI and its attributes.",
        (
            Key("start", _PAGE, "First address", is_needed=True),
            Key("size", _PAGES, "Its size", is_needed=True),
            Key("type", Choice(tuple(MAT_TYPES)), "Its EFI memory type", is_needed=True),
            Key("execute_protected", Flag(), "Whether EFI_MEMORY_XP is set", is_needed=True),
        ),
        is_array=True,
    ),
)
"""All tables, in the order of the default file."""
