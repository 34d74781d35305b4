"""The fixture with real firmware: what it gives, and that its absence is an error with advice."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.ovmf import FOLDER_VARIABLE, Ovmf, OvmfMissingError, fetch, locate

COMMAND = Path(__file__).resolve().parents[2] / "scripts" / "fetch-ovmf"


def test_gives_the_images_of_both_packages(ovmf: Ovmf) -> None:
    names = [path.name for path in ovmf.files()]
    assert "OVMF_CODE_4M.secboot.fd" in names
    # Newer releases have no ovmf-ia32.
    assert "OVMF32_CODE_4M.secboot.fd" in names or not ovmf.known_release("OVMF_CODE_4M.secboot.fd")
    assert names == sorted(set(names))


def test_an_image_is_a_firmware_volume_and_its_hash_is_of_its_bytes(ovmf: Ovmf) -> None:
    name = "OVMF_CODE_4M.secboot.fd"
    data = ovmf.path(name).read_bytes()
    assert data[40:44] == b"_FVH"
    assert ovmf.sha256(name) == hashlib.sha256(data).hexdigest()


def test_a_link_has_a_path_but_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "b.fd").write_bytes(b"x")
    (tmp_path / "a.fd").symlink_to("b.fd")
    images = Ovmf(tmp_path)
    assert images.files() == [tmp_path / "b.fd"]
    assert images.sha256("a.fd") == images.sha256("b.fd")


def test_a_missing_image_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(OvmfMissingError, match=r"no firmware image none\.fd; unpack Debian's packages ovmf and"):
        Ovmf(tmp_path).path("none.fd")


def test_a_named_folder_without_images_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(OvmfMissingError, match=f"holds no firmware image.*set {FOLDER_VARIABLE}"):
        locate()


def test_a_failed_download_is_an_error_and_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in_tools(tmp_path / "bin", monkeypatch, apt_get="echo E: no network >&2; exit 100")
    with pytest.raises(OvmfMissingError, match="apt-get failed: E: no network"):
        fetch(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_missing_tool_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OvmfMissingError, match="has no apt-get"):
        fetch(tmp_path / "cache")


def test_stale_lists_are_answered_with_private_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-in tools: a download works only after an update into lists that are not the system's."""
    script = """
        case "$*" in
            *Dir::State::Lists=*" update") touch lists/fresh ;;
            *Dir::State::Lists=*) [ -e lists/fresh ] && touch ovmf.deb ;;
            *) exit 100 ;;
        esac"""
    _stand_in_tools(tmp_path / "bin", monkeypatch, apt_get=script)
    folder = fetch(tmp_path / "cache")
    assert (folder / "ovmf.deb.fd").exists()


def test_missing_lists_are_answered_with_private_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh container: no list knows the package before an update."""
    script = 'case "$*" in *" update") touch lists/fresh ;; *) touch ovmf.deb ;; esac'
    known = "if [ -e lists/fresh ]; then echo 'ovmf - firmware'; fi"
    _stand_in_tools(tmp_path / "bin", monkeypatch, apt_get=script, apt_cache=known)
    folder = fetch(tmp_path / "cache")
    assert (folder / "ovmf.deb.fd").exists()


def test_lists_without_the_package_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in_tools(tmp_path / "bin", monkeypatch, apt_get="touch other.deb", apt_cache="echo ovmf-ia32 - firmware")
    with pytest.raises(OvmfMissingError, match="no package ovmf in the package lists; unpack"):
        fetch(tmp_path / "cache")


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        (["ovmf", "ovmf-ia32"], "ovmf ovmf-ia32"),
        (["ovmf", "ovmf-amdsev", "ovmf-generic", "ovmf-hwe"], "ovmf ovmf-generic ovmf-amdsev"),
    ],
)
def test_packages_are_those_that_the_release_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: list[str], wanted: str
) -> None:
    script = f'case "$*" in *"download {wanted}") touch ovmf.deb ;; *) exit 100 ;; esac'
    known = "; ".join(f"echo {name} - firmware" for name in listed)
    _stand_in_tools(tmp_path / "bin", monkeypatch, apt_get=script, apt_cache=known)
    assert fetch(tmp_path / "cache").is_dir()


def test_two_at_once_download_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    _stand_in_tools(tmp_path / "bin", monkeypatch, apt_get=f"echo called >>'{log}'; sleep 0.3; touch ovmf.deb")
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(fetch, [tmp_path / "cache"] * 2))
    assert folders == [tmp_path / "cache"] * 2
    assert log.read_text() == "called\n"


def test_the_command_prints_the_folder_or_one_line_of_advice(tmp_path: Path, ovmf: Ovmf) -> None:
    env = {**os.environ, FOLDER_VARIABLE: str(ovmf.folder)}
    good = subprocess.run([COMMAND], env=env, capture_output=True, text=True, check=True)
    assert good.stdout == f"{ovmf.folder}\n"
    bad = subprocess.run(
        [COMMAND], env={**env, FOLDER_VARIABLE: str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (1, "", 1)


def _stand_in_tools(
    folder: Path, monkeypatch: pytest.MonkeyPatch, apt_get: str, apt_cache: str = "echo ovmf - firmware"
) -> None:
    """Put tools of those shell scripts first in PATH, and a dpkg-deb that 'unpacks' by copying with a suffix."""
    folder.mkdir()
    unpack = 'mkdir -p "$3" && cp "$2" "$3/$(basename "$2").fd"'
    for name, body in (("apt-get", apt_get), ("apt-cache", apt_cache), ("dpkg-deb", unpack)):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin")
