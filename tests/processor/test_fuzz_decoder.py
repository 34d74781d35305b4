"""The fuzz target of the processor runs, takes its seeds without error, and finds a planted fault."""

from __future__ import annotations

import pytest

from fuzz import fuzz_decoder
from fuzz.format_harness import FuzzFindingError, run
from mmsupervisor.machine.memory import PageState
from mmsupervisor.processor import page_map
from mmsupervisor.processor.decoder import Execution


@pytest.fixture(autouse=True)
def fresh_bench() -> None:
    fuzz_decoder._bench.cache_clear()


def test_seeds_are_sound() -> None:
    for seed in fuzz_decoder.seeds():
        fuzz_decoder.target(seed)


def test_some_inputs_bring_no_surprise() -> None:
    assert run(fuzz_decoder.target, fuzz_decoder.seeds(), seconds=30, seed=1, most=1500) > len(fuzz_decoder.seeds())


def test_a_page_map_that_allows_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = page_map.direct_access

    def generous(state: PageState) -> int:
        access = honest(state)
        return access | page_map.WRITE if access & page_map.READ else access

    monkeypatch.setattr(page_map, "direct_access", generous)
    with pytest.raises(FuzzFindingError, match="may not write"):
        run(fuzz_decoder.target, fuzz_decoder.seeds(), seconds=30, seed=1, most=1500)


def test_a_decoder_that_checks_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Execution, "require", lambda *_arguments: None)
    with pytest.raises(FuzzFindingError):
        run(fuzz_decoder.target, fuzz_decoder.seeds(), seconds=60, seed=1, most=20000)


def test_instructions_that_reach_the_emulator_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsupervisor.processor.trapped.trapped_offsets", lambda *_code: [])
    with pytest.raises(FuzzFindingError, match="vector"):
        run(fuzz_decoder.target, fuzz_decoder.seeds(), seconds=30, seed=1, most=1500)
