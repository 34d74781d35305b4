"""Qiling beside it, where there is one: a Python that has it, named by MMSUP_QILING. It is no dependency of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure


def qiling(_names: Sequence[str], _seconds: float) -> Iterator[Figure]:
    """Say that there is none."""
    yield Figure("Qiling", "drivers that it can start", "", {}, note="absent")
