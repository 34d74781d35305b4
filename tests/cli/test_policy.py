"""``mmsup policy``: JSON, exit codes, files. What the text says is held by docs/policy.md, which runs as a test."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.main import main
from mmsupervisor.policy import shipped
from mmsupervisor.policy.blob import assemble, write_blob
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import IoEntry, PolicyRoot, RootType
from tests.cli.running import mmsup
from tests.policy import xml_samples as xml
from tests.policy.policy_vectors import EMPTY, EXAMPLE, UNIT_V2


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, words)])


def document(*words: object, code: ExitCode = ExitCode.OK) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A policy that the supervisor's check refuses."""
    path = tmp_path / "bad.bin"
    path.write_bytes(write_blob(assemble([PolicyRoot(RootType.IO, 1, (IoEntry(0, 4, 1), IoEntry(2, 1, 1)))])))
    return path


def test_show_has_every_rule_with_its_reason() -> None:
    shown = document("show", "amd")
    assert (shown["schema"], shown["form"], shown["sha256"]) == ("mmsupervisor.policy/1", "built-in", None)
    assert [(root["type"], root["list"], root["count"]) for root in shown["roots"]] == [
        ("IO", "deny", 2),
        ("MSR", "deny", 13),
        ("INSTRUCTION", "allow", 3),
        ("SAVE_STATE", "allow", 2),
        ("MEM", "deny", 0),
    ]
    first = shown["roots"][0]["entries"][0]
    assert (first["port"], first["length"], first["access"]) == ("0xCF8", 4, ["write", "strict-width"])
    assert all(entry["reason"] and entry["place"] for root in shown["roots"] for entry in root["entries"])


def test_show_says_what_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "odd.bin"
    path.write_bytes(write_blob(assemble([PolicyRoot(RootType.IO, 7, (IoEntry(1, 1, 0x41),)), PolicyRoot(9, 0)])))
    roots = document("show", path)["roots"]
    assert [root["list"] for root in roots] == ["0x7", "allow", "deny"]
    assert roots[0]["entries"][0]["access"] == ["read", "0x40"]
    assert "port 0x1, length 1: read | 0x40" in run("show", path).output


def test_check(bad: Path) -> None:
    assert document("check", "default")["passes"] is True
    strict = document("check", "default", "--strict", code=ExitCode.NOT_MET)
    assert strict["findings"][0]["kind"] == "strict-open"
    found = document("check", bad, code=ExitCode.NOT_MET)
    assert (found["passes"], found["violation"]["rule"]) == (False, 5)
    assert "refused: rule 5: IO entries 0 and 1 clash" in run("check", bad).output


def test_check_of_lists_that_run_out_of_the_blob(tmp_path: Path) -> None:
    path = tmp_path / "torn.bin"
    path.write_bytes(EMPTY[:0x24] + (9).to_bytes(4, "little") + EMPTY[0x28:])
    found = document("check", path, code=ExitCode.NOT_MET)
    assert (found["passes"], found["violation"]) == (False, None)
    assert "of 9 roots at 0x28 only 1 are inside" in found["trouble"]
    assert "refused: " in run("check", path).output


@pytest.mark.parametrize("form", ["blob", "xml", "toml"])
def test_build_in_every_form_and_back(tmp_path: Path, form: str) -> None:
    out, back = tmp_path / f"out.{form}", tmp_path / "back.bin"
    built = document("build", "intel", "-o", out, "--form", form)
    assert built["output_sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert built["output_size"] == out.stat().st_size
    assert run("build", out, "-o", back).exit_code == 0
    assert back.read_bytes() == write_blob(shipped.policy("intel").policy)


def test_what_xml_has_no_room_for_is_said(tmp_path: Path) -> None:
    said = document("build", "intel", "-o", tmp_path / "out.xml")["remarks"]
    assert said == [
        "shipped intel.toml: title, vendor, reasons, reviewers, dates and references stay there: XML has none"
    ]
    assert run("build", "intel", "-o", tmp_path / "again.xml").stderr == f"mmsup: {said[0]}\n"
    titled = tmp_path / "titled.toml"
    titled.write_text('policy-form = 1\ntitle = "only that"\n', "utf-8")
    assert document("build", titled, "-o", tmp_path / "titled.xml")["remarks"]
    for source, form in (("intel", "toml"), ("intel", "blob"), ("default", "xml")):
        assert document("build", source, "-o", tmp_path / f"{source}.{form}", "--form", form)["remarks"] == []


def test_build_as_the_reference(tmp_path: Path) -> None:
    source, out = tmp_path / "example.xml", tmp_path / "out.bin"
    source.write_bytes(xml.EXAMPLE_XML)
    assert run("build", source, "-o", out, "--as-reference").exit_code == 0
    assert out.read_bytes() == EXAMPLE


def test_build_to_standard_output() -> None:
    done = mmsup("policy", "build", "amd", "-o", "-", "--form", "toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("policy-form = 1\n")
    assert run("build", "amd", "-o", "-", "--json").exit_code == ExitCode.USAGE


def test_build_replaces_no_file_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    out.write_bytes(b"precious")
    result = run("build", "amd", "-o", out)
    assert (result.exit_code, out.read_bytes()) == (ExitCode.UNREADABLE, b"precious")
    assert run("build", "amd", "-o", out, "--force").exit_code == 0
    assert run("build", "amd", "-o", tmp_path / "no" / "out.bin").exit_code == ExitCode.UNREADABLE


def test_build_refuses_what_the_check_refuses(bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    assert run("build", bad, "-o", out).exit_code == ExitCode.NOT_MET
    assert not out.exists()
    assert run("build", bad, "-o", out, "--unchecked").exit_code == 0
    assert out.read_bytes() == bad.read_bytes()


def test_legacy_blobs(tmp_path: Path) -> None:
    source, out = tmp_path / "p.toml", tmp_path / "old.bin"
    source.write_text(
        'policy-form = 1\n[[root]]\ntype = "IO"\nlist = "deny"\n'
        'rule = [{ port = 0xCF8, width = 4, access = ["write"] }]\n[[root]]\ntype = "INSTRUCTION"\nlist = "allow"\n'
        'rule = [{ instruction = "CLI", access = ["execute"] }]\n[[root]]\ntype = "MSR"\nlist = "deny"\n'
        'rule = [{ msr = 0x10, access = ["read"] }]\n'
    )
    assert run("build", source, "-o", out, "--form", "legacy").exit_code == 0
    assert out.read_bytes()[:4] == UNIT_V2[:4]
    assert document("show", out)["form"] == "legacy blob"
    assert document("diff", source, out)["only_b"] == document("diff", source, out)["only_a"] == []
    turned = document("diff", source, out, "--as-reference")  # to the tool the instructions are a deny list
    assert [one["subject"] for one in turned["only_a"] + turned["only_b"]] == ["CLI", "WBINVD", "HLT"]
    assert run("build", source, "-o", out, "--form", "sequential", "--force").exit_code == 0
    assert document("show", out)["form"] == "sequential blob"
    assert document("diff", source, out)["only_b"] == document("diff", source, out)["only_a"] == []
    assert run("build", "amd", "-o", tmp_path / "no.bin", "--form", "legacy").exit_code == ExitCode.MALFORMED


def test_level() -> None:
    found = document("level", "default", "--at-least", "20", code=ExitCode.NOT_MET)
    assert [(one["vendor"], one["level"]) for one in found["reports"]] == [("amd", 30), ("intel", 10)]
    assert found["reached"] is False
    one = document("level", "intel", "--at-least", "30")
    assert [(report["vendor"], report["has_memory"]) for report in one["reports"]] == [("intel", False)]
    assert document("level", "default", "--vendor", "amd")["reached"] is None


def test_a_policy_that_cannot_be_fetched_reaches_no_level(tmp_path: Path) -> None:
    path = tmp_path / "twice.toml"
    rule = '[[root.rule]]\nport = 0x70\nlength = 2\naccess = ["read"]\n'
    lists = "".join(f'[[root]]\ntype = "{kind}"\nlist = "allow"\n' for kind in ("MSR", "SAVE_STATE", "IO"))
    for rules, code in ((rule, ExitCode.OK), (rule * 2, ExitCode.NOT_MET)):
        path.write_text(f"policy-form = 1\n{lists}{rules}", "utf-8")
        found = document("level", path, "--vendor", "amd", "--at-least", "10", code=code)
        assert (found["refused"] is None) is (code is ExitCode.OK)
        assert found["reports"][0]["level"] == (30 if code is ExitCode.OK else None)
    text = run("level", path, "--at-least", "10").output
    assert "no level: the supervisor refuses it when it is to be fetched: " in text
    assert "twice.toml:15)" in text
    assert text.endswith("at least 10: no\n")


def test_level_of_a_booted_platform() -> None:
    found = document("level", "--boot", "sample")
    (report,) = found["reports"]
    assert (report["vendor"], report["has_memory"], report["level"]) == ("amd", True, 10)
    assert [one["area"] for one in report["real"]["findings"] if one["limit"] is not None] == ["MEMORY", "IO"]
    assert found["reports"][0]["real"]["findings"][1]["place"] == "sample, as fetched at 0x180"
    assert (found["name"], found["form"], found["title"]) == ("sample", "firmware image", "")
    replaced = document("level", "intel", "--boot", "sample")
    assert replaced["reports"][0]["reference"]["parts"]["MSR"] == 10
    assert (replaced["name"], replaced["form"]) == ("intel", "built-in")
    assert replaced["title"] == shipped.policy("intel").title


def test_a_boot_that_fails_says_why_there_is_no_level(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text("[mmram]\nsize = 0x40000\n", "utf-8")
    result = run("level", "--boot", "sample", "--platform", tmp_path / "small.toml")
    assert result.exit_code == ExitCode.MALFORMED
    assert result.stderr.startswith("mmsup: sample: the boot came to no policy that can be fetched: ")
    assert result.stderr.count("\n") == 1


def test_diff(tmp_path: Path) -> None:
    found = document("diff", "amd", "intel", "--no-more", code=ExitCode.NOT_MET)
    assert {one["first"] for one in found["only_b"]} >= {"0xC0010111"}
    assert {one["first"] for one in found["only_a"]} >= {"0x570"}
    assert (found["undecided"], found["a"]["name"]) == ([], "amd")
    assert document("diff", "amd", "default", "--no-more")["only_b"] == []
    torn = tmp_path / "torn.bin"
    blob = bytearray(write_blob(default_policy()))
    blob[0x38:0x3A] = b"\xff\xff"  # the first list runs out of the blob: nobody can say that nothing is new
    torn.write_bytes(blob)
    assert document("diff", "default", torn, "--no-more", code=ExitCode.NOT_MET)["undecided"]


def test_explain() -> None:
    answer = document("explain", "intel", "read msr 0x570")
    assert answer["decision"]["allowed"] is False
    assert answer["entry_reason"] == "RTIT_CTL: processor trace"
    assert answer["walk"][-1]["covers"] is True
    plain = document("explain", "intel", "read msr 0x10")
    assert (plain["entry_reason"], plain["cause"]) == (None, None)
    reading = "read 24 bytes of io of the save state on input of 1 byte"
    assert document("explain", "default", reading)["cause"]["entry"]["field"] == "RAX"
    assert "RAX:\n    allow list: the entry's condition does not hold" in run("explain", "default", reading).output
    assert run("explain", "intel", "dance").exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "missing.xml"], ExitCode.UNREADABLE),
        (["level"], ExitCode.USAGE),
        (["level", "amd", "--platform", "x"], ExitCode.USAGE),
        (["level", "amd", "--at-least", "31"], ExitCode.USAGE),
        (["level", "--boot", "missing.fd"], ExitCode.UNREADABLE),
        (["build", "amd"], ExitCode.USAGE),
        (["nonsense"], ExitCode.USAGE),
    ],
)
def test_exit_codes(words: list[str], code: ExitCode) -> None:
    assert run(*words).exit_code == code


def test_inputs_that_hold_no_policy(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data in (b"", b"\0" * 64, b"<a/>", b"policy-form = 2", EXAMPLE[:20]):
        path.write_bytes(data)
        result = run("show", path)
        assert result.exit_code == ExitCode.MALFORMED, data
        assert result.stderr.startswith("mmsup: ")
        assert result.stderr.count("\n") == 1


def test_texts_from_inputs_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    path = tmp_path / "evil.toml"
    path.write_text('policy-form = 1\ntitle = "\\u001b]0;x\\u0007"\n')
    for command in ("show", "check", "level"):
        assert "\x1b" not in run(command, path).output
