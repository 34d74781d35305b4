"""The power-management registers of ICH9: 128 ports from PMBASE on (Intel's ICH9 data sheet §13.8).

======  ======  =============================================================================================
offset  bytes   register
======  ======  =============================================================================================
00      2       PM1_STS: a written 1 clears
02      2       PM1_EN
04      4       PM1_CNT: SCI_EN (bit 0) is set, as ACPI_ENABLE leaves it
08      4       PM_TMR: 24 bits at 3.579545 MHz, read only
20      16      GPE0: 8 bytes of status (a written 1 clears), 8 of enables
30      4       SMI_EN: GBL_SMI_EN (bit 0) and APMC_EN (bit 5) are set; bit 0 stays, as SMI_LOCK holds it
34      4       SMI_STS: APM_STS (bit 5) is set while a software MMI is served; a written 1 clears
======  ======  =============================================================================================

Other registers are latches. The timer advances by being read: a delay loop ends after the same number of reads in
every run. A write that would put the machine to sleep is kept and has no effect.
"""

from __future__ import annotations

from mmsupervisor.devices.state import State

PORTS = 0x80
"""Ports from PMBASE on."""

TIMER = 0x08
"""Offset of the timer."""

TIMER_MASK = 0xFF_FFFF
"""Bits of the timer."""

_PM1_CONTROL, _SMI_ENABLE, _SMI_STATUS = 0x04, 0x30, 0x34
_SCI_ENABLED, _GLOBAL_SMI, _APM_SMI = 0x01, 0x01, 0x20
_CLEARED_BY_ONES = frozenset((*range(2), *range(0x20, 0x28), *range(_SMI_STATUS, _SMI_STATUS + 4)))


class AcpiPm:
    """The registers."""

    def __init__(self, ticks_per_read: int) -> None:
        """Begin as an operating system finds them.

        Args:
            ticks_per_read: How much later each reading of the timer is than the one before.
        """
        self._step = ticks_per_read
        self._ticks = 0
        self._registers = bytearray(PORTS)
        self._registers[_PM1_CONTROL] = _SCI_ENABLED
        self._registers[_SMI_ENABLE] = _GLOBAL_SMI | _APM_SMI

    def software_mmi(self) -> None:
        """Latch that a write to the APM port raised an MMI."""
        self._registers[_SMI_STATUS] |= _APM_SMI

    def port_read(self, offset: int, width: int) -> int:
        """Read registers. The timer advances once for each access that touches it."""
        if TIMER - width < offset < TIMER + 4:
            self._ticks = self._ticks + self._step & TIMER_MASK
            self._registers[TIMER : TIMER + 4] = self._ticks.to_bytes(4, "little")
        return int.from_bytes(self._registers[offset : offset + width], "little")

    def port_write(self, offset: int, width: int, value: int) -> None:
        """Write registers; of status registers, clear the bits that are ones."""
        for register, byte in enumerate(value.to_bytes(width, "little"), start=offset):
            if register in _CLEARED_BY_ONES:
                self._registers[register] &= ~byte & 0xFF
            elif not TIMER <= register < TIMER + 4:
                kept = self._registers[register] & _GLOBAL_SMI if register == _SMI_ENABLE else 0
                self._registers[register] = byte | kept

    def state(self) -> State:
        """Return registers and time."""
        return {"registers": bytes(self._registers), "ticks": self._ticks}

    def restore(self, state: State) -> None:
        """Go back to saved registers and time."""
        self._registers[:], self._ticks = state["registers"], state["ticks"]
