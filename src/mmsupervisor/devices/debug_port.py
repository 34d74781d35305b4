"""The debug console of QEMU's machines: port 0x402 by convention.

A read gives 0xE9, by which firmware knows that it is there; a written byte is printed. Source: QEMU's
``isa-debugcon`` device, and the use that OVMF's debug library makes of it.
"""

from __future__ import annotations

from mmsupervisor.devices.console import Console
from mmsupervisor.devices.state import State

PORT = 0x402
"""Where it is found by convention."""

PRESENT = 0xE9
"""What a read gives."""


class DebugPort:
    """One port that prints."""

    def __init__(self, console: Console, source: str = "debug port") -> None:
        """Print on a console under a name."""
        self._console = console
        self._source = source

    def port_read(self, offset: int, width: int) -> int:
        """Return 0xE9."""
        del offset, width
        return PRESENT

    def port_write(self, offset: int, width: int, value: int) -> None:
        """Print the low byte."""
        del offset, width
        self._console.put(self._source, value & 0xFF)

    def state(self) -> State:
        """There is none."""
        return {}

    def restore(self, state: State) -> None:
        """There is none."""
