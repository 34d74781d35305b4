"""Random message and phase sequences keep the invariants (tests/support/invariants.py), and leave nothing behind."""

from __future__ import annotations

import pytest

from mmsupervisor.core.handlers import HandlerDatabase
from mmsupervisor.core.pages import PageServices
from tests.support.invariants import broken_invariants
from tests.support.sequences import RandomCore
from tests.support.soak import STEPS, Soak, main, run_sequences

SEQUENCES, BATCH = 2000, 100


@pytest.mark.parametrize("batch", range(SEQUENCES // BATCH))
def test_random_sequences(batch: int) -> None:
    found = run_sequences(range(batch * BATCH, (batch + 1) * BATCH), STEPS, every=BATCH, warm_up=0)
    assert found.broken == ()


def trace(seed: int) -> list[str]:
    random_core = RandomCore(seed)
    random_core.run(100)
    random_core.close()
    return list(random_core.core.supervisor.log.canonical_lines())


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_is_a_sequence(seed: int) -> None:
    assert trace(seed) == trace(seed)


def test_a_wild_call_may_register_a_handler() -> None:
    """Seed 2280 does so by chance; what is registered counts as the double's own."""
    found = run_sequences(range(2280, 2281), STEPS, every=1, warm_up=1)
    assert found.broken == ()


def test_sequences_live_and_die() -> None:
    """The steps are neither all harmless nor all deadly, and they reach what they are for."""
    ends = {True: 0, False: 0}
    kinds: set[str] = set()
    for seed in range(60):
        random_core = RandomCore(seed)
        random_core.run(STEPS)
        ends[random_core.dead] += 1
        kinds |= {record.event.kind for record in random_core.core.supervisor.log.records}
        random_core.close()
    assert min(ends.values()) >= 5
    assert {
        "mmi-end",
        "request",
        "unblocked",
        "reference-bug",
        "handler-unregistered",
        "system-call",
        "finding",
    } <= kinds


def test_a_leak_of_pages_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = PageServices.free

    def leak(self: PageServices, address: int, pages: int, owner: object) -> bool:
        done = original(self, address, pages, owner)  # type: ignore[arg-type]
        self.records.update(address, address + 0x1000, lambda _: None)
        return done

    monkeypatch.setattr(PageServices, "free", leak)
    assert any(broken(seed) for seed in range(40))


def test_a_handler_that_stays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HandlerDatabase, "_remove_flagged", lambda _self: None)
    assert any(broken(seed) for seed in range(40))


def broken(seed: int) -> list[str]:
    random_core = RandomCore(seed)
    random_core.run(STEPS)
    found = random_core.wrong() + broken_invariants(random_core.core)
    random_core.close()
    return found


def test_memory_does_not_grow() -> None:
    """The short form of scripts/soak: Python's memory over 3,000 messages to the booted platform."""
    soak = Soak(seed=1)
    slope = soak.measure(3000, every=500, warm_up=1500)
    soak.close()
    assert slope.python < 1 << 20, f"{slope}"
    assert slope.handles == 0
    assert slope.free_pages == 0


def test_the_command_says_what_broke_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--messages", "0", "--sequences", "40", "--seed", "7"]) == 0
    assert "seeds 7 to 46" in capsys.readouterr().out
    monkeypatch.setattr(HandlerDatabase, "_remove_flagged", lambda _self: None)
    assert main(["--messages", "0", "--sequences", "40"]) == 1
    out = capsys.readouterr().out
    assert "a flagged handler outlived the last dispatch" in out
