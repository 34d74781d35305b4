"""Pages with guards around them: allocated, given back whole and in parts (docs/reference/memory.md §6)."""

from __future__ import annotations

import random

import pytest

from mmsupervisor.core.entry import Core
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.pages import AllocateType, Owner, PageType
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.supervisor_hobs import GuardFlags, MemoryProtectionSettings, hob_for
from tests.core.small import Small
from tests.support.invariants import broken_invariants

DATA = PageType.RUNTIME_SERVICES_DATA


@pytest.fixture
def guarded(small: Small) -> Core:
    small.extra = [hob_for(MemoryProtectionSettings(guards=int(GuardFlags.PAGE_GUARD), page_types=1 << DATA))]
    return small.start()


def allocate(core: Core, pages: int) -> int:
    return core.supervisor.pages.allocate(pages, DATA, Owner.USER, "test data")


def free(core: Core, address: int, pages: int) -> None:
    assert core.supervisor.pages.free(address, pages, Owner.USER)


def is_guard(core: Core, page: int) -> bool:
    pages = core.supervisor.pages
    return page in pages.guards and bool(core.supervisor.memory.state(page).attributes & Attribute.RP)


def test_a_guard_on_either_side_and_none_between(guarded: Core) -> None:
    base = allocate(guarded, 3)
    assert is_guard(guarded, base - PAGE_SIZE)
    assert is_guard(guarded, base + 3 * PAGE_SIZE)
    assert not any(is_guard(guarded, base + n * PAGE_SIZE) for n in range(3))


def test_a_highest_address_holds_for_the_guards_too(guarded: Core) -> None:
    pages = guarded.supervisor.pages
    highest = allocate(guarded, 8) + 5 * PAGE_SIZE - 1
    free(guarded, highest + 1 - 5 * PAGE_SIZE, 8)
    kind = AllocateType.MAX_ADDRESS
    base = pages.allocate(2, DATA, Owner.USER, "test data", kind=kind, address=highest)
    assert base + 3 * PAGE_SIZE == highest + 1, "the guard behind it is the last page"
    assert is_guard(guarded, base - PAGE_SIZE)
    with pytest.raises(CoreError, match="type 3 is unknown"):
        pages.allocate(2, DATA, Owner.USER, "test data", kind=3)


def test_guards_never_surround_a_wanted_address(guarded: Core) -> None:
    pages = guarded.supervisor.pages
    base = allocate(guarded, 3)
    free(guarded, base, 3)
    wanted = AllocateType.ADDRESS
    assert pages.allocate(1, DATA, Owner.USER, "test data", kind=wanted, address=base) == base
    assert not is_guard(guarded, base - PAGE_SIZE)


def test_the_whole_goes_with_its_guards(guarded: Core) -> None:
    pages = guarded.supervisor.pages
    before, guards = pages.free_pages, set(pages.guards)
    base = allocate(guarded, 3)
    assert pages.free_pages == before - 5
    free(guarded, base, 3)
    assert (pages.free_pages, pages.guards) == (before, guards)
    assert not guarded.supervisor.memory.state(base - PAGE_SIZE).attributes & Attribute.RP


@pytest.mark.parametrize(
    ("first", "count", "guards", "freed"),
    [
        (0, 1, (0, 4), 1),  # the freed page is the guard now, and the old guard is free
        (3, 1, (-1, 3), 1),
        (0, 2, (1, 4), 2),
        (2, 2, (-1, 2), 2),
        (1, 2, (-1, 1, 2, 4), 0),  # two in the middle guard both rests
    ],
)
def test_a_part_leaves_the_rest_guarded(
    guarded: Core, first: int, count: int, guards: tuple[int, ...], freed: int
) -> None:
    pages = guarded.supervisor.pages
    base = allocate(guarded, 4)
    before = pages.free_pages
    free(guarded, base + first * PAGE_SIZE, count)
    found = tuple(n for n in range(-1, 5) if is_guard(guarded, base + n * PAGE_SIZE))
    assert (found, pages.free_pages - before) == (guards, freed)
    assert broken_invariants(guarded) == []


@pytest.mark.parametrize("seed", range(10))
def test_random_allocations_stay_guarded_and_all_comes_back(guarded: Core, seed: int) -> None:
    chance, pages = random.Random(seed), guarded.supervisor.pages
    before, guards = pages.free_pages, set(pages.guards)
    held: list[tuple[int, int]] = []
    for _ in range(60):
        if held and chance.random() < 0.45:
            free(guarded, *held.pop(chance.randrange(len(held))))
        else:
            count = chance.randrange(1, 5)
            held.append((allocate(guarded, count), count))
        for base, count in held:
            assert is_guard(guarded, base - PAGE_SIZE)
            assert is_guard(guarded, base + count * PAGE_SIZE)
            assert not any(is_guard(guarded, base + n * PAGE_SIZE) for n in range(count))
    for base, count in held:
        free(guarded, base, count)
    assert (pages.free_pages, pages.guards) == (before, guards)
    assert broken_invariants(guarded) == []
