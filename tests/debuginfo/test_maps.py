"""Symbol files: ours, and the maps of GNU ld for PE and for ELF."""

from __future__ import annotations

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.debuginfo.maps import read_symbol_map
from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.limits import Allowance, Limits

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


MICROSOFT = """\
 MyDriver

 Timestamp is 00000000 (no timestamp)

 Preferred load address is 0000000180000000

 Start         Length     Name                   Class
 0001:00000000 000004ddH .text                   CODE

  Address         Publics by Value              Rva+Base               Lib:Object

 0000:00000000       __AbsoluteZero             0000000000000000     <absolute>
 0001:00000000       _ModuleEntryPoint          0000000180000240 f   StandaloneMmDriverEntryPoint:Entry.obj
 0001:00000040       ?Check@@YAHPEAX@Z          0000000180000280 f   MyDriver.obj
 0002:00000010       gMyHandlerGuid             0000000180001010     AutoGen.obj

 entry point at        0001:00000000

 Static symbols

 0001:00000080       LocalHandler               00000001800002c0 f   MyDriver.obj
"""
LLD = """\
             VMA              LMA     Size Align Out     In      Symbol
             240              240      49b    64 .text
             240              240       20    16         a.o:(.text._ModuleEntryPoint)
             240              240       1c     1                 _ModuleEntryPoint
             260              260       40    16                 MyHandler
"""
EDK2_GCC = """\
Linker script and memory map

                0x0000000000000240                . = PECOFF_HEADER_SIZE

.text           0x0000000000000240      0x500
 .text._ModuleEntryPoint
                0x0000000000000240       0x2d obj/cc.ltrans0.ltrans.o
                0x0000000000000240                _ModuleEntryPoint
 .text.MyHandler
                0x0000000000000270       0x51 obj/cc.ltrans0.ltrans.o
"""


def test_map_of_microsofts_linker() -> None:
    """Absolute numbers are no places; the decoration of C++ names is left out; static functions are known too."""
    expected = {0x240: "_ModuleEntryPoint", 0x280: "Check", 0x2C0: "LocalHandler", 0x1010: "gMyHandlerGuid"}
    assert names(MICROSOFT) == expected
    assert names(MICROSOFT.replace("\n", "\r\n")) == expected


def test_map_of_lld() -> None:
    assert names(LLD) == {0x240: "_ModuleEntryPoint", 0x260: "MyHandler"}


def test_map_of_an_edk2_build_with_gcc() -> None:
    assert names(EDK2_GCC) == {0x240: "_ModuleEntryPoint", 0x270: "MyHandler"}
