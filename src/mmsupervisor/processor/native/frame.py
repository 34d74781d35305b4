"""The registers of ring 3 as the kernel leaves them in the stub's signal frame, and takes them from there again."""

from __future__ import annotations

import struct

from mmsupervisor.processor.instructions import MASK64
from mmsupervisor.processor.interface import Registers
from mmsupervisor.processor.native.layout import (
    FLAGS,
    FPSTATE,
    FRAME_WORDS,
    FRAMES,
    FRAMES_SIZE,
    R8,
    RIP,
    RSP,
    SEGMENTS,
    SIGNAL_MASK,
    USER_SEGMENTS,
    XSTATE_BITMAP,
)

_GENERAL = struct.Struct("<18Q")
_FIXED_SIZE = R8 * 8
"""Bytes in front of the registers: flags of the frame, and the alternate stack."""

_ORDER = (
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
    *("rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip"),
)
_FIRST = R8 * 8
_INITIAL_CONTROL_WORD, _INITIAL_MXCSR = 0x37F, 0x1F80
_MXCSR_AT, _XMM_AT = 24, 160
_SSE = 2

INTERRUPT_FLAG, RESUME_FLAG = 0x200, 0x1_0000

_HOST_FLAGS = INTERRUPT_FLAG | RESUME_FLAG
"""Set by the host; an MMI runs with interrupts off, and the resume flag is no state of the code's."""

LASTING_FLAGS = 0x20_4000
"""NT and ID: what the return from a signal leaves as it is, whatever the frame says."""


class Frame:
    """A view of the stub's signal frame.

    Attributes:
        words: The frame from its ``ucontext`` on, as 64-bit words; indexes are in ``layout``.
        flags_left: The flags that the processor has, if the frame was replaced since the last report; else None.
    """

    def __init__(self, frames: memoryview, offset: int) -> None:
        """Look at the frame that lies at ``offset``; it must be the first one, with a fresh x87 and SSE state."""
        self._area = frames
        self._bytes = frames[offset:]
        self.words = self._bytes[: FRAME_WORDS * 8].cast("Q")
        self._state_address = self.words[FPSTATE]
        self._state = self._state_address - FRAMES - offset
        self._fixed = bytes(self._bytes[:_FIXED_SIZE])
        self._make_initial_state()
        self._fresh = bytes(self._bytes)
        self.flags_left: int | None = None

    @classmethod
    def of_nobody(cls) -> Frame:
        """Return the frame of a stub that there is not yet."""
        nothing = bytearray(FRAMES_SIZE)
        struct.pack_into("<Q", nothing, FPSTATE * 8, FRAMES + FRAME_WORDS * 8)
        return cls(memoryview(nothing), 0)

    def _make_initial_state(self) -> None:
        state = self._state
        struct.pack_into("<H", self._bytes, state, _INITIAL_CONTROL_WORD)
        struct.pack_into("<I", self._bytes, state + _MXCSR_AT, _INITIAL_MXCSR)
        struct.pack_into("<Q", self._bytes, state + XSTATE_BITMAP, 0)  # no component differs from its initial state

    @property
    def is_sound(self) -> bool:
        """Whether what the kernel alone decides is as it was, and the code was in 64-bit mode."""
        words = self.words
        return (
            words[SEGMENTS] == USER_SEGMENTS
            and words[SIGNAL_MASK] == 0
            and words[FPSTATE] == self._state_address
            and self._bytes[:_FIXED_SIZE] == self._fixed
        )

    def begin(self, rip: int, rsp: int, rax: int, r15: int, arguments: tuple[int, int, int, int]) -> None:
        """Become the frame of a fresh entry."""
        self._note_flags()
        self._bytes[:] = self._fresh
        rcx, rdx, r8, r9 = arguments
        flags = 2 | INTERRUPT_FLAG
        _GENERAL.pack_into(self._bytes, _FIRST, r8, r9, 0, 0, 0, 0, 0, r15, 0, 0, 0, 0, rdx, rax, rcx, rsp, rip, flags)

    def registers(self) -> Registers:
        """Return the general registers."""
        r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags = _GENERAL.unpack_from(
            self._bytes, _FIRST
        )
        flags &= ~_HOST_FLAGS
        return Registers(rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rip, flags)

    def load(self, registers: Registers) -> None:
        """Set the general registers."""
        self._note_flags()
        values = [getattr(registers, name) & MASK64 for name in _ORDER]
        flags = registers.rflags & ~RESUME_FLAG | INTERRUPT_FLAG | 2
        _GENERAL.pack_into(self._bytes, _FIRST, *values, flags & MASK64)

    def save(self) -> bytes:
        """Return everything, the x87 and SSE state included."""
        return bytes(self._bytes)

    def restore(self, saved: bytes) -> None:
        """Become what :meth:`save` returned."""
        self._note_flags()
        self._bytes[:] = saved

    @property
    def flags(self) -> int:
        """The flags register as ring 3 is to see it."""
        return int(self.words[FLAGS]) & ~_HOST_FLAGS

    def _note_flags(self) -> None:
        if self.flags_left is None:
            self.flags_left = self.words[FLAGS]

    def lasting_flags_differ(self) -> bool:
        """Return whether ring 3 would go on with others than the frame's; asked once before it goes on."""
        left, self.flags_left = self.flags_left, None
        return left is not None and bool((left ^ self.words[FLAGS]) & LASTING_FLAGS)

    def detour(self, rip: int) -> None:
        """Have ring 3 go elsewhere for a moment, with those flags alone on the stack; :meth:`restore` ends it."""
        struct.pack_into("<Q", self._area, 0, self.words[FLAGS] & LASTING_FLAGS)
        self.words[RIP], self.words[RSP], self.words[FLAGS] = rip, FRAMES, 2 | INTERRUPT_FLAG

    # SSE registers

    def _bitmap(self) -> int:
        return int.from_bytes(self._bytes[self._state + XSTATE_BITMAP : self._state + XSTATE_BITMAP + 8], "little")

    def read_vector(self, index: int) -> int:
        """Return the 128 bits of XMM register ``index``."""
        if not self._bitmap() & _SSE:
            return 0
        at = self._state + _XMM_AT + 16 * index
        return int.from_bytes(self._bytes[at : at + 16], "little")

    def write_vector(self, index: int, value: int) -> None:
        """Set the 128 bits of XMM register ``index``."""
        bitmap = self._bitmap()
        first = self._state + _XMM_AT
        if not bitmap & _SSE:
            self._bytes[first : first + 256] = bytes(256)
            struct.pack_into("<Q", self._bytes, self._state + XSTATE_BITMAP, bitmap | _SSE)
        self._bytes[first + 16 * index : first + 16 * index + 16] = value.to_bytes(16, "little")

    def detach(self) -> None:
        """Let go of the stub's memory; the registers can still be read."""
        kept = memoryview(bytearray(self._bytes))
        self.words.release()
        self._bytes.release()
        self._bytes = kept
        self.words = kept[: FRAME_WORDS * 8].cast("Q")
