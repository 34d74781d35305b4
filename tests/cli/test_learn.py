"""``mmsup learn``: what it writes, what it refuses and whose that is, what it says of a given policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.policy.blob import read_blob, write_blob
from mmsupervisor.policy.toml_source import read_toml_policy
from tests.cli.sessions import run

SCRIPT = """\
from tests.learn.exercises import exercise

def run(session):
    exercise(session)
"""
PCI = """\
from tests.learn.exercises import READ_PORT, WRITE_PORT, exercise, io_msr

def run(session):
    exercise(session)
    io_msr(session, WRITE_PORT, 2, 0xCF8, 0x80000000)
    io_msr(session, READ_PORT, 2, 0xCFC, 0)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exercise.py").write_text(SCRIPT, "utf-8")
    (tmp_path / "pci.py").write_text(PCI, "utf-8")
    return tmp_path


def test_toml_with_provenance_and_the_same_as_a_blob(here: Path) -> None:
    done = run("learn", "--script", "exercise.py", "-o", "learned.toml", "--blob", "learned.bin")
    assert (done.code, done.err) == (ExitCode.OK, "")
    assert "10 rules; everything else is denied" in done.out
    assert "    CpuIo+0x" in done.out
    assert done.out.endswith("written: learned.toml, learned.bin\n")
    source = read_toml_policy((here / "learned.toml").read_bytes(), "learned.toml")
    assert write_blob(source.policy) == (here / "learned.bin").read_bytes()
    assert read_blob((here / "learned.bin").read_bytes()).roots == source.policy.roots
    notes = [source.note_of(r, e).reason for r, root in enumerate(source.policy.roots) for e in range(root.count)]
    assert len(notes) == 10
    assert all(any(driver in note for driver in ("IoMsr: ", "CpuIo: ", "SaveState: ")) for note in notes)
    assert all("after ready-to-boot" in note for note in notes)


def test_what_was_learned_holds_in_force_and_against_itself(here: Path) -> None:
    assert run("learn", "--script", "exercise.py", "-o", "learned.toml").code == ExitCode.OK
    words = ("learn", "--script", "exercise.py", "--against")
    assert run(*words, "learned.toml").out.splitlines()[-1] == "learned.toml would have denied 0 accesses"
    lines = (here / "learned.toml").read_text("utf-8").splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line == "port = 0x608\n") - 1
    end = lines.index("\n", start)
    (here / "cut.toml").write_text("".join(lines[:start] + lines[end:]), "utf-8")
    done = run(*words, "cut.toml", "--json")
    assert done.code == ExitCode.NOT_MET
    judged, accesses = done.document["judged"], done.document["accesses"]
    assert judged["denied"] == 1
    (denial,) = judged["denials"]
    assert accesses[denial["access"]]["access"] == "read 4 bytes at port 0x608"
    assert "(cut.toml:5)" in denial["rule"]


def test_an_access_that_breaks_the_level_is_refused_with_its_driver(here: Path) -> None:
    done = run("learn", "--script", "pci.py", "-o", "learned.toml")
    assert done.code == ExitCode.NOT_MET
    assert "must stay denied, asked for by IoMsr: it holds the policy at 10: port 0xcf8 (CONFIG_ADDRESS)" in done.out
    assert "must stay denied, asked for by IoMsr: it holds the policy at 10: port 0xcfc (CONFIG_DATA)" in done.out
    assert not (here / "learned.toml").exists()
    assert "\nwritten: " not in done.out


def test_what_must_stay_denied_can_be_left_out(here: Path) -> None:
    words = ("learn", "--script", "pci.py", "-o", "learned.toml")
    done = run(*words, "--leave-denied", "--json")
    assert done.code == ExitCode.OK
    assert [one["drivers"] for one in done.document["learned"]["refused"]] == [["IoMsr"], ["IoMsr"]]
    assert run("policy", "level", "learned.toml", "--at-least", "30").code == ExitCode.OK
    assert run(*words, "--level", "10", "--force").code == ExitCode.OK
    assert run("policy", "level", "learned.toml", "--at-least", "20").code == ExitCode.NOT_MET


def test_a_run_without_accesses_is_said_as_that(here: Path) -> None:
    done = run("learn")
    assert done.out == "sample platform: nothing to decide on\n0 rules; everything else is denied\n"


def test_files_are_not_replaced_unasked(here: Path) -> None:
    (here / "learned.toml").write_text("mine", "utf-8")
    done = run("learn", "-o", "learned.toml")
    assert done.code == ExitCode.UNREADABLE
    assert (here / "learned.toml").read_text("utf-8") == "mine"
    assert run("learn", "-o", "learned.toml", "--force").code == ExitCode.OK


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("-o", "x.toml", "--blob", "mine"), ExitCode.UNREADABLE, "mmsup: mine: is there already; nothing was written"),
        (("-o", "mine", "--blob", "x.bin"), ExitCode.UNREADABLE, "mmsup: mine: is there already; nothing was written"),
        (("-o", "x.toml", "--blob", "folder/x.bin"), ExitCode.UNREADABLE, "folder/x.bin: No such file or directory"),
        (("-o", "x.toml", "--blob", ".", "--force"), ExitCode.UNREADABLE, "Is a directory"),
        (("-o", "x.toml", "--blob", "./x.toml"), ExitCode.USAGE, "-o and --blob name the same file"),
        (("-o", "-"), ExitCode.USAGE, "standard output is for the report"),
    ],
)
def test_outputs_are_refused_before_the_boot_and_all_or_none_is_written(
    here: Path, words: tuple[str, ...], code: ExitCode, says: str
) -> None:
    (here / "mine").write_text("mine", "utf-8")
    (here / "late.py").write_text("def run(session):\n    raise AssertionError('booted')\n", "utf-8")
    before = sorted(here.iterdir())
    done = run("learn", "--script", "late.py", *words)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert sorted(here.iterdir()) == before
    assert (here / "mine").read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("missing.fd",), ExitCode.UNREADABLE, "mmsup: missing.fd: No such file"),
        (("--script", "missing.py"), ExitCode.UNREADABLE, "mmsup: missing.py: No such file"),
        (("--script", "bad.py"), ExitCode.MALFORMED, "mmsup: bad.py:2: ZeroDivisionError: division by zero"),
        (("--against", "missing.toml"), ExitCode.UNREADABLE, "mmsup: missing.toml: No such file"),
        (("exercise.py",), ExitCode.MALFORMED, "mmsup: exercise.py: "),
        (("--against", "amd", "-o", "x.toml"), ExitCode.USAGE, "--against writes nothing"),
        (("--level", "25"), ExitCode.USAGE, "'25' is not one of"),
    ],
)
def test_wrong_arguments(here: Path, words: tuple[str, ...], code: ExitCode, says: str) -> None:
    (here / "bad.py").write_text("def run(session):\n    1 / 0\n", "utf-8")
    done = run("learn", *words)
    assert done.code == code
    assert says in done.err
    assert "Traceback" not in done.err
    assert not (here / "x.toml").exists()


def test_a_system_that_dies_teaches_nothing(here: Path) -> None:
    (here / "fatal.py").write_text(PCI.replace("READ_PORT, 2, 0xCFC", "READ_PORT, 9, 0xCFC"), "utf-8")
    done = run("learn", "--script", "fatal.py", "-o", "learned.toml", "--leave-denied")
    assert done.code == ExitCode.VIOLATION
    assert "the run ended early, and nothing is written: MM-1002" in done.out
    assert not (here / "learned.toml").exists()


def test_a_budget_that_is_spent(here: Path) -> None:
    assert run("learn", "--budget", "100").code == ExitCode.BUDGET_SPENT


def test_messages_are_sent_before_the_script(here: Path) -> None:
    from tests.learn.exercises import IO_MSR

    message = "00" * 8 + "00000000" * 2 + "7000000000000000" + "00" * 8
    document = run("learn", "--send", IO_MSR, message, "--script", "exercise.py", "--json").document
    assert document["accesses"][0]["access"] == "read 1 byte at port 0x70"
    assert document["run"]["phase"] == "ready-to-boot"


def test_an_earlier_phase(here: Path) -> None:
    document = run("learn", "--until", "end-of-dxe", "--script", "exercise.py", "--json").document
    assert {one["phase"] for one in document["accesses"]} == {"after end-of-dxe"}
