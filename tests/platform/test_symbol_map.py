"""Symbol files: ours, and the maps of GNU ld for PE and for ELF."""

from __future__ import annotations

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.platform.symbol_map import read_symbol_map

PE_MAP = """\
Archive member included to satisfy reference by file (symbol)

Discarded input sections

 .text.Gone     0x0000000000000000       0x10 gone.o

Linker script and memory map

                0x0000000140000000                __image_base__ = 0x140000000
LOAD driver.o

.text           0x0000000140001000      0x140
 .text          0x0000000140001000        0x0 driver.o
 .text.Handler  0x0000000140001000       0x52 driver.o
                0x0000000140001000                Handler
 .text.helper   0x0000000140001060       0x20 driver.o
 .text.AVeryLongNameThatTheLinkerPutsOnALineOfItsOwn
                0x0000000140001080       0x30 driver.o
 .text.Empty    0x00000001400010b0        0x0 driver.o
 *(.text)
                0x00000001400010c0                _ModuleEntryPoint
                0x00000001400010d0                __end = .
.data           0x0000000140002000       0x10
 .data.mCount   0x0000000140002000        0x8 driver.o
                0x0000000140002000                mCount
"""


def names(text: str) -> dict[int, str]:
    symbols = read_symbol_map(text.encode(), "x.map")
    return dict(zip(symbols.offsets, symbols.names, strict=True))


def test_map_of_a_pe_link() -> None:
    assert names(PE_MAP) == {
        0x1000: "Handler",
        0x1060: "helper",
        0x1080: "AVeryLongNameThatTheLinkerPutsOnALineOfItsOwn",
        0x10C0: "_ModuleEntryPoint",
        0x2000: "mCount",
    }


def test_map_of_an_elf_link_counts_from_0() -> None:
    text = PE_MAP.replace("0x00000001400", "0x00000000000").replace(
        "                0x0000000000000000                __image_base__ = 0x140000000\n", ""
    )
    assert names(text) == names(PE_MAP)


def test_our_own_files() -> None:
    known = prebuilt.symbols("Echo")
    lines = [f"{one.rva:08x} {one.size:08x} {one.kind} {one.source} {one.name}" for one in known]
    symbols = read_symbol_map(("# Echo\n\n" + "\n".join(lines)).encode(), "Echo.map")
    assert symbols.offsets == tuple(sorted({one.rva for one in known}))
    for one in known:
        assert symbols.name_of(one.rva + 1).endswith("+0x1") or symbols.name_of(one.rva + 1) in symbols.names


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("", 0),
        ("# nothing\n", 0),
        ("Linker script and memory map\n", 0),
        ("# x\n00001000 00000010 code a.c Name\n00001000 Name\n", 0x24),
        ("MZ\x90\0", 0),
    ],
)
def test_what_is_no_symbol_file(text: str, offset: int) -> None:
    with pytest.raises(FormatError) as caught:
        read_symbol_map(text.encode(), "x.map")
    assert (caught.value.file, caught.value.offset) == ("x.map", offset)


def test_hostile_numbers_of_symbols_are_bounded() -> None:
    with pytest.raises(LimitError):
        read_symbol_map(PE_MAP.encode(), "x.map", Allowance(Limits(items=3)))
