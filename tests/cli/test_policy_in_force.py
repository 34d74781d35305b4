"""``--policy`` of ``run`` and ``boot`` takes every form, and findings name the rule where its author wrote it."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.policy import shipped
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.xml_writer import write_xml
from tests.cli.running import arguments
from tests.cli.sessions import GUIDS, run, write_driver, write_image

IO_MSR = GUIDS["gSampleIoMsrHandlerGuid"]
READ_PORT, WRITE_PORT = 0, 1

CLOSED = """\
policy-form = 1

[[root]]
type = "IO"
list = "allow"

[[root.rule]]
port = 0x70
width = 1
access = ["read"]
"""


def message(action: int, port: int, width: int = 0) -> str:
    """The IoMsr sample's message, as hexadecimal digits."""
    return struct.pack("<QIIQQ", 0, action, width, port, 0).hex()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_driver(tmp_path, "IoMsr")
    (tmp_path / "closed.toml").write_text(CLOSED, "utf-8")
    return tmp_path


def finding(*words: str) -> dict[str, object]:
    done = run(*words, "--json")
    assert done.code == ExitCode.VIOLATION
    (found,) = done.document["findings"]
    return dict(found)


def test_the_rule_that_does_not_name_an_access(here: Path) -> None:
    words = ("run", "IoMsr.efi", "--policy", "closed.toml", "--send", IO_MSR)
    rule = finding(*words, message(WRITE_PORT, 0x70))["rule"]
    assert "(closed.toml:7)" in str(rule)
    assert run(*words, message(READ_PORT, 0x70)).code == ExitCode.OK


def test_a_policy_from_a_pipe_is_read_once(here: Path) -> None:
    blob = write_blob(shipped.policy("amd").policy)
    words = arguments("run", "IoMsr.efi", "--policy", "-", "--json")
    done = subprocess.run(words, input=blob, capture_output=True, check=True, timeout=120)
    in_force = json.loads(done.stdout)["policy"]
    assert (in_force["source"], in_force["sha256"]) == ("-", hashlib.sha256(blob).hexdigest())


def test_an_access_without_a_rule_names_the_list(here: Path) -> None:
    rule = finding("run", "IoMsr.efi", "--policy", "closed.toml", "--send", IO_MSR, message(READ_PORT, 0x71))["rule"]
    assert str(rule).startswith("ACCESS_DENIED: IO allow list (closed.toml:3): no entry covers the access")


def test_xml_and_a_booted_image(here: Path) -> None:
    (here / "amd.xml").write_text(write_xml(shipped.policy("amd").policy), "utf-8")
    line = next(n for n, text in enumerate((here / "amd.xml").read_text().splitlines(), 1) if "cf8" in text.lower())
    write_image(here, "IoMsr")
    rule = finding("boot", "image.fv", "--policy", "amd.xml", "--send", IO_MSR, message(WRITE_PORT, 0xCF8, 2))["rule"]
    assert "amd.xml:" in str(rule)
    assert abs(int(str(rule).split("amd.xml:")[1].split(")")[0]) - line) <= 1


def test_every_form_is_the_same_policy(here: Path) -> None:
    policy = shipped.policy("intel").policy
    (here / "intel.bin").write_bytes(write_blob(policy))
    (here / "intel.xml").write_text(write_xml(policy), "utf-8")
    write_image(here, "Echo")
    for form in ("intel.bin", "intel.xml", "intel"):
        document = run("boot", "image.fv", "--policy", form, "--json").document
        assert (document["policy"]["source"], document["policy"]["trouble"]) == (form, "")
        assert document["policy"]["size"] == len(write_blob(policy))


def test_a_source_that_breaks_its_form_is_refused_with_its_line(here: Path) -> None:
    (here / "bad.toml").write_text(CLOSED.replace('"allow"', '"permit"'), "utf-8")
    done = run("run", "IoMsr.efi", "--policy", "bad.toml")
    assert (done.code, done.out) == (ExitCode.MALFORMED, "")
    assert done.err.startswith("mmsup: bad.toml:5: ")


def test_a_cut_blob_is_refused(here: Path) -> None:
    (here / "cut.bin").write_bytes(write_blob(shipped.policy("amd").policy)[:-8])
    done = run("run", "IoMsr.efi", "--policy", "cut.bin")
    assert (done.code, done.out) == (ExitCode.MALFORMED, "")
    assert done.err.startswith("mmsup: cut.bin: ")
