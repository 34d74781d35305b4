"""What a user is told of a violation: the text of ``mmsup run`` with symbols and a policy of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode
from tests.cli.sessions import OFFENDER, offence, run, write_driver
from tests.debuginfo.builds import elf

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A run of a denied access, with DWARF and a policy in TOML."""
    monkeypatch.chdir(tmp_path)
    write_driver(tmp_path, "Offender")
    (tmp_path / "Offender.debug").write_bytes(elf("Offender"))
    assert run("policy", "build", "default", "-o", "mine.toml").code == ExitCode.OK
    return (
        *("run", "Offender.efi", "--map", "Offender.debug", "--policy", "mine.toml"),
        *("--send", OFFENDER, offence("PortDenied")),
    )


def line_of(place: str) -> str:
    file, line = place.rsplit(":", 1)
    return (FIRMWARE / file).read_text("utf-8").splitlines()[int(line) - 1]


def test_rule_and_code_are_named_by_file_and_line(words: tuple[str, ...], tmp_path: Path) -> None:
    document = run(*words, "--json").document
    (finding,) = document["findings"]
    file, line = finding["written"].rsplit(":", 1)
    assert file == "mine.toml"
    assert (tmp_path / file).read_text("utf-8").splitlines()[int(line) - 1] == "[[root.rule]]"
    assert line_of(finding["source"]).strip().startswith("OFFENDER_CALL_CASES"), "the macro that makes all such calls"
    assert line_of(finding["call_site"]["source"]).strip()
    assert [frame["symbol"].split("+")[0] for frame in finding["stack"]][:3] == [
        "AtPortDenied",
        "OffendByCall",
        "OffenderHandler",
    ]
    assert "DWARF" in [frame["found"] for frame in finding["stack"]]


def test_the_text_says_the_same(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.code == ExitCode.VIOLATION
    text = re.sub(r"\s+", " ", done.out)
    for part in (
        r"where Offender\+0x[0-9a-f]+ \(OffendByCall\+0x[0-9a-f]+\), samples/Offender/calls\.c:\d+, by way of",
        r"rule ACCESS_DENIED: .*\(mine\.toml:\d+\)",
        r"when MMI \d+, message 26D2E5C9-\S+ of 88 bytes on the user channel",
        r"called by Offender\+0x[0-9a-f]+ \(OffenderHandler\+0x[0-9a-f]+\), samples/Offender/Offender\.c:\d+",
        r"> \+0x[0-9a-f]+ syscall",
        r"RSP 0x[0-9a-f]+",
        r"more docs/findings/MM-1001\.md",
    ):
        assert re.search(part, text), part


def test_recursion_takes_a_line(tmp_path: Path) -> None:
    done = run("run", write_driver(tmp_path, "Offender"), "--send", OFFENDER, offence("Recurse", 0x100000))
    assert "MM-1212 stack overflow" in done.out
    (line,) = [line for line in done.out.splitlines() if line.endswith("times")]
    assert int(line.rsplit(", ", 1)[1].split()[0]) > 50


def test_open_memory_takes_a_line_and_what_a_driver_asked_for_is_listed(tmp_path: Path) -> None:
    done = run("run", write_driver(tmp_path, "Echo"))
    part = done.out.partition("Memory outside MMRAM\n")[2].partition("\n\n")[0]
    assert len(part.splitlines()) <= 2
    assert "--json lists them" in part
