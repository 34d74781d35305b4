"""What levels 10, 20 and 30 ask for, as data (``docs/reference/levels.md`` §2 to §5)."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

LEVELS = (0, 10, 20, 30)
MOST = 30
"""The highest level, which documents also call Level 3 Secured-core."""


class Vendor(Enum):
    """Whose lists apply. The reference takes every vendor but AMD for Intel."""

    AMD = "amd"
    INTEL = "intel"


class PortTarget(NamedTuple):
    """A port that ring 3 must not write.

    Attributes:
        port: Its number.
        width: Bytes of the access that the reference looks for.
        name: Its name in the PCI specification.
    """

    port: int
    width: int
    name: str


class MsrTarget(NamedTuple):
    """An MSR that ring 3 must neither read nor write.

    Attributes:
        msr: Its address.
        level: The level that asks for it.
        name: Its name in the reference's list.
    """

    msr: int
    level: int
    name: str


PORT_TARGETS = (PortTarget(0xCF8, 4, "CONFIG_ADDRESS"), PortTarget(0xCFC, 4, "CONFIG_DATA"))
"""Level 20; level 30 asks for nothing more."""

_INTEL = (
    MsrTarget(0xE4, 20, "IA32_PMG_IO_CAPTURE_BASE"),
    MsrTarget(0x600, 20, "IA32_MSR_DS_AREA"),
    MsrTarget(0x652, 20, "PKG_HDC_CONFIG"),
    MsrTarget(0x653, 20, "PKG_HDC_RESIDENCY"),
    MsrTarget(0x655, 20, "PKG_HDC_SHALLOW_RESIDENCY"),
    MsrTarget(0x656, 20, "PKG_HDC_DEEP_RESIDENCY"),
    MsrTarget(0x658, 20, "WEIGHTED_CORE_CO"),
    *(
        MsrTarget(0x700 + 0x10 * box + offset, 20, f"UNC_CBO_{box}_PERF_{name}")
        for box in range(4)
        for offset, name in ((0, "EVT_SEL0"), (1, "EVT_SEL1"), (6, "CTR0"), (7, "CTR1"))
    ),
    MsrTarget(0x570, 30, "IA32_RTIT_CTL"),
)

_AMD = (
    MsrTarget(0x1D9, 20, "DBG_CTL_MSR"),
    MsrTarget(0xC000_0080, 20, "EFER"),
    MsrTarget(0xC001_0010, 20, "SYS_CFG"),
    MsrTarget(0xC000_0081, 20, "STAR"),
    MsrTarget(0xC000_0082, 20, "STAR64"),
    MsrTarget(0xC000_0083, 20, "STARCOMPAT"),
    MsrTarget(0xC000_0084, 20, "SYSCALL_FLAG_MASK"),
    MsrTarget(0xC001_0111, 20, "SMM_BASE"),
    MsrTarget(0xDA0, 20, "XSS"),
    MsrTarget(0x6A0, 20, "U_CET"),
    MsrTarget(0x6A2, 20, "S_CET"),
    *(MsrTarget(0x6A4 + ring, 20, f"PL{ring}Ssp") for ring in range(4)),
    MsrTarget(0x6A8, 20, "IstSspAddr"),
    MsrTarget(0xC001_1010, 30, "BT_CTL"),
    MsrTarget(0xC001_1024, 30, "DBG_CTL_MSR2"),
    MsrTarget(0xC001_1018, 30, "EXCP_BP_CTL"),
)

MSR_TARGETS = {Vendor.AMD: _AMD, Vendor.INTEL: _INTEL}
"""In the order in which the reference tests them."""


def vendors_of(name: str) -> tuple[Vendor, ...]:
    """The vendor of that name; all of them for an empty name."""
    return (Vendor(name),) if name else tuple(Vendor)
