"""``mmsup run``: what a person reads, what a program reads, and every way to be wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.session_input import PHASES
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy
from tests.cli.running import mmsup
from tests.cli.sessions import ECHO, ECHO_ME, OFFENDER, STATUS, offence, run, write_driver

GOLDEN = Path(__file__).parent / "golden"
CHANGING = ((r"\b[0-9a-f]{64}\b", "(hash)"), (r"\b0x7[0-9a-f]{7}\b", "(address)"), (r"\+0x[0-9a-f]{4}\b", "+(offset)"))
"""What differs whenever a sample driver is built anew."""


def golden(name: str, text: str) -> None:
    """Compare with a kept text. To accept a wanted change, delete the file and run again."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    path = GOLDEN / name
    if not path.exists():
        path.write_text(text, "utf-8")
        pytest.fail(f"{name} was not there and was written: look at it and commit it")
    assert text == path.read_text("utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What people read


def test_a_driver_that_keeps_the_rules(here: Path) -> None:
    write_driver(here, "Echo")
    done = mmsup("run", "Echo.efi", "--send", ECHO, ECHO_ME.hex(), cwd=here)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    golden("run-echo.txt", done.stdout)


def test_a_driver_that_breaks_one(here: Path) -> None:
    write_driver(here, "Offender")
    done = mmsup("run", "Offender.efi", "--send", OFFENDER, offence("PortDenied"), cwd=here)
    assert (done.returncode, done.stderr) == (ExitCode.VIOLATION, "")
    golden("run-offender.txt", done.stdout)


def test_no_colour_and_no_trailing_blanks_in_pipes(here: Path) -> None:
    write_driver(here, "Offender")
    done = run("run", "Offender.efi", "--send", OFFENDER, offence("Cli"))
    assert "\x1b" not in done.out
    assert all(line == line.rstrip() for line in done.out.splitlines())
    assert all(len(line) <= 100 for line in done.out.splitlines())


# Ends and their codes


@pytest.mark.parametrize(
    ("driver", "words", "code", "outcome", "numbers"),
    [
        ("Echo", (), ExitCode.OK, "ok", []),
        ("Echo", ("--send", ECHO, ECHO_ME.hex()), ExitCode.OK, "ok", []),
        ("Offender", ("--send", OFFENDER, offence("Cli", benign=True)), ExitCode.OK, "ok", []),
        ("Offender", ("--send", OFFENDER, offence("Cli")), ExitCode.VIOLATION, "violation", ["MM-1102"]),
        ("ReturnsByRet", (), ExitCode.VIOLATION, "violation", ["MM-1105"]),
        ("EntryError", (), ExitCode.DRIVER_ERROR, "driver error", ["MM-2004"]),
        ("NeedsSor", (), ExitCode.NOT_DISPATCHED, "not dispatched", ["MM-2002"]),
        ("Echo", ("--send", STATUS, "00" * 48), ExitCode.NOT_HANDLED, "not handled", ["MM-2008"]),
        ("LoopsForever", ("--budget", "100000"), ExitCode.BUDGET_SPENT, "budget spent", ["MM-1301"]),
    ],
)
def test_ends(
    here: Path, driver: str, words: tuple[str, ...], code: ExitCode, outcome: str, numbers: list[str]
) -> None:
    write_driver(here, driver)
    done = run("run", f"{driver}.efi", *words, "--json")
    assert (done.code, done.err) == (code, "")
    document = done.document
    assert document["schema"] == "mmsupervisor.run/1"
    assert document["outcome"] == outcome
    assert [finding["number"] for finding in document["findings"]] == numbers
    assert run("run", f"{driver}.efi", *words).code == code


def test_document_of_a_violation(here: Path) -> None:
    write_driver(here, "Offender")
    document = run("run", "Offender.efi", "--send", OFFENDER, offence("PortDenied"), "--json").document
    (finding,) = document["findings"]
    label = next(symbol for symbol in prebuilt.symbols("Offender") if symbol.name == "AtPortDenied")
    assert (finding["driver"], finding["offset"], finding["symbol"]) == ("Offender", f"0x{label.rva:X}", label.name)
    assert finding["fatal"] is True
    assert "policy at 0x" in finding["rule"]
    assert finding["status"] == "EFI_ACCESS_DENIED"
    assert finding["fault"] is None
    assert (document["end"]["cause"], document["end"]["reset"]) == ("MM-1001", "warm")
    (message,) = document["messages"]
    assert (message["answered"], message["status"], message["payload"]) == (False, None, None)


def test_nothing_is_sent_to_a_dead_system(here: Path) -> None:
    write_driver(here, "Offender")
    bad, good = ("--send", OFFENDER, offence("Cli")), ("--send", OFFENDER, offence("Report"))
    document = run("run", "Offender.efi", *good, *bad, *good, "--json").document
    assert [message["answered"] for message in document["messages"]] == [True, False]


# Options


@pytest.mark.parametrize("phase", PHASES)
def test_until(here: Path, phase: str) -> None:
    write_driver(here, "Echo")
    document = run("run", "Echo.efi", "--until", phase, "--json").document
    assert document["phases"] == list(PHASES[: PHASES.index(phase) + 1])
    assert document["until"] == phase


def test_platform_options(here: Path) -> None:
    write_driver(here, "Echo")
    platform = run(
        "run", "Echo.efi", "--cpus", "2", "--budget", "1000000", "--processor", "unicorn", "--json"
    ).document["platform"]
    assert (platform["cpus"], platform["budget"], platform["processor"]) == (2, 1_000_000, "unicorn")


def test_identity_of_a_shipped_driver_and_of_another(here: Path) -> None:
    write_driver(here, "Producer", "renamed.efi")
    shipped = run("run", "renamed.efi", "--json").document["drivers"][1]
    assert (shipped["name"], shipped["guid"]) == ("Producer", str(prebuilt.driver("Producer").guid).lower())
    changed = bytearray(prebuilt.image("Producer"))
    changed[0x40] ^= 1  # in the DOS stub, which nobody reads
    (here / "mine.efi").write_bytes(changed)
    first, again = (run("run", "mine.efi", "--json").document["drivers"][1] for _ in range(2))
    assert first["name"] == "mine"
    assert first["guid"] == again["guid"] != shipped["guid"]
    given = ("--name", "Mine", "--guid", "12345678-90AB-CDEF-1234-567890ABCDEF")
    named = run("run", "mine.efi", *given, "--json").document["drivers"][1]
    assert (named["name"], named["guid"]) == ("Mine", "12345678-90ab-cdef-1234-567890abcdef")


def test_depex(here: Path) -> None:
    write_driver(here, "Echo")
    done = run("run", "Echo.efi", "--depex", "gEfiPcdProtocolGuid AND gMmRing3HandlerReadyProtocol", "--json")
    assert done.code == ExitCode.NOT_DISPATCHED
    assert "gEfiPcdProtocolGuid" in done.document["findings"][0]["detail"]
    started = run("run", "Echo.efi", "--depex", "AFTER MmSupervisorRing3Broker", "--json").document
    assert started["drivers"][1]["state"] == "started"


def test_policy_file(here: Path) -> None:
    write_driver(here, "Echo")
    blob = write_blob(default_policy())
    (here / "policy.bin").write_bytes(blob)
    document = run("run", "Echo.efi", "--policy", "policy.bin", "--json").document
    assert document["policy"]["source"] == "policy.bin"
    assert document["policy"]["size"] == len(blob)
    assert document["policy"]["trouble"] == ""


def test_policy_that_fails_the_check_runs_and_is_told(here: Path) -> None:
    write_driver(here, "Echo")
    blob = bytearray(write_blob(default_policy()))
    blob[0x38:0x50] = blob[0x28:0x38] + blob[0x40:0x48]  # the second root becomes one of the first's type
    (here / "policy.bin").write_bytes(blob)
    done = run("run", "Echo.efi", "--policy", "policy.bin", "--json")
    assert done.code == ExitCode.MALFORMED
    document = done.document
    assert document["outcome"] == "bad policy"
    assert "policy check rule" in document["policy"]["trouble"]
    assert [finding["number"] for finding in document["findings"]] == ["MM-2006"]
    assert document["drivers"][1]["state"] == "started"


def test_map_of_the_linker_and_ours(here: Path) -> None:
    changed = bytearray(prebuilt.image("Offender"))
    changed[0x40] ^= 1
    (here / "mine.efi").write_bytes(changed)
    words = ("run", "mine.efi", "--send", OFFENDER, offence("Cli"), "--json")
    assert run(*words).document["findings"][0]["symbol"] == ""
    lines = [f"{one.rva:08x} {one.size:08x} {one.kind} {one.source} {one.name}" for one in prebuilt.symbols("Offender")]
    (here / "ours.map").write_text("# comment\n" + "\n".join(lines) + "\n")
    assert run(*words, "--map", "ours.map").document["findings"][0]["symbol"] in ("AtCli", "DoCli")
    rva = next(one.rva for one in prebuilt.symbols("Offender") if one.name == "AtCli")
    text = "Linker script and memory map\n\n" + f"                0x{rva - 4:016x}                Before\n"
    (here / "ld.map").write_text(text)
    assert run(*words, "--map", "ld.map").document["findings"][0]["symbol"] == "Before+0x4"


@pytest.mark.parametrize(
    ("text", "payload"),
    [("0x0102", b"\1\2"), ("01 02", b"\1\2"), ("ABcd", b"\xab\xcd"), ("text:hi", b"hi"), ("@data", b"file"), ("", b"")],
)
def test_data_of_messages(here: Path, text: str, payload: bytes) -> None:
    write_driver(here, "Echo")
    (here / "data").write_bytes(b"file")
    document = run("run", "Echo.efi", "--send", ECHO, text, "--json").document
    assert document["messages"][0]["sent"] == payload.hex()


def test_trace(here: Path) -> None:
    write_driver(here, "Echo")
    assert run("run", "Echo.efi", "--trace", "run.jsonl").code == ExitCode.OK
    lines = (here / "run.jsonl").read_text("ascii").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert {"driver-loaded", "system-call", "phase", "mmi"} <= {json.loads(line)["event"] for line in lines}
    assert run("run", "Echo.efi", "--trace", "-").out.splitlines() == lines


# Wrong inputs: one line that says what is wrong, and a code


def efi_of_another_machine() -> bytes:
    image = bytearray(prebuilt.image("Echo"))
    coff = int.from_bytes(image[0x3C:0x40], "little") + 4
    image[coff : coff + 2] = (0xAA64).to_bytes(2, "little")
    return bytes(image)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty: a driver is a PE32+ image"),
        (b"hello", "not an executable"),
        (b"\x7fELF" + bytes(100), "ELF"),
        (b"MZ" + bytes(100), "DOS executable"),
        (prebuilt.image("Echo")[:0x100], "damaged PE"),
        (efi_of_another_machine(), "AARCH64"),
    ],
)
def test_files_that_are_no_driver(here: Path, content: bytes, says: str) -> None:
    (here / "driver.efi").write_bytes(content)
    done = run("run", "driver.efi")
    assert done.code == ExitCode.MALFORMED
    assert done.out == ""
    assert done.err.startswith("mmsup: driver.efi: ")
    assert says in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("missing.efi",), ExitCode.UNREADABLE, "mmsup: missing.efi: No such file"),
        ((".",), ExitCode.UNREADABLE, "mmsup: .: Is a directory"),
        (("Echo.efi", "--policy", "missing"), ExitCode.UNREADABLE, "mmsup: missing: No such file"),
        (("Echo.efi", "--policy", "Echo.efi"), ExitCode.MALFORMED, "mmsup: Echo.efi: neither a policy nor"),
        (("Echo.efi", "--map", "missing"), ExitCode.UNREADABLE, "mmsup: missing: No such file"),
        (("Echo.efi", "--map", "Echo.efi"), ExitCode.MALFORMED, "mmsup: Echo.efi: offset 0x"),
        (("Echo.efi", "--map", "empty"), ExitCode.MALFORMED, "mmsup: empty: offset 0x0: there is no symbol in it"),
        (("Echo.efi", "--send", ECHO, "@missing"), ExitCode.UNREADABLE, "mmsup: missing: No such file"),
        (("Echo.efi", "--trace", "no/such/folder"), ExitCode.UNREADABLE, "mmsup: no/such/folder: No such file"),
        (("Echo.efi", "--send", ECHO, "123"), ExitCode.USAGE, "'123' is neither pairs of hexadecimal digits"),
        (("Echo.efi", "--send", "gNobody", "12"), ExitCode.USAGE, "'gNobody' is neither a GUID"),
        (("Echo.efi", "--send", ECHO), ExitCode.USAGE, "requires 2 arguments"),
        (("Echo.efi", "--guid", "1"), ExitCode.USAGE, "'1' is neither a GUID"),
        (("Echo.efi", "--depex", "AND"), ExitCode.USAGE, "--depex"),
        (("Echo.efi", "--until", "tomorrow"), ExitCode.USAGE, "'tomorrow' is not one of"),
        (("Echo.efi", "--cpus", "0"), ExitCode.USAGE, "--cpus"),
        (("Echo.efi", "--json", "--trace", "-"), ExitCode.USAGE, "both want standard output"),
        ((), ExitCode.USAGE, "Missing argument"),
    ],
)
def test_wrong_arguments(here: Path, words: tuple[str, ...], code: ExitCode, says: str) -> None:
    write_driver(here, "Echo")
    (here / "empty").write_bytes(b"")
    done = run("run", *words)
    assert done.code == code
    assert says in done.err
    assert "Traceback" not in done.err
