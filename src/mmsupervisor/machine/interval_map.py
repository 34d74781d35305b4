"""A total map from addresses to values, kept as intervals."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Interval(Generic[V]):
    """One run of addresses with one value.

    Attributes:
        start: First address.
        end: Address after the last one.
        value: What holds for all of them.
    """

    start: int
    end: int
    value: V

    @property
    def size(self) -> int:
        """Number of addresses."""
        return self.end - self.start


class IntervalMap(Generic[V]):
    """Every address below ``limit`` has exactly one value; equal neighbours are one interval."""

    __slots__ = ("_starts", "_values", "limit")

    def __init__(self, limit: int, default: V) -> None:
        """Map all addresses below ``limit`` to ``default``."""
        self.limit = limit
        self._starts = [0]
        self._values: list[V] = [default]

    def __len__(self) -> int:
        """Number of intervals."""
        return len(self._starts)

    def __getitem__(self, address: int) -> V:
        """Return the value at one address.

        Raises:
            IndexError: the address is not below ``limit``.
        """
        if not 0 <= address < self.limit:
            raise IndexError(f"address {address:#x} is outside the map of {self.limit:#x} bytes")
        return self._values[bisect_right(self._starts, address) - 1]

    def at(self, address: int) -> Interval[V]:
        """Return the interval that holds an address; raises as indexing does."""
        value = self[address]
        index = bisect_right(self._starts, address) - 1
        return Interval(self._starts[index], self._end(index), value)

    def only(self, start: int, end: int) -> V | None:
        """Return the value of a range that lies in one interval; None if it does not, or is empty or outside."""
        index = bisect_right(self._starts, start) - 1
        return self._values[index] if 0 <= start < end <= self._end(index) else None

    def __iter__(self) -> Iterator[Interval[V]]:
        """Iterate over all intervals in address order."""
        return self.slice(0, self.limit)

    def slice(self, start: int, end: int) -> Iterator[Interval[V]]:
        """Iterate over the intervals of a range, cut to the range.

        The map may be changed while iterating; what is yielded is the state at the call's first step.
        """
        end = min(end, self.limit)
        if start >= end:
            return
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, end - 1)
        if last == first + 1:
            yield Interval(start, end, self._values[first])
            return
        pieces = [
            Interval(max(self._starts[i], start), min(self._end(i), end), self._values[i]) for i in range(first, last)
        ]
        yield from pieces

    def update(
        self, start: int, end: int, change: Callable[[V], V], note: Callable[[int, int, V, V], None] | None = None
    ) -> list[Interval[V]]:
        """Replace each value in a range by ``change(value)``.

        Args:
            start: First address.
            end: Address after the last one.
            change: Gives the new value for an old one.
            note: Is called with start, end, old and new value of each piece that did change, after the change.

        Returns:
            The intervals whose value did change, with their new value.

        Raises:
            IndexError: the range does not lie below ``limit`` or is reversed.
        """
        if not 0 <= start <= end <= self.limit:
            raise IndexError(f"range {start:#x}..{end:#x} is outside the map of {self.limit:#x} bytes")
        alone = self._update_one(start, end, change, note)
        if alone is not None:
            return alone
        changed: list[Interval[V]] = []
        pieces: list[Interval[V]] = []
        replaced: list[V] = []
        for piece in self.slice(start, end):
            value = change(piece.value)
            new = Interval(piece.start, piece.end, value)
            pieces.append(new)
            if value != piece.value:
                changed.append(new)
                replaced.append(piece.value)
        if changed:
            self._replace(start, end, pieces)
            if note is not None:
                for new, old in zip(changed, replaced, strict=True):
                    note(new.start, new.end, old, new.value)
        return changed

    def _update_one(
        self, start: int, end: int, change: Callable[[V], V], note: Callable[[int, int, V, V], None] | None
    ) -> list[Interval[V]] | None:
        """Do an update that lies in one interval, as most do; None if it does not."""
        starts, values = self._starts, self._values
        first = bisect_right(starts, start) - 1
        limit = self._end(first)
        if start >= end or end > limit:
            return None
        old = values[first]
        new = change(old)
        if new == old:
            return []
        begins, last = starts[first], first + 1
        now: list[tuple[int, V]] = [(begins, old)] if begins < start else []
        if now or not first or values[first - 1] != new:
            now.append((start, new))
        if end < limit:
            now.append((end, old))
        elif last < len(values) and values[last] == new:
            last += 1
        starts[first:last] = [at for at, _ in now]
        values[first:last] = [value for _, value in now]
        if note is not None:
            note(start, end, old, new)
        return [Interval(start, end, new)]

    def _replace(self, start: int, end: int, pieces: list[Interval[V]]) -> None:
        """Put ``pieces``, which tile the range, in place of what is there, and merge equal neighbours."""
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, end - 1)
        head = Interval(self._starts[first], start, self._values[first])
        tail = Interval(end, self._end(last - 1), self._values[last - 1])
        if first > 0 and head.size == 0:
            first -= 1
            head = Interval(self._starts[first], start, self._values[first])
        if last < len(self._starts) and tail.size == 0:
            tail = Interval(end, self._end(last), self._values[last])
            last += 1
        starts: list[int] = []
        values: list[V] = []
        for piece in (head, *pieces, tail):
            if piece.size and not (values and values[-1] == piece.value):
                starts.append(piece.start)
                values.append(piece.value)
        self._starts[first:last] = starts
        self._values[first:last] = values

    def _end(self, index: int) -> int:
        return self._starts[index + 1] if index + 1 < len(self._starts) else self.limit

    def copy(self) -> IntervalMap[V]:
        """Return an independent copy."""
        twin = IntervalMap(self.limit, self._values[0])
        twin._starts = list(self._starts)
        twin._values = list(self._values)
        return twin
