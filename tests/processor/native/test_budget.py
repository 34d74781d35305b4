"""What an entry may use of the host's time. The tests tell the time: nothing here depends on how busy a computer is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import BudgetSpent, ProcessorOptions, SystemCall
from mmsupervisor.processor.native import budget as budgets
from mmsupervisor.processor.native.budget import CROSSING, EXIT_COST, LOOK_AGAIN, OLD, SHORTEST, Budget
from mmsupervisor.processor.native.native_processor import NativeProcessor
from mmsupervisor.processor.native.stub_unsafe import Stub
from tests.processor.conformance.machine import CODE, Bench

TOTAL = 50_000_000
TWO_CALLS = "0f05 0f05"


class Clock:
    """The stub's processor time and everybody's, as the tests have them, in nanoseconds."""

    def __init__(self) -> None:
        self.cpu = 1000
        self.now = 1 << 40

    def advance(self, nanoseconds: int) -> None:
        self.cpu += nanoseconds
        self.now += nanoseconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(budgets, "monotonic_ns", lambda: made.now)
    monkeypatch.setattr(Stub, "cpu_time", lambda _stub: made.cpu)
    return made


@pytest.fixture
def bench(clock: Clock) -> Iterator[Bench]:
    made = Bench(NativeProcessor, ProcessorOptions(amd_cpuid(39), budget=TOTAL))
    yield made
    made.processor.close()
    made.memory.close()


# By itself


def test_exits_and_time_are_charged() -> None:
    budget = Budget(10_000_000)
    budget.start_clock(1000)
    budget.look_at(1000 + CROSSING)
    assert budget.save() == (10_000_000, 10_000_000)
    budget.look_at(1000 + CROSSING + 4_000_000)
    assert budget.save() == (10_000_000, 6_000_000)
    budget.count_exit()
    assert budget.save() == (10_000_000 - EXIT_COST, 6_000_000)
    assert not budget.is_nearly_spent
    budget.look_at(1000 + 20_000_000)
    assert budget.is_spent
    budget.renew()
    assert not budget.is_spent


def test_a_small_budget_has_its_exits_counted_and_some_time_all_the_same() -> None:
    budget = Budget(10)
    assert budget.save() == (10, SHORTEST)
    for _ in range(5):
        assert not budget.is_spent
        budget.count_exit()
    assert budget.is_spent


def test_no_bound_is_never_spent() -> None:
    budget = Budget(0)
    budget.look_at(1 << 60)
    for _ in range(1000):
        budget.count_exit()
    assert not budget.is_spent
    assert not budget.is_nearly_spent
    assert not budget.is_look_due


def test_exits_that_took_little_do_not_pay_for_a_loop_that_follows() -> None:
    budget = Budget(TOTAL)
    budget.start_clock(0)
    for _ in range(1000):
        budget.count_exit()
    budget.look_at(1000 * CROSSING // 4)
    assert budget.save()[1] == TOTAL
    budget.look_at(1000 * CROSSING // 4 + TOTAL)
    assert budget.is_spent


def test_a_crossing_that_takes_many_looks_is_spared_once(clock: Clock) -> None:
    budget = Budget(TOTAL)
    budget.start_clock(0)
    for number in range(1, 101):
        budget.look_at(number * CROSSING)
    assert budget.save()[1] == TOTAL - 99 * CROSSING


def test_looks_become_due(clock: Clock) -> None:
    budget = Budget(TOTAL)
    budget.start_clock(0)
    clock.advance(LOOK_AGAIN)
    assert not budget.is_look_due
    clock.advance(1)
    assert budget.is_look_due
    budget.look_at(0)
    assert not budget.is_look_due


def test_a_clock_that_was_looked_at_just_now_is_not_asked_again(clock: Clock) -> None:
    budget = Budget(TOTAL)
    budget.start_clock(0)
    clock.advance(OLD)
    budget.begin(lambda: pytest.fail("asked"))
    clock.advance(1)
    asked: list[int] = []
    budget.begin(lambda: asked.append(1) or 7)  # type: ignore[func-returns-value]
    assert asked == [1]


# In the processor


def test_time_between_calls_is_charged(bench: Bench, clock: Clock) -> None:
    assert isinstance(bench.enter(TWO_CALLS), SystemCall)
    clock.advance(TOTAL + LOOK_AGAIN + 2 * CROSSING)
    assert isinstance(bench.processor.resume(), SystemCall)  # which it came to make
    assert isinstance(bench.processor.resume(), BudgetSpent)


def test_an_entry_does_not_pay_for_those_before_it(bench: Bench, clock: Clock) -> None:
    for _ in range(3):
        clock.advance(2 * TOTAL)
        assert isinstance(bench.enter(TWO_CALLS), SystemCall)
        clock.advance(TOTAL // 2)
        assert isinstance(bench.processor.resume(), SystemCall)


def test_a_context_does_not_pay_for_others(bench: Bench, clock: Clock) -> None:
    bench.enter(TWO_CALLS)
    kept = bench.processor.suspend()
    clock.advance(2 * TOTAL)
    assert isinstance(bench.go(CODE), SystemCall)
    clock.advance(2 * TOTAL)
    bench.processor.restore(kept)
    assert isinstance(bench.processor.resume(), SystemCall)


def test_a_budget_that_was_spent_is_renewed_whole(bench: Bench, clock: Clock) -> None:
    bench.enter("0f05 ebfc")  # call; again
    for _ in range(3):
        clock.advance(2 * TOTAL)
        assert isinstance(bench.processor.resume(), SystemCall)
        assert isinstance(bench.processor.resume(), BudgetSpent)
        assert isinstance(bench.processor.resume(), SystemCall)
