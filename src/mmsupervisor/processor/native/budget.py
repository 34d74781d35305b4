"""The budget of an entry: exits are counted, and what runs between them is timed at a stated rate.

Time is that of the stub on the host's processor, as the kernel measures it. It is not exact: a crossing takes some of
it, and so do the host's own affairs. What is short is therefore not charged at all. Asking the kernel takes a
tenth of a crossing, so this is done once in a while only; a clock that costs next to nothing says when.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

EXIT_COST = 2
"""Instructions that each exit counts for."""

RATE = 1
"""Instructions that each nanosecond of processor time counts for."""

CROSSING = 30_000
"""Nanoseconds that a crossing may take uncharged: most of it is the kernel's."""

SHORTEST = 5_000_000
"""Nanoseconds that every entry is given, however small its budget: less cannot be told from the interrupts of the host,
whose time the kernel adds to that of whom they interrupt."""

SOONEST = 300_000
"""Nanoseconds within which no timer is set: ring 3 has to get on."""

LONGEST = 100
"""Milliseconds after which the processor time is looked at at the latest."""

NEARLY_SPENT = 5_000_000
"""Nanoseconds: the scheduler may take that long to let the supervisor run again beside ring 3."""

LOOK_AGAIN = 1_000_000
"""Nanoseconds, of everybody's time, after which an exit has the processor time looked at."""

OLD = 100_000
"""Nanoseconds, of everybody's time, that may have gone since the last look when the clock begins for an entry."""


class Budget:
    """What an entry may still use.

    Attributes:
        is_bounded: Whether there is a bound at all.
        is_new: Whether time has still to be measured from the next run on (:meth:`begin`).
    """

    __slots__ = ("_base", "_exits", "_instructions", "_looked", "_nanoseconds", "_total", "is_bounded", "is_new")

    def __init__(self, instructions: int) -> None:
        """Begin with the whole; 0 is no bound."""
        self._total = instructions
        self.is_bounded = instructions > 0
        self._exits = 0
        self._base = 0
        self._looked = 0
        self.renew()

    def renew(self) -> None:
        """Begin anew."""
        self.restore((self._total, max(self._total // RATE, SHORTEST)))

    def save(self) -> tuple[int, int]:
        """Return what is left, for :meth:`restore`."""
        return self._instructions, self._nanoseconds

    def restore(self, saved: tuple[int, int]) -> None:
        """Go on with what was left."""
        self._instructions, self._nanoseconds = saved
        self.is_new = True

    def count_exit(self) -> None:
        """Count one exit."""
        self._instructions -= EXIT_COST
        self._exits += 1

    def begin(self, cpu_time: Callable[[], int]) -> None:
        """Measure from here on, given who tells the stub's processor time: what others used before is theirs."""
        self.is_new = False
        if self.is_bounded and monotonic_ns() - self._looked > OLD:
            self.start_clock(cpu_time())

    @property
    def is_look_due(self) -> bool:
        """Whether so long has gone since the last look that ring 3 may have used a time worth charging."""
        return self.is_bounded and monotonic_ns() - self._looked > LOOK_AGAIN

    def start_clock(self, cpu_time: int) -> None:
        """Measure from here on, given the stub's processor time."""
        self._base = cpu_time
        self._exits = 0
        self._looked = monotonic_ns()

    def look_at(self, cpu_time: int) -> None:
        """Charge the time since the last look but for what the crossings took, given the stub's processor time."""
        self._nanoseconds -= max(cpu_time - self._base - (self._exits + 1) * CROSSING, 0)
        self.start_clock(cpu_time - CROSSING)  # the crossing under way has had its share

    @property
    def nanoseconds(self) -> int:
        """How long ring 3 may run, and never too short to get on."""
        return max(self._nanoseconds, SOONEST)

    @property
    def milliseconds(self) -> int:
        """How long to wait before looking at the time again."""
        return min(self._nanoseconds // 1_000_000 + 1, LONGEST) if self.is_bounded else LONGEST

    @property
    def is_nearly_spent(self) -> bool:
        """Whether so little time is left that only a timer in the stub is prompt enough."""
        return self.is_bounded and self._nanoseconds < NEARLY_SPENT

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.is_bounded and (self._instructions <= 0 or self._nanoseconds <= 0)
