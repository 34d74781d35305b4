"""The examples of ``mmsup variable`` in its guide and its help work as they stand there, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode
from tests.cli.sessions import run
from tests.support.observed import CODE, VARIABLES, settled_store
from tests.support.ovmf import Ovmf

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "variables.md"


@pytest.fixture
def folder(ovmf: Ovmf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all the files that the examples name."""
    for name in (CODE, "bios.fd"):
        (tmp_path / name).symlink_to(ovmf.path(CODE))
    for name in (VARIABLES, "vars.fd", "other.fd", "other-vars.fd"):
        (tmp_path / name).write_bytes(settled_store(ovmf))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(text: str) -> list[list[str]]:
    """The words of each line that is a command, up to a pipe."""
    lines = [line.strip().split("|")[0] for line in text.splitlines() if line.strip().startswith("mmsup variable ")]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("place", ["guide", "help"])
def test_each_command_does_what_it_says(folder: Path, place: str) -> None:
    text = GUIDE.read_text("utf-8") if place == "guide" else run("variable", "--help").out
    found = [words for words in commands(text) if "IMAGE" not in words]
    assert len(found) >= 5
    for words in found:
        done = run(*words)
        assert done.code in (ExitCode.OK, ExitCode.NOT_MET if "diff" in words else ExitCode.OK), (words, done.err)
    assert (folder / "db.esl").stat().st_size


def test_the_python_of_the_guide_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    exec(compile(code, str(folder), "exec"), {"__name__": "__docs__"})
    assert capsys.readouterr().out == "b'value'\n"
