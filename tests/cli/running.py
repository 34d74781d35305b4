"""Running the command as a user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

QUIET = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "MMSUP_DEBUG", "PYTHONIOENCODING", "TTY_COMPATIBLE"}


def environment(**changes: str) -> dict[str, str]:
    """The environment without what changes output, and with changes."""
    return {name: value for name, value in os.environ.items() if name not in QUIET} | changes


def arguments(*words: str | os.PathLike[str]) -> list[str]:
    return [sys.executable, "-m", "mmsupervisor", *map(os.fspath, words)]


def mmsup(
    *words: str | os.PathLike[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it with its output in pipes."""
    return subprocess.run(
        arguments(*words),
        cwd=cwd,
        env=environment() if env is None else dict(env),
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
