"""``mmsup platform``: writing and checking platform files from the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.toml_file import load_platform, write_platform
from tests.cli.running import mmsup

GOOD = "[processor]\ncpus = 2\n"
BAD = "[processor]\ncpus = 0\n\n[memory]\ntop = 1\n"


def test_init_writes_the_default_once(tmp_path: Path) -> None:
    done = mmsup("platform", "init", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    path = tmp_path / "platform.toml"
    assert load_platform(path) == PlatformDescription()
    path.write_text(GOOD)
    refused = mmsup("platform", "init", cwd=tmp_path)
    assert refused.returncode == ExitCode.UNREADABLE
    assert refused.stderr == "mmsup: platform.toml: is there already; nothing was written (--force replaces it)\n"
    assert path.read_text() == GOOD
    assert mmsup("platform", "init", "--force", cwd=tmp_path).returncode == ExitCode.OK
    assert load_platform(path) == PlatformDescription()


def test_init_prints_or_says_why_it_cannot_write(tmp_path: Path) -> None:
    printed = mmsup("platform", "init", "-", cwd=tmp_path)
    assert printed.stdout == write_platform(PlatformDescription(), comments=True)
    assert list(tmp_path.iterdir()) == []
    failed = mmsup("platform", "init", "gone/platform.toml", cwd=tmp_path)
    assert failed.returncode == ExitCode.UNREADABLE
    assert failed.stderr == "mmsup: gone/platform.toml: No such file or directory\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "bad.toml").write_text(BAD)
    return tmp_path


def test_check_prints_the_whole_platform(folder: Path) -> None:
    done = mmsup("platform", "check", "good.toml", cwd=folder)
    assert done.returncode == ExitCode.OK
    whole = tomllib.loads(done.stdout)
    assert whole["processor"]["cpus"] == 2
    assert whole["mmram"]["size"] == 32 << 20
    (folder / "again.toml").write_text(done.stdout)
    assert load_platform(folder / "again.toml") == load_platform(folder / "good.toml")


def test_check_names_every_line_that_is_wrong(folder: Path) -> None:
    done = mmsup("platform", "check", "bad.toml", cwd=folder)
    assert done.returncode == ExitCode.MALFORMED
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "mmsup: bad.toml:2: `processor.cpus`: must be from 1 to 64",
        "mmsup: bad.toml:5: `memory.top`: must be from 0x800_0000 to 0x1_0000_0000",
    ]


def test_check_as_json(folder: Path) -> None:
    good = json.loads(mmsup("platform", "check", "--json", "good.toml", cwd=folder).stdout)
    assert (good["schema"], good["file"], good["errors"]) == ("mmsupervisor.platform/1", "good.toml", [])
    assert good["platform"]["processor"]["cpus"] == 2
    assert good["platform"]["mmram"]["size"] == "0x2000000"
    bad = json.loads(mmsup("platform", "check", "--json", "bad.toml", cwd=folder).stdout)
    assert bad["platform"] is None
    assert [error["line"] for error in bad["errors"]] == [2, 5]


def test_check_of_nothing(folder: Path) -> None:
    done = mmsup("platform", "check", "gone.toml", cwd=folder)
    assert done.returncode == ExitCode.UNREADABLE
    assert done.stderr == "mmsup: gone.toml: No such file or directory\n"


def test_a_file_with_devices_is_not_run_by_check(folder: Path) -> None:
    (folder / "mine.py").write_text("open('ran', 'w').close()\n")
    (folder / "devices.toml").write_text('[devices]\nfiles = ["mine.py"]\n')
    done = mmsup("platform", "check", "devices.toml", cwd=folder)
    assert done.returncode == ExitCode.OK
    assert not (folder / "ran").exists()
