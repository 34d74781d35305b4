"""Counting what runs, without a call into Python for each block.

Unicorn counts instructions itself, but loops then take four to eleven times as long. Where the host allows it, the
count is a hook on blocks that is a few bytes of machine code instead; it charges a block by its length.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys

BYTES_PER_INSTRUCTION = 4
"""A block is charged one instruction for this many bytes."""

RUN_CHARGE = 1000
"""Instructions that a run is charged where Unicorn counts and does not tell how far it came."""

_UNLIMITED = 1 << 62

_CODE_X64_SYSV = bytes.fromhex(
    "48897110"  # mov [rcx+16], rsi  the block's address; rcx: user data
    "89d2"  # mov edx, edx          its length in bytes
    "482911"  # sub [rcx], rdx
    "7801"  # js stop
    "c3"  # ret
    "ff6108"  # stop: jmp [rcx+8]   uc_emu_stop(rdi)
)

EDGES = 1 << 16
"""Bytes of the map of edges."""

_CODE_WITH_EDGES = bytes.fromhex(
    "48897110"  # mov [rcx+16], rsi
    "89d2"  # mov edx, edx
    "482911"  # sub [rcx], rdx
    "7824"  # js stop
    "69c6b179379e"  # imul eax, esi, 0x9e3779b1   the block's place: well mixed bits of its address
    "c1e810"  # shr eax, 16
    "488b5120"  # mov rdx, [rcx+32]   half of the place of the block before
    "31c2"  # xor edx, eax
    "4c8b4118"  # mov r8, [rcx+24]   the map
    "4180041001"  # add byte [r8+rdx], 1
    "4180141000"  # adc byte [r8+rdx], 0   never 0 again
    "d1e8"  # shr eax, 1   so that from A to B is not from B to A
    "48894120"  # mov [rcx+32], rax
    "c3"  # ret
    "ff6108"  # stop: jmp [rcx+8]
)


class BlockCounter:
    """A budget that a block hook uses up.

    Where the host allows no such hook Unicorn counts within each run, and every run is charged a flat number more, so
    that a loop of system calls comes to an end as well.

    Attributes:
        callback: Address of the hook function, or 0 where Unicorn counts.
        left: The hook's user data: what is left in bytes (negative once it is spent), then ``uc_emu_stop``, then the
            address of the last block, the map of edges, and where in it the last block is.
        address: Where that lies.
        run_limit: What Unicorn is to count to in the next run; 0 where the hook counts.
    """

    def __init__(self, stop_function: int) -> None:
        """Make the hook; ``stop_function`` ends the emulation."""
        self.callback = 0
        self.left = (ctypes.c_int64 * 5)(_UNLIMITED, stop_function, 0, 0, 0)
        self.address = ctypes.addressof(self.left)
        self.run_limit = 0
        if platform.machine() in ("x86_64", "AMD64") and sys.platform != "win32":
            self._make_callback()

    def _make_callback(self) -> None:
        try:
            self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        except OSError:  # the host forbids memory that is writable and executable
            return
        self._page[: len(_CODE_X64_SYSV)] = _CODE_X64_SYSV
        self.callback = ctypes.addressof(ctypes.c_char.from_buffer(self._page))

    def cover_edges(self) -> memoryview | None:
        """Count edges from now on; return the map, or None where Unicorn counts."""
        if not self.callback:
            return None
        if not self.left[3]:
            self._edges = (ctypes.c_ubyte * EDGES)()
            self.left[3] = ctypes.addressof(self._edges)
            self._page[: len(_CODE_WITH_EDGES)] = _CODE_WITH_EDGES
        return memoryview(self._edges).cast("B")

    @property
    def last_block(self) -> int | None:
        """Address of the block that ran last, or None where Unicorn counts."""
        return self.left[2] % (1 << 64) if self.callback else None

    def forget_last_block(self) -> None:
        """Let no block have run last, until the next does."""
        self.left[2] = 0

    def set(self, instructions: int) -> None:
        """Allow a number of instructions from now on; 0 for no bound."""
        self.left[0] = instructions * BYTES_PER_INSTRUCTION if instructions else _UNLIMITED
        self.left[4] = 0  # an entry's first block follows none
        if not self.callback:
            self.run_limit = instructions

    def charge_run(self, ended_by_count: bool) -> None:
        """Charge a run that Unicorn counted."""
        if not self.run_limit:
            return
        self.run_limit = max(1, self.run_limit - RUN_CHARGE)
        self.left[0] = -1 if ended_by_count or self.run_limit == 1 else self.run_limit * BYTES_PER_INSTRUCTION

    def save(self) -> tuple[int, int]:
        """Return what is left, for :meth:`restore`."""
        return self.left[0], self.run_limit

    def restore(self, saved: tuple[int, int]) -> None:
        """Go on with what was left."""
        self.left[0], self.run_limit = saved
