"""The audit of handlers from the command line: as text and JSON, with replies, redacted, and with the run's own end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.platform.sample import DriverFile, mm_volume
from tests.audit.stage import HANDLER, careless, payload
from tests.cli.sessions import run, write_driver

CALLED = 0x200_0000
"""Where nothing is open; a callout leads there."""


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    known = prebuilt.driver("Careless")
    path = tmp_path / "careless.fv"
    path.write_bytes(mm_volume([DriverFile("Careless", known.guid, prebuilt.image("Careless"), known.depex)]))
    return path


def audit(volume: Path, case: str, *words: str, benign: bool = False, address: int = 0) -> Any:
    """Boot it, send a message of a case under the audit, and return what was done."""
    message = volume.with_name("message.bin")
    message.write_bytes(payload(case, benign=benign, address=address, length=8))
    return run("boot", volume, "--audit-handlers", "--send", str(HANDLER), f"@{message}", *words)


def own_data() -> int:
    with careless() as (stage, _):
        return stage.module.base + 0x3000


@pytest.mark.parametrize("observe", [(), ("--observe",)], ids=["strict", "observe"])
def test_a_mistake_is_told_in_full(volume: Path, observe: tuple[str, ...]) -> None:
    """With all that a fault is told with: code, registers, callers, message."""
    address = own_data()
    sound = audit(volume, "NestedPointer", *observe, benign=True, address=address)
    assert sound.code == ExitCode.OK
    assert "Nothing was found.\n" in sound.out
    done = audit(volume, "NestedPointer", *observe, "--json", address=address)
    assert done.code == ExitCode.NOT_MET
    document = done.document
    assert (document["outcome"], document["findings"]) == ("ok", [])
    (finding,) = document["audit"]["findings"]
    assert (finding["number"], finding["driver"]) == ("MM-4002", "Careless")
    assert finding["symbol"].startswith("CarelessHandler+")
    assert [line["here"] for line in finding["code"]].count(True) == 1
    assert [frame["driver"] for frame in finding["stack"]] == ["Careless", "MmSupervisorRing3Broker"]
    assert f"0x{address:X}" in [one["value"] for one in finding["registers"]]
    assert finding["moment"]["guid"] == str(HANDLER)
    told = audit(volume, "NestedPointer", *observe, address=address)
    assert told.code == ExitCode.NOT_MET
    for words in (
        "MM-4002 unvalidated pointer",
        "called by MmSupervisorRing3Broker",
        "RDX",
        "docs/findings/MM-4002.md",
    ):
        assert words in told.out
    assert "The audit found 1; nothing else was found.\n" in told.out


def test_replies_are_compared_with_those_of_a_twin(volume: Path) -> None:
    assert audit(volume, "StackLeft", benign=True).code == ExitCode.OK
    done = audit(volume, "StackLeft", "--json")
    assert done.code == ExitCode.NOT_MET
    assert done.document["audit"]["replies"] is True
    numbers = [finding["number"] for finding in done.document["audit"]["findings"]]
    assert numbers[-1] == "MM-4006"
    assert set(numbers) == {"MM-4006", "MM-4007"}


def test_what_it_found_is_told_of_a_system_that_died(volume: Path) -> None:
    """A callout ends the system; what ended it decides the exit code."""
    done = audit(volume, "Callout", "--json", address=CALLED)
    assert done.code == ExitCode.VIOLATION
    assert [finding["number"] for finding in done.document["audit"]["findings"]] == ["MM-4004"]


def test_without_a_message_it_says_what_was_not_watched() -> None:
    done = run("boot", "--audit-handlers")
    assert done.code == ExitCode.OK
    assert "Without --send, only what the boot itself does was watched, and no reply.\n" in done.out
    document = run("boot", "--audit-handlers", "--json").document
    assert document["audit"] == {"findings": [], "missed": [], "replies": False}
    assert run("boot", "--json").document["audit"] is None


@pytest.mark.parametrize("case", ["Callout", "StackLeft"])
def test_redacted_it_says_no_values(volume: Path, case: str) -> None:
    document = audit(volume, case, "--json", "--redact", address=CALLED).document
    assert document["audit"]["findings"]
    for finding in document["audit"]["findings"]:
        assert (finding["detail"], finding["registers"]) == ("redacted", [])
    assert f"{CALLED:X}" not in json.dumps(document["audit"])


def test_one_driver_is_audited_by_itself(tmp_path: Path) -> None:
    """As developers do: the driver's file, its map, a message."""
    driver, message = write_driver(tmp_path, "Careless"), tmp_path / "message.bin"
    for benign, code in ((True, ExitCode.OK), (False, ExitCode.NOT_MET)):
        message.write_bytes(payload("StackLeft", benign=benign))
        done = run("run", driver, "--send", str(HANDLER), f"@{message}", "--audit-handlers", "--json")
        assert done.code == code
        assert done.document["audit"]["replies"] is True
        assert bool(done.document["audit"]["findings"]) is not benign
    assert run("run", driver, "--json").document["audit"] is None
