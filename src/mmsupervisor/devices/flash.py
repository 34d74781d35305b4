"""Parallel NOR flash with the Intel command set, as QEMU's Q35 has it at the top of 4 GiB.

Sources: Common Flash Interface (JEDEC JESD68.01) for the query table, Intel's P30 data sheet for the commands, the
observable behaviour of QEMU's ``cfi.pflash01`` (width 1, sectors of 4 KiB) for the rest. Every store is a command, or
the data of one:

=========  ====================================  ==============================================================
first      then                                  effect
=========  ====================================  ==============================================================
FF, F0     -                                     array mode: reads give the contents
50         -                                     status becomes 0, array mode
70         -                                     reads give the status
90         -                                     reads give manufacturer (offset 0) and device (offset 1)
98         -                                     reads give the CFI table (offset 10h on)
20         D0                                    erases the sector of the address of D0; reads give the status
10, 40     data                                  programs the bytes of one store; reads give the status
E8         count - 1, that many stores, D0       programs them together; reads give the status
60         01 or D0                              locks or unlocks a block: without effect; reads give the status
other      -                                     array mode
=========  ====================================  ==============================================================

A store of eight bytes is two of four, and one that is not aligned is so many single bytes: that is how the bus of the
machine brings them.

Status: bit 7 ready, bit 5 erase error, bit 4 program error; both errors together are a broken sequence of commands.
Nothing takes time: the flash is ready at once.

Programming replaces bytes, as QEMU does; a real NOR cell can only go from 1 to 0 without an erase. Bytes that would
have needed one are counted in :attr:`CfiFlash.unerased`.
"""

from __future__ import annotations

from mmsupervisor.devices.state import State
from mmsupervisor.machine.memory import Bank, PhysicalMemory

SECTOR = 0x1000
"""Bytes that are erased together."""

BUFFER_STORES = 256
"""Most stores of one buffered program."""

BUS_WIDTH = 4
"""Bytes of the widest store that arrives as one."""

READY = 0x80
ERASE_ERROR = 0x20
PROGRAM_ERROR = 0x10
SEQUENCE_ERROR = ERASE_ERROR | PROGRAM_ERROR

MANUFACTURER, DEVICE = 0x89, 0x18

_ARRAY, _CLEAR_STATUS, _STATUS, _IDENTITY, _QUERY = 0xFF, 0x50, 0x70, 0x90, 0x98
_ERASE, _CONFIRM, _LOCK, _BUFFERED = 0x20, 0xD0, 0x60, 0xE8
_PROGRAM = (0x10, 0x40)
_SET_LOCK = 0x01
_FIRST_OF_SEVERAL = frozenset((*_PROGRAM, _ERASE, _LOCK, _BUFFERED))


class CfiFlash:
    """One flash device in physical memory.

    Attributes:
        bank: Its bank.
        writable: Whether it can be erased and programmed.
        status: Its status register.
        unerased: Bytes programmed with a bit that was 0 and should be 1, without an erase before.
    """

    def __init__(self, memory: PhysicalMemory, base: int, content: bytes, name: str, *, writable: bool) -> None:
        """Put a flash at an address.

        Args:
            memory: The machine's memory.
            base: First address, page aligned.
            content: What is in it; its length is the flash's size, whole sectors.
            name: For reports.
            writable: Whether it can be erased and programmed.

        Raises:
            ValueError: the range is unaligned, empty or taken.
        """
        self.writable = writable
        self.status = READY
        self.unerased = 0
        self._memory = memory
        self._command = _ARRAY
        self._cycle = 0
        self._expected = 0
        self._buffer: list[tuple[int, int, int]] = []
        self.bank: Bank = memory.add_flash(base, len(content), name, self)
        if self.bank.backing is None:
            raise ValueError("a flash bank has memory")
        self._array = self.bank.backing.buffer
        self._array[:] = content

    @property
    def size(self) -> int:
        """Bytes."""
        return self.bank.size

    @property
    def content(self) -> bytes:
        """What is in it, whatever mode it is in."""
        return bytes(self._array)

    # Reads

    def mmio_read(self, offset: int, width: int) -> int:
        """Read what the mode shows; status and identity stand in every byte of a wider access."""
        match self._command:
            case 0xFF:
                return int.from_bytes(self._array[offset : offset + width], "little")
            case 0x90:
                return self._table_read({0: MANUFACTURER, 1: DEVICE}, offset, width)
            case 0x98:
                return self._table_read(_cfi_table(self.size), offset, width)
            case _:
                return int.from_bytes(bytes([self.status]) * width, "little")

    @staticmethod
    def _table_read(table: dict[int, int], offset: int, width: int) -> int:
        return int.from_bytes(bytes(table.get(offset + index & 0xFF, 0) for index in range(width)), "little")

    # Stores

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        """Take a command, or the data of one."""
        if width > 1 and (width > BUS_WIDTH or offset & width - 1):
            step = 1 if offset & width - 1 else BUS_WIDTH
            for at in range(0, width, step):
                self.mmio_write(offset + at, step, value >> 8 * at & (1 << 8 * step) - 1)
        elif self._cycle == 0:
            self._begin(value & 0xFF)
        elif self._command in _PROGRAM:
            self._cycle = 0
            self._program(offset, width, value)
        elif self._command == _BUFFERED:
            self._fill_buffer(offset, width, value)
        else:
            self._confirm(offset, value & 0xFF)

    def _begin(self, command: int) -> None:
        if command in _FIRST_OF_SEVERAL:
            self._cycle = 1
            if command == _BUFFERED:
                self._buffer = []
                self.status |= READY
        elif command == _CLEAR_STATUS:
            self.status = 0
            command = _ARRAY
        elif command not in (_STATUS, _IDENTITY, _QUERY):
            command = _ARRAY
        if command != self._command:
            self._enter(command)

    def _enter(self, command: int) -> None:
        if (command == _ARRAY) != (self._command == _ARRAY):
            self._memory.show_flash(self.bank, array=command == _ARRAY)
        self._command = command

    def _confirm(self, offset: int, value: int) -> None:
        """Take the second store of an erase or a lock."""
        self._cycle = 0
        if value == _CONFIRM and self._command == _ERASE:
            start = offset & ~(SECTOR - 1)
            if self.writable:
                self._array[start : start + SECTOR] = b"\xff" * SECTOR
            else:
                self.status |= ERASE_ERROR
        elif value == _ARRAY:
            self._enter(_ARRAY)
            return
        elif self._command == _ERASE or value not in (_CONFIRM, _SET_LOCK):
            self.status |= SEQUENCE_ERROR
        self.status |= READY

    def _fill_buffer(self, offset: int, width: int, value: int) -> None:
        if self._cycle == 1:
            self._expected = (value & 0xFF) + 1
            self._cycle = 2
        elif self._cycle == 2:
            self._buffer.append((offset, width, value))
            if len(self._buffer) == self._expected:
                self._cycle = 3
        elif value & 0xFF == _CONFIRM:
            self._cycle = 0
            for store in self._buffer:
                self._program(*store)
        else:
            self._cycle = 0
            self.status |= SEQUENCE_ERROR
            self._enter(_ARRAY)

    def _program(self, offset: int, width: int, value: int) -> None:
        self.status |= READY
        if not self.writable:
            self.status |= PROGRAM_ERROR
            return
        for at in range(offset, offset + width):
            byte = value & 0xFF
            if byte & ~self._array[at]:
                self.unerased += 1
            self._array[at] = byte
            value >>= 8

    # Snapshots

    def state(self) -> State:
        """Return the mode and status; the contents are part of physical memory."""
        return {
            "command": self._command,
            "cycle": self._cycle,
            "expected": self._expected,
            "buffer": [list(store) for store in self._buffer],
            "status": self.status,
            "unerased": self.unerased,
        }

    def restore(self, state: State) -> None:
        """Go back to a saved mode; pages change with it."""
        self._enter(state["command"])
        self._cycle, self._expected = state["cycle"], state["expected"]
        self._buffer = [(offset, width, value) for offset, width, value in state["buffer"]]
        self.status, self.unerased = state["status"], state["unerased"]


def _cfi_table(size: int) -> dict[int, int]:
    """The query table of a device of ``size`` bytes: sectors of one size, Intel command set.

    The size is a power of two in CFI; of any other, as QEMU does, its lowest bit is told.
    """
    sectors = size // SECTOR - 1
    head = {
        0x10: b"QRY" + b"\x01\x00" + b"\x31\x00",  # command set 1 (Intel), its own table at 31h
        0x1B: bytes((0x45, 0x55, 0, 0, 0x07, 0x07, 0x0A, 0, 0x04, 0x04, 0x04, 0)),  # voltages, times
        0x27: bytes(((size & -size).bit_length() - 1, 0x02, 0)),  # size as a power of two, x8/x16
        0x2A: bytes((BUFFER_STORES.bit_length() - 1, 0)),
        0x2C: bytes((1,)) + sectors.to_bytes(2, "little") + (SECTOR >> 8).to_bytes(2, "little"),
        0x31: b"PRI10",
    }
    return {start + index: byte for start, block in head.items() for index, byte in enumerate(block)}
