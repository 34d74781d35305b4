"""A serial port that is always ready and prints what it is given: the registers of a 16550.

Source: National Semiconductor's PC16550D data sheet, §8. Nothing is ever received, nothing raises an interrupt.

======  =======================================  ============================================================
offset  read                                     write
======  =======================================  ============================================================
0       receiver buffer: 0; DLAB: divisor, low   transmitter: prints; DLAB: divisor, low
1       interrupt enable; DLAB: divisor, high    the same
2       interrupt identification: none pending   FIFO control
3       line control; bit 7 is DLAB              the same
4       modem control                            the same
5       line status: 60h, transmitter empty      -
6       modem status: B0h, other side is ready   -
7       scratch                                  the same
======  =======================================  ============================================================
"""

from __future__ import annotations

from mmsupervisor.devices.console import Console
from mmsupervisor.devices.state import State

PORT = 0x3F8
"""First port of COM1."""

PORTS = 8
"""Number of registers."""

_DATA, _INTERRUPT_ENABLE, _IDENTIFICATION, _LINE_CONTROL, _MODEM_CONTROL, _LINE_STATUS, _MODEM_STATUS = range(7)
_DIVISOR_LATCH = 0x80
_FIFO_ENABLE = 0x01
_NONE_PENDING, _FIFOS_ENABLED = 0x01, 0xC0
_TRANSMITTER_EMPTY = 0x60
_OTHER_SIDE_READY = 0xB0
_LOOPBACK = 0x10


class SerialPort:
    """A 16550 whose other side is the console."""

    def __init__(self, console: Console, source: str = "serial port") -> None:
        """Print on a console under a name."""
        self._console = console
        self._source = source
        self._registers = bytearray(PORTS)
        self._divisor = bytearray((1, 0))

    def port_read(self, offset: int, width: int) -> int:
        """Read registers; a wider access reads those that follow."""
        return int.from_bytes((self._read(offset + index) for index in range(width)), "little")

    def _read(self, register: int) -> int:
        if register in (_DATA, _INTERRUPT_ENABLE) and self._latch:
            return self._divisor[register]
        if register == _DATA:
            return 0
        if register == _IDENTIFICATION:
            return _NONE_PENDING | (_FIFOS_ENABLED if self._registers[_IDENTIFICATION] & _FIFO_ENABLE else 0)
        if register == _LINE_STATUS:
            return _TRANSMITTER_EMPTY
        if register == _MODEM_STATUS:
            return _OTHER_SIDE_READY
        return self._registers[register]

    def port_write(self, offset: int, width: int, value: int) -> None:
        """Write registers; a wider access writes those that follow."""
        for index, byte in enumerate(value.to_bytes(width, "little")):
            self._write(offset + index, byte)

    def _write(self, register: int, value: int) -> None:
        if register in (_DATA, _INTERRUPT_ENABLE) and self._latch:
            self._divisor[register] = value
        elif register == _DATA:
            if not self._registers[_MODEM_CONTROL] & _LOOPBACK:
                self._console.put(self._source, value)
        else:
            self._registers[register] = value

    @property
    def _latch(self) -> bool:
        return bool(self._registers[_LINE_CONTROL] & _DIVISOR_LATCH)

    def state(self) -> State:
        """Return the registers."""
        return {"registers": bytes(self._registers), "divisor": bytes(self._divisor)}

    def restore(self, state: State) -> None:
        """Go back to saved registers."""
        self._registers[:], self._divisor[:] = state["registers"], state["divisor"]
