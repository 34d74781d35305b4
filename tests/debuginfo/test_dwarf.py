"""DWARF of drivers that were really built: names, lines and frame rules, and what damaged files come to."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.debuginfo.read import read_symbols
from mmsupervisor.pi.errors import FormatError, LimitError, MissingLibraryError
from tests.debuginfo.builds import elf, pe_with_dwarf

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
ECHO = {symbol.name: symbol for symbol in prebuilt.symbols("Echo")}


@pytest.mark.parametrize("make", [elf, pe_with_dwarf], ids=["ELF", "PE"])
def test_names_are_those_of_the_shipped_map(make: object) -> None:
    assert callable(make)
    symbols = read_symbols(make("Echo"), "Echo.debug", image=prebuilt.image("Echo"))
    for name in ("EchoHandler", "MmDriverEntryPoint", "_ModuleEntryPoint"):
        assert symbols.offset_of(name) == ECHO[name].rva
        assert symbols.name_of(ECHO[name].rva + 4) == f"{name}+0x4"


@pytest.mark.parametrize("make", [elf, pe_with_dwarf], ids=["ELF", "PE"])
def test_lines_are_those_of_the_source(make: object) -> None:
    """A function's first line is the one where its source says that it begins."""
    assert callable(make)
    symbols = read_symbols(make("Echo"), "Echo.debug", image=prebuilt.image("Echo"))
    line = symbols.lines.at(ECHO["MmDriverEntryPoint"].rva)
    assert line is not None
    assert line.file == "samples/Echo/Echo.c"
    text = (FIRMWARE / line.file).read_text("utf-8").splitlines()
    assert re.match(r"EFI_STATUS EFIAPI MmDriverEntryPoint\(", text[line.line - 1])
    assembly = symbols.lines.at(ECHO["_ModuleEntryPoint"].rva)
    assert assembly is not None
    assert assembly.file == "lib/entry.S"
    assert symbols.lines.at(ECHO["_ModuleEntryPoint"].rva - 0x1000) is None, "headers come from no source"


@pytest.mark.parametrize("make", [elf, pe_with_dwarf], ids=["ELF", "PE"])
def test_frame_rules_count_from_the_stack_pointer(make: object) -> None:
    assert callable(make)
    symbols = read_symbols(make("Echo"), "Echo.debug", image=prebuilt.image("Echo"))
    entry = ECHO["MmDriverStart"]
    first, later = symbols.frames.at(entry.rva), symbols.frames.at(entry.rva + entry.size - 1)
    assert first is not None
    assert later is not None
    assert (first.base, first.distance) == ("rsp", 8)
    deepest = max(rule.distance for rule in symbols.frames.rules)
    assert deepest > 0x20, "some function reserves room for those it calls"
    assert symbols.frames.at(ECHO["_ModuleEntryPoint"].rva) is None, "assembly without rules has none"


def test_an_elf_file_is_counted_from_the_images_text() -> None:
    """The same file, for an image whose code begins elsewhere."""
    image = bytearray(prebuilt.image("Echo"))
    at = image.index(b".text\0\0\0") + 12
    assert image[at : at + 4] == (0x1000).to_bytes(4, "little")
    image[at : at + 4] = (0x2000).to_bytes(4, "little")
    moved = read_symbols(elf("Echo"), "Echo.debug", image=bytes(image))
    assert moved.offset_of("EchoHandler") == ECHO["EchoHandler"].rva + 0x1000


def test_an_image_without_dwarf_says_so() -> None:
    with pytest.raises(FormatError, match="no DWARF"):
        read_symbols(prebuilt.image("Echo"), "Echo.efi")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elftools.dwarf.dwarfinfo", None)
    with pytest.raises(MissingLibraryError, match=r"extra `dwarf`"):
        read_symbols(elf("Echo"), "Echo.debug")


@pytest.mark.parametrize("make", [elf, pe_with_dwarf], ids=["ELF", "PE"])
def test_damaged_files_fail_in_one_way(make: object) -> None:
    assert callable(make)
    whole = make("Echo")
    luck = random.Random(7)
    refused = 0
    for _ in range(40):
        broken = bytearray(whole[: luck.randrange(64, len(whole))] if luck.random() < 0.3 else whole)
        for _ in range(luck.randrange(1, 40)):
            broken[luck.randrange(len(broken))] = luck.randrange(256)
        try:
            read_symbols(bytes(broken), "x")
        except (FormatError, LimitError):
            refused += 1
    assert refused > 0
