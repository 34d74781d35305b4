"""A file that is larger than any input may be is refused by one line before it is read, whatever it is given as."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode
from tests.cli.sessions import run

GUID = "12345678-90AB-CDEF-1234-567890ABCDEF"
SIZE = (512 << 20) + 1


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    path = tmp_path / "huge"
    with path.open("wb") as stream:
        stream.truncate(SIZE)  # takes no room where the file system knows holes
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("boot", "HUGE"),
        ("boot", "--policy", "HUGE"),
        ("boot", "--platform", "HUGE"),
        ("run", "HUGE"),
        ("send", "HUGE", GUID, "00"),
        ("variable", "HUGE", "list"),
        ("learn", "HUGE"),
        ("platform", "check", "HUGE"),
        ("policy", "show", "HUGE"),
    ],
    ids=" ".join,
)
def test_huge_files(huge: Path, words: tuple[str, ...]) -> None:
    done = run(*(huge if word == "HUGE" else word for word in words))
    assert done.code == ExitCode.LIMIT, done
    assert "larger than" in done.err
    assert str(huge) in done.err
    assert len(done.err.splitlines()) == 1
