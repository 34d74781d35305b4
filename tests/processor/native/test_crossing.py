"""Waiting for ring 3, with a stub that is played: what a busy computer does to it, a stopped one, a hostile one."""

from __future__ import annotations

from typing import cast

import pytest

from mmsupervisor.processor.native import crossing
from mmsupervisor.processor.native.budget import Budget
from mmsupervisor.processor.native.crossing import GRACE, MOST_IDLE, cross
from mmsupervisor.processor.native.stub_unsafe import Stub, StubDiedError

TOTAL = 50_000_000
MANY = 10_000
"""Waits after which a played stub has been waited for in vain."""


class PlayedStub:
    """Reports once it was asked to and has used some processor time since; each wait lasts as long as it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: float, deaf_for: int) -> None:
        """Use a share of everybody's time; be deaf to signals for some processor time, in nanoseconds."""
        self.used = 0.0
        self.now = 0.0
        self._share = share
        self._hears_at = float(deaf_for)
        self.asked_at: float | None = None
        self.waits = 0
        monkeypatch.setattr(crossing, "monotonic", lambda: self.now)

    def cpu_time(self) -> int:
        return int(self.used)

    def go(self, milliseconds: int) -> bool:
        return self.wait(milliseconds)

    def wait(self, milliseconds: int) -> bool:
        self.waits += 1
        assert self.waits < MANY, "waits for ever"
        self.now += milliseconds / 1000
        self.used += milliseconds * 1_000_000 * self._share
        return self.asked_at is not None and self.used >= self.asked_at + self._hears_at

    def ask_back(self) -> None:
        self.asked_at = self.used

    def set_timer(self, nanoseconds: int) -> None:
        raise AssertionError("the budget was not small")

    def crossed(self) -> bool:
        budget = Budget(TOTAL)
        budget.start_clock(0)
        return cross(cast(Stub, self), budget)


@pytest.mark.parametrize("share", [1.0, 0.1, 0.001])
def test_a_loop_gives_the_processor_back_however_little_it_gets(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """A signal needs no more than a moment of processor time, which may take long to get."""
    stub = PlayedStub(monkeypatch, share, deaf_for=5_000_000)
    assert stub.crossed()
    assert stub.asked_at is not None
    assert stub.asked_at >= TOTAL


def test_a_loop_that_blocks_signals_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = PlayedStub(monkeypatch, 1.0, deaf_for=1 << 60)
    with pytest.raises(StubDiedError, match="does not give the processor back"):
        stub.crossed()
    assert GRACE < stub.used - TOTAL < 2 * GRACE


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_stub_that_is_stopped_is_given_up(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Before it was asked, and after."""
    stub = PlayedStub(monkeypatch, share, deaf_for=1 << 60)

    def stop() -> None:
        stub.asked_at, stub._share = stub.used, 0.0

    monkeypatch.setattr(stub, "ask_back", stop)
    with pytest.raises(StubDiedError, match="stopped"):
        stub.crossed()
    assert MOST_IDLE < stub.now < 2 * MOST_IDLE


def test_nobody_is_waited_for_whose_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = PlayedStub(monkeypatch, 1.0, deaf_for=0)
    budget = Budget(1)
    budget.count_exit()
    assert not cross(cast(Stub, stub), budget)
    assert stub.waits == 0
