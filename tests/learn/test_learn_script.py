"""Scripts: read before anything runs, and whatever goes wrong in one is said with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmsupervisor.learn.run import observe
from mmsupervisor.learn.script import ScriptError, read_script
from mmsupervisor.pi.container import InputError
from tests.learn.exercises import READ_PORT, io_msr


def written(folder: Path, text: str) -> Path:
    path = folder / "script.py"
    path.write_text(text, "utf-8")
    return path


def test_a_script_gets_the_session(tmp_path: Path):
    script = read_script(
        written(tmp_path, "seen = []\ndef run(session):\n    seen.append(session)\n    session.trigger()\n")
    )
    run = observe(None, script=script)
    assert run.is_whole
    assert not list(tmp_path.glob("__pycache__"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def run(session:\n", ":1: "),
        ("x = 1\n", "defines no function `run(session)`"),
        ("run = 3\n", "defines no function `run(session)`"),
        ("\nimport no_such_module\n", ":2: ModuleNotFoundError: No module named"),
        ("raise ValueError\n", ":1: ValueError"),
        ("import sys\nsys.exit()\n", ":2: SystemExit"),
        ("a = '\0'\n", "null bytes"),
    ],
)
def test_what_is_no_script_is_refused_before_the_boot(tmp_path: Path, text: str, says: str):
    path = written(tmp_path, text)
    with pytest.raises(ScriptError) as caught:
        read_script(path)
    assert str(caught.value).startswith(f"{path}:")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_script_that_fails_is_said_with_its_line(tmp_path: Path):
    path = written(tmp_path, "def helper():\n    return 1 / 0\n\ndef run(session):\n    helper()\n")
    with pytest.raises(ScriptError, match="ZeroDivisionError: division by zero") as caught:
        observe(None, script=read_script(path))
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_script_that_exits_has_not_run_to_its_end(tmp_path: Path):
    path = written(tmp_path, "def run(session):\n    raise SystemExit(0)\n")
    with pytest.raises(ScriptError, match=r"script\.py:2: SystemExit: 0"):
        observe(None, script=read_script(path))


def test_a_script_may_come_from_a_pipe_and_make_classes(tmp_path: Path):
    text = """\
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar

@dataclass
class Message:
    size: ClassVar[int] = 3

def run(session):
    assert Message.size == 3
"""
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    try:
        script = read_script(Path(f"/dev/fd/{reader}"))
    finally:
        os.close(reader)
    script(None)


def test_a_script_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        read_script(tmp_path / "missing.py")


def test_a_system_that_dies_under_a_script_is_said_by_the_run():
    """A width that no port access has is fatal under every policy, and under every relaxation."""
    run = observe(None, script=lambda session: io_msr(session, READ_PORT, 9, 0x70, 0))
    assert not run.is_whole
    assert run.stop is not None
    assert run.stop.kind.number == "MM-1002"
    assert run.observations == ()
