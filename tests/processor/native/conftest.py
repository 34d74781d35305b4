"""A worker process for hostile code, so that a crash is a finding and not the end of the tests."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import ProcessorOptions
from mmsupervisor.processor.native.native_processor import NativeProcessor
from mmsupervisor.processor.native.stub_unsafe import Stub
from mmsupervisor.processor.select import probe_one
from tests.processor.conformance.machine import Bench

CHECKOUT = Path(__file__).resolve().parents[3]
PATIENCE = 300.0
"""Seconds; an attack takes two of the processor's at the most, which a busy computer may give it late."""


class Worker:
    """A process that carries out attacks, one after the other."""

    def __init__(self, weakness: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processor.native.worker", weakness],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def attack(self, code: str, **more: Any) -> dict[str, Any]:
        """Carry out an attack; fails the test if the worker dies or hangs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"code": code, **more}) + "\n")
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert ready, "the worker hangs"
        line = self._process.stdout.readline()
        assert line, f"the worker died: {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        assert "failure" not in answer, answer["failure"]
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        with self._process:  # which closes its pipes: other tests count descriptors
            self._process.stdin.close()
            try:
                self._process.wait(PATIENCE)
            finally:
                self._process.kill()


@pytest.fixture(scope="session", autouse=True)
def _native() -> None:
    found = probe_one("native")
    if not found.is_available:
        pytest.skip(found.reason)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def make_bench(budget: int = 0) -> Bench:
    return Bench(NativeProcessor, ProcessorOptions(amd_cpuid(39), budget=budget))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = make_bench(budget=50_000_000)
    yield made
    made.processor.close()
    made.memory.close()


def stub_of(bench: Bench) -> Stub:
    assert isinstance(bench.processor, NativeProcessor)
    assert bench.processor._stub is not None
    return bench.processor._stub
