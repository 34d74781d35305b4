"""The command line as a whole: help, imports, streams, ends."""

from __future__ import annotations

import errno
import os
import pty
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mmsupervisor import __version__
from mmsupervisor.cli import console
from mmsupervisor.cli import main as entry
from mmsupervisor.cli.main import COMMANDS, CommandEntry, main
from tests.cli.running import arguments, environment, mmsup
from tests.support.ovmf import Ovmf

HEAVY = (
    "rich",
    "unicorn",
    "iced_x86",
    "json",
    "mmsupervisor.inventory",
    "mmsupervisor.core",
    "mmsupervisor.pi.pe",
)


def test_help_teaches() -> None:
    for flag in ("-h", "--help"):
        result = CliRunner().invoke(main, [flag])
        assert result.exit_code == 0
        assert "Examples:" in result.output
        assert "docs/exit-codes.md" in result.output
        assert all(f"  {name}" in result.output and command.line in result.output for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_teaches(name: str) -> None:
    command = import_module(COMMANDS[name].module).command
    assert isinstance(command, click.Command)
    assert command.name == name
    result = CliRunner().invoke(main, [name, "-h"])
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert max(map(len, result.output.splitlines())) <= 110
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_help_imports_little() -> None:
    script = "import sys; from mmsupervisor.cli.main import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment()
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert "click" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_version_and_usage() -> None:
    assert mmsup("--version").stdout.strip() == f"mmsup, version {__version__}"
    for words in (["nonsense"], ["--nonsense"], ["info"], ["info", "--nonsense", "x"], ["info", "--force", "x"]):
        done = mmsup(*words)
        assert done.returncode == 2, words
        assert done.stdout == ""
        assert "Usage:" in done.stderr


def test_an_internal_error_is_one_line_and_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(entry.COMMANDS, "broken", CommandEntry("tests.cli.test_main", "x"))
    monkeypatch.setattr(
        sys.modules[__name__], "command", click.Command("broken", callback=lambda: 1 / 0), raising=False
    )
    monkeypatch.setattr(entry, "import_module", lambda _: sys.modules[__name__])
    result = CliRunner().invoke(main, ["broken"])
    assert result.exit_code == 1
    assert result.stderr.startswith("mmsup: internal error: ZeroDivisionError: division by zero; set MMSUP_DEBUG=1")
    assert result.stderr.count("\n") == 1


def test_a_command_of_the_wrong_sort_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(entry.COMMANDS, "broken", CommandEntry("tests.cli.running", "x"))
    monkeypatch.setattr("tests.cli.running.command", 1, raising=False)
    assert CliRunner().invoke(main, ["broken"]).exit_code == 1


def test_a_reader_that_goes_away_is_no_noise(ovmf: Ovmf) -> None:
    image = ovmf.path("OVMF_CODE_4M.secboot.fd")
    process = subprocess.Popen(
        arguments("info", "--all", *[image] * 3), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    noise = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert noise == b""


@pytest.mark.parametrize("group", ["policy", "platform", "variable"])
def test_no_line_of_a_list_of_commands_is_cut(group: str) -> None:
    text = CliRunner().invoke(main, [group, "--help"]).stdout
    assert "Commands:" in text
    assert "..." not in text.split("Commands:")[1].split("Examples:")[0]


@pytest.mark.parametrize(
    ("closed", "words", "code", "shown"),
    [
        ((1,), ["--help"], 4, "mmsup: standard output: is closed\n"),
        ((1,), ["info", "{text}"], 4, "mmsup: standard output: is closed\n"),
        ((1,), ["info", "--json", "{text}"], 4, "mmsup: standard output: is closed\n"),
        ((2,), ["info", "{text}"], 3, ""),
        ((2,), ["info", "{text}.gone"], 4, ""),
        ((2,), ["info"], 2, ""),
        ((1, 2), ["info", "{text}"], 4, ""),
    ],
)
def test_closed_streams_are_no_internal_error(
    tmp_path: Path, closed: tuple[int, ...], words: list[str], code: int, shown: str
) -> None:
    text = tmp_path / "text"
    text.write_text("text")
    close = "".join(f"os.close({descriptor}); " for descriptor in closed)
    script = f"import os, sys; {close}os.execv(sys.argv[1], sys.argv[1:])"
    command = arguments(*(word.format(text=text) for word in words))
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == code
    assert done.stderr == shown
    assert bool(done.stdout) == (1 not in closed and code == 3)


def test_ctrl_c_is_130_without_a_traceback(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(arguments("info", fifo), stderr=subprocess.PIPE, env=environment())
    assert process.stderr is not None
    writer = open_for_its_reader(fifo, process)
    process.send_signal(signal.SIGINT)
    noise = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 130
    assert noise == b"\n"
    os.close(writer)


def open_for_its_reader(fifo: Path, process: subprocess.Popen[bytes]) -> int:
    """Open a FIFO for writing, once the process has opened it for reading: from then on it waits for bytes."""
    while process.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            time.sleep(0.02)
    pytest.fail("the command ended before it opened its input")


def in_terminal(*words: str | os.PathLike[str], **changes: str) -> str:
    """Run with all streams on a pseudo-terminal and return what it shows."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        arguments(*words),
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment(TERM="xterm-256color", COLUMNS="110", **changes),
    )
    os.close(child)
    shown = bytearray()
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(parent)
    assert process.wait(60) == 0
    return shown.decode()


def test_colours_are_on_a_terminal_only(ovmf: Ovmf) -> None:
    image = ovmf.path("OVMF_CODE_4M.fd")
    assert "\x1b[" in in_terminal("info", image)
    assert "\x1b[3" not in in_terminal("info", image, NO_COLOR="1")
    assert "\x1b" not in mmsup("info", image).stdout


def test_progress_is_on_a_terminal_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with console.progress("reading", is_long=True):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with console.progress("reading\x1b[2J", is_long=False):
        pass
    assert capsys.readouterr().err == ""
    with console.progress("reading\x1b[2J", is_long=True):
        pass
    shown = capsys.readouterr().err
    assert "reading\\x1b[2J" in shown
    assert "\x1b[2J" not in shown


def test_names_that_the_terminal_cannot_say_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "Ünïcode\x1b[31m.fd"
    path.write_bytes(b"text")
    shown = mmsup("info", path, env=environment(PYTHONIOENCODING="ascii"))
    assert shown.returncode == 3
    assert r"\xdcn\xefcode\x1b[31m.fd" in shown.stdout
    bad = os.fsencode(tmp_path) + b"/\xff.fd"
    Path(os.fsdecode(bad)).write_bytes(b"text")
    assert "\\udcff.fd" in mmsup("info", os.fsdecode(bad)).stdout
    assert "\\udcff.fd" in mmsup("info", os.fsdecode(bad) + "gone").stderr
