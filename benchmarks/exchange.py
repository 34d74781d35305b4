"""The loop in C, compiled on the spot where there is a compiler."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("exchange.c")


class Exchange(NamedTuple):
    """Microseconds of an exchange and the way back.

    Attributes:
        notified: A system call that is a notification of its own, without a signal and its registers.
        trapped: A system call that is trapped first.
        protection: HLT.
        page: A read where there is no page.
    """

    notified: float
    trapped: float
    protection: float
    page: float


@cache
def exchange_in_c() -> Exchange | None:
    """Return the times in microseconds; None without a compiler, or where the kernel refuses."""
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
    fastest = Exchange(*(min(column) for column in zip(*rounds, strict=True)))
    return None if min(fastest) < 0 else fastest
