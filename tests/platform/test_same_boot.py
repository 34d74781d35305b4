"""Real firmware boots to the same bytes whoever boots it, where and when: trace, report, store."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.support.observed import CODE, VARIABLES
from tests.support.ovmf import Ovmf

NOBODY = 65534
SCRIPT = """
import datetime, os, sys, time
late, user = int(sys.argv[1]), int(sys.argv[2])
real = time.time

class Late(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().fromtimestamp(real() + late, tz)

datetime.datetime = Late
time.time = lambda: real() + late
time.time_ns = lambda: int(1e9 * time.time())

from mmsupervisor.cli.main import main

def run(*words):
    try:
        main(list(words), prog_name="mmsup")
    except SystemExit as error:
        print(error.code)

def everything(trace, *more):
    image, store = "OVMF_CODE_4M.secboot.fd", ("--vars", "vars.fd")
    run("boot", image, "--observe", *store, "--json", "--trace", trace)
    run("variable", image, "set", "Ours", "7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20", "text:kept", *store, *more)

if user >= 0:
    everything("first.jsonl")  # import everything while the files can still be read
    os.setgid(user)
    os.setuid(user)
print("now")
everything("boot.jsonl", "--write-back")
"""


def run_in(ovmf: Ovmf, folder: Path, *, late: int, user: int, **variables: str) -> list[bytes]:
    """Boot, set a variable and write it back; returns what was printed, the trace and the store."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    for name, source in ((CODE, CODE), ("vars.fd", VARIABLES)):
        (folder / name).write_bytes(ovmf.path(source).read_bytes())
        (folder / name).chmod(0o666)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(late), str(user)],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    printed = done.stdout.split(b"now\n")[-1]
    return [printed, (folder / "boot.jsonl").read_bytes(), (folder / "vars.fd").read_bytes()]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; each start of pytest closes its own folders to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_elsewhere_by_another_decades_later(ovmf: Ovmf, open_folder: Path) -> None:
    here = run_in(ovmf, open_folder / "a", late=0, user=-1, PYTHONHASHSEED="0", TZ="UTC")
    another = NOBODY if os.getuid() == 0 else -1  # only root can become somebody else
    there = run_in(
        ovmf,
        open_folder / "somewhere",
        late=10**9,
        user=-1 if another < 0 else another,
        PYTHONHASHSEED="4711",
        TZ="Asia/Kolkata",
        LANG="de_DE.UTF-8",
        HOME="/nowhere",
        USER="nobody",
    )
    assert len(here[1].splitlines()) > 100
    assert b"kept" in here[2]
    assert there[1] == here[1]
    assert there[0] == here[0]
    assert there[2] == here[2]
