"""PCI configuration space, by ports and by memory.

Sources: PCI Local Bus 3.0 §3.2.2.3.2 (ports CF8h and CFCh), PCI Express Base 3.0 §7.2.2 (ECAM), Intel's ICH9 data
sheet §13.7.5 (CF9h).

========  =====================================================================================================
port      meaning
========  =====================================================================================================
CF8       four bytes: enable (bit 31), bus (23:16), device (15:11), function (10:8), register (7:2)
CF9       one byte: reset control; kept, told to :attr:`PciConfigurationPorts.on_reset` if bit 2 rises
CFC       one to four bytes: the register; all ones while bit 31 of CF8 is clear or nobody is there
========  =====================================================================================================

ECAM: 4 KiB a function; address bits 27:20 bus, 19:15 device, 14:12 function, 11:0 register.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mmsupervisor.devices.state import State

PORT = 0xCF8
"""First of the ports."""

PORTS = 8
"""CF8h to CFFh."""

ECAM_SIZE = 1 << 28
"""Bytes of ECAM for 256 buses."""

FUNCTION_SIZE = 0x1000
"""Bytes of configuration space of a function."""

RESET_CONTROL = 0xCF9

_ENABLE = 0x8000_0000
_RESET_OFFSET, _DATA_OFFSET = 1, 4
_RESET_CPU = 0x04

BusAddress = tuple[int, int, int]
"""Bus, device, function."""


class PciFunction:
    """Configuration space of one function: bytes with a mask of those bits that software may write.

    Attributes:
        content: The bytes; reset values at first.
    """

    def __init__(self, registers: Mapping[int, tuple[int, int]], writable: Mapping[int, tuple[int, int]]) -> None:
        """Fill the space; everything else is zero and read-only.

        Args:
            registers: (bytes, value) by offset.
            writable: (bytes, mask of writable bits) by offset.
        """
        self.content = bytearray(FUNCTION_SIZE)
        self._mask = bytearray(FUNCTION_SIZE)
        for offset, (size, value) in registers.items():
            self.content[offset : offset + size] = value.to_bytes(size, "little")
        for offset, (size, mask) in writable.items():
            self._mask[offset : offset + size] = mask.to_bytes(size, "little")

    def read(self, register: int, width: int) -> int:
        """Read up to eight bytes; beyond the space they are all ones."""
        found = self.content[register : register + width].ljust(width, b"\xff")
        return int.from_bytes(found, "little")

    def write(self, register: int, width: int, value: int) -> None:
        """Write up to eight bytes: the bits that can be written."""
        for place, byte in enumerate(value.to_bytes(width, "little"), start=register):
            if place < FUNCTION_SIZE:
                mask = self._mask[place]
                self.content[place] = self.content[place] & ~mask | byte & mask

    def state(self) -> State:
        """Return the bytes."""
        return {"content": bytes(self.content)}

    def restore(self, state: State) -> None:
        """Go back to saved bytes."""
        self.content[:] = state["content"]


class PciBus:
    """All functions of the machine.

    Attributes:
        functions: By bus, device and function.
    """

    def __init__(self, functions: Mapping[BusAddress, PciFunction]) -> None:
        """Keep the functions."""
        self.functions = dict(functions)

    def read(self, where: BusAddress, register: int, width: int) -> int:
        """Read a register; all ones where nobody is."""
        function = self.functions.get(where)
        return (1 << 8 * width) - 1 if function is None else function.read(register, width)

    def write(self, where: BusAddress, register: int, width: int, value: int) -> None:
        """Write a register; nothing happens where nobody is."""
        function = self.functions.get(where)
        if function is not None:
            function.write(register, width, value)


class PciConfigurationPorts:
    """CF8h to CFFh.

    Attributes:
        reset_control: What was last written to CF9h.
        on_reset: Called with it when it asks for a reset.
    """

    def __init__(self, bus: PciBus, on_reset: Callable[[int], None] | None = None) -> None:
        """Give access to a bus."""
        self._bus = bus
        self._address = 0
        self.reset_control = 0
        self.on_reset = on_reset

    def port_read(self, offset: int, width: int) -> int:
        """Read the address, reset control or data."""
        if offset >= _DATA_OFFSET:
            if not self._address & _ENABLE:
                return (1 << 8 * width) - 1
            return self._bus.read(*self._target(offset), width)
        if offset == 0 and width == 4:
            return self._address
        if offset == _RESET_OFFSET and width == 1:
            return self.reset_control
        return (1 << 8 * width) - 1

    def port_write(self, offset: int, width: int, value: int) -> None:
        """Write the address (four bytes only), reset control (one byte only) or data."""
        if offset >= _DATA_OFFSET:
            if self._address & _ENABLE:
                self._bus.write(*self._target(offset), width, value)
        elif offset == 0 and width == 4:
            self._address = value & ~3 & 0x80FF_FFFF
        elif offset == _RESET_OFFSET and width == 1:
            rises = value & ~self.reset_control & _RESET_CPU
            self.reset_control = value & 0xFF
            if rises and self.on_reset is not None:
                self.on_reset(self.reset_control)

    def _target(self, offset: int) -> tuple[BusAddress, int]:
        address = self._address
        where = (address >> 16 & 0xFF, address >> 11 & 0x1F, address >> 8 & 7)
        return where, (address & 0xFC) + offset - _DATA_OFFSET

    def state(self) -> State:
        """Return the latches."""
        return {"address": self._address, "reset_control": self.reset_control}

    def restore(self, state: State) -> None:
        """Go back to saved latches."""
        self._address, self.reset_control = state["address"], state["reset_control"]


class Ecam:
    """Configuration space as 256 MiB of memory-mapped I/O."""

    def __init__(self, bus: PciBus) -> None:
        """Give access to a bus."""
        self._bus = bus

    def mmio_read(self, offset: int, width: int) -> int:
        """Read a register."""
        return self._bus.read(_place(offset), offset & FUNCTION_SIZE - 1, width)

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        """Write a register."""
        self._bus.write(_place(offset), offset & FUNCTION_SIZE - 1, width, value)


def _place(offset: int) -> BusAddress:
    return offset >> 20, offset >> 15 & 0x1F, offset >> 12 & 7
