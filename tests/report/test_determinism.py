"""The same run gives the same bytes, whoever makes it, where and when: canonical trace, report, text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.cli.sessions import ECHO, ECHO_ME, OFFENDER, offence, write_driver

NOBODY = 65534
SCRIPT = """
import contextlib, io, os, sys
from mmsupervisor.cli.main import main

def run(*words):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main(list(words), prog_name="mmsup")
        except SystemExit as error:
            print(error.code)
    return out.getvalue()

user, words = int(sys.argv[1]), sys.argv[2:]
if user >= 0:
    run(*words, "--json"), run(*words)  # import everything while the files can still be read
    os.setgid(user)
    os.setuid(user)
report, text = run(*words, "--json"), run(*words, "--trace", "trace.jsonl")
sys.stdout.write(report + text)
"""


@dataclass(frozen=True)
class Surroundings:
    """What a run must not depend on.

    Attributes:
        folder: Where it runs.
        variables: Environment.
        user: Identity to change to, or -1.
    """

    folder: str
    variables: dict[str, str] = field(default_factory=dict)
    user: int = -1


PLAIN = Surroundings("a", {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"})
OTHERS = {
    "hash seed": Surroundings("b", {"PYTHONHASHSEED": "4711", "TZ": "UTC", "LC_ALL": "C.UTF-8"}),
    "another hash seed": Surroundings("b", {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8"}),
    "folder": Surroundings("some/where/else", {"PYTHONHASHSEED": "0", "HOME": "/nowhere"}),
    "time zone and language": Surroundings("b", {"TZ": "Asia/Kolkata", "LC_ALL": "C", "LANG": "de_DE.UTF-8"}),
    "user": Surroundings("b", {"USER": "nobody", "LOGNAME": "nobody"}, user=NOBODY),
}
RUNS = {
    "a benign run": ("Echo", ("--send", ECHO, ECHO_ME.hex())),
    "a violation": ("Offender", ("--send", OFFENDER, offence("ExecutePool"))),
    "protocols and processors": ("ApUser", ()),
}


def run_in(root: Path, around: Surroundings, driver: str, words: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Run a driver; returns report and text, and the trace."""
    folder = root / around.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_driver(folder, driver)
    folder.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(around.user), "run", f"{driver}.efi", *words],
        cwd=folder,
        env=environment(**around.variables),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout, (folder / "trace.jsonl").read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    """Every run in plain surroundings."""
    root = tmp_path_factory.mktemp("plain")
    return {name: run_in(root, PLAIN, *what) for name, what in RUNS.items()}


def reachable(folder: Path) -> None:
    """Let every user through to a folder of pytest's."""
    for one in (folder, *folder.parents):
        if "pytest-of-" in str(one):
            one.chmod(0o755)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("around", OTHERS)
def test_same_bytes_elsewhere(tmp_path: Path, plain: dict[str, tuple[bytes, bytes]], name: str, around: str) -> None:
    surroundings = OTHERS[around]
    if surroundings.user >= 0:
        if os.getuid() != 0:
            surroundings = Surroundings(surroundings.folder, surroundings.variables)  # only root can become another
        reachable(tmp_path)
    assert run_in(tmp_path, surroundings, *RUNS[name]) == plain[name]


def test_no_path_user_or_time_is_in_them(plain: dict[str, tuple[bytes, bytes]], tmp_path: Path) -> None:
    for report, trace in plain.values():
        for content in (report, trace):
            assert str(tmp_path.parent).encode() not in content
            assert os.getcwd().encode() not in content  # noqa: PTH109 - as text
            assert not re.search(rb"\b20\d\d-[01]\d-[0-3]\d", content)
        assert len(trace.splitlines()) > 50


def test_other_input_gives_other_bytes(tmp_path: Path, plain: dict[str, tuple[bytes, bytes]]) -> None:
    """The comparison can fail."""
    driver, _ = RUNS["a benign run"]
    report, trace = run_in(tmp_path, PLAIN, driver, ("--send", ECHO, ECHO_ME.hex() + "00"))
    assert report != plain["a benign run"][0]
    assert trace != plain["a benign run"][1]
