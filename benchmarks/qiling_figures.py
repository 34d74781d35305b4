"""Qiling beside it: from a driver's file to the end of its entry point, for the drivers of OVMF.

It is no dependency of ours: MMSUP_QILING names a Python that has it (``pip install qiling`` in an environment of its
own). Qiling runs an entry point with its own stand-ins at no privilege level; ours boots a supervisor, its broker and
the driver, in ring 3. Its handlers are not dispatched there, so that messages cannot be compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.firmware_input import ABSENT, ovmf_image
from mmsupervisor.pi.guid import Guid
from mmsupervisor.session import boot_driver

SECTION = "Qiling"
DRIVERS = ("SmmLockBox", "CpuIo2Smm", "SmmFaultTolerantWriteDxe", "FvbServicesSmm", "VariableSmm")
_TIMES = 3


def qiling(names: Sequence[str], _seconds: float) -> Iterator[Figure]:
    """Start the same drivers here and there."""
    python, image = os.environ.get("MMSUP_QILING", ""), ovmf_image()
    if not python or image is None:
        note = ABSENT if python else "not measured: MMSUP_QILING names no Python that has it"
        yield Figure(SECTION, "entry points of OVMF's drivers", "ms", {}, note=note)
        return
    with tempfile.TemporaryDirectory() as folder:
        extract = [sys.executable, "-m", "mmsupervisor", "info", str(image), "--extract", folder]
        subprocess.run(extract, check=True, capture_output=True)
        files = [Path(folder) / f"{name}.efi" for name in DRIVERS]
        child = [python, "-E", str(Path(__file__).with_name("qiling_child.py")), *map(str, files)]
        out = subprocess.run(child, capture_output=True, text=True, check=True, timeout=300).stdout
        for file, line in zip(files, out.splitlines(), strict=True):
            found = json.loads(line)
            best = {name: min(_start(file, name) for _ in range(_TIMES)) for name in names}
            note = found.get("failure", "")
            if not note:
                best["Qiling"] = found["milliseconds"]
            yield Figure(SECTION, file.stem, "ms", best, note=f"Qiling: {note}" if note else "")


def _start(file: Path, processor: str) -> float:
    """Milliseconds of a boot with that driver alone."""
    begin = time.process_time()
    with boot_driver(file.read_bytes(), file.stem, Guid(bytes(range(16))), processor=processor, observe=True):
        return (time.process_time() - begin) * 1e3
