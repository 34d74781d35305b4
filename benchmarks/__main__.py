"""All figures, as a table, as JSON and as a plot.

python -m benchmarks [--seconds S] [--only SECTION ...] [--json FILE] [--svg FILE] [--markdown]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import growth_figures, ring3_figures, supervisor_figures
from benchmarks.drawing import draw
from benchmarks.figures import WAYS, Figure
from benchmarks.qiling_figures import qiling
from mmsupervisor.processor.select import probe

Section = Callable[[Sequence[str], float], Iterator[Figure]]

SECTIONS: dict[str, Section] = {
    "computing": ring3_figures.computing,
    "coverage": ring3_figures.coverage,
    "round-trips": ring3_figures.round_trips,
    "resets": ring3_figures.resets,
    "messages": supervisor_figures.messages,
    "start": supervisor_figures.start,
    "memory": supervisor_figures.memory,
    "cores": supervisor_figures.cores,
    "drivers": growth_figures.drivers,
    "sizes": growth_figures.sizes,
    "cpus": growth_figures.cpus,
    "policy": growth_figures.policy,
    "qiling": qiling,
}
_WHOLE_COMPUTER = {"cores"}
"""Sections that may use every processor; all others keep to one."""


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"


def _rows(figures: Sequence[Figure]) -> Iterator[list[str]]:
    for one in figures:
        cells = [_number(one.best[way]) if way in one.best else "" for way in WAYS]
        targets = [("met: " if target.met else "MISSED: ") + target.text for target in one.targets]
        yield [one.section, one.name, *cells, one.unit, "; ".join([*targets, *([one.note] if one.note else [])])]


def _print(figures: Sequence[Figure], *, markdown: bool) -> None:
    head = ["", "", *WAYS, "unit", ""]
    rows = list(_rows(figures))
    if markdown:
        for row in (head, ["---"] * 2 + ["---:"] * len(WAYS) + ["---"] * 2, *rows):
            print("| " + " | ".join(row) + " |")
        return
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head) - 1)]
    last = ""
    for row in [head, *rows]:
        first, last = "" if row[0] == last else row[0], row[0]
        cells = [first.ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [cell.rjust(width) for cell, width in zip(row[2:-2], widths[2:], strict=False)]
        print("  ".join([*cells, row[-2].ljust(widths[-1]), row[-1]]).rstrip())


@contextlib.contextmanager
def _one_processor(wanted: bool) -> Iterator[None]:
    """Keep this process and what it starts to one processor, where the system can."""
    if not wanted or not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def main(words: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What things cost.")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each way of each figure")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a section; may be given again")
    parser.add_argument("--json", type=Path, help="write everything there, medians included")
    parser.add_argument("--svg", type=Path, help="write the plot there")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args(words)
    names = [one.name for one in probe() if one.is_available]
    figures: list[Figure] = []
    for section in options.only or SECTIONS:
        with _one_processor(section not in _WHOLE_COMPUTER):
            for figure in SECTIONS[section](names, options.seconds):
                figures.append(figure)
                print(f"measured {figure.section}: {figure.name}", file=sys.stderr)
    _print(figures, markdown=options.markdown)
    if options.json:
        computer = {"machine": platform.machine(), "system": platform.system(), "python": platform.python_version()}
        document = {"computer": computer, "figures": [one.as_fields() for one in figures]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(draw(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
