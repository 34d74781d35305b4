"""Both processors lead to the same canonical trace, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

import mmsupervisor
from firmware.samples.catalogue import Case
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.processor.unicorn_unsafe import Engine
from tests.samples import stage as stages
from tests.samples.stage import staged
from tests.samples.test_offenders import CASES, arguments

PROCESSORS = ("unicorn", "native")

BUDGET = 50_000_000
"""Where it is time, a busy computer spends it early: enough for that, and little for a loop without end."""

Trace = tuple[str, list[str]]


def traces(make: Callable[[str], Trace]) -> tuple[Trace, Trace]:
    first, second = (make(name) for name in PROCESSORS)
    return first, second


def booted(processor: str) -> Trace:
    with mmsupervisor.boot(processor=processor) as session:
        assert session.processor == processor
        return "", list(session.log.canonical_lines())


def offended(monkeypatch: pytest.MonkeyPatch, case: Case, benign: int, processor: str) -> Trace:
    """Send one case of the Offender and return what came of it."""
    with monkeypatch.context() as patched:
        patched.setattr(stages, "boot_driver", partial(stages.boot_driver, processor=processor))
        patched.setattr(stages, "DESCRIPTION", replace(stages.DESCRIPTION, budget=BUDGET))
        with staged("Offender") as stage:
            try:
                outcome = str(stage.send(Case=case.number, Benign=benign, Argument=arguments(stage, case)))
            except SystemStopError as stop:
                outcome = str(stop)
            assert stage.session.processor == processor
            return outcome, list(stage.session.log.canonical_lines())


def test_the_sample_platform_boots_to_the_same_trace() -> None:
    unicorn, native = traces(booted)
    assert len(unicorn[1]) > 100
    assert unicorn == native


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_benign_twins_leave_the_same_trace(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    unicorn, native = traces(partial(offended, monkeypatch, case, 1))
    assert unicorn == native


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_offences_leave_the_same_trace(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    unicorn, native = traces(partial(offended, monkeypatch, case, 0))
    assert unicorn == native


def test_a_difference_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulator that cannot say where a bad jump came from names its target (docs/limitations.md)."""
    monkeypatch.setattr(Engine, "last_block", None)
    case = next(case for case in CASES if case.name == "JumpNonCanonical")
    unicorn, native = traces(partial(offended, monkeypatch, case, 0))
    assert unicorn != native
    assert "Offender+" in native[0]
