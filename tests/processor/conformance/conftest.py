"""Every test of this directory runs on every processor there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import ProcessorOptions
from mmsupervisor.processor.select import PROCESSORS, make_processor, probe_one
from tests.processor.conformance.machine import Bench

MakeBench = Callable[..., Bench]

ANYWHERE = ("unicorn",)
"""Processors that every host has; others need a host that fits."""


@pytest.fixture(params=PROCESSORS)
def make_bench(request: pytest.FixtureRequest) -> Iterator[MakeBench]:
    """Return a function that makes a bench with given options."""
    found = probe_one(request.param)
    if not found.is_available:
        if request.param in ANYWHERE:
            pytest.fail(found.reason, pytrace=False)
        pytest.skip(found.reason)
    made: list[Bench] = []

    def make(options: ProcessorOptions | None = None) -> Bench:
        options = options or ProcessorOptions(amd_cpuid(39), budget=20_000_000)
        bench = Bench(lambda memory, chosen: make_processor(request.param, memory, chosen), options)
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.processor.close()
        bench.memory.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()
