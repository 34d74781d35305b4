"""The interval map against a plain list."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.machine.interval_map import Interval, IntervalMap

LIMIT = 64
updates = st.lists(
    st.tuples(st.integers(0, LIMIT), st.integers(0, LIMIT), st.integers(0, 3)).map(
        lambda t: (min(t[0], t[1]), max(t[0], t[1]), t[2])
    ),
    max_size=30,
)


def expand(tree: IntervalMap[int]) -> list[int]:
    flat: list[int] = []
    for piece in tree:
        flat += [piece.value] * piece.size
    return flat


@given(updates)
def test_agrees_with_a_plain_list(changes: list[tuple[int, int, int]]) -> None:
    tree = IntervalMap(LIMIT, 0)
    plain = [0] * LIMIT
    for start, end, value in changes:
        before = list(plain)
        plain[start:end] = [value] * (end - start)
        noted: list[Interval[int]] = []

        def note(first: int, last: int, old: int, new: int, before: list[int] = before, noted: Any = noted) -> None:
            assert before[first:last] == [old] * (last - first)
            noted.append(Interval(first, last, new))

        changed = tree.update(start, end, lambda _old, value=value: value, note)  # type: ignore[misc]
        assert changed == noted
        touched = {address for piece in changed for address in range(piece.start, piece.end)}
        assert touched == {address for address in range(LIMIT) if before[address] != plain[address]}
    assert expand(tree) == plain
    pieces = list(tree)
    assert pieces[0].start == 0
    assert pieces[-1].end == LIMIT
    for left, right in itertools.pairwise(pieces):
        assert left.end == right.start
        assert left.value != right.value, "equal neighbours must be one interval"
    for address in range(LIMIT):
        assert tree[address] == plain[address]
        assert tree.at(address).value == plain[address]


@given(updates, st.integers(0, LIMIT), st.integers(0, LIMIT))
def test_slices_are_cut_to_the_range(changes: list[tuple[int, int, int]], a: int, b: int) -> None:
    tree = IntervalMap(LIMIT, 0)
    for start, end, value in changes:
        tree.update(start, end, lambda _old, value=value: value)  # type: ignore[misc]
    start, end = min(a, b), max(a, b)
    flat = [value for piece in tree.slice(start, end) for value in [piece.value] * piece.size]
    assert flat == expand(tree)[start:end]
    assert tree.only(start, end) == (flat[0] if len(list(tree.slice(start, end))) == 1 else None)


def test_a_copy_is_independent() -> None:
    tree = IntervalMap(LIMIT, 0)
    twin = tree.copy()
    tree.update(8, 16, lambda _: 1)
    assert list(twin) == [Interval(0, LIMIT, 0)]


@pytest.mark.parametrize(("start", "end"), [(-1, 4), (0, LIMIT + 1), (8, 4)])
def test_refuses_ranges_outside(start: int, end: int) -> None:
    with pytest.raises(IndexError):
        IntervalMap(LIMIT, 0).update(start, end, lambda _: 1)


@pytest.mark.parametrize("address", [-1, LIMIT])
def test_refuses_addresses_outside(address: int) -> None:
    with pytest.raises(IndexError):
        IntervalMap(LIMIT, 0)[address]
