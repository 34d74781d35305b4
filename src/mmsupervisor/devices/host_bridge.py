"""The host bridge of Q35, at bus 0, device 0, function 0 (Intel's 3 Series chipset data sheet §5).

=======  =====  ==============================================================================================
offset   bytes  register
=======  =====  ==============================================================================================
00       4      vendor 8086h, device 29C0h
08       4      revision, class 060000h (host bridge)
2C       4      subsystem 1AF4:1100, as QEMU has it
50       2      QEMU's EXT_TSEG_MBYTES: size of TSEG in MiB, where ESMRAMC says 3
60       8      PCIEXBAR: base of ECAM, size 256 MiB, enabled; zero without ECAM
90 .. 96 1 each PAM: where reads and writes of C0000h to FFFFFh go; latches
9D       1      SMRAM: 1Ah (locked, enabled, at A0000h)
9E       1      ESMRAMC: 39h, and in bits 2:1 the size of TSEG (0: 1, 1: 2, 2: 8 MiB, 3: see 50h)
A0       2      TOM: end of memory, units of 64 MiB
A2       2      TOUUD: end of memory above 4 GiB, units of 1 MiB
AC       4      TSEGMB: base of TSEG, bits 31:20
B0       2      TOLUD: end of memory below 4 GiB, in bits 15:4, units of 1 MiB
=======  =====  ==============================================================================================

SMRAM, ESMRAMC, EXT_TSEG_MBYTES and TSEGMB are as MM code finds them: closed and locked. Writes to them have no
effect, as D_LCK wants it.
"""

from __future__ import annotations

from mmsupervisor.devices.pci import PciFunction

ADDRESS = (0, 0, 0)
"""Bus, device, function."""

DEVICE_ID = 0x29C0

_VENDOR = 0x8086
_MIB = 1 << 20
_GIB_4 = 1 << 32
_LOCKED = 0x1A
_ENABLED = 0x39
_SIZE_BITS = {1: 0, 2: 1, 8: 2}
_EXTENDED = 3
_PAM = range(0x90, 0x97)


def host_bridge(*, mmram_base: int, mmram_size: int, memory_top: int, above_4g: int, ecam: int) -> PciFunction:
    """Build the bridge of a machine.

    Args:
        mmram_base: First address of TSEG.
        mmram_size: Its bytes.
        memory_top: End of memory below 4 GiB.
        above_4g: Bytes of memory from 4 GiB on.
        ecam: Base of ECAM, 0 for none.
    """
    megabytes = mmram_size // _MIB
    last = _GIB_4 + above_4g if above_4g else memory_top
    registers = {
        0x00: (4, DEVICE_ID << 16 | _VENDOR),
        0x08: (4, 0x0600_0000),
        0x2C: (4, 0x1100_1AF4),
        0x50: (2, megabytes),
        0x60: (8, ecam | 1 if ecam else 0),
        0x9D: (1, _LOCKED),
        0x9E: (1, _ENABLED | _SIZE_BITS.get(megabytes, _EXTENDED) << 1),
        0xA0: (2, last // (64 * _MIB) & 0x3FF),
        0xA2: (2, last // _MIB & 0xFFFF),
        0xAC: (4, mmram_base & 0xFFF0_0000),
        0xB0: (2, memory_top // _MIB << 4 & 0xFFFF),
    }
    return PciFunction(registers, dict.fromkeys(_PAM, (1, 0x33)))
