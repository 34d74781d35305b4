"""The time-stamp counter as an MSR: IA32_TIME_STAMP_COUNTER, 0x10 (Intel SDM vol. 4, table 2-2).

It is the clock that RDTSC reads, too, and there is one for all CPUs.
"""

from __future__ import annotations

from typing import Protocol

from mmsupervisor.devices.state import State

NUMBER = 0x10
"""The MSR."""


class Clock(Protocol):
    """Time that advances by being read, in ticks of the counter."""

    def read(self) -> int:
        """Return the time."""

    def set(self, ticks: int) -> None:
        """Go on from another time."""


class TimestampMsr:
    """The counter's MSR."""

    def __init__(self, clock: Clock) -> None:
        """Show a clock; what it shows is the clock's own state."""
        self._clock = clock

    def msr_read(self, number: int, cpu: int) -> int:
        """Return the time."""
        del number, cpu
        return self._clock.read()

    def msr_write(self, number: int, cpu: int, value: int) -> None:
        """Set the clock, of all CPUs."""
        del number, cpu
        self._clock.set(value)

    def state(self) -> State:
        """There is none."""
        return {}

    def restore(self, state: State) -> None:
        """There is none."""
