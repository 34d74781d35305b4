"""UEFI's memory map of normal memory: who has what, and what is free."""

from __future__ import annotations

import pytest

from mmsupervisor.dxe.memory_map import OutOfMemoryError, UefiMemoryMap
from mmsupervisor.pi.memory_types import PAGE_SIZE, MemoryType

BOOT, RUNTIME, FREE = MemoryType.BOOT_SERVICES_DATA, MemoryType.RUNTIME_SERVICES_DATA, MemoryType.CONVENTIONAL
LOW, HIGH = 0x10_0000, 0x80_0000
PAGES = 8


@pytest.fixture
def found() -> UefiMemoryMap:
    return UefiMemoryMap(((LOW, PAGES * PAGE_SIZE), (HIGH, PAGES * PAGE_SIZE)))


def rows(found: UefiMemoryMap) -> list[tuple[int, int, int]]:
    return [(one.physical_start, one.number_of_pages, one.type) for one in found.descriptors()]


def page(base: int, number: int) -> int:
    return base + number * PAGE_SIZE


def test_all_of_memory_is_in_the_map_once(found: UefiMemoryMap) -> None:
    assert rows(found) == [(LOW, PAGES, FREE), (HIGH, PAGES, FREE)]
    found.reserve(page(LOW, 2), 3, BOOT, "middle")
    found.reserve(HIGH, 1, RUNTIME, "first")
    found.reserve(page(HIGH, 7), 1, RUNTIME, "last")
    assert rows(found) == [
        (LOW, 2, FREE),
        (page(LOW, 2), 3, BOOT),
        (page(LOW, 5), 3, FREE),
        (HIGH, 1, RUNTIME),
        (page(HIGH, 1), 6, FREE),
        (page(HIGH, 7), 1, RUNTIME),
    ]


@pytest.mark.parametrize(
    ("start", "pages"),
    [
        (page(LOW, 1), 2),
        (page(LOW, 4), 2),
        (page(LOW, 3), 1),
        (LOW, 8),
        (page(LOW, 7), 2),
        (page(LOW, -1), 1),
        (page(LOW, 20), 1),
    ],
    ids=["into", "out of", "within", "around", "beyond", "before", "nowhere"],
)
def test_what_is_not_free_is_not_given(found: UefiMemoryMap, start: int, pages: int) -> None:
    found.reserve(page(LOW, 2), 3, BOOT, "there")
    before = rows(found)
    with pytest.raises(ValueError, match="are not free memory"):
        found.reserve(start, pages, BOOT, "other")
    assert rows(found) == before


def test_pages_come_from_the_top_and_gaps_are_used(found: UefiMemoryMap) -> None:
    assert found.allocate(2, BOOT, "a") == page(HIGH, 6)
    assert found.allocate(2, BOOT, "b") == page(HIGH, 4)
    found.free(page(HIGH, 6))
    assert found.allocate(3, BOOT, "c") == page(HIGH, 1), "the gap above is too small"
    assert found.allocate(2, BOOT, "d") == page(HIGH, 6)
    assert found.allocate(8, BOOT, "e") == LOW
    assert found.allocate(1, BOOT, "f") == HIGH
    with pytest.raises(OutOfMemoryError, match="no free range of memory has 1 pages for g"):
        found.allocate(1, BOOT, "g")


def test_many_allocations_given_back_in_any_order_leave_nothing(found: UefiMemoryMap) -> None:
    """What is remembered to find free pages quickly stays right: each page is given exactly once, then again."""
    order = [5, 0, 15, 7, 8, 3, 12, 1, 14, 2, 9, 6, 11, 4, 13, 10]
    everything = {page(base, number) for base in (LOW, HIGH) for number in range(PAGES)}
    for _ in range(3):
        taken = [found.allocate(1, BOOT, "many") for _ in order]
        assert taken == sorted(everything, reverse=True)
        for number in order[:8]:
            found.free(taken[number])
        assert {found.allocate(1, BOOT, "again") for _ in order[:8]} == {taken[number] for number in order[:8]}
        for number in order:
            found.free(taken[number])
        assert rows(found) == [(LOW, PAGES, FREE), (HIGH, PAGES, FREE)]
        with pytest.raises(ValueError, match="nothing was allocated"):
            found.free(LOW)
