"""Writing what is in an image to files: right bytes, safe names, nothing overwritten unawares."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.inventory.model import Payload
from mmsupervisor.inventory.payloads import OutputError, file_names, safe_name, write_payloads
from mmsupervisor.inventory.survey import survey
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy
from tests.inventory import mm_images as mm


def named(*owners: str) -> list[str]:
    payloads = [Payload(owner, number, "efi", memoryview(b"")) for number, owner in enumerate(owners)]
    return [name for name, _ in file_names(payloads)]


def test_the_bytes_are_those_of_the_image(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    written = write_payloads(survey(mm.volume(*mm.whole())), folder)
    assert [one.path.name for one in written] == [
        "Echo.efi",
        "MmSupervisorRing3Broker.efi",
        "MmSupervisorRing3Broker.depex",
        "Echo-2.efi",
        "Echo-2.depex",
        "gMmSupervisorPolicyFileGuid.policy",
    ]
    assert sorted(path.name for path in folder.iterdir()) == sorted(one.path.name for one in written)
    assert (folder / "Echo-2.efi").read_bytes() == prebuilt.image("Echo")
    assert (folder / "Echo-2.depex").read_bytes() == prebuilt.driver("Echo").depex
    assert (folder / "gMmSupervisorPolicyFileGuid.policy").read_bytes() == write_blob(default_policy())
    for one in written:
        data = one.path.read_bytes()
        assert (one.size, one.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("VariableSmm", "VariableSmm"),
        ("../../etc/passwd", "etc_passwd"),
        ("/absolute", "absolute"),
        ("C:\\windows", "C_windows"),
        ("a\0b\nc\x1b[31m", "a_b_c_31m"),
        ("..", "_"),
        ("", "_"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("NUL", "_NUL"),
        ("com1.x", "_com1.x"),
        ("Ünïcode", "n_code"),
        ("x" * 500, "x" * 80),
    ],
)
def test_names_are_made_safe(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_equal_names_are_told_apart_on_any_file_system() -> None:
    assert named("Echo", "echo", "ECHO", "Echo-2") == ["Echo.efi", "echo-2.efi", "ECHO-3.efi", "Echo-2-2.efi"]


def test_files_stay_in_the_folder(tmp_path: Path) -> None:
    report = survey(mm.volume(*mm.whole()))
    hostile = replace(report, payloads=(replace(report.payloads[0], owner="../../../outside"),))
    (written,) = write_payloads(hostile, tmp_path / "a" / "b")
    assert written.path.parent == tmp_path / "a" / "b"


def test_nothing_is_written_if_a_file_is_in_the_way(tmp_path: Path) -> None:
    report = survey(mm.volume(*mm.whole()))
    (tmp_path / "Echo-2.efi").write_text("mine")
    with pytest.raises(OutputError, match=r"Echo-2\.efi: is there already; nothing was written"):
        write_payloads(report, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Echo-2.efi"]
    assert (tmp_path / "Echo-2.efi").read_text() == "mine"
    write_payloads(report, tmp_path, overwrite=True)
    assert (tmp_path / "Echo-2.efi").read_bytes() == prebuilt.image("Echo")


def test_links_are_not_followed(tmp_path: Path) -> None:
    report = survey(mm.volume(*mm.whole()))
    outside = tmp_path / "outside"
    outside.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "Echo.efi").symlink_to(outside)
    with pytest.raises(OutputError):
        write_payloads(report, folder)
    write_payloads(report, folder, overwrite=True)
    assert outside.read_text() == "precious"
    assert not (folder / "Echo.efi").is_symlink()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "Echo.efi")

    monkeypatch.setattr(Path, "hardlink_to", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_payloads(survey(mm.volume(*mm.whole())), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert len(write_payloads(survey(mm.volume(*mm.whole())), tmp_path)) == 6
    assert (tmp_path / "Echo.efi").read_bytes() == prebuilt.image("Echo")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_payloads(survey(mm.volume(*mm.whole())), tmp_path / "file" / os.devnull.strip("/"))
