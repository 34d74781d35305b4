"""Symbols of an image's drivers by files of their names: which is taken, and how a run shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.pi.container import InputError, read_image
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.reader import Reader
from mmsupervisor.platform.sample import mm_volume, shipped
from mmsupervisor.platform.symbol_folder import read_symbol_folder
from tests.cli.sessions import OFFENDER, offence, run, write_image
from tests.debuginfo.builds import elf

IMAGE = read_image(Reader(mm_volume([shipped("Echo"), shipped("Offender")]), "image"))
ECHO, OFFENDING = (prebuilt.driver(name).guid for name in ("Echo", "Offender"))


def write_map(path: Path, name: str) -> None:
    path.write_text(f"00001000 00000010 code a.c {name}\n")


def test_a_driver_is_found_by_name_or_guid_in_any_case(tmp_path: Path) -> None:
    write_map(tmp_path / "ECHO.Map", "by_name")
    write_map(tmp_path / f"{str(OFFENDING).upper()}.map", "by_guid")
    write_map(tmp_path / "Nobody.map", "nobody")
    found = read_symbol_folder(IMAGE, tmp_path)
    assert {guid: symbols.names for guid, symbols in found.items()} == {ECHO: ("by_name",), OFFENDING: ("by_guid",)}


def test_the_file_that_tells_most_is_taken(tmp_path: Path) -> None:
    write_map(tmp_path / "Echo.map", "by_map")
    (tmp_path / "Echo.debug").write_bytes(elf("Echo"))
    (symbols,) = read_symbol_folder(IMAGE, tmp_path).values()
    assert symbols.lines.offsets
    assert symbols.offset_of("by_map") is None


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_symbol_folder(IMAGE, tmp_path / "nowhere")
    (tmp_path / "Echo.map").write_text("no map\n")
    with pytest.raises(FormatError, match=r"Echo\.map"):
        read_symbol_folder(IMAGE, tmp_path)


def test_boot_shows_source_lines(tmp_path: Path) -> None:
    image = write_image(tmp_path, "Offender")
    (tmp_path / "Offender.debug").write_bytes(elf("Offender"))
    words = ("boot", image, "--symbols", tmp_path, "--send", OFFENDER, offence("Divide"))
    done = run(*words)
    assert done.code == ExitCode.VIOLATION
    assert "samples/Offender/Offender.c:" in done.out
    assert "samples/Offender/Offender.c:" not in run(*words[:2], *words[4:]).out
