"""Step functions over a range of integers: a value for every port or MSR, kept as the places where it changes."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Span = tuple[int, int]
"""A half-open range: first, end."""


@dataclass(slots=True)
class Steps(Generic[T]):
    """A function on ``range(limit)`` that is constant between its starts.

    Attributes:
        starts: Where a new value begins, ascending; the first one is 0.
        values: The value from each start on.
        limit: End of the domain.
    """

    starts: list[int]
    values: list[T]
    limit: int

    def at(self, point: int) -> T:
        """The value at ``point``, which the caller knows to lie in the domain."""
        return self.values[bisect_right(self.starts, point) - 1]

    def runs(self) -> Iterator[tuple[int, int, T]]:
        """Each (first, end, value), ascending."""
        yield from zip(self.starts, [*self.starts[1:], self.limit], self.values, strict=True)


def first_cover(spans: Iterable[tuple[Span, int]], limit: int) -> Steps[int | None]:
    """For every point, the smallest number among the spans that contain it; None where there is none.

    Args:
        spans: Spans with their numbers, in any order; the parts outside ``range(limit)`` are cut off.
        limit: End of the domain.
    """
    cut = sorted((max(first, 0), min(end, limit), number) for (first, end), number in spans)
    cut = [span for span in cut if span[0] < span[1]]
    points = sorted({0, *(first for first, _, _ in cut), *(end for _, end, _ in cut)} - {limit})
    starts: list[int] = []
    values: list[int | None] = []
    open_spans: list[tuple[int, int]] = []
    entered = 0
    for point in points:
        while entered < len(cut) and cut[entered][0] == point:
            heapq.heappush(open_spans, (cut[entered][2], cut[entered][1]))
            entered += 1
        while open_spans and open_spans[0][1] <= point:
            heapq.heappop(open_spans)
        value = open_spans[0][0] if open_spans else None
        if not values or values[-1] != value:
            starts.append(point)
            values.append(value)
    return Steps(starts, values, limit)


def overlay(layers: Sequence[Steps[Any]], combine: Callable[[tuple[Any, ...]], T]) -> Steps[T]:
    """Combine functions on the same domain, point by point.

    Args:
        layers: At least one.
        combine: Makes a value of the layers' values; called once for each stretch on which all are constant.
    """
    changes = sorted((start, number) for number, layer in enumerate(layers) for start in layer.starts)
    following = [iter(layer.values) for layer in layers]
    current: list[Any] = [None] * len(layers)
    starts: list[int] = []
    values: list[T] = []
    last = len(changes) - 1
    for index, (point, number) in enumerate(changes):
        current[number] = next(following[number])
        if index < last and changes[index + 1][0] == point:
            continue
        value = combine(tuple(current))
        if not values or values[-1] is not value:
            starts.append(point)
            values.append(value)
    return Steps(starts, values, layers[0].limit)
