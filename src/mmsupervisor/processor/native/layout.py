"""Where things are in the stub's address space, and in the signal frame that Linux writes on x86-64."""

from __future__ import annotations

PAGE = 0x1000
PAGE_BITS = 12

STUB = 0x6000_0000_0000
"""The stub's own range begins here; the machine's memory must end below."""

CODE = STUB
"""One page that can be read and executed."""

TABLE = STUB + 0x1000
"""System calls of the start, read-only; gone once the stub runs."""

CONTROL = STUB + 0x1_0000
"""System calls that the supervisor orders, read-only in the stub."""

CONTROL_SIZE = 0x1_0000

FRAMES = STUB + 0x3_0000
"""Alternate signal stack: here the kernel leaves the registers of ring 3. Ring 3 can write it."""

FRAMES_SIZE = 0x8000

STUB_END = FRAMES + FRAMES_SIZE

USER_END = 0x7FFF_FFFF_F000
"""End of the addresses that Linux gives to a process with four levels of page tables."""

VSYSCALL = 0xFFFF_FFFF_FF60_0000
"""A page that the kernel gives to every process and that cannot be unmapped."""

ORDER_SIZE = 64
"""Bytes of one ordered system call: number, six arguments, and whether it makes the second thread."""

TIMER_AT = CONTROL_SIZE - ORDER_SIZE
"""Offset in the control area of the time that an ordered timer is set to."""

MAX_ORDERS = TIMER_AT // ORDER_SIZE

ORDERS_DONE = 0x7F00_0001
"""Number of the system call by which the second thread says that it has done its orders, and asks for more."""

# Numbers of Linux' system calls.

CLOSE, MMAP, MPROTECT, MUNMAP, RT_SIGACTION, RT_SIGPROCMASK, RT_SIGRETURN = 3, 9, 10, 11, 13, 14, 15
SETITIMER, SENDMSG, CLONE, SIGALTSTACK, PRCTL, PRLIMIT64, SECCOMP, CLOSE_RANGE = 38, 46, 56, 131, 157, 302, 317, 436

# The signal frame, from its `ucontext` on; 64-bit words.

R8, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, FLAGS, SEGMENTS = 5, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23
ERROR_CODE, VECTOR, CR2, FPSTATE, SIGNAL_MASK = 24, 25, 27, 28, 37
SIGNAL_NUMBER = 38
CALL_ADDRESS, CALL_NUMBER = 40, 41
"""Of the signal that a refused system call raises; the architecture is in the upper half of the number's word."""

FRAME_WORDS = 38 + 16

USER_SEGMENTS = 0x33 | 0x2B << 48
"""CS and SS of a 64-bit process."""

XSTATE_BITMAP = 512
"""Offset of the map of saved components in the extended state."""

AUDIT_ARCH_X86_64 = 0xC000_003E
AUDIT_ARCH_I386 = 0x4000_0003
