"""``mmsup doctor``: every processor is tried, and what is missing comes with advice."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmsupervisor.cli import doctor
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.main import main
from mmsupervisor.processor import select
from mmsupervisor.processor.native import host
from mmsupervisor.processor.select import PROCESSORS, Availability
from tests.cli.running import mmsup

ROOT = Path(__file__).resolve().parents[2]
REFUSED = [
    Availability("unicorn", True, "", ""),
    Availability("native", False, "native processor: Linux 4.4 is too old", "use Linux 5.9 or newer"),
]


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["doctor", *words])
    return result.exit_code, result.output


def test_every_processor_has_a_line() -> None:
    code, text = run()
    assert code == ExitCode.OK
    assert all(name in text for name in PROCESSORS)
    assert set(doctor._MEANING) == set(PROCESSORS)
    assert "(taken by auto)" in text


def test_document_says_what_the_probe_said() -> None:
    done = mmsup("doctor", "--json")
    assert done.returncode == ExitCode.OK
    document = json.loads(done.stdout)
    assert document["schema"] == doctor.SCHEMA
    assert [one["name"] for one in document["processors"]] == list(PROCESSORS)
    assert document["auto"] == next(one.name for one in select.probe() if one.is_available)
    assert [one["is_available"] for one in document["processors"]] == [one.is_available for one in select.probe()]
    assert int(document["native_lowest_address"], 16) >= 0x1000


def test_what_is_refused_comes_with_reason_and_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe", lambda: REFUSED)
    code, text = run()
    assert code == ExitCode.OK
    assert "Linux 4.4 is too old" in text
    assert "use Linux 5.9 or newer" in text


def test_no_processor_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe", lambda: [REFUSED[1]])
    assert run()[0] == ExitCode.MISSING_LIBRARY
    code, text = run("--json")
    assert code == ExitCode.MISSING_LIBRARY
    assert json.loads(text)["auto"] is None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda _name: None)
    advice = {one["extra"]: one["advice"] for one in json.loads(run("--json")[1])["libraries"]}
    assert advice["tiano"] == f"{shlex.quote(sys.executable)} -m pip install 'uefi-firmware>=1.16'"
    assert "'uefi-firmware>=1.16'" in run()[1]


def test_the_libraries_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {one.name: [one.requirement] for one in doctor.EXTRAS} == {n: v for n, v in extras.items() if n != "dev"}


def test_a_library_that_a_processor_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'unicorn'", name="unicorn")

    monkeypatch.setattr(select, "_make", missing)
    found = select.probe_one.__wrapped__("unicorn")
    assert (found.is_available, found.advice) == (False, "pip install unicorn")


HOSTS: dict[str, tuple[str, Any]] = {
    "win32": ("sys.platform", "win32"),
    "aarch64": ("platform.machine", lambda: "aarch64"),
    "4.4.0": ("platform.release", lambda: "4.4.0-generic"),
    "memfd_noexec": ("_read", lambda path: "2" if "memfd" in path.name else "user_notif trap"),
    "user_notif": ("_read", lambda _path: "kill_process trap errno"),
    "/proc": ("Path.is_dir", lambda _self: False),
    "memfd_create": ("_NEEDED_FUNCTIONS", ("no_memfd_create",)),
}


@pytest.mark.parametrize("word", HOSTS)
def test_every_refusal_is_said_and_has_advice(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    target, value = HOSTS[word]
    monkeypatch.setattr(f"mmsupervisor.processor.native.host.{target}", value)
    reason = host.refusal()
    assert word in reason
    assert host.advice(reason)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN, errno.EPERM, errno.EACCES, errno.EBUSY])
def test_errors_of_a_start_have_advice(number: int) -> None:
    assert host.advice(f"native processor: {OSError(number, os.strerror(number))}")


def test_a_host_that_can_gives_no_reason() -> None:
    assert host.refusal() == ""
    assert host.advice("something new") == ""


@pytest.mark.parametrize(("text", "lowest"), [("65536", 65536), ("4096", 4096), ("0", 4096), ("", 65536)])
def test_lowest_address(monkeypatch: pytest.MonkeyPatch, text: str, lowest: int) -> None:
    monkeypatch.setattr(host, "_read", lambda _path: text)
    assert host.lowest_address() == lowest


def test_what_works_less_well_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe", lambda: [Availability("native", True, "", "")])
    monkeypatch.setattr(host, "_read", lambda _path: "65536")
    monkeypatch.setattr("mmsupervisor.processor.native.host.platform.release", lambda: "6.1.0-18-amd64")
    _, text = run()
    assert "vm.mmap_min_addr=4096" in text
    assert "taskset" in text
    assert json.loads(run("--json")[1])["native_remarks"] == host.remarks()
    monkeypatch.setattr(host, "_read", lambda _path: "4096")
    monkeypatch.setattr("mmsupervisor.processor.native.host.platform.release", lambda: "6.18.44")
    assert host.remarks() == []
    assert "taskset" not in run()[1]


def test_a_kernel_that_does_not_say_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsupervisor.processor.native.host.platform.release", lambda: "custom")
    assert host.kernel_release() == (0, 0)
