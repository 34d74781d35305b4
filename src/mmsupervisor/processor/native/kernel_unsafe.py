"""The kernel's side of seccomp user notification, by ctypes: receive, answer, hand over a descriptor, wait."""

from __future__ import annotations

import ctypes
import errno
import os
import select

_RECEIVE = 0xC050_2100
_SEND = 0xC018_2101
_ADD_DESCRIPTOR = 0x4018_2103
_SET_FLAGS = 0x4008_2104
_SYNC_WAKE_UP = 1
_CONTINUE = 1

_NOTIFICATION_SIZE = 80
_BLANK = bytes(_NOTIFICATION_SIZE)

# None of the calls made here blocks, so that they keep the interpreter's lock; waiting is done by poll().
_quick = ctypes.PyDLL(None, use_errno=True)


class Notifications:
    """The listener's end of a seccomp filter.

    Attributes:
        number: Number of the system call last received.
        arguments: Its six arguments, and before them its instruction pointer.
        thread: Who called.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over the listener's descriptor."""
        self._descriptor = descriptor
        self._received = bytearray(_NOTIFICATION_SIZE)
        self._words = memoryview(self._received).cast("Q")
        self._ints = memoryview(self._received).cast("i")
        self._received_at = ctypes.addressof(ctypes.c_char.from_buffer(self._received))
        self._answer = (ctypes.c_uint64 * 3)()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        self._poll = poll.poll
        self._ioctl = _quick.ioctl
        self._ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
        self._answer_at = ctypes.addressof(self._answer)
        self._ioctl(descriptor, _SET_FLAGS, _SYNC_WAKE_UP)  # both sides on one processor; before Linux 6.6 in vain

    @property
    def identifier(self) -> int:
        """What to answer the last notification by."""
        return self._words[0]

    @property
    def thread(self) -> int:
        """Who made the call."""
        return self._ints[2]

    @property
    def number(self) -> int:
        """Number of the system call."""
        return self._ints[4]

    def argument(self, index: int) -> int:
        """Return an argument of the call."""
        return self._words[4 + index]

    def wait(self, milliseconds: int) -> bool:
        """Return whether a notification came within the time.

        Raises:
            ProcessLookupError: nobody is left that could send one.
        """
        ready = self._poll(milliseconds)
        if not ready:
            return False
        if ready[0][1] & select.POLLHUP:
            raise ProcessLookupError("the stub is gone")
        return True

    def receive(self) -> bool:
        """Take the next notification; False if it went away in the meantime. Waits if there is none."""
        self._received[:] = _BLANK
        return self._ioctl(self._descriptor, _RECEIVE, self._received_at) == 0 or self._not_received()

    @staticmethod
    def _not_received() -> bool:
        if ctypes.get_errno() in (errno.EINTR, errno.ENOENT):
            return False
        raise _failure("receiving a notification")

    def exchange(self, identifier: int, milliseconds: int) -> bool:
        """Let a call go on, wait, and take the next notification: what every crossing does, in one go.

        Returns:
            Whether a notification came within the time.
        """
        answer = self._answer
        answer[0] = identifier
        answer[1] = 0
        answer[2] = _CONTINUE << 32
        if self._ioctl(self._descriptor, _SEND, self._answer_at):
            self._refused_answer()
        ready = self._poll(milliseconds)
        if not ready:
            return False
        if ready[0][1] != select.POLLIN:
            raise ProcessLookupError("the stub is gone")
        self._received[:] = _BLANK
        return self._ioctl(self._descriptor, _RECEIVE, self._received_at) == 0 or self._not_received()

    def answer(self, identifier: int, value: int) -> None:
        """Have the system call return a value."""
        answer = self._answer
        answer[0] = identifier
        answer[1] = value
        answer[2] = 0
        if self._ioctl(self._descriptor, _SEND, self._answer_at):
            self._refused_answer()

    @staticmethod
    def _refused_answer() -> None:
        if ctypes.get_errno() == errno.ENOENT:
            raise ProcessLookupError("the stub is gone")
        raise _failure("answering a notification")

    def give_descriptor(self, identifier: int, descriptor: int) -> int:
        """Duplicate one of our descriptors into the process; return its lowest free number, which it has there."""
        request = (ctypes.c_uint32 * 6)(identifier & 0xFFFF_FFFF, identifier >> 32, 0, descriptor, 0, 0)
        number: int = self._ioctl(self._descriptor, _ADD_DESCRIPTOR, ctypes.addressof(request))
        if number < 0:
            raise _failure("giving the stub a descriptor")
        return number

    def close(self) -> None:
        """Close the listener; whoever waits in the filter is told that there is no supervisor."""
        os.close(self._descriptor)


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
