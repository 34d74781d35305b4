"""``--platform``, ``--profile``, ``--observe`` and ``--relax``, and what the report says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode
from tests.cli.sessions import ECHO, ECHO_ME, run, write_driver, write_image
from tests.support.ovmf import Ovmf

SECBOOT = "OVMF_CODE_4M.secboot.fd"


@pytest.fixture
def platform_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The platform file that ``mmsup platform init`` writes."""
    monkeypatch.chdir(tmp_path)
    assert run("platform", "init").code == ExitCode.OK
    return tmp_path / "platform.toml"


def test_the_default_file_describes_the_default_platform(platform_file: Path) -> None:
    without = run("boot", "--json").document
    with_file = run("boot", "--json", "--platform", str(platform_file)).document
    assert with_file["drivers"] == without["drivers"]
    assert with_file["platform"]["cpus"] == without["platform"]["cpus"] == 4


def test_cpus_on_the_command_line_win(platform_file: Path) -> None:
    words = ("boot", "--json", "--platform", str(platform_file), "--cpus", "2")
    assert run(*words).document["platform"]["cpus"] == 2


@pytest.mark.parametrize("words", [("boot",), ("send", "volume.fv", ECHO, ECHO_ME.hex()), ("run", "Echo.efi")])
def test_how_far_is_the_files_to_say_and_the_command_lines(platform_file: Path, words: tuple[str, ...]) -> None:
    platform_file.write_text('[platform]\nuntil = "dxe"\n', "utf-8")
    write_image(platform_file.parent, "Echo").rename("volume.fv")
    write_driver(platform_file.parent, "Echo")
    document = run(*words, "--json", "--platform", platform_file).document
    assert document["until"] == document["phases"][-1] == "dxe"
    document = run(*words, "--json", "--platform", platform_file, "--until", "end-of-pei").document
    assert document["until"] == document["phases"][-1] == "end-of-pei"
    assert run(*words, "--json").document["until"] == "ready-to-boot"


def test_learning_goes_as_far_as_the_file_says(platform_file: Path) -> None:
    platform_file.write_text('[platform]\nuntil = "dxe"\n', "utf-8")
    assert run("learn", "--json", "--platform", platform_file).document["run"]["phase"] == "dxe"


def test_a_bad_platform_file_is_named_with_its_line(platform_file: Path) -> None:
    platform_file.write_text("[platform]\nno_such_key = 1\n", "utf-8")
    done = run("boot", "--platform", str(platform_file))
    assert done.code == ExitCode.MALFORMED
    assert "platform.toml" in done.err
    assert "no_such_key" in done.err
    assert "Traceback" not in done.err


def test_a_platform_file_that_is_not_there() -> None:
    done = run("boot", "--platform", "nowhere.toml")
    assert done.code == ExitCode.UNREADABLE
    assert "nowhere.toml" in done.err


def test_profile_is_reported() -> None:
    document = run("boot", "--json", "--profile", "dxe-launch").document
    assert document["platform"]["profile"] == "dxe-launch"
    assert {driver["state"] for driver in document["drivers"]} == {"started"}


def test_memory_outside_mmram_and_its_requests() -> None:
    document = run("boot", "--json").document
    assert {region["owner"] for region in document["regions"]} == {"user", "supervisor"}
    assert document["relaxations"] == document["outside_services"] == []
    assert "Memory outside MMRAM" in run("boot").out


def test_traditional_drivers_start_under_observation_only(ovmf: Ovmf) -> None:
    image = ovmf.path(SECBOOT)
    refused = run("boot", image, "--json")
    assert refused.code == ExitCode.LAUNCH_FAILED
    assert "(--observe)" in refused.document["findings"][0]["mend"]
    document = run("boot", image, "--observe", "--json").document
    states = {driver["name"]: driver["state"] for driver in document["drivers"]}
    assert states["SmmLockBox"] == states["CpuIo2Smm"] == "started"
    assert document["policy"]["source"] == "built in"
    used = {use["name"]: use["count"] for use in document["relaxations"]}
    assert used["return-by-ret"] > 0
    assert {call["driver"] for call in document["outside_services"]} >= {"SmmLockBox", "CpuIo2Smm"}


@pytest.mark.parametrize("columns", ["80", "100"])
def test_why_drivers_do_not_run_has_room(ovmf: Ovmf, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """The reasons are below the table, in lines that are full, not in a column of words; the table keeps its ends."""
    monkeypatch.setenv("COLUMNS", columns)
    text = run("boot", ovmf.path(SECBOOT), "--observe", "--until", "dxe").out
    rows = text.split("\nDrivers\n")[1].split("\n\n")[0].splitlines()
    assert len([row for row in rows if row.endswith(("started", "never dispatched", "removed"))]) == 8
    reasons = text.split("\nWhy drivers do not run\n")[1].split("\n\n")[0]
    words = " ".join(reasons.split())
    assert "CpuHotplugSmm gEfiMmCpuIoProtocolGuid AND gEfiSmmCpuServiceProtocolGuid AND" in words
    assert "PiSmmCpuDxeSmm MM-1203 write to a read-only page;" in words
    assert len(reasons.splitlines()) <= 10


def test_an_image_without_management_mode_says_who_knows_more(ovmf: Ovmf) -> None:
    (finding,) = run("boot", ovmf.path("OVMF_CODE_4M.fd"), "--json").document["findings"]
    assert finding["number"] == "MM-2009"
    assert "mmsup info" in finding["mend"]


def test_one_traditional_driver_by_itself(ovmf: Ovmf, tmp_path: Path) -> None:
    """Refused as a device would, and observed: as ``boot`` does with the image that it is from."""
    run("info", ovmf.path(SECBOOT), "--extract", tmp_path)
    words = ("run", tmp_path / "SmmLockBox.efi", "--traditional", "--json")
    refused = run(*words)
    assert refused.code == ExitCode.NOT_DISPATCHED
    assert [finding["number"] for finding in refused.document["findings"]] == ["MM-2011"]
    observed = run(*words, "--observe")
    assert (observed.code, observed.document["findings"]) == (ExitCode.OK, [])
    _, driver = observed.document["drivers"]
    assert (driver["name"], driver["state"]) == ("SmmLockBox", "started")
    assert [handler["name"] for handler in driver["handlers"]] == ["gEfiSmmLockBoxCommunicationGuid"]
    assert "return-by-ret" in {use["name"] for use in observed.document["relaxations"]}
    # Without the option it is entered as the supervisor's own kind is, and fails on what it takes for a system table.
    assert run("run", tmp_path / "SmmLockBox.efi", "--observe").code == ExitCode.VIOLATION


def test_one_relaxation_lets_nothing_else_in(ovmf: Ovmf) -> None:
    """A traditional driver may start, and dies at once of its return by RET."""
    words = ("boot", ovmf.path(SECBOOT), "--json", "--relax", "traditional-entry")
    document = run(*words).document
    assert document["relaxations"] == []
    assert document["end"]["cause"] == "MM-1105"


def test_an_unknown_relaxation_is_refused_with_the_known_ones() -> None:
    done = run("boot", "--relax", "everything")
    assert done.code == ExitCode.USAGE
    assert "traditional-entry" in done.err


def test_the_store_that_was_used_is_reported(ovmf: Ovmf) -> None:
    store = ovmf.path("OVMF_VARS_4M.ms.fd")
    document = run("boot", ovmf.path(SECBOOT), "--vars", store, "--until", "launched", "--json").document
    assert document["store"] == {
        "name": str(store),
        "size": store.stat().st_size,
        "sha256": ovmf.sha256(store.name),
        "sha256_after": ovmf.sha256(store.name),
    }
    assert run("boot", "--until", "launched", "--json").document["store"] is None


def test_redacted_a_report_has_no_message_data(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    words = ("boot", "--send", ECHO, ECHO_ME.hex(), "--json", "--trace", trace)
    (message,) = run(*words).document["messages"]
    assert ECHO_ME.hex()[-12:] in message["sent"]
    assert '"arguments":["0x' in trace.read_text("ascii")
    (message,) = run(*words, "--redact").document["messages"]
    assert (message["sent"], message["payload"], message["status"]) == ("", None, "EFI_SUCCESS")
    assert '"arguments":["0x' not in trace.read_text("ascii")
    assert run("boot", "--log", "--redact").code == ExitCode.USAGE
