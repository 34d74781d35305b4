"""The loop in C, compiled on the spot where there is a compiler."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("exchange.c")


@cache
def exchange_in_c() -> tuple[float, float] | None:
    """Return the microseconds of a notification, and of a trapped call; None without a compiler, or where refused."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "exchange")
        subprocess.run([compiler, "-O2", "-o", program, str(SOURCE)], check=True)
        rounds = [
            [
                float(word) / 1000
                for word in subprocess.run([program, "0.1"], capture_output=True, check=True).stdout.split()
            ]
            for _ in range(3)
        ]
    plain, trapped = (min(one[column] for one in rounds) for column in (0, 1))
    return None if plain < 0 else (plain, trapped)
