"""The LPC bridge of ICH9, at bus 0, device 31, function 0 (Intel's ICH9 data sheet §13.1).

=======  =====  ==============================================================================================
offset   bytes  register
=======  =====  ==============================================================================================
00       4      vendor 8086h, device 2918h
08       4      revision 2, class 060100h (ISA bridge)
0E       1      header type 80h: more functions may follow
2C       4      subsystem 1AF4:1100, as QEMU has it
40       4      PMBASE: first port of the power-management registers, bit 0 set
44       1      ACPI_CNTL: 80h, the registers are decoded
60, 68   4      PIRQ routes: 80h each, not routed; writable
A0       2      GEN_PMCON_1: SMI_LOCK (bit 4) is set
F0       4      RCBA: base of the root complex registers, bit 0 set; zero without them
=======  =====  ==============================================================================================

PMBASE, ACPI_CNTL, GEN_PMCON_1 and RCBA are as firmware leaves them before MM locks; writes have no effect.
"""

from __future__ import annotations

from mmsupervisor.devices.pci import PciFunction

ADDRESS = (0, 31, 0)
"""Bus, device, function."""

DEVICE_ID = 0x2918

_VENDOR = 0x8086
_ACPI_ENABLED = 0x80
_SMI_LOCK = 0x10
_NOT_ROUTED = 0x8080_8080
_ROUTES = (0x60, 0x68)


def lpc_bridge(*, pm_base: int, root_complex: int) -> PciFunction:
    """Build the bridge of a machine.

    Args:
        pm_base: First port of the power-management registers.
        root_complex: Base of the root complex registers, 0 for none.
    """
    registers = {
        0x00: (4, DEVICE_ID << 16 | _VENDOR),
        0x08: (4, 0x0601_0002),
        0x0E: (1, 0x80),
        0x2C: (4, 0x1100_1AF4),
        0x40: (4, pm_base | 1),
        0x44: (1, _ACPI_ENABLED),
        0xA0: (2, _SMI_LOCK),
        0xF0: (4, root_complex | 1 if root_complex else 0),
        **dict.fromkeys(_ROUTES, (4, _NOT_ROUTED)),
    }
    return PciFunction(registers, dict.fromkeys(_ROUTES, (4, 0x8F8F_8F8F)))
