"""The broker compiled for the host: see host/host.h for its commands."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
HOST = Path(__file__).resolve().parent / "host"
PARTS = ("start", "table", "pages", "pool", "database", "handles", "notify", "locate", "cpu", "lifecycle", "profile")

INVALID_PARAMETER = "8000000000000002"
UNSUPPORTED = "8000000000000003"
BUFFER_TOO_SMALL = "8000000000000005"
OUT_OF_RESOURCES = "8000000000000009"
NOT_FOUND = "800000000000000e"
NOT_AVAILABLE_YET = "a000000000000002"

VARIABLE = "gEfiSmmVariableProtocolGuid"
WRITE = "gSmmVariableWriteGuid"


def after(distance: int) -> str:
    """A distance in bytes behind a slot's pointer, for commands that count backwards."""
    return f"{-distance & (1 << 64) - 1:x}"


def compile_host(target: Path, *defines: str) -> Path:
    """Compile the broker for this machine; undefined behaviour stops the program."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, which this machine lacks")
    sources = [*sorted(HOST.glob("*.c")), *(FIRMWARE / "broker" / f"{part}.c" for part in PARTS)]
    subprocess.run(
        [
            *("gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-DEFIAPI=", *defines),
            *("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
            *(f"-I{FIRMWARE / 'include'}", f"-I{FIRMWARE / 'broker'}", f"-I{HOST}"),
            *(str(source) for source in sources),
            *("-o", str(target)),
        ],
        check=True,
    )
    return target


class Host:
    """One compiled program; every conversation starts a new process."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def talk(self, commands: Sequence[str]) -> list[str]:
        """Everything that came back, line by line, without the answer to the start command."""
        text = "".join(f"{command}\n" for command in commands)
        done = subprocess.run([str(self.program)], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        return done.stdout.splitlines()[1:]

    def answers(self, *commands: str, start: str = "start-pool") -> list[str]:
        """The commands' own answers only, after starting."""
        lines = self.talk([start, *commands])
        return [line for line in lines if not line.startswith(("sys ", "notify "))][1:]

    def since(self, *commands: str, start: str = "start") -> list[str]:
        """All lines, from the one after the start command's answer."""
        lines = self.talk([start, *commands])
        return lines[lines.index("0 NULL") + 1 :]


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The broker as shipped, for this machine."""
    return Host(compile_host(tmp_path_factory.mktemp("broker") / "host"))
