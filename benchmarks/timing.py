"""Timing in turns, by processor time, so that a busy computer troubles little and all ways alike.

Processor time is that of this process and of the native processor's stub together: what a round trip takes where both
run on one processor and nobody else does. Time that the kernel lets somebody else run is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Step = Callable[[int], None]
"""Does something a number of times."""

BATCH = 0.0004
"""Seconds that a batch is to take: short enough to be left alone once in a while on a busy computer."""

FEWEST = 7
"""Batches of each way at the least."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do something.

    Attributes:
        step: Does it.
        clock: Seconds that it took so far.
    """

    step: Step
    clock: Callable[[], float] = time.process_time


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds of one step.

    Attributes:
        best: In the fastest batch: what it costs where nobody disturbs.
        middle: In the median batch: what it cost on this computer today.
    """

    best: float
    middle: float


def repeat(action: Callable[[], object]) -> Step:
    """Make a step of something that is done once."""

    def step(count: int) -> None:
        for _ in range(count):
            action()

    return step


def _batch_size(way: Way) -> int:
    count = 1
    while True:
        begin = way.clock()
        way.step(count)
        took = way.clock() - begin
        if took > BATCH / 2 or count > 1 << 20:
            return count
        count *= 2


def measure(ways: Mapping[str, Way], seconds: float) -> dict[str, Timing]:
    """Time several ways in turns, for about so many seconds each."""
    counts = {name: _batch_size(way) for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds * len(ways)
    while time.perf_counter() < end or len(next(iter(taken.values()))) < FEWEST:
        for name, way in ways.items():
            begin = way.clock()
            way.step(counts[name])
            taken[name].append((way.clock() - begin) / counts[name] * 1e6)
    return {name: Timing(min(all_), median(all_)) for name, all_ in taken.items()}
