"""The fuzz targets run, find nothing in a short while, and do find a planted fault."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[2] / "fuzz"


@pytest.fixture(params=[("fuzz_volume", "try_volume"), ("fuzz_volume", "try_stream"), ("fuzz_container", "try_image")])
def target(request, monkeypatch):
    monkeypatch.syspath_prepend(str(FUZZ))
    module = importlib.import_module(request.param[0])
    seeds = module.streams() if request.param[1] == "try_stream" else module.seeds()
    return getattr(module, request.param[1]), seeds, importlib.import_module("fuzz_volume").run


def test_targets_accept_their_seeds(target):
    function, seeds, _ = target
    assert seeds
    for seed in seeds:
        function(seed)


def test_a_short_run_finds_nothing(target, monkeypatch, capsys):
    function, seeds, run = target
    monkeypatch.setattr(sys, "argv", ["fuzz", "--seconds", "0.7", "--seed", "9"])
    assert run([(function, seeds)]) == 0
    count = int(capsys.readouterr().out.split()[0])
    assert count > 20


def test_a_planted_fault_is_found_and_printed(target, monkeypatch, capsys):
    function, seeds, run = target

    def faulty(data: bytes) -> None:
        function(data)
        if len(data) % 2:
            raise IndexError("planted")

    monkeypatch.setattr(sys, "argv", ["fuzz", "--seconds", "20"])
    assert run([(faulty, seeds)]) == 1
    report = capsys.readouterr().out
    assert "IndexError: planted" in report
    assert bytes.fromhex(report.splitlines()[-1])
