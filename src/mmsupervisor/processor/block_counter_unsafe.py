"""Counting what runs, without a call into Python for each block.

Unicorn counts instructions itself, but loops then take four to eleven times as long. Where the host allows it, the
count is a hook on blocks that is a few bytes of machine code instead; it charges a block by its length.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys

BYTES_PER_INSTRUCTION = 4
"""A block is charged one instruction for this many bytes."""

_UNLIMITED = 1 << 62

_CODE_X64_SYSV = bytes.fromhex(
    "89d2"  # mov edx, edx          the block's length in bytes
    "482911"  # sub [rcx], rdx      rcx: user data
    "7801"  # js stop
    "c3"  # ret
    "ff6108"  # stop: jmp [rcx+8]   uc_emu_stop(rdi)
)


class BlockCounter:
    """A budget that a block hook uses up.

    Attributes:
        callback: Address of the hook function, or 0 where the host does not allow one; Unicorn then counts.
        address: The hook's user data: what is left in bytes, then the address of ``uc_emu_stop``.
    """

    def __init__(self, stop_function: int) -> None:
        """Make the hook; ``stop_function`` ends the emulation."""
        self.callback = 0
        self._left = (ctypes.c_int64 * 2)(_UNLIMITED, stop_function)
        self.address = ctypes.addressof(self._left)
        self._limit = 0
        if platform.machine() in ("x86_64", "AMD64") and sys.platform != "win32" and struct.calcsize("P") == 8:
            self._make_callback()

    def _make_callback(self) -> None:
        try:
            self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        except OSError:  # the host forbids memory that is writable and executable
            return
        self._page[: len(_CODE_X64_SYSV)] = _CODE_X64_SYSV
        self.callback = ctypes.addressof(ctypes.c_char.from_buffer(self._page))

    @property
    def instruction_limit(self) -> int:
        """What Unicorn is to count to in one run; 0 where the hook counts."""
        return self._limit

    def set(self, instructions: int) -> None:
        """Allow a number of instructions from now on; 0 for no bound."""
        self._left[0] = instructions * BYTES_PER_INSTRUCTION if instructions else _UNLIMITED
        if not self.callback:
            self._limit = instructions

    def left(self) -> int:
        """Return how many instructions may still run."""
        return max(0, self._left[0] // BYTES_PER_INSTRUCTION)

    def spent(self) -> bool:
        """Return whether nothing is left."""
        return self._left[0] < 0
