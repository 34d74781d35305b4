"""The fuzz targets of this package run, take their seeds without error, and find a planted fault."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from fuzz import fuzz_depex, fuzz_hob, fuzz_pcd, fuzz_pe
from fuzz.format_harness import FuzzFindingError, run
from mmsupervisor.pi.errors import FormatError

TARGETS = (fuzz_pe, fuzz_hob, fuzz_depex, fuzz_pcd)


@pytest.mark.parametrize("module", TARGETS, ids=lambda module: module.__name__)
def test_seeds_are_sound(module):
    for seed in module.seeds():
        module.target(seed)


@pytest.mark.parametrize("module", TARGETS, ids=lambda module: module.__name__)
def test_some_inputs_bring_no_surprise(module):
    assert run(module.target, module.seeds(), seconds=20, seed=1, most=300) > len(module.seeds())


def test_a_planted_fault_is_found():
    def careless(data: bytes) -> None:
        with suppress(FormatError):
            fuzz_hob.target(data)
        data.index(b"\xff\xff")

    with pytest.raises(FuzzFindingError, match="ValueError"):
        run(careless, fuzz_hob.seeds(), seconds=20, seed=1, most=500)


def test_a_target_runs_as_a_command():
    script = Path(fuzz_depex.__file__)
    done = subprocess.run(
        [sys.executable, str(script), "--seconds", "0.2"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "no surprise" in done.stdout
