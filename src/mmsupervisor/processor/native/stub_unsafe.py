"""The stub as a process: starting it, exchanging notifications with it, ordering system calls, ending it."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import time
import weakref
from collections.abc import Iterator, Sequence

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor.native.host import kernel_release
from mmsupervisor.processor.native.kernel_unsafe import Notifications
from mmsupervisor.processor.native.layout import (
    CONTROL,
    CONTROL_SIZE,
    FRAMES,
    FRAMES_SIZE,
    MAX_ORDERS,
    MUNMAP,
    ORDER_SIZE,
    ORDERS_DONE,
    PAGE,
    RT_SIGRETURN,
    SETITIMER,
    TABLE,
    TIMER_AT,
)
from mmsupervisor.processor.native.stub_image import CONTROL_DESCRIPTOR, SOCKET_DESCRIPTOR, executable, order

_ABOVE_TARGETS = 10
"""Descriptors from here on cannot be hit by the two that the stub is given."""

_MFD_EXEC = 0x10
_WAIT_KILLABLE = (5, 19)
"""First kernel with notifications that only death takes back."""

PATIENCE = 30_000
"""Milliseconds that the stub may take to start, or to do orders: one or two, but for what a busy computer adds."""


class StubError(MmSupervisorError):
    """The host does not let the stub do what it has to."""


class StubDiedError(Exception):
    """The stub is gone, or does not answer any more and was killed."""


class _Process:
    """The stub as the kernel knows it.

    Attributes:
        pid: Its number; 0 if there is none, or none any more.
        descriptor: What refers to it even if its number is somebody else's by now; -1 if there is none.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.descriptor = -1
        self._owner = os.getpid()

    def end(self) -> str:
        """Kill it and return how it ended. What interrupts this can be made good by doing it again."""
        if not self.pid:
            return "it had ended before"
        if os.getpid() != self._owner:
            return "it belongs to the process that this one was forked from"
        with contextlib.suppress(ProcessLookupError):
            if self.descriptor >= 0:
                signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            self.pid = 0
            return "somebody else has reaped it"
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"{os.strerror(code)} (while it prepared itself)" if code else "it left"


class Stub:
    """One stub process, with ring 3 waiting in its signal handler or running. It ends when nobody refers to this.

    Attributes:
        frames: The area of signal frames, writable.
        frame_offset: Where in it the ``ucontext`` lies: always the same.
        traps_timestamps: Whether reading the timestamp counter faults.
    """

    def __init__(self, *, trap_timestamps: bool) -> None:
        """Prepare for :meth:`start`.

        Args:
            trap_timestamps: Whether the processor is to refuse ring 3 its timestamp.
        """
        self._process = _Process()
        self._closing = contextlib.ExitStack()
        weakref.finalize(self, _close, self._process, self._closing).atexit = False  # the kernel sees to that
        self.traps_timestamps = trap_timestamps
        self._asking = 0
        self._ring3 = 0
        self._alarm_at = 0

    @property
    def pid(self) -> int:
        """Its process number; 0 once it has ended."""
        return self._process.pid

    # Starting

    def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            StubError: the host refuses something.
        """
        try:
            self._start()
        except (OSError, StubDiedError) as failure:
            raise StubError(f"native processor: {failure}") from failure

    def _start(self) -> None:
        with contextlib.ExitStack() as temporary:
            program = _memory_file("mm-stub", temporary)
            os.write(
                program,
                executable(trap_timestamps=self.traps_timestamps, wait_killable=kernel_release() >= _WAIT_KILLABLE),
            )
            shared = _memory_file("mm-stub-control", temporary)
            os.ftruncate(shared, CONTROL_SIZE + FRAMES_SIZE)
            self._shared = mmap.mmap(shared, CONTROL_SIZE + FRAMES_SIZE)
            self._closing.callback(_unmap, self._shared)
            self.frames = memoryview(self._shared)[CONTROL_SIZE:]
            self._closing.callback(self.frames.release)
            ours, theirs = socket.socketpair()
            temporary.callback(ours.close)
            with theirs:
                self._spawn(program, shared, theirs.fileno())
            self._receive_listener(ours)
        self._meet_both_threads()
        self.order([(MUNMAP, TABLE, PAGE)])

    def _spawn(self, program: int, shared: int, their_socket: int) -> None:
        handed = fcntl.fcntl(their_socket, fcntl.F_DUPFD_CLOEXEC, _ABOVE_TARGETS)
        try:
            with _signals_held():  # Ctrl-C must not come between a process and its number
                self._process.pid = os.posix_spawn(
                    f"/proc/self/fd/{program}",
                    ["mm-stub"],
                    {},
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, shared, CONTROL_DESCRIPTOR),
                        (os.POSIX_SPAWN_DUP2, handed, SOCKET_DESCRIPTOR),
                    ],
                    setpgroup=0,  # Ctrl-C at the terminal is ours to handle
                    setsigmask=[],
                )
                self._process.descriptor = os.pidfd_open(self.pid)
                self._closing.callback(os.close, self._process.descriptor)
        finally:
            os.close(handed)

    def _receive_listener(self, ours: socket.socket) -> None:
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        descriptors: list[int] = []
        if poll.poll(PATIENCE):
            with _signals_held():  # nor between a descriptor and its owner
                _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
                if descriptors:
                    self._notifications = Notifications(descriptors[0])
                    self._closing.callback(self._notifications.close)
        if not descriptors:
            raise StubDiedError(f"the stub did not start: {self._end()}")
        os.set_inheritable(descriptors[0], False)

    def _meet_both_threads(self) -> None:
        deadline = time.monotonic() + PATIENCE / 1000
        while not (self._asking and self._ring3):
            if not self._notifications.wait(max(int((deadline - time.monotonic()) * 1000), 0)):
                raise StubDiedError(f"the stub did not start: {self._end()}")
            self._take_notification()
        self.frame_offset = self._context_address - FRAMES

    # Exchanging notifications

    def _take_notification(self) -> None:
        """Receive a notification and note whose it is."""
        if self._notifications.receive():
            self._note()

    def _note(self) -> None:
        """Note whose notification was received."""
        notifications = self._notifications
        if notifications.number == RT_SIGRETURN:
            self._ring3 = notifications.identifier
            self._context_address = notifications.argument(2)
        elif notifications.number == ORDERS_DONE:
            self._asking = notifications.identifier
            self._order_error = notifications.argument(0) & 0xFFFF_FFFF
            self._orders_left = notifications.argument(1) & 0xFFFF_FFFF
        else:
            number, error = notifications.number, notifications.argument(0)
            raise StubDiedError(f"the stub gave up with system call {number}, argument {error}")

    def go(self, milliseconds: int) -> bool:
        """Let ring 3 go on with the registers that are in the frame; return whether it came back within the time.

        Raises:
            StubDiedError: the stub is gone.
        """
        identifier, self._ring3 = self._ring3, 0
        notifications = self._notifications
        try:
            if not notifications.exchange(identifier, milliseconds):
                return False
        except ProcessLookupError as failure:
            raise StubDiedError(f"{failure}: {self._end()}") from failure
        self._note()
        return self._ring3 != 0

    def wait(self, milliseconds: int) -> bool:
        """Return whether ring 3 came back within the time.

        Raises:
            StubDiedError: the stub is gone.
        """
        try:
            if not self._notifications.wait(milliseconds):
                return False
        except ProcessLookupError as failure:
            raise StubDiedError(f"{failure}: {self._end()}") from failure
        self._take_notification()
        return self._ring3 != 0

    @property
    def is_frame_in_place(self) -> bool:
        """Whether the last report was about the frame where the kernel puts it; ring 3 can forge others."""
        return self._context_address == FRAMES + self.frame_offset

    def ask_back(self) -> None:
        """Send ring 3 the signal that makes it report."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process.descriptor, signal.SIGVTALRM)

    def cpu_time(self) -> int:
        """Return the processor time that the stub has used, in nanoseconds.

        Raises:
            StubDiedError: it is gone, and somebody else has reaped it.
        """
        try:
            return time.clock_gettime_ns(~self.pid << 3 | 2)  # how Linux names the clock of a process
        except OSError as failure:
            raise StubDiedError(f"the stub is gone: {self._end()}") from failure

    # Orders

    def order(self, calls: Sequence[tuple[int, ...]]) -> None:
        """Have the second thread execute system calls; ring 3 stays where it is.

        Raises:
            StubError: one of them failed.
            StubDiedError: the stub is gone.
        """
        for first in range(0, len(calls), MAX_ORDERS):
            self._order(calls[first : first + MAX_ORDERS])

    def _order(self, calls: Sequence[tuple[int, ...]]) -> None:
        self._shared[: len(calls) * ORDER_SIZE] = b"".join(order(*call) for call in calls)
        identifier, self._asking = self._asking, 0
        try:
            self._notifications.answer(identifier, len(calls))
            while not self._asking:
                if not self._notifications.wait(PATIENCE):
                    raise StubDiedError(f"orders were not done: {self._end()}")
                self._take_notification()
        except ProcessLookupError as failure:
            raise StubDiedError(f"{failure}: {self._end()}") from failure
        if self._order_error:
            failed = calls[len(calls) - self._orders_left]
            arguments = ", ".join(f"{argument:#x}" for argument in failed[1:])
            raise StubError(f"native processor: system call {failed[0]}({arguments}): {os.strerror(self._order_error)}")

    def set_timer(self, nanoseconds: int) -> None:
        """Have the kernel interrupt ring 3 within a time, which it does more promptly than we could."""
        now = time.monotonic_ns()
        if now < self._alarm_at <= now + nanoseconds:
            return
        self._alarm_at = now + nanoseconds
        seconds, rest = divmod(nanoseconds, 1_000_000_000)
        struct.pack_into("<4Q", self._shared, TIMER_AT, 0, 0, seconds, max(rest // 1000, 1))
        self.order([(SETITIMER, 0, CONTROL + TIMER_AT, 0)])

    def give_descriptor(self, descriptor: int) -> int:
        """Duplicate a descriptor of ours into the stub, for the orders that follow; they have to close it.

        Returns:
            Its number there.

        Raises:
            StubError: the stub may not have as many.
        """
        try:
            return self._notifications.give_descriptor(self._asking, descriptor)
        except OSError as failure:
            raise StubError(f"native processor: {failure}") from failure

    # Ending

    def _end(self) -> str:
        return self._process.end()

    def close(self) -> None:
        """Kill the process and give everything back. Closing twice is allowed."""
        _close(self._process, self._closing)


def _close(process: _Process, owned: contextlib.ExitStack) -> None:
    process.end()
    owned.close()


def _unmap(mapping: mmap.mmap) -> None:
    with contextlib.suppress(BufferError):  # what was interrupted may still look at it, and unmaps it then
        mapping.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _memory_file(name: str, owner: contextlib.ExitStack) -> int:
    """Return a memfd out of the way of the stub's descriptors."""
    try:
        first = os.memfd_create(name, os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError:
        first = os.memfd_create(name, os.MFD_CLOEXEC)  # a kernel that does not know the flag
    try:
        descriptor = fcntl.fcntl(first, fcntl.F_DUPFD_CLOEXEC, _ABOVE_TARGETS)
    finally:
        os.close(first)
    owner.callback(os.close, descriptor)
    return descriptor
