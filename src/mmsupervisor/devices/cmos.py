"""CMOS memory and the real-time clock: ports 0x70 to 0x73.

Sources: Motorola's MC146818A data sheet for 00h to 0Dh, Intel's ICH9 data sheet §13.6 for the second bank, QEMU's
conventions for sizes of memory.

==========  =====================================================================================================
port        meaning
==========  =====================================================================================================
70h         index into the first 128 bytes; bit 7 masks NMI and is not part of it. Reads give all ones
71h         the byte there
72h, 73h    index and byte of the second 128; the index can be read back
==========  =====================================================================================================

==========  =====================================================================================================
byte        meaning
==========  =====================================================================================================
00 .. 09    seconds, their alarm, minutes, alarm, hours, alarm, day of week (1 is Sunday), day, month, year: BCD
0A .. 0D    registers A (26h: time base on, no update under way), B (02h: 24 hours, BCD), C (no interrupt), D (valid)
15, 16      base memory, KiB
17, 18      memory above 1 MiB, KiB, at most FFFFh; again at 30, 31
32          century, BCD
34, 35      memory between 16 MiB and 4 GiB, units of 64 KiB
5B .. 5D    memory above 4 GiB, units of 64 KiB
==========  =====================================================================================================

The clock stands still at the date of the platform description: host time never reaches firmware. What is written is
kept, the time included; C and D cannot be written.
"""

from __future__ import annotations

from datetime import datetime

from mmsupervisor.devices.state import State

PORT = 0x70
"""First of its ports."""

PORTS = 4
"""Index and data, twice."""

_BANK = 0x80
_KIB = 1 << 10
_MIB = 1 << 20
_UNIT = 64 * _KIB
_READ_ONLY = (0x0C, 0x0D)


def _bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


class Cmos:
    """256 bytes behind two index registers.

    Attributes:
        content: The bytes.
    """

    def __init__(self, date: datetime, *, base_memory: int, memory_top: int, above_4g: int) -> None:
        """Fill the bytes.

        Args:
            date: What the clock says.
            base_memory: Bytes of memory from address 0, below the VGA hole.
            memory_top: End of memory below 4 GiB.
            above_4g: Bytes of memory from 4 GiB on.
        """
        self.content = bytearray(2 * _BANK)
        self._index = [0, 0]
        clock = (date.second, 0, date.minute, 0, date.hour, 0, date.isoweekday() % 7 + 1)
        days = (date.day, date.month, date.year % 100)
        self.content[0:10] = bytes(_bcd(value) for value in (*clock, *days))
        self.content[0x0A:0x0E] = bytes((0x26, 0x02, 0x00, 0x80))
        self.content[0x32] = _bcd(date.year // 100)
        extended = max(min((memory_top - _MIB) // _KIB, 0xFFFF), 0)
        self._put(0x15, 2, min(base_memory // _KIB, 640))
        self._put(0x17, 2, extended)
        self._put(0x30, 2, extended)
        self._put(0x34, 2, max(memory_top - 16 * _MIB, 0) // _UNIT)
        self._put(0x5B, 3, above_4g // _UNIT)

    def _put(self, start: int, size: int, value: int) -> None:
        self.content[start : start + size] = value.to_bytes(size, "little")

    def port_read(self, offset: int, width: int) -> int:
        """Read registers; a wider access reads those that follow."""
        return int.from_bytes((self._read(offset + index) for index in range(width)), "little")

    def _read(self, port: int) -> int:
        if port == 0:
            return 0xFF
        if port == 2:
            return self._index[1]
        return self.content[self._place(port)]

    def _place(self, port: int) -> int:
        bank = port >> 1
        return bank * _BANK + self._index[bank]

    def port_write(self, offset: int, width: int, value: int) -> None:
        """Write registers; a wider access writes those that follow."""
        for index, byte in enumerate(value.to_bytes(width, "little")):
            port = offset + index
            if not port & 1:
                self._index[port >> 1] = byte & 0x7F
            elif self._place(port) not in _READ_ONLY:
                self.content[self._place(port)] = byte

    def state(self) -> State:
        """Return bytes and indices."""
        return {"content": bytes(self.content), "index": list(self._index)}

    def restore(self, state: State) -> None:
        """Go back to saved bytes and indices."""
        self.content[:], self._index = state["content"], list(state["index"])
