"""The coverage gate counts statements and branches of single packages, and can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

GATE = Path(__file__).resolve().parents[2] / "scripts" / "coverage_gate.py"


def run_gate(folder: Path, **files: tuple[int, int, int, int]) -> subprocess.CompletedProcess[str]:
    """Run the gate on files of package ``pi`` given as statements, run of them, branches, taken of them."""
    names = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    report = {
        f"src/mmsupervisor/{name.replace('__', '/')}.py": {"summary": dict(zip(names, numbers, strict=True))}
        for name, numbers in files.items()
    }
    (folder / "coverage.json").write_text(json.dumps({"files": report}))
    (folder / "pyproject.toml").write_text("[tool.coverage_gate]\npi = 90\n")
    return subprocess.run(
        [sys.executable, GATE, folder / "coverage.json", folder / "pyproject.toml"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_package_at_its_threshold_passes(tmp_path: Path) -> None:
    done = run_gate(tmp_path, pi__a=(60, 60, 0, 0), pi__deep__b=(30, 25, 10, 5))
    assert (done.returncode, done.stdout) == (0, "coverage pi           90.0 % of   100 statements, branches: ok\n")


def test_missing_branches_count(tmp_path: Path) -> None:
    done = run_gate(tmp_path, pi__a=(60, 60, 40, 29))
    assert done.returncode == 1
    assert "89.0 %" in done.stdout
    assert "BELOW 90 %" in done.stdout


def test_other_packages_do_not_help(tmp_path: Path) -> None:
    assert (
        run_gate(tmp_path, pi__a=(10, 8, 0, 0), policy__a=(100, 100, 0, 0), pineapple__a=(99, 99, 0, 0)).returncode == 1
    )


def test_a_package_that_was_not_measured_fails(tmp_path: Path) -> None:
    assert run_gate(tmp_path, policy__a=(10, 10, 0, 0)).returncode == 1
