"""The stub as an executable: a page of code and a table of the system calls that turn a process into it.

The code knows nothing: it executes a table of system calls (first the one of the start, later the orders in the control
page), and turns signals into notifications. What the start does is data, made here.
"""

from __future__ import annotations

import struct

from mmsupervisor.processor.native import filters
from mmsupervisor.processor.native.layout import (
    CLONE,
    CLOSE,
    CLOSE_RANGE,
    CODE,
    CONTROL,
    CONTROL_SIZE,
    FRAMES,
    FRAMES_SIZE,
    MMAP,
    MPROTECT,
    MUNMAP,
    PAGE,
    PRCTL,
    PRLIMIT64,
    RT_SIGACTION,
    RT_SIGPROCMASK,
    RT_SIGRETURN,
    SECCOMP,
    SENDMSG,
    SETITIMER,
    SIGALTSTACK,
    STUB,
    STUB_END,
    TABLE,
    USER_END,
)

SOURCE = (
    # Registers: rbx next entry, ebp entries left, r12 0 in the first thread (later ring 3), 1 in the second.
    ("48bb0010000000600000", "mov rbx, TABLE"),
    ("8b2b", "mov ebp, [rbx]"),
    ("4883c340", "add rbx, 64"),
    ("4531e4", "xor r12d, r12d"),
    # next:
    ("85ed", "test ebp, ebp"),
    ("7437", "je done"),
    ("488b03", "mov rax, [rbx]"),
    ("488b7b08", "mov rdi, [rbx + 8]"),
    ("488b7310", "mov rsi, [rbx + 16]"),
    ("488b5318", "mov rdx, [rbx + 24]"),
    ("4c8b5320", "mov r10, [rbx + 32]"),
    ("4c8b4328", "mov r8, [rbx + 40]"),
    ("4c8b4b30", "mov r9, [rbx + 48]"),
    ("0f05", "syscall"),
    # order_done:
    ("483d01f0ffff", "cmp rax, -4095"),
    ("7316", "jae failed"),
    ("837b3800", "cmp dword [rbx + 56], 0"),
    ("7404", "je advance"),
    ("85c0", "test eax, eax"),
    ("741a", "je second_thread"),
    # advance:
    ("4883c340", "add rbx, 64"),
    ("ffcd", "dec ebp"),
    ("ebc5", "jmp next"),
    # done:
    ("31ff", "xor edi, edi"),
    ("eb04", "jmp finish"),
    # failed:
    ("89c7", "mov edi, eax"),
    ("f7df", "neg edi"),
    # finish:
    ("4585e4", "test r12d, r12d"),
    ("750d", "jne ask"),
    ("85ff", "test edi, edi"),
    ("7524", "jne leave"),
    ("f4", "hlt"),  # the first signal: makes the kernel write a frame, and the handler report it
    # second_thread:
    ("41bc01000000", "mov r12d, 1"),
    ("31ff", "xor edi, edi"),
    # ask: edi is the error of the last orders, esi how many were not done
    ("89ee", "mov esi, ebp"),
    ("b80100007f", "mov eax, ORDERS_DONE"),
    ("0f05", "syscall"),
    ("85c0", "test eax, eax"),
    ("780e", "js leave"),  # the supervisor is gone
    ("89c5", "mov ebp, eax"),
    ("48bb0000010000600000", "mov rbx, CONTROL"),
    ("eb90", "jmp next"),
    # leave:
    ("b8e7000000", "mov eax, 231"),  # exit_group(edi)
    ("0f05", "syscall"),
    ("f4f4f4f4f4f4", "hlt"),
    # handler: rdi signal, rsi its siginfo, rdx its ucontext
    ("b92b000000", "mov ecx, 0x2b"),
    ("8ee1", "mov fs, cx"),  # a flat segment: the base that ring 3 may have written becomes zero
    ("8ee9", "mov gs, cx"),
    ("4883c408", "add rsp, 8"),
    ("b80f000000", "mov eax, 15"),  # rt_sigreturn, which the filter makes a notification
    ("0f05", "syscall"),
    # returned: not reached unless the supervisor is gone
    ("f4", "hlt"),
    # flags: the supervisor sends ring 3 here for the flags that a return from a signal does not restore
    ("9d", "popfq"),
    ("f4", "hlt"),
)
"""The code and what it says. A test decodes the one and compares it with the other."""

CODE_BYTES = bytes.fromhex("".join(code for code, _ in SOURCE))

ORDER_RETURN = CODE + 0x34
"""Address behind the instruction that executes orders."""

ASK_RETURN = CODE + 0x71
"""Address behind the instruction by which the second thread asks for orders."""

HANDLER = CODE + 0x90
SIGRETURN_RETURN = CODE + 0xA4
"""Address behind the handler's system call."""

FLAGS_ROUTINE = CODE + 0xA5
"""Takes the flags from the stack."""

FLAGS_TAKEN = CODE + 0xA6
"""Where it then stops."""

ORDERS = (MMAP, MPROTECT, MUNMAP, CLOSE, SETITIMER, SENDMSG, CLONE, SECCOMP, CLOSE_RANGE, RT_SIGPROCMASK)
"""System calls that orders may use once the first filter is there."""

CONTROL_DESCRIPTOR, SOCKET_DESCRIPTOR = 3, 4
"""What the process starts with: the shared pages, and a socket to send the filter's descriptor by."""

_LISTENER = 0  # the lowest free descriptor when the filter is installed

_SIGNALS = (4, 5, 7, 8, 11, 14, 26, 31)
"""SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGALRM and SIGVTALRM (the budget may be spent), SIGSYS."""

_ALL = (1 << 64) - 1
_SA_SIGINFO, _SA_RESTORER, _SA_ONSTACK = 4, 0x0400_0000, 0x0800_0000
_SS_AUTODISARM = 1 << 31
_PROT_READ, _PROT_WRITE = 1, 2
_MAP_SHARED, _MAP_FIXED = 1, 0x10
_PR_SET_PDEATHSIG, _PR_SET_TSC, _PR_SET_NO_NEW_PRIVS = 1, 26, 38
_PR_TSC_SIGSEGV = 2
_RLIMIT_CORE = 4
_SIGKILL = 9
_NEW_LISTENER, _WAIT_KILLABLE = 8, 32
_SIG_SETMASK = 2
_CLONE_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000
"""VM, FS, FILES, SIGHAND, THREAD, SYSVSEM."""

_SOL_SOCKET, _SCM_RIGHTS = 1, 1


class _Data:
    """Structures that the system calls of the start point to, behind the table."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self.content = b""

    def put(self, content: bytes) -> int:
        """Add one and return its address."""
        address = TABLE + self._offset + len(self.content)
        self.content += content + bytes(-len(content) % 8)
        return address


_MAX_CALLS = 31
_DATA_OFFSET = 64 * (_MAX_CALLS + 1)


def _filter(data: _Data, program: bytes) -> int:
    at = data.put(program)
    return data.put(struct.pack("<HHIQ", len(program) // filters.INSTRUCTION_SIZE, 0, 0, at))


def _message(data: _Data) -> int:
    """Return a message that carries the listener's descriptor."""
    text = data.put(b"L")
    vector = data.put(struct.pack("<QQ", text, 1))
    control = struct.pack("<QiiiI", 20, _SOL_SOCKET, _SCM_RIGHTS, _LISTENER, 0)
    rights = data.put(control)
    return data.put(struct.pack("<QIIQQQQII", 0, 0, 0, vector, 1, rights, len(control), 0, 0))


def _calls(data: _Data, *, trap_timestamps: bool, wait_killable: bool) -> list[tuple[int, ...]]:
    """Return the system calls of the start, in order."""
    none = data.put(struct.pack("<Q", 0))
    everything = data.put(struct.pack("<Q", _ALL))
    no_core = data.put(struct.pack("<QQ", 0, 0))
    action = data.put(
        struct.pack("<QQQQ", HANDLER, _SA_SIGINFO | _SA_RESTORER | _SA_ONSTACK, SIGRETURN_RETURN - 2, _ALL)
    )
    stack = data.put(struct.pack("<QIIQ", FRAMES, _SS_AUTODISARM, 0, FRAMES_SIZE))
    shared = _MAP_SHARED | _MAP_FIXED
    return [
        (PRCTL, _PR_SET_PDEATHSIG, _SIGKILL),
        (PRCTL, _PR_SET_NO_NEW_PRIVS, 1),
        *([(PRCTL, _PR_SET_TSC, _PR_TSC_SIGSEGV)] if trap_timestamps else []),
        (PRLIMIT64, 0, _RLIMIT_CORE, no_core, 0),
        (MMAP, CONTROL, CONTROL_SIZE, _PROT_READ, shared, CONTROL_DESCRIPTOR, 0),
        (MMAP, FRAMES, FRAMES_SIZE, _PROT_READ | _PROT_WRITE, shared, CONTROL_DESCRIPTOR, CONTROL_SIZE),
        (MUNMAP, 0, STUB),
        (MUNMAP, STUB_END, USER_END - STUB_END),
        *((RT_SIGACTION, number, action, 0, 8) for number in _SIGNALS),
        (SIGALTSTACK, stack, 0),
        (CLOSE_RANGE, 0, CONTROL_DESCRIPTOR, 0),
        (CLOSE_RANGE, SOCKET_DESCRIPTOR + 1, 0xFFFF_FFFF, 0),
        (
            SECCOMP,
            1,
            _NEW_LISTENER | (_WAIT_KILLABLE if wait_killable else 0),
            _filter(data, filters.stub_filter(ORDER_RETURN, ORDERS)),
        ),
        (SENDMSG, SOCKET_DESCRIPTOR, _message(data), 0),
        (CLOSE_RANGE, 0, 0xFFFF_FFFF, 0),
        (RT_SIGPROCMASK, _SIG_SETMASK, everything, 0, 8),
        (CLONE, _CLONE_FLAGS, 0, 0, 0, 0, 0, 1),  # marked: the new thread goes its own way
        (RT_SIGPROCMASK, _SIG_SETMASK, none, 0, 8),
        (SECCOMP, 1, 0, _filter(data, filters.ring3_filter(SIGRETURN_RETURN, RT_SIGRETURN))),
    ]


def order(*call: int) -> bytes:
    """Return one entry of a table of system calls: its number, its arguments, and the mark."""
    return struct.pack("<8Q", *call, *(0 for _ in range(8 - len(call))))


def boot_table(*, trap_timestamps: bool, wait_killable: bool) -> bytes:
    """Return the table of the start: the number of entries, the entries, what they point to.

    Args:
        trap_timestamps: Whether RDTSC and RDTSCP fault. A virtual machine may then pay for each crossing.
        wait_killable: Whether a notification outlives a stop and a freeze of the process (Linux 5.19).
    """
    data = _Data(_DATA_OFFSET)
    calls = _calls(data, trap_timestamps=trap_timestamps, wait_killable=wait_killable)
    if len(calls) > _MAX_CALLS:
        raise ValueError("too many system calls for the table")
    head = struct.pack("<Q", len(calls)).ljust(64, b"\0")
    return (head + b"".join(order(*call) for call in calls)).ljust(_DATA_OFFSET, b"\0") + data.content


def executable(*, trap_timestamps: bool, wait_killable: bool) -> bytes:
    """Return the stub as an ELF file: headers, the page of code, the table (see :func:`boot_table`)."""
    table = boot_table(trap_timestamps=trap_timestamps, wait_killable=wait_killable)
    if len(table) > PAGE:
        raise ValueError("the table of the start is larger than its page")
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, CODE, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    load, stack, read, execute = 1, 0x6474_E551, 4, 1
    segments = (
        struct.pack("<IIQQQQQQ", load, read | execute, PAGE, CODE, CODE, len(CODE_BYTES), len(CODE_BYTES), PAGE)
        + struct.pack("<IIQQQQQQ", load, read, 2 * PAGE, TABLE, TABLE, len(table), len(table), PAGE)
        + struct.pack("<IIQQQQQQ", stack, 6, 0, 0, 0, 0, 0, 16)
    )
    return (header + segments).ljust(PAGE, b"\0") + CODE_BYTES.ljust(PAGE, b"\xf4") + table
