"""MMRAM ranges, ownership of ranges, page services (docs/reference/memory.md §1, §2, §8; gmmst.md §4)."""

from __future__ import annotations

import pytest

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.mmram import Mmram
from mmsupervisor.core.ownership import is_user_range, range_attributes
from mmsupervisor.core.pages import AllocateType, Owner, PageServices, PageType, SupervisorPool
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute, PhysicalMemory
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.status import Status
from tests.core.small import free_range, taken_range

BASE = 0x10_0000
RP, XP, RO, SP = Attribute.RP, Attribute.XP, Attribute.RO, Attribute.SP
DATA, CODE = PageType.RUNTIME_SERVICES_DATA, PageType.RUNTIME_SERVICES_CODE
USER, SUPERVISOR = Owner.USER, Owner.SUPERVISOR


def mmram(*ranges: tuple[int, int]) -> Mmram:
    return Mmram(tuple(free_range(start, size) for start, size in ranges))


def status_of(call: object, *arguments: object, **named: object) -> Status:
    assert callable(call)
    with pytest.raises(CoreError) as caught:
        call(*arguments, **named)
    return caught.value.status


# §8.1


@pytest.mark.parametrize(
    ("ranges", "address", "length", "inside"),
    [
        ([(0x1000, 0x2000)], 0x1000, 0x2000, True),
        ([(0x1000, 0x2000)], 0x0FFF, 2, False),
        ([(0x1000, 0x2000)], 0x3000, 1, False),
        ([(0x1000, 0x2000)], 0x1000, 0, True),
        ([(0x1000, 0x2000)], 0x3000, 0, False),
        ([(0x1000, 0x2000)], 0x2FFF, 0x2000, True),  # runs out of the range: only its total size counts
        ([(0x1000, 0x2000)], 0x2FFF, 0x2001, False),
        ([(0x1000, 0x2000)], 0x0800, 0x1000, False),  # runs into it from below
        ([(0x1000, 0x2000), (0x3000, 0x1000)], 0x2000, 0x3000, True),
        ([(0x1000, 0x2000), (0x3000, 0x1000)], 0x1000, 0x3001, False),
        ([(0x3000, 0x1000), (0x1000, 0x2000)], 0x1000, 0x3000, True),
        ([(0x1000, 0x2000), (0x4000, 0x1000)], 0x1000, 0x2001, False),
    ],
)
def test_inside_mmram(ranges: list[tuple[int, int]], address: int, length: int, inside: bool) -> None:
    assert mmram(*ranges).contains(address, length) is inside


def test_touching_mmram_is_every_shared_byte() -> None:
    ranges = mmram((0x1000, 0x1000))
    assert not ranges.touches(0x0, 0x1000)
    assert ranges.touches(0x0, 0x1001)
    assert ranges.touches(0x1FFF, 1)
    assert not ranges.touches(0x2000, 1)
    assert ranges.touches(0, 0x1_0000)


# §1 and §8.2


@pytest.fixture
def memory() -> PhysicalMemory:
    memory = PhysicalMemory(36)
    memory.assign(0, 1 << 36, RP | XP | SP)
    memory.assign(0x2000, 0x2000, XP)
    memory.assign(0x4000, 0x1000, XP | RO)
    memory.assign(0x5000, 0x1000, XP | SP)
    memory.assign(0x6000, 0x1000, RP | XP)
    return memory


def test_attributes_of_a_range(memory: PhysicalMemory) -> None:
    assert range_attributes(memory, 0x2000, 0x2000) == XP
    assert range_attributes(memory, 0x6000, 0x1000) == RP | XP, "a leaf that is not present says RP"
    assert status_of(range_attributes, memory, 0x2000, 0xFFF) is Status.INVALID_PARAMETER
    assert status_of(range_attributes, memory, 0x2000, 1 << 63) is Status.INVALID_PARAMETER
    assert status_of(range_attributes, memory, 0x2000, 0x3000) is Status.NO_MAPPING
    assert status_of(range_attributes, memory, (1 << 36) - 0x1000, 0x2000) is Status.UNSUPPORTED
    assert range_attributes(memory, (1 << 36) - 0x1000, 0x1000) == RP | XP | SP


@pytest.mark.parametrize(
    ("address", "size", "answer"),
    [
        (0x2000, 1, True),
        (0x2FFF, 2, True),
        (0x2FF8, 0x1008, True),
        (0x5000, 8, False),
        (0x6000, 8, True),  # not present, and ring 3's all the same
        (0x3FFF, 2, Status.NO_MAPPING),  # RW and RO
        (0x4FFF, 2, Status.NO_MAPPING),  # user and supervisor
        (0x0FFF, 1, Status.INVALID_PARAMETER),
        (0, 8, Status.INVALID_PARAMETER),
        (0x2000, 0, Status.INVALID_PARAMETER),
        (1 << 36, 8, Status.UNSUPPORTED),
        (0xFFFF_8000_0000_0000, 8, Status.UNSUPPORTED),
        (0xFFFF_FFFF_FFFF_E000, 0x1000, Status.UNSUPPORTED),
        (0xFFFF_FFFF_FFFF_F000, 8, Status.BUFFER_TOO_SMALL),  # rounding up to whole pages wraps
    ],
)
def test_user_range(memory: PhysicalMemory, address: int, size: int, answer: bool | Status) -> None:
    if isinstance(answer, Status):
        assert status_of(is_user_range, memory, address, size) is answer
    else:
        assert is_user_range(memory, address, size) is answer


@pytest.mark.parametrize(("address", "size"), [((1 << 64) - 8, 8), (0x2000, (1 << 64) - 1), ((1 << 64) - 1, 1)])
def test_a_wrapping_range_is_an_error(memory: PhysicalMemory, address: int, size: int) -> None:
    status_of(is_user_range, memory, address, size)


# §2


def services(*ranges: MmramDescriptor) -> PageServices:
    memory = PhysicalMemory(36)
    memory.assign(0, 1 << 36, RP | XP)
    return PageServices(memory, Mmram(ranges))


def open_pages(*ranges: MmramDescriptor) -> PageServices:
    pages = services(*ranges)
    pages.protect_all()
    return pages


def attributes(pages: PageServices, address: int) -> Attribute:
    return pages._memory.state(address).attributes


def runs(pages: PageServices) -> list[tuple[int, int, str, str]]:
    return [
        (piece.start, piece.size // PAGE_SIZE, piece.value.type.name, piece.value.owner.value)
        for piece in pages.records
        if piece.value is not None
    ]


def test_free_ranges_become_heap_and_the_others_supervisor_data() -> None:
    states = (MmramState.ALLOCATED, MmramState.NEEDS_TESTING, MmramState.NEEDS_ECC_INITIALIZATION)
    held = [MmramDescriptor(0x2000 * n, 0x2000 * n, 0x1000, state) for n, state in enumerate(states, 1)]
    pages = services(*held, free_range(0x9000, 0x2000))
    assert pages.free_pages == 2
    assert runs(pages)[0] == (0x2000, 1, "RUNTIME_SERVICES_DATA", "supervisor")
    assert len(runs(pages)) == 4


def test_allocation_goes_from_the_top_of_the_highest_range_that_fits() -> None:
    pages = services(free_range(BASE, 0x8000), free_range(BASE + 0x10000, 0x2000))
    assert pages.allocate(1, DATA, USER, "") == BASE + 0x11000
    assert pages.allocate(1, DATA, USER, "") == BASE + 0x10000
    assert pages.allocate(3, DATA, USER, "") == BASE + 0x5000
    assert pages.allocate(5, DATA, USER, "") == BASE
    assert status_of(pages.allocate, 1, DATA, USER, "") is Status.OUT_OF_RESOURCES


def test_too_large_for_the_highest_range_takes_a_lower_one() -> None:
    pages = services(free_range(BASE, 0x8000), free_range(BASE + 0x10000, 0x2000))
    assert pages.allocate(3, DATA, USER, "") == BASE + 0x5000
    assert pages.allocate(2, DATA, USER, "") == BASE + 0x10000
    assert status_of(pages.allocate, 6, DATA, USER, "") is Status.OUT_OF_RESOURCES


def test_zero_pages_reserve_nothing_and_lie_past_the_highest_free_page() -> None:
    pages = services(free_range(BASE, 0x4000))
    assert pages.allocate(0, DATA, USER, "") == BASE + 0x4000
    assert pages.free_pages == 4
    pages.allocate(1, DATA, USER, "")
    assert pages.allocate(0, DATA, USER, "") == BASE + 0x3000


def test_kinds_of_allocation() -> None:
    pages = services(free_range(BASE, 0x4000))
    assert pages.allocate(1, DATA, USER, "", kind=AllocateType.ADDRESS, address=BASE + 0x1000) == BASE + 0x1000
    taken = {"kind": AllocateType.ADDRESS, "address": BASE}
    assert status_of(pages.allocate, 2, DATA, USER, "", **taken) is Status.NOT_FOUND
    assert status_of(pages.allocate, 1, DATA, USER, "", kind=AllocateType.ADDRESS, address=0) is Status.NOT_FOUND
    assert pages.allocate(1, DATA, USER, "", kind=AllocateType.MAX_ADDRESS, address=BASE + 0xFFF) == BASE
    below = {"kind": AllocateType.MAX_ADDRESS, "address": 0}
    assert status_of(pages.allocate, 1, DATA, USER, "", **below) is Status.OUT_OF_RESOURCES
    assert status_of(pages.allocate, 1, DATA, USER, "", kind=3) is Status.INVALID_PARAMETER


def test_neighbours_merge_only_with_the_same_type_and_owner() -> None:
    pages = services(free_range(BASE, 0x6000))
    for kind, owner in ((DATA, USER), (DATA, USER), (DATA, SUPERVISOR), (CODE, USER)):
        pages.allocate(1, kind, owner, "")
    assert runs(pages) == [
        (BASE, 2, "CONVENTIONAL", "supervisor"),
        (BASE + 0x2000, 1, "RUNTIME_SERVICES_CODE", "user"),
        (BASE + 0x3000, 1, "RUNTIME_SERVICES_DATA", "supervisor"),
        (BASE + 0x4000, 2, "RUNTIME_SERVICES_DATA", "user"),
    ]


def test_part_of_an_allocation_can_be_freed_and_taken_again() -> None:
    pages = services(free_range(BASE, 0x4000))
    base = pages.allocate(4, DATA, USER, "")
    assert pages.free(base + 0x1000, 2, USER)
    assert pages.free_pages == 2
    assert pages.allocate(2, DATA, USER, "") == base + 0x1000
    assert pages.free(base, 4, USER)
    assert runs(pages) == [(BASE, 4, "CONVENTIONAL", "supervisor")]


def test_pages_of_the_other_owner_stay_and_the_status_is_success() -> None:
    pages = services(free_range(BASE, 0x4000))
    mine = pages.allocate(1, DATA, USER, "")
    theirs = pages.allocate(1, DATA, SUPERVISOR, "")
    assert not pages.free(theirs, 1, USER)
    assert not pages.free(theirs, 2, USER), "neither are pages freed that only partly belong to the caller"
    assert pages.free_pages == 2
    assert pages.free(mine, 1, USER)


@pytest.mark.parametrize(
    ("address", "count", "status"),
    [
        (BASE, 1, Status.NOT_FOUND),  # free
        (BASE + 0x2000, 2, Status.NOT_FOUND),  # partly free
        (BASE + 0x4000, 1, Status.NOT_FOUND),  # outside the map
        (BASE + 0x3000, 2, Status.NOT_FOUND),  # runs out of the map
        (BASE + 0x3008, 1, Status.INVALID_PARAMETER),
        ((1 << 36) - 0x1000, 16, Status.NOT_FOUND),
        (1 << 40, 1, Status.NOT_FOUND),
    ],
)
def test_what_cannot_be_freed(address: int, count: int, status: Status) -> None:
    pages = services(free_range(BASE, 0x4000))
    pages.allocate(1, DATA, USER, "")
    assert status_of(pages.free, address, count, USER) is status
    assert pages.free_pages == 3


@pytest.mark.parametrize(
    ("kind", "owner", "wanted"),
    [(DATA, USER, XP), (DATA, SUPERVISOR, XP | SP), (CODE, USER, Attribute.NONE), (CODE, SUPERVISOR, SP)],
)
def test_attributes_after_allocate_and_free(kind: PageType, owner: Owner, wanted: Attribute) -> None:
    pages = open_pages(free_range(BASE, 0x4000))
    base = pages.allocate(1, kind, owner, "")
    assert attributes(pages, base) == wanted
    assert attributes(pages, base - 0x1000) == XP | SP, "free pages are the supervisor's"
    pages.free(base, 1, owner)
    assert attributes(pages, base) == XP | SP


def test_before_the_lock_down_everything_is_open() -> None:
    pages = services(free_range(BASE, 0x4000), taken_range(BASE + 0x4000, 0x1000))
    base = pages.allocate(1, DATA, SUPERVISOR, "")
    assert attributes(pages, base) == RP | XP, "untouched"
    pages.protect_all()
    assert attributes(pages, base) == attributes(pages, BASE + 0x4000) == XP | SP


# Pool


def test_pool_objects_have_distinct_addresses_in_supervisor_pages_and_are_used_again() -> None:
    pages = open_pages(free_range(BASE, 0x4000))
    pool = SupervisorPool(pages)
    found = [pool.allocate(80) for _ in range(40)]
    assert len(set(found)) == 40
    assert all(attributes(pages, address) == XP | SP for address in found)
    assert all(abs(one - other) >= 80 for one in found for other in found if one != other)
    pool.free(found[7], 80)
    assert pool.allocate(80) == found[7]
    assert pool.allocate(0x1800) % 64 == 0


def test_pool_runs_out() -> None:
    pool = SupervisorPool(services(free_range(BASE, 0x1000)))
    pool.allocate(0x1000)
    assert status_of(pool.allocate, 1) is Status.OUT_OF_RESOURCES
