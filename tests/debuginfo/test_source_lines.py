"""Which line a place comes from: by file numbers of either DWARF, and for a caller the line of its call."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mmsupervisor.core.modules import Module
from mmsupervisor.debuginfo.read import read_symbols
from mmsupervisor.debuginfo.symbols import LineTable, SourceLine, Symbols
from mmsupervisor.debuginfo.unwind import Found
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import Guid
from mmsupervisor.report.findings import Images

BASE = 0x1000


@pytest.mark.parametrize("version", [4, 5])
def test_files_are_numbered_from_1_before_dwarf_5(version: int, tmp_path: Path) -> None:
    """A function in a header in a folder of its own: its file is neither the first, nor in the first folder."""
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "other.h").write_text("\n\nint other(int a)\n{\n  return a / 3;\n}\n", "utf-8")
    (tmp_path / "main.c").write_text('#include "inc/other.h"\nint last(int a)\n{\n  return a;\n}\n', "utf-8")
    compiler = ("gcc", f"-gdwarf-{version}", "-O0", "-ffreestanding", "-c", "main.c", "-o", "main.o")
    subprocess.run(compiler, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    linker = ("ld", f"-Ttext={BASE:#x}", "-e", "last", "-o", "main.debug", "main.o")
    subprocess.run(linker, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    symbols = read_symbols((tmp_path / "main.debug").read_bytes(), "main.debug")
    for name, file, line in (("other", "inc/other.h", 4), ("last", "main.c", 3)):
        offset = symbols.offset_of(name)
        assert offset is not None
        found = symbols.lines.at(offset)
        assert found is not None
        assert found.file.endswith(file)
        assert found.line == line


def test_a_caller_is_told_by_the_line_of_its_call() -> None:
    """Behind a call the next line may begin: where it returns to is not where it was made."""
    memory = PhysicalMemory()
    memory.add_ram(BASE, 0x1000, "memory")
    lines = LineTable((0, 5), (SourceLine("a.c", 1), SourceLine("a.c", 2)))
    module = Module("Lines", Guid(b"a-driver-w-lines"), BASE, 0x1000, BASE, symbols=Symbols(lines=lines))
    images = Images((module,), memory)
    assert images.frame(BASE + 5, Found.PLACE).source == "a.c:2"
    assert images.frame(BASE + 5, Found.CODE).source == "a.c:1"
    assert images.source(BASE + 5, is_return=True) == "a.c:1"
