"""``mmsup boot`` and ``mmsup send``: images, the log, answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.pi.container import read_image_file
from mmsupervisor.pi.volume import FileType, files
from mmsupervisor.pi.volume.build import VolumeSpec, build_volume
from mmsupervisor.platform.sample import driver_file, mm_volume, shipped
from mmsupervisor.policy.blob import assemble, write_blob
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import AccessAttr, PolicyRoot, RootType
from tests.cli.sessions import ECHO, ECHO_ME, OFFENDER, STATUS, offence, run, write_image
from tests.support.ovmf import Ovmf


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A firmware volume with some drivers, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return write_image(tmp_path, "Echo", "Offender").name


def test_sample_platform() -> None:
    done = run("boot", "--json")
    assert done.code == ExitCode.OK
    document = done.document
    assert document["schema"] == "mmsupervisor.boot/1"
    assert document["image"]["name"] == "sample platform"
    assert {driver["state"] for driver in document["drivers"]} == {"started"}
    assert document["end"] is None


def test_the_order_of_start_is_not_that_of_the_files() -> None:
    drivers = run("boot", "--until", "launched", "--json").document["drivers"]
    order = {driver["name"]: driver["order"] for driver in drivers}
    assert sorted(order.values()) == list(range(1, len(drivers) + 1))
    assert order["MmSupervisorRing3Broker"] == 1
    assert order["RunsBefore"] < order["Producer"] < order["RunsAfter"] < order["Consumer"]
    assert drivers.index(next(d for d in drivers if d["name"] == "Consumer")) == 2


def test_volumes_and_what_came_from_each(tmp_path: Path) -> None:
    first = mm_volume([shipped("Echo")])
    second = build_volume(VolumeSpec((driver_file(shipped("CpuIo")), driver_file(shipped("NeedsSor")))))
    path = tmp_path / "two.fd"
    path.write_bytes(first + second)
    done = run("boot", path, "--json")
    volumes = done.document["volumes"]
    assert [(v["number"], v["place"], v["size"], v["drivers"], v["holds_core"]) for v in volumes] == [
        (0, "0x0", len(first), 2, True),
        (1, f"{len(first):#x}", len(second), 2, False),
    ]
    found = {driver["name"]: (driver["volume"], driver["order"]) for driver in done.document["drivers"]}
    assert found == {"MmSupervisorRing3Broker": (0, 1), "Echo": (0, 2), "CpuIo": (1, 3), "NeedsSor": (1, None)}
    text = run("boot", path).out.splitlines()
    table = text[text.index("Volumes") + 1 : text.index("Drivers")]
    assert [line.split()[:2] for line in table if line] == [["No", "Where"], ["0", "0x0"], ["1", f"{len(first):#x}"]]
    echo = next(line for line in text if line.startswith("  Echo "))
    assert echo.split()[:3] == ["Echo", "0", "2"]


def test_volumes_of_firmware_without_the_core(ovmf: Ovmf) -> None:
    volumes = run("boot", ovmf.path("OVMF_CODE_4M.secboot.fd"), "--json").document["volumes"]
    assert [(volume["address"], volume["drivers"], volume["holds_core"]) for volume in volumes] == [
        (None, 0, False)
    ] * 4


def test_an_image_that_is_cut_is_booted_and_told(tmp_path: Path) -> None:
    whole = mm_volume([shipped("Echo"), shipped("CpuIo")])
    path = tmp_path / "cut.fv"
    path.write_bytes(whole[:-0x4000])
    done = run("boot", path, "--json")
    assert done.code == ExitCode.MALFORMED
    assert done.document["outcome"] == "damaged image"
    (told,) = [finding for finding in done.document["findings"] if finding["number"] == "MM-2013"]
    assert told["subject"] == str(path)
    assert f"volume needs {len(whole):#x} bytes" in told["detail"]
    assert "Echo" in {driver["name"] for driver in done.document["drivers"]}
    assert run("boot", path).out.splitlines()[-1].startswith("The image is damaged")


def test_an_image_with_messages(image: str) -> None:
    words = ("--send", ECHO, ECHO_ME.hex(), "--send", OFFENDER, offence("Report"))
    document = run("boot", image, *words, "--json").document
    assert [driver["name"] for driver in document["drivers"]] == ["MmSupervisorRing3Broker", "Echo", "Offender"]
    assert [message["status"] for message in document["messages"]] == ["EFI_SUCCESS", "EFI_SUCCESS"]
    assert bytes.fromhex(document["messages"][0]["payload"]).endswith(b"reward")


def test_another_policy(image: str, tmp_path: Path) -> None:
    blob = write_blob(default_policy())
    (tmp_path / "policy.bin").write_bytes(blob + bytes(0x3000))
    own = run("boot", image, "--json").document["policy"]
    other = run("boot", image, "--policy", "policy.bin", "--json").document["policy"]
    assert (own["source"], other["source"]) == ("the image", "policy.bin")
    assert other["sha256"] == own["sha256"]
    changed = bytearray(blob)
    changed[0x40:0x48] = bytes(8)
    (tmp_path / "policy.bin").write_bytes(changed)
    other = run("boot", image, "--policy", "policy.bin", "--json").document["policy"]
    assert other["sha256"] != own["sha256"]


def test_a_message_under_another_policy(image: str, tmp_path: Path) -> None:
    """The Offender reads the port that its message names by system call: allowed by the image's policy alone."""
    nothing = assemble((PolicyRoot(RootType.IO, AccessAttr.ALLOW, ()),))
    (tmp_path / "none.bin").write_bytes(write_blob(nothing))
    message = (OFFENDER, offence("In", 0x80, benign=True))
    assert run("send", image, *message).code == ExitCode.OK
    denied = run("send", image, *message, "--policy", "none.bin", "--json")
    assert denied.code == ExitCode.VIOLATION
    assert denied.document["policy"]["source"] == "none.bin"
    assert denied.document["findings"][0]["number"] == "MM-1001"


def test_log_has_a_line_an_event(image: str) -> None:
    done = run("boot", image, "--log", "--send", OFFENDER, offence("Cli"))
    assert done.code == ExitCode.VIOLATION
    log, report = done.out.split("\n\n", 1)
    steps = [int(line.split()[0]) for line in log.splitlines()]
    assert steps == list(range(1, len(steps) + 1))
    assert "system-call" in log
    assert "Offender+0x" in log
    assert report.startswith(image)
    events = run("boot", image, "--send", OFFENDER, offence("Cli"), "--json").document["events"]
    assert events == len(steps)


def test_a_violation_ends_with_what_a_device_would_do(image: str) -> None:
    out = run("boot", image, "--send", OFFENDER, offence("Cli")).out
    last = out.split("\n\n")[-1]
    assert last.startswith("MM-1102: stopped here. A device would write telemetry and reset (warm).")
    assert "Error report: vector 13 at 0x" in last
    assert "image Offender" in last


def test_firmware_without_the_core_fails_to_launch(ovmf: Ovmf) -> None:
    done = run("boot", ovmf.path("OVMF_CODE_4M.secboot.fd"), "--json")
    assert done.code == ExitCode.LAUNCH_FAILED
    assert done.document["outcome"] == "launch failed"
    drivers = len(list(files(read_image_file(ovmf.path("OVMF_CODE_4M.secboot.fd")), FileType.MM)))
    assert drivers >= 7
    assert [finding["number"] for finding in done.document["findings"]] == ["MM-2009"] + drivers * ["MM-2011"]
    assert done.document["phases"] == []


def test_a_message_to_firmware_that_did_not_launch_is_not_sent(ovmf: Ovmf) -> None:
    done = run("send", ovmf.path("OVMF_CODE_4M.secboot.fd"), ECHO, "00", "--json")
    assert done.code == ExitCode.LAUNCH_FAILED
    assert done.document["messages"] == []


@pytest.mark.parametrize("command", ["boot", "send"])
def test_files_without_a_volume(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no firmware")
    (tmp_path / "driver.efi").write_bytes(b"MZ" + bytes(1000))
    done = run(command, "text", *([ECHO] if command == "send" else []))
    assert (done.code, done.out) == (ExitCode.MALFORMED, "")
    assert done.err == "mmsup: text: there is no firmware volume in it\n"
    done = run(command, "driver.efi", *([ECHO] if command == "send" else []))
    assert done.code == ExitCode.MALFORMED
    assert done.err.endswith("there is no firmware volume in it; `mmsup run` takes a driver by itself\n")
    done = run(command, "missing", *([ECHO] if command == "send" else []))
    assert (done.code, done.err) == (ExitCode.UNREADABLE, "mmsup: missing: No such file or directory\n")


@pytest.mark.parametrize("words", [("--json",), ("--trace", "-")])
def test_log_goes_with_text_only(words: tuple[str, ...]) -> None:
    done = run("boot", "--log", *words)
    assert done.code == ExitCode.USAGE
    assert "--log goes with the report as text only" in done.err


# send


def test_send_prints_the_answer(image: str) -> None:
    done = run("send", image, ECHO, ECHO_ME.hex())
    assert done.code == ExitCode.OK
    assert "reward" in done.out
    assert "EFI_SUCCESS, 30 bytes back" in done.out
    assert "Drivers" not in done.out
    document = run("send", image, ECHO, ECHO_ME.hex(), "--json").document
    assert document["schema"] == "mmsupervisor.send/1"
    assert len(document["messages"]) == 1


def test_send_without_data_never_reaches_a_handler(image: str) -> None:
    done = run("send", image, ECHO)
    assert done.code == ExitCode.NOT_HANDLED
    assert "its length is 0" in done.out


def test_send_to_nobody(image: str) -> None:
    done = run("send", image, STATUS, "text:anybody?")
    assert done.code == ExitCode.NOT_HANDLED
    assert "no handler is registered for its GUID" in done.out


def test_send_that_kills(image: str) -> None:
    done = run("send", image, OFFENDER, offence("WriteHob"))
    assert done.code == ExitCode.VIOLATION
    assert "no answer: the system died of it" in done.out
    assert "MM-1203" in done.out


def test_phase_of_the_message(image: str) -> None:
    document = run("send", image, ECHO, ECHO_ME.hex(), "--until", "launched", "--json").document
    assert document["phases"] == ["launched"]
    assert document["messages"][0]["status"] == "EFI_SUCCESS"
