"""Letting ring 3 run: until it reports, or until its budget is spent."""

from __future__ import annotations

from time import monotonic

from mmsupervisor.processor.native.budget import LONGEST, Budget
from mmsupervisor.processor.native.frame import Frame
from mmsupervisor.processor.native.layout import RIP
from mmsupervisor.processor.native.stub_image import FLAGS_ROUTINE, FLAGS_TAKEN
from mmsupervisor.processor.native.stub_unsafe import PATIENCE, Stub, StubDiedError

GRACE = 2_000_000_000
"""Nanoseconds of processor time that ring 3 may use before it gives the processor back when it is asked to.

A busy computer lets it wait for longer than that, but a signal is the first thing that it meets when it runs again.
"""

MOST_IDLE = 30.0
"""Seconds that ring 3 may be silent without using the processor."""


def cross(stub: Stub, budget: Budget) -> bool:
    """Let ring 3 run until it reports; False if nothing is left of its budget to begin with.

    A budget that is spent on the way ends in a report too, of the signal that asked for one.

    Raises:
        StubDiedError: ring 3 is gone, or had to be killed.
    """
    if budget.is_spent:
        return False
    if budget.is_nearly_spent:
        stub.set_timer(budget.nanoseconds)
    if not stub.go(budget.milliseconds):
        _wait_longer(stub, budget)
    return True


class _Watch:
    """Looks at the processor time of ring 3, and gives it up when it does not move any more."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._used = stub.cpu_time()
        self._idle_since = monotonic()

    def cpu_time(self) -> int:
        """Return the processor time in nanoseconds; raises StubDiedError if ring 3 has been idle for too long."""
        used = self._stub.cpu_time()
        now = monotonic()
        if used != self._used:
            self._used, self._idle_since = used, now
        elif now - self._idle_since > MOST_IDLE:
            raise StubDiedError("ring 3 is given no processor time (is the stub stopped?); it was killed")
        return used


def _wait_longer(stub: Stub, budget: Budget) -> None:
    """Wait until ring 3 reports; ask it to when its budget is spent."""
    watch = _Watch(stub)
    while budget.is_bounded:
        budget.look_at(watch.cpu_time())
        if budget.is_spent:
            _insist(stub, watch)
            return
        if stub.wait(budget.milliseconds):
            return
    while not stub.wait(budget.milliseconds):
        pass


def _insist(stub: Stub, watch: _Watch) -> None:
    """Have ring 3 report; StubDiedError, which ends the stub, if it runs on instead."""
    asked_at = watch.cpu_time()
    stub.ask_back()
    while not stub.wait(LONGEST):
        if watch.cpu_time() - asked_at > GRACE:
            raise StubDiedError("ring 3 does not give the processor back; it was killed")


def settle_flags(stub: Stub, frame: Frame) -> None:
    """Give ring 3 those flags of the frame that its return from the signal would not.

    Raises:
        StubDiedError: ring 3 is gone, or does not come back from where it takes them.
    """
    if not frame.lasting_flags_differ():
        return
    wanted = frame.save()
    frame.detour(FLAGS_ROUTINE)
    while frame.words[RIP] != FLAGS_TAKEN:  # a signal that was pending may come first
        if not (stub.go(PATIENCE) or stub.wait(PATIENCE)):
            raise StubDiedError("ring 3 does not come back with its flags; it was killed")
    frame.restore(wanted)
    if frame.lasting_flags_differ():
        raise StubDiedError("the processor does not take the flags of ring 3")
