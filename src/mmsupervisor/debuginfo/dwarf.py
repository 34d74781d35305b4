"""DWARF: names, source lines and frame rules, from an ELF file or from a PE image that carries it.

edk2's GCC tool chains leave an ELF file with DWARF beside each driver (``.debug``, ``.dll``), laid out as the
driver: its addresses are offsets in the image. MinGW and LLVM keep DWARF in the PE image itself, in sections whose
long names stand in the string table behind the symbols; addresses there count from ImageBase.

Reading DWARF is pyelftools' work (optional extra ``dwarf``). It knows ELF files only, so the sections of a PE image
are taken here and handed to its DWARF reader.
Source: DWARF 5 §2.17, §6.2, §6.4; Microsoft PE and COFF specification, "Section Table".
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from mmsupervisor.debuginfo.sections import section_names
from mmsupervisor.debuginfo.symbols import FrameRule, FrameTable, LineTable, SourceLine, Symbols, make_symbols
from mmsupervisor.pi.errors import FormatError, MissingLibraryError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.pe import PeImage, parse_pe
from mmsupervisor.pi.reader import Reader

_PE = b"MZ"
_RETURN_ADDRESS = 16
_REGISTERS = (
    *("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""Registers by their DWARF number (System V ABI, AMD64, figure 3.36)."""

_SECTIONS = {
    ".debug_info": "debug_info_sec",
    ".debug_aranges": "debug_aranges_sec",
    ".debug_abbrev": "debug_abbrev_sec",
    ".debug_frame": "debug_frame_sec",
    ".eh_frame": "eh_frame_sec",
    ".debug_str": "debug_str_sec",
    ".debug_loc": "debug_loc_sec",
    ".debug_ranges": "debug_ranges_sec",
    ".debug_line": "debug_line_sec",
    ".debug_pubtypes": "debug_pubtypes_sec",
    ".debug_pubnames": "debug_pubnames_sec",
    ".debug_addr": "debug_addr_sec",
    ".debug_str_offsets": "debug_str_offsets_sec",
    ".debug_line_str": "debug_line_str_sec",
    ".debug_loclists": "debug_loclists_sec",
    ".debug_rnglists": "debug_rnglists_sec",
    ".debug_sup": "debug_sup_sec",
    ".gnu_debugaltlink": "gnu_debugaltlink_sec",
    ".debug_types": "debug_types_sec",
}
"""Sections by the name of pyelftools' argument for them."""


def read_dwarf(data: bytes, file: str, allowance: Allowance, *, text_offset: int | None = None) -> Symbols:
    """Read an ELF file, or a PE image with DWARF in it; see :func:`mmsupervisor.debuginfo.read.read_symbols`."""
    try:
        import elftools.dwarf.dwarfinfo
    except ImportError as error:
        raise MissingLibraryError(f"{file}: reading DWARF", "dwarf") from error
    del elftools
    try:
        if data.startswith(_PE):
            dwarf, base, names = _open_pe(parse_pe(Reader(data, file)))
        else:
            dwarf, base, names = _open_elf(data, text_offset)
        names = names or dict(_function_names(dwarf))
        lines = sorted(_line_rows(dwarf), key=lambda row: row[0])
        frames = sorted(_frame_rows(dwarf), key=lambda row: row[0])
    except FormatError:
        raise
    except Exception as error:  # pyelftools has no one exception: hostile input meets asserts, KeyError and others
        raise FormatError(file, 0, f"its DWARF cannot be read ({type(error).__name__}: {error})") from error
    allowance.take_items(len(names) + len(lines) + len(frames), file, 0)
    if not names and not lines:
        raise FormatError(file, 0, "there is neither a name nor a source line in it")
    return make_symbols(
        {address - base: name for address, name in names.items() if address >= base},
        _line_table(lines, base),
        FrameTable(
            tuple(start - base for start, _ in frames),
            tuple(FrameRule(rule.end - base, rule.base, rule.distance, rule.saved) for _, rule in frames),
        ),
    )


# --- opening ----------------------------------------------------------------------------------------------------


def _open_elf(data: bytes, text_offset: int | None) -> tuple[Any, int, dict[int, str]]:
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(BytesIO(data))
    text = elf.get_section_by_name(".text")
    base = 0 if text is None or text_offset is None else text["sh_addr"] - text_offset
    return elf.get_dwarf_info(), base, dict(_elf_names(elf))


def _elf_names(elf: Any) -> Iterator[tuple[int, str]]:
    """Yield names of functions, variables and labels; local ones first, so that a global name is preferred."""
    table = elf.get_section_by_name(".symtab")
    symbols = [] if table is None else list(table.iter_symbols())
    symbols.sort(key=lambda symbol: symbol["st_info"]["bind"] == "STB_GLOBAL")
    for symbol in symbols:
        is_placed = isinstance(symbol["st_shndx"], int) and symbol["st_info"]["type"] not in (
            "STT_SECTION",
            "STT_FILE",
        )
        if is_placed and symbol.name:
            yield symbol["st_value"], symbol.name


def _open_pe(image: PeImage) -> tuple[Any, int, dict[int, str]]:
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

    base = image.optional_header.image_base
    found = dict.fromkeys(_SECTIONS.values())
    for section, name in zip(image.sections, section_names(image), strict=True):
        argument = _SECTIONS.get(name)
        if argument is not None:
            size = min(section.size_of_raw_data, section.virtual_size or section.size_of_raw_data)
            content = image.reader.copy(section.pointer_to_raw_data, size, name)
            found[argument] = DebugSectionDescriptor(
                BytesIO(content), name, section.pointer_to_raw_data, size, base + section.virtual_address
            )
    if found["debug_info_sec"] is None:
        raise image.reader.error(0, "there is no DWARF in this image")
    return DWARFInfo(DwarfConfig(little_endian=True, default_address_size=8, machine_arch="x64"), **found), base, {}


# --- names ------------------------------------------------------------------------------------------------------


def _function_names(dwarf: Any) -> Iterator[tuple[int, str]]:
    for unit in dwarf.iter_CUs():
        for entry in unit.get_top_DIE().iter_children():
            start = entry.attributes.get("DW_AT_low_pc")
            if entry.tag == "DW_TAG_subprogram" and start is not None:
                name = _name_of(entry)
                if name:
                    yield start.value, name


def _name_of(entry: Any) -> str:
    """The name of a function, which may stand at the declaration or the abstract instance it refers to."""
    for _ in range(4):
        if "DW_AT_name" in entry.attributes:
            return str(entry.attributes["DW_AT_name"].value.decode("utf-8", "replace"))
        link = next((word for word in ("DW_AT_specification", "DW_AT_abstract_origin") if word in entry.attributes), "")
        if not link:
            return ""
        entry = entry.get_DIE_from_attribute(link)
    return ""


# --- source lines -----------------------------------------------------------------------------------------------


def _line_rows(dwarf: Any) -> Iterator[tuple[int, SourceLine | None]]:
    """Yield where each line's code begins, and None where a run of code ends."""
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        name_of = _file_names(program)
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.end_sequence:
                yield state.address, None
            elif state.line:
                yield state.address, SourceLine(name_of(state.file), state.line)


def _file_names(program: Any) -> Callable[[int], str]:
    """Return what gives a file its name: numbers and folders count from 1 before DWARF 5, then from 0."""
    header = program.header
    first = 0 if header["version"] >= 5 else 1
    folders, files = header["include_directory"], header["file_entry"]
    names: dict[int, str] = {}

    def name(number: int) -> str:
        if number not in names:
            names[number] = make(number)
        return names[number]

    def make(number: int) -> str:
        if not first <= number < first + len(files):
            return "?"
        entry = files[number - first]
        file = _text(entry.name)
        folder = entry.dir_index - first
        if file.startswith("/") or not 0 <= folder < len(folders) or (first == 0 and folder == 0):
            return posixpath.normpath(file)
        return posixpath.normpath(f"{_text(folders[folder])}/{file}")

    return name


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _line_table(rows: list[tuple[int, SourceLine | None]], base: int) -> LineTable:
    """Keep the rows at which the line changes: of several at one address the last, but no end before a beginning."""
    by_address: dict[int, SourceLine | None] = {}
    for address, line in rows:
        if address >= base and (line is not None or by_address.get(address) is None):
            by_address[address] = line
    offsets: list[int] = []
    lines: list[SourceLine | None] = []
    for address, line in by_address.items():
        if not lines or lines[-1] != line:
            offsets.append(address - base)
            lines.append(line)
    return LineTable(tuple(offsets), tuple(lines))


# --- frame rules ------------------------------------------------------------------------------------------------


def _frame_rows(dwarf: Any) -> Iterator[tuple[int, FrameRule]]:
    from elftools.dwarf.callframe import FDE

    if dwarf.has_CFI():
        entries = dwarf.CFI_entries()
    elif dwarf.has_EH_CFI():
        entries = dwarf.EH_CFI_entries()
    else:
        return
    for entry in entries:
        if isinstance(entry, FDE):
            yield from _decode_entry(entry)


def _decode_entry(entry: Any) -> Iterator[tuple[int, FrameRule]]:
    start = entry["initial_location"]
    rows = entry.get_decoded().table
    ends = [*(row["pc"] for row in rows[1:]), start + entry["address_range"]]
    for row, end in zip(rows, ends, strict=True):
        rule = _rule(row, end)
        if rule is not None:
            yield row["pc"], rule


def _rule(row: Any, end: int) -> FrameRule | None:
    """Return a row as a rule, or None for one that counts by an expression or keeps the return address elsewhere."""
    cfa = row["cfa"]
    if cfa.reg is None or cfa.reg >= len(_REGISTERS):
        return None
    saved = {number: rule.arg for number, rule in row.items() if isinstance(number, int) and rule.type == "OFFSET"}
    if saved.pop(_RETURN_ADDRESS, -8) != -8:
        return None
    kept = tuple((_REGISTERS[number], distance) for number, distance in saved.items() if number < len(_REGISTERS))
    return FrameRule(end, _REGISTERS[cfa.reg], cfa.offset, kept)
