"""ProcessUnblockPages and ProcessBlockPages, rule by rule (docs/reference/unblock.md §5; memory.md §8.3)."""

from __future__ import annotations

import pytest

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import MemoryUnblocked
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.guid import ZERO_GUID, Guid
from mmsupervisor.pi.status import Status
from tests.core.small import FREE_RAM, HOLE, MMIO, MMRAM, MMRAM_END, OTHER, SUPERVISOR_BUFFER, bugs, events, unblock

A = FREE_RAM
SP, XP, RP, RO = Attribute.SP, Attribute.XP, Attribute.RP, Attribute.RO


def refuse(supervisor: Supervisor, start: int, pages: int, **fields: int | Guid) -> Status:
    before = list(supervisor.unblocked.regions), supervisor.memory.pages.copy()
    with pytest.raises(CoreError) as caught:
        unblock(supervisor, start, pages, **fields)
    assert supervisor.unblocked.regions == before[0]
    assert list(supervisor.memory.pages) == list(before[1]), "nothing is opened"
    return caught.value.status


def state(supervisor: Supervisor, address: int) -> Attribute:
    return supervisor.memory.state(address).attributes


@pytest.mark.parametrize(
    ("attribute", "wanted"),
    [
        (0, XP),
        (0x40000, XP | SP),
        (0x4000 | 0x40000, XP | SP),
        (0x20000, XP),  # RO is ignored
        (0x2000, XP),  # so is RP
        ((1 << 64) - 1 - 0x40000, XP),
    ],
)
def test_opened_pages(supervisor: Supervisor, attribute: int, wanted: Attribute) -> None:
    unblock(supervisor, A, 2, attribute=attribute)
    assert state(supervisor, A) == state(supervisor, A + PAGE_SIZE) == wanted
    assert state(supervisor, A - 1) == state(supervisor, A + 2 * PAGE_SIZE) == RP | XP
    assert supervisor.unblocked.regions[-1].start == A


def test_the_list_is_in_order_of_opening(supervisor: Supervisor) -> None:
    begin = len(supervisor.unblocked.regions)
    for start in (A + 0x4000, A, A + 0x2000):
        unblock(supervisor, start, 1)
    assert [region.start for region in supervisor.unblocked.regions[begin:]] == [A + 0x4000, A, A + 0x2000]


# Rules 1 to 3, and that they come in this order


def test_after_ready_to_lock(supervisor: Supervisor) -> None:
    supervisor.lifecycle.ready_to_lock = True
    assert refuse(supervisor, A, 1) is Status.ACCESS_DENIED
    assert refuse(supervisor, A, 1, identifier=ZERO_GUID) is Status.ACCESS_DENIED


def test_a_zero_identifier(supervisor: Supervisor) -> None:
    assert refuse(supervisor, A, 1, identifier=ZERO_GUID) is Status.INVALID_PARAMETER
    assert refuse(supervisor, MMRAM, 1, identifier=ZERO_GUID) is Status.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("start", "pages"), [(MMRAM, 1), (MMRAM_END - PAGE_SIZE, 1), (MMRAM_END - PAGE_SIZE, 4), (MMRAM, 0)]
)
def test_in_mmram(supervisor: Supervisor, start: int, pages: int) -> None:
    assert refuse(supervisor, start, pages) is Status.SECURITY_VIOLATION


def test_runs_into_mmram_from_below(supervisor: Supervisor) -> None:
    """It passes the rule about MMRAM and fails the one about equal attributes."""
    assert refuse(supervisor, MMRAM - PAGE_SIZE, 2) is Status.NO_MAPPING
    unblock(supervisor, MMRAM - PAGE_SIZE, 1)


# Rules 4 to 6


def test_identical(supervisor: Supervisor) -> None:
    unblock(supervisor, A, 2)
    count = len(supervisor.unblocked.regions)
    unblock(supervisor, A, 2)
    unblock(supervisor, A, 2, identifier=OTHER)
    assert len(supervisor.unblocked.regions) == count
    assert supervisor.unblocked.regions[-1].identifier != OTHER, "the list shows the first one"
    assert "unblock.md surprise 6" in bugs(supervisor)


@pytest.mark.parametrize(
    "change", [{"memory_type": 0}, {"virtual": A}, {"attribute": 0x40000}, {"attribute": 0x4000}, {"padding": 1}]
)
def test_same_pages_but_another_descriptor(supervisor: Supervisor, change: dict[str, int]) -> None:
    unblock(supervisor, A, 2)
    assert refuse(supervisor, A, 2, **change) is Status.SECURITY_VIOLATION
    other_owner = change == {"attribute": 0x40000}
    assert ("unblock.md surprise 1" in bugs(supervisor)) is not other_owner


@pytest.mark.parametrize(
    ("start", "pages"),
    [
        (A, 1),  # same start
        (A + 0x1000, 2),  # same end
        (A + 0x1000, 1),  # inside
        (A - 0x1000, 2),  # runs in from below
        (A + 0x2000, 2),  # runs out
        (A, 4),  # same start, longer
        (A - 0x1000, 4),  # same end, longer
    ],
)
def test_overlaps(supervisor: Supervisor, start: int, pages: int) -> None:
    unblock(supervisor, A, 3)
    assert refuse(supervisor, start, pages) is Status.SECURITY_VIOLATION


def test_enclosing_fails_by_its_attributes(supervisor: Supervisor) -> None:
    unblock(supervisor, A, 1)
    assert refuse(supervisor, A - 0x1000, 3) is Status.NO_MAPPING


def test_touching_is_allowed_and_nothing_merges(supervisor: Supervisor) -> None:
    begin = len(supervisor.unblocked.regions)
    unblock(supervisor, A, 1)
    unblock(supervisor, A + 0x1000, 1)
    unblock(supervisor, A - 0x1000, 1)
    assert len(supervisor.unblocked.regions) == begin + 3
    assert supervisor.unblocked.is_outside_and_open(A, 0x1000)
    assert not supervisor.unblocked.is_outside_and_open(A + 0xFFF, 2), "no buffer spans two entries"


def test_the_first_entry_that_is_hit_decides(supervisor: Supervisor) -> None:
    unblock(supervisor, A, 1)
    unblock(supervisor, A + 0x1000, 1)
    assert refuse(supervisor, A, 2) is Status.SECURITY_VIOLATION


def test_comm_buffers_are_in_the_list(supervisor: Supervisor) -> None:
    assert refuse(supervisor, SUPERVISOR_BUFFER, 1) is Status.SECURITY_VIOLATION
    assert refuse(supervisor, SUPERVISOR_BUFFER - 0x1000, 1 + 16 + 1) is Status.NO_MAPPING


# Rules 7 to 10


@pytest.mark.parametrize(
    ("start", "pages", "status"),
    [
        (A, 0, Status.INVALID_PARAMETER),
        (A, 1 << 52, Status.INVALID_PARAMETER),  # wraps to 0 bytes
        (A, 1 << 51, Status.INVALID_PARAMETER),  # 2^63 bytes
        (A, (1 << 64) - 1, Status.INVALID_PARAMETER),  # wraps to 2^64 - 4096
        (1 << 36, 1, Status.UNSUPPORTED),
        ((1 << 36) - 0x1000, 2, Status.UNSUPPORTED),
        ((1 << 64) - 0x1000, 1, Status.UNSUPPORTED),  # ends at 2^64, which is 0
        ((1 << 64) - 0x1000, 2, Status.UNSUPPORTED),
        (MMIO, 4, Status.SECURITY_VIOLATION),  # identical pages, another descriptor type
        (A, MMRAM - A >> 12, None),
    ],
)
def test_sizes(supervisor: Supervisor, start: int, pages: int, status: Status | None) -> None:
    if status is None:
        unblock(supervisor, start, pages)
    else:
        assert refuse(supervisor, start, pages) is status


def test_pages_that_are_present_already(supervisor: Supervisor) -> None:
    supervisor.memory.assign(A, PAGE_SIZE, XP)
    assert refuse(supervisor, A, 1) is Status.SECURITY_VIOLATION
    supervisor.memory.assign(A, PAGE_SIZE, RP | RO)
    assert refuse(supervisor, A, 1) is Status.SECURITY_VIOLATION, "read-only"
    supervisor.memory.assign(A, PAGE_SIZE, RP | SP)
    unblock(supervisor, A, 1)
    assert state(supervisor, A) == XP, "SP is not tested"


# What is not checked


def test_page_0_and_a_hole_can_be_opened(supervisor: Supervisor) -> None:
    unblock(supervisor, 0, 1)
    assert state(supervisor, 0) == XP
    unblock(supervisor, HOLE, 1)


@pytest.mark.parametrize("memory_type", [0, 7, 0xFFFF_FFFF])
def test_the_type_is_not_checked(supervisor: Supervisor, memory_type: int) -> None:
    unblock(supervisor, A, 1, memory_type=memory_type)


def test_an_unaligned_start_has_no_rule_and_is_refused_by_name(supervisor: Supervisor) -> None:
    refuse(supervisor, A + 8, 1)
    assert "unblock.md surprise 2" in bugs(supervisor)


def test_there_is_no_limit_of_regions(supervisor: Supervisor) -> None:
    for number in range(500):
        unblock(supervisor, A + 0x2000 * number, 1)
    assert len(supervisor.unblocked.regions) >= 500
    assert len(events(supervisor, MemoryUnblocked)) >= 500


# Blocking (§5.1)


def test_blocking(supervisor: Supervisor) -> None:
    unblock(supervisor, A, 2)
    unblock(supervisor, A + 0x2000, 1)
    supervisor.unblocked.block(A, 2)
    assert state(supervisor, A) & state(supervisor, A + 0x1000) & RP
    assert not state(supervisor, A + 0x2000) & RP
    assert all(region.start != A for region in supervisor.unblocked.regions)
    unblock(supervisor, A, 1)


@pytest.mark.parametrize(("start", "pages"), [(A, 1), (A, 3), (A + 0x1000, 1), (HOLE, 2)])
def test_only_a_listed_region_can_be_blocked(supervisor: Supervisor, start: int, pages: int) -> None:
    unblock(supervisor, A, 2)
    with pytest.raises(CoreError) as caught:
        supervisor.unblocked.block(start, pages)
    assert caught.value.status is Status.NOT_FOUND
    assert not state(supervisor, A) & RP


# The question about a buffer (memory.md §8.3)

LIMIT = 1 << 36


@pytest.mark.parametrize(
    ("address", "length", "answer"),
    [
        (A, 0x2000, True),
        (A + 0x1FFF, 1, True),
        (A, 0x2001, False),
        (A - 1, 2, False),
        (A, 0, False),
        (A + 0x2000, 1, False),
        (MMRAM, 1, False),
        (LIMIT - 1, 1, False),
        (LIMIT, 1, False),
        (A, LIMIT, False),
        (A, (1 << 64) - 1, False),
        (A, (1 << 64) - A, False),
        ((1 << 64) - 1, 2, False),
        (A, 1 << 63, False),
    ],
)
def test_is_outside_and_open(supervisor: Supervisor, address: int, length: int, answer: bool) -> None:
    unblock(supervisor, A, 2)
    assert supervisor.unblocked.is_outside_and_open(address, length) is answer


def test_before_the_core_is_initialised_everything_outside_counts_as_open(supervisor: Supervisor) -> None:
    supervisor.lifecycle.initialised = False
    assert supervisor.unblocked.is_outside_and_open(A, 0x1000)
    assert supervisor.unblocked.is_outside_and_open(A, 0)
    assert not supervisor.unblocked.is_outside_and_open(MMRAM, 1)


def test_one_byte_of_mmram_is_enough(supervisor: Supervisor) -> None:
    unblock(supervisor, MMRAM - 0x1000, 1)
    assert supervisor.unblocked.is_outside_and_open(MMRAM - 0x1000, 0x1000)
    assert not supervisor.unblocked.is_outside_and_open(MMRAM - 0x1000, 0x1001)
