"""Program databases: names and lines, what damaged ones come to, and what is said without the library."""

from __future__ import annotations

import random
import sys

import pytest

from mmsupervisor.debuginfo.read import read_symbols
from mmsupervisor.pi.errors import FormatError, LimitError, MissingLibraryError
from tests.debuginfo import program_database


def test_names_and_lines() -> None:
    symbols = read_symbols(program_database.build(), "MyDriver.pdb")
    text = program_database.TEXT
    for name, (offset, _) in program_database.FUNCTIONS.items():
        assert symbols.offset_of(name) == text + offset
        assert symbols.name_of(text + offset + 4) == f"{name}+0x4"
    for offset, line in program_database.LINES:
        assert str(symbols.lines.at(text + offset + 3)) == f"{program_database.FILE}:{line}"
    assert symbols.lines.at(text) is None


def test_an_empty_one_says_so() -> None:
    with pytest.raises(FormatError, match="neither a name nor a source line"):
        read_symbols(program_database.build(functions={}, lines=()), "MyDriver.pdb")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "purepdb", None)
    with pytest.raises(MissingLibraryError, match=r"extra `pdb`"):
        read_symbols(program_database.build(), "x.pdb")


def test_damaged_ones_fail_in_one_way() -> None:
    whole = program_database.build()
    luck = random.Random(11)
    refused = 0
    for _ in range(300):
        broken = bytearray(whole[: luck.randrange(40, len(whole))] if luck.random() < 0.3 else whole)
        for _ in range(luck.randrange(1, 30)):
            broken[luck.randrange(32, len(broken))] = luck.randrange(256)
        try:
            read_symbols(bytes(broken), "x.pdb")
        except (FormatError, LimitError):
            refused += 1
    assert refused
