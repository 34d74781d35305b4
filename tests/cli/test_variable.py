"""``mmsup variable``: OVMF's variables from the command line, its own driver answering."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from virt.firmware.varstore.edk2 import Edk2VarStore

from mmsupervisor.cli.exit_codes import ExitCode
from tests.cli.sessions import Done, run, write_image
from tests.pi.firmware_parts import IA32_IMAGE
from tests.support.observed import CODE, settled_store
from tests.support.ovmf import Ovmf

OWN = "7b7b1c53-0b4b-46b4-8a3f-2c3e4a3f1d20"
SECRET = b"the drawer's secret"
SCHEMA = Path(__file__).resolve().parents[2] / "docs/schemas/variables.schema.json"
FULL = {"Boot0000", "PK", "KEK", "db", "dbx", "SecureBootEnable"}


@pytest.fixture
def store(ovmf: Ovmf, tmp_path: Path) -> Path:
    path = tmp_path / "vars.fd"
    path.write_bytes(settled_store(ovmf))
    return path


def oracle(path: Path) -> dict[tuple[str, str], tuple[int, bytes]]:
    """Attributes and data of what virt-firmware parses out of a store."""
    found = Edk2VarStore(str(path)).get_varlist().values()
    return {(str(item.name), str(item.guid).lower()): (int(item.attr), bytes(item.data)) for item in found}


def variable(ovmf: Ovmf, *words: str | Path) -> Done:
    return run("variable", ovmf.path(CODE), *words)


def test_list_shows_what_another_reader_parses_by_messages(ovmf: Ovmf, store: Path, tmp_path: Path) -> None:
    before, trace = store.read_bytes(), tmp_path / "trace.jsonl"
    done = variable(ovmf, "list", "--vars", store, "--json", "--trace", trace)
    assert done.code == ExitCode.OK
    document = done.document
    jsonschema.validate(document, json.loads(SCHEMA.read_text("utf-8")))
    bits = {"NV": 1, "BS": 2, "RT": 4, "HR": 8, "AW": 0x10, "AT": 0x20, "AP": 0x40}
    listed = {
        (one["name"], one["guid"]): (sum(bits[word] for word in one["attributes"]), bytes.fromhex(one["data"]))
        for one in document["variables"]
    }
    expected = oracle(store)
    assert {name for name, _ in expected} >= FULL - {"Boot0000"}
    assert {key: listed.get(key) for key in expected} == expected
    events = [json.loads(line) for line in trace.read_text("ascii").splitlines()]
    sent = [one for one in events if one["event"] == "mmi" and one["guid"] == "gEfiSmmVariableProtocolGuid"]
    assert len(sent) == document["messages"] == 2 * len(listed) + 2
    assert store.read_bytes() == before
    assert document["store"]["sha256"] == document["store"]["sha256_after"]
    assert document["relaxations"]


def test_list_as_text_decodes_what_is_known(ovmf: Ovmf, store: Path) -> None:
    done = variable(ovmf, "list", "--vars", store)
    assert done.code == ExitCode.OK
    lines = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert "certificate" in lines["PK"]
    assert lines["SecureBootEnable"].endswith("on")
    assert "unchanged afterwards" in done.out
    assert all(len(line) <= 100 for line in done.out.splitlines())


def test_get_shows_words_and_bytes_and_writes_the_value(ovmf: Ovmf, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "db.esl"
    done = variable(ovmf, "get", "db", "--vars", store, "--output", file)
    assert done.code == ExitCode.OK
    assert "Microsoft Corporation UEFI CA 2011" in done.out
    value = next(data for (name, _), (_, data) in oracle(store).items() if name == "db")
    assert file.read_bytes() == value
    assert value[:16].hex(" ") in done.out


def test_set_is_kept_only_when_asked_and_then_read_by_another(ovmf: Ovmf, store: Path) -> None:
    before, known = store.read_bytes(), oracle(store)
    words = ("set", "Ours", OWN, "text:kept", "--vars", store, "--attributes", "nv,bs")
    done = variable(ovmf, *words)
    assert done.code == ExitCode.OK
    assert "changed in memory, not written back" in done.out
    assert store.read_bytes() == before
    document = variable(ovmf, *words, "--write-back", "--json").document
    assert document["written_back"] is True
    assert document["variables"][0]["text"] == "kept"
    assert oracle(store) == {**known, ("Ours", OWN): (3, b"kept")}
    changed = variable(ovmf, "set", "Ours", OWN, "00ff", "--vars", store, "--json").document["variables"][0]
    assert (changed["attributes"], changed["data"]) == (["NV", "BS"], "00ff"), "without --attributes they stay"
    assert variable(ovmf, "delete", "Ours", "--vars", store, "--write-back").code == ExitCode.OK
    assert oracle(store) == known


def test_diff_says_what_is_added_removed_and_changed(ovmf: Ovmf, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.fd"
    other.write_bytes(store.read_bytes())
    same = variable(ovmf, "diff", other, "--vars", store, "--json")
    assert (same.code, same.document["changes"]) == (ExitCode.OK, [])
    variable(ovmf, "set", "Ours", OWN, "01", "--vars", other, "--write-back")
    done = variable(ovmf, "diff", other, "--vars", store, "--json")
    assert done.code == ExitCode.NOT_MET
    (change,) = done.document["changes"]
    assert (change["kind"], change["before"], change["after"]["data"]) == ("added", None, "01")
    jsonschema.validate(done.document, json.loads(SCHEMA.read_text("utf-8")))
    assert "removed  Ours" in variable(ovmf, "diff", store, "--vars", other).out


def test_a_file_that_is_there_is_replaced_only_by_force(ovmf: Ovmf, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "mode.bin"
    file.write_bytes(b"mine")
    words = ("get", "SetupMode", "--vars", store, "-o", file)
    done = variable(ovmf, *words)
    assert (done.code, file.read_bytes()) == (ExitCode.UNREADABLE, b"mine")
    assert "(--force replaces it)" in done.err
    assert variable(ovmf, *words, "--force").code == ExitCode.OK
    assert len(file.read_bytes()) == 1


@pytest.mark.parametrize("words", [["list"], ["list", "bios.fd"], ["get", "bios.fd", "db"]])
def test_the_image_comes_first(words: list[str]) -> None:
    done = run("variable", *words)
    assert done.code == ExitCode.USAGE
    assert f"IMAGE comes first: mmsup variable IMAGE {words[0]}\n" in done.err.replace("main", "mmsup")


def test_options_come_after_the_action() -> None:
    done = run("variable", "bios.fd", "--vars", "vars.fd", "list")
    assert done.code == ExitCode.USAGE
    assert "No such option '--vars'. Options come after the action: " in done.err


def test_redacted_nothing_of_a_value_is_in_output_or_trace(ovmf: Ovmf, store: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    words = ("set", "Ours", OWN, SECRET.hex(), "--vars", store, "--trace", trace)
    plain = variable(ovmf, *words)
    assert SECRET.hex(" ", 1)[:20] in plain.out, "else this test could not fail"
    assert '"arguments":["0x' in trace.read_text("ascii")
    for form in ((), ("--json",)):
        done = variable(ovmf, *words, "--redact", *form)
        written = done.out + done.err + trace.read_text("ascii")
        assert done.code == ExitCode.OK
        assert SECRET.decode() not in written
        assert SECRET.hex()[:8] not in written.replace(" ", "")
        assert '"arguments":["0x' not in written
    assert variable(ovmf, "list", "--vars", store, "--redact", "--json").document["variables"][0]["data"] is None


def test_redacted_a_comparison_says_what_differs_and_not_how(ovmf: Ovmf, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.fd"
    other.write_bytes(store.read_bytes())
    variable(ovmf, "set", "Ours", OWN, SECRET.hex(), "--vars", other, "--write-back")
    for form in ((), ("--json",)):
        plain = variable(ovmf, "diff", other, "--vars", store, *form)
        assert SECRET.decode() in plain.out, "else this test could not fail"
        done = variable(ovmf, "diff", other, "--vars", store, "--redact", *form)
        assert done.code == ExitCode.NOT_MET
        assert "Ours" in done.out
        assert SECRET.decode() not in done.out
        assert SECRET.hex()[:8] not in done.out.replace(" ", "")


def test_what_the_driver_refuses_is_said_with_its_status(ovmf: Ovmf, store: Path) -> None:
    missing = variable(ovmf, "get", "NoSuch", "--vars", store)
    assert (missing.code, "EFI_NOT_FOUND" in missing.err) == (ExitCode.DRIVER_ERROR, True)
    before = store.read_bytes()
    unsigned = variable(ovmf, "set", "PK", "gEfiGlobalVariableGuid", "01", "--vars", store, "--write-back", "--json")
    assert unsigned.code == ExitCode.DRIVER_ERROR
    assert "SetVariable PK" in unsigned.document["failure"]
    assert store.read_bytes() == before


def test_nothing_is_written_back_of_what_a_boot_changes_before_a_failure(ovmf: Ovmf, tmp_path: Path) -> None:
    """A first boot adds to an empty store, and then the driver refuses what was asked for."""
    store = tmp_path / "empty.fd"
    store.write_bytes(ovmf.path("OVMF_VARS_4M.fd").read_bytes())
    before = store.read_bytes()
    words = ("set", "Ours", "gEfiGlobalVariableGuid", "01", "--vars", store, "--write-back")
    refused = variable(ovmf, *words, "--json").document
    assert refused["store"]["sha256"] != refused["store"]["sha256_after"], "else this test could not fail"
    assert "EFI_INVALID_PARAMETER" in refused["failure"]
    assert refused["written_back"] is False
    assert store.read_bytes() == before


def test_strict_says_by_number_why_nothing_runs(ovmf: Ovmf, store: Path) -> None:
    done = variable(ovmf, "list", "--vars", store, "--strict")
    assert done.code == ExitCode.LAUNCH_FAILED
    assert "MM-2011" in done.out
    assert "Convert it to MM_STANDALONE" in done.out
    compared = variable(ovmf, "diff", store, "--vars", store, "--strict", "--json")
    assert compared.code == ExitCode.LAUNCH_FAILED
    assert compared.document["failure"] == f"{store}: the system came to an end: launch failed"


def test_an_image_without_a_variable_driver(tmp_path: Path) -> None:
    done = run("variable", write_image(tmp_path, "Echo"), "list")
    assert (done.code, "EFI_NOT_FOUND" in done.err) == (ExitCode.NOT_HANDLED, True)
    assert "no driver in MM handles its message" in done.err


def test_drivers_that_were_refused_are_named_where_nobody_answers(ovmf: Ovmf) -> None:
    """The variable driver of the 32-bit build is there, and does not come far as 64-bit code."""
    if IA32_IMAGE not in {path.name for path in ovmf.files()}:
        assert not ovmf.known_release(CODE), "Debian 12 has it"
        return
    done = run("variable", ovmf.path(IA32_IMAGE), "list")
    assert done.code == ExitCode.NOT_HANDLED
    assert re.search(r"^ +where +VariableSmm\+", done.out, re.MULTILINE)


def test_wrong_stores_and_arguments_are_named(ovmf: Ovmf, tmp_path: Path) -> None:
    small = tmp_path / "small.fd"
    small.write_bytes(bytes(0x20000))
    done = variable(ovmf, "list", "--vars", small)
    assert (done.code, "the store of this image has 540,672" in done.err) == (ExitCode.MALFORMED, True)
    assert variable(ovmf, "list", "--vars", tmp_path / "gone.fd").code == ExitCode.UNREADABLE
    kept = variable(ovmf, "set", "Ours", OWN, "01", "--write-back")
    assert (kept.code, "--write-back needs --vars" in kept.err) == (ExitCode.USAGE, True)
    for words, rule in (
        ("NV,XX", "'XX' is no attribute"),
        ("0x100000000", "is not a number of 32 bits"),
        ("-1", "is not a number of 32 bits"),
    ):
        odd = variable(ovmf, "set", "Ours", OWN, "01", "--attributes", words)
        assert (odd.code, rule in odd.err) == (ExitCode.USAGE, True)


def test_names_and_values_that_no_message_holds_are_refused_as_the_driver_would(ovmf: Ovmf, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(0x20000))
    for words in (("get", "x" * 40_000, OWN), ("set", "Ours", OWN, f"@{big}")):
        done = variable(ovmf, *words)
        assert (done.code, "EFI_INVALID_PARAMETER" in done.err) == (ExitCode.DRIVER_ERROR, True)
        assert "where a message takes" in done.err


def test_bytes_that_are_no_utf_8_are_a_name_and_a_value_like_any_other(ovmf: Ovmf) -> None:
    """The system hands them over as halves of surrogate pairs."""
    done = variable(ovmf, "set", "\udcff", OWN, "text:\udcff", "--json")
    assert done.code == ExitCode.OK
    (one,) = done.document["variables"]
    assert (one["name"], one["data"]) == ("\udcff", "ff")
    assert "\\udcff" in variable(ovmf, "set", "\udcff", OWN, "text:\udcff").out


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_write_back_that_fails_leaves_the_old_store(
    ovmf: Ovmf, store: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each step that can fail, and a kill at each, is tested with the flash's file itself."""

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    before = store.read_bytes()
    monkeypatch.setattr(f"mmsupervisor.devices.flash_store.os.{call}", fail)
    done = variable(ovmf, "set", "Ours", OWN, "01", "--vars", store, "--write-back")
    assert (done.code, "No space left" in done.err) == (ExitCode.UNREADABLE, True)
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == [store.name]
