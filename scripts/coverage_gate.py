"""Hold the branch coverage of single packages above their thresholds.

Usage: ``coverage_gate.py COVERAGE.json [PYPROJECT.toml]``. The thresholds, in percent of statements and
branches together, stand in ``[tool.coverage_gate]`` of ``pyproject.toml``, one line a package below
``src/mmsupervisor``. Exits with 1 and names the packages when one is below, or has not been measured.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = "src/mmsupervisor"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was run of a package.

    Attributes:
        covered: Statements run plus branches taken.
        total: Statements plus branches.
    """

    covered: int
    total: int

    @property
    def percent(self) -> float:
        """Share of statements and branches that were run; 0 for a package without any."""
        return 100 * self.covered / self.total if self.total else 0.0


def of_package(report: Mapping[str, object], package: str) -> Coverage:
    """Add up the files of one package in a JSON report of coverage.py that was measured with branches."""
    covered = total = 0
    files = report["files"]
    assert isinstance(files, Mapping)
    for name, file in files.items():
        if name.replace("\\", "/").startswith(f"{SOURCE}/{package}/"):
            summary = file["summary"]
            covered += summary["covered_lines"] + summary["covered_branches"]
            total += summary["num_statements"] + summary["num_branches"]
    return Coverage(covered, total)


def main(arguments: list[str]) -> int:
    """Print a line a package; return the exit status."""
    report = json.loads(Path(arguments[0]).read_text())
    project = Path(arguments[1]) if arguments[1:] else Path(__file__).resolve().parents[1] / "pyproject.toml"
    thresholds = tomllib.loads(project.read_text())["tool"]["coverage_gate"]
    low = 0
    for package, threshold in thresholds.items():
        coverage = of_package(report, package)
        verdict = "ok" if coverage.percent >= threshold else f"BELOW {threshold} %"
        low += verdict != "ok"
        print(f"coverage {package:10} {coverage.percent:6.1f} % of {coverage.total:5} statements, branches: {verdict}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
