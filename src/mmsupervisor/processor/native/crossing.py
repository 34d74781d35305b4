"""Letting ring 3 run: until it reports, or until its budget is spent."""

from __future__ import annotations

from time import monotonic

from mmsupervisor.processor.native.budget import Budget
from mmsupervisor.processor.native.stub_unsafe import Stub, StubDiedError

GRACE = 2_000
"""Milliseconds that ring 3 may take to give the processor back when it is asked to."""

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


def _wait_longer(stub: Stub, budget: Budget) -> None:
    """Wait until ring 3 reports; ask it to when its budget is spent, and kill it if it does not."""
    used = stub.cpu_time()
    idle_since = monotonic()
    while budget.is_bounded:
        cpu_time = stub.cpu_time()
        if cpu_time != used:
            used, idle_since = cpu_time, monotonic()
        elif monotonic() - idle_since > MOST_IDLE:
            raise StubDiedError("ring 3 is given no processor time (is the stub stopped?); it was killed")
        budget.look_at(cpu_time)
        if budget.is_spent:
            stub.ask_back()
            if not stub.wait(GRACE):
                raise StubDiedError("ring 3 does not give the processor back; it was killed")
            return
        if stub.wait(budget.milliseconds):
            return
    while not stub.wait(budget.milliseconds):
        pass
