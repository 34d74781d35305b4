"""The benchmark of boots: its phases are those of a boot, and a boot that fails is no figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.boot_phases import one_boot
from mmsupervisor.dxe.phases import Phase
from tests.support.observed import CODE
from tests.support.ovmf import Ovmf


def test_every_phase_has_its_time(ovmf: Ovmf) -> None:
    took = one_boot(ovmf.path(CODE), "auto")
    phases = [phase.value for phase in Phase if phase is not Phase.EXIT_BOOT_SERVICES]
    assert list(took) == ["read", *phases, "messages"]
    assert took["read"] > 0
    assert took["dxe"] > took["end-of-pei"]


def test_a_boot_that_does_not_reach_its_end_is_no_figure(tmp_path: Path) -> None:
    image = tmp_path / "empty.fd"
    image.write_bytes(b"\xff" * 0x1000)
    with pytest.raises(SystemExit, match="did not reach its end"):
        one_boot(image, "auto")
