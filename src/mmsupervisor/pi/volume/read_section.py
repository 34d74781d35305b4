"""Reading streams of sections (PI 1.8 vol. 3 §2.1.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.encapsulation import Opened, open_compression, open_guided
from mmsupervisor.pi.volume.erased import first_other
from mmsupervisor.pi.volume.layout import (
    COMPRESSION_HEADER,
    GUIDED_HEADER,
    LARGE_SECTION_HEADER_SIZE,
    SECTION_ALIGNMENT,
    SECTION_HEADER_SIZE,
    SIZE_ESCAPE,
    SectionType,
    align_up,
)
from mmsupervisor.pi.volume.model import (
    Closed,
    CompressionHeader,
    GuidedHeader,
    Section,
    SectionHeader,
    SubtypeHeader,
    Unopened,
)
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at

_Found = tuple[tuple[Section, ...], tuple[Problem, ...]]


def read_sections(reader: Reader, allowance: Allowance, depth: int = 0) -> _Found:
    """Read a stream of sections to its end, or to the first one whose size makes going on impossible.

    Args:
        reader: The stream; sections are aligned relative to its first byte.
        allowance: Bounds of the parse.
        depth: Levels of nesting around the stream.

    Returns:
        The sections, and the problems of the stream itself (those of a section are in the section).

    Raises:
        LimitError: more items than allowed.
    """
    sections: list[Section] = []
    position = 0
    end = len(reader)
    while position + SECTION_HEADER_SIZE <= end:
        allowance.take_items(1, reader.file, reader.base + position)
        size, header_size = _section_size(reader, position)
        if size < header_size:
            return tuple(sections), _bad_size(reader, position, size)
        problems: tuple[Problem, ...] = ()
        if position + size > end:
            rule = f"section needs {size:#x} bytes, {end - position:#x} are left"
            problems = (problem_at(ProblemKind.SECTION_CUT, reader, position, rule),)
            size = end - position
        window = reader.window(position, size, "section")
        sections.append(_read_section(window, header_size, problems, allowance, depth))
        position = align_up(position + size, SECTION_ALIGNMENT)
    return tuple(sections), _tail(reader, position)


def _section_size(reader: Reader, position: int) -> tuple[int, int]:
    size = reader.u24(position, "section size")
    if size != SIZE_ESCAPE:
        return size, SECTION_HEADER_SIZE
    if position + LARGE_SECTION_HEADER_SIZE > len(reader):
        return size, SECTION_HEADER_SIZE
    return reader.u32(position + SECTION_HEADER_SIZE, "section size"), LARGE_SECTION_HEADER_SIZE


def _bad_size(reader: Reader, position: int, size: int) -> tuple[Problem, ...]:
    if first_other(reader.data[position:], 0) is None:
        return (problem_at(ProblemKind.SECTION_TAIL, reader, position, "zeros follow the last section"),)
    rule = f"section size {size:#x} is below its header"
    return (problem_at(ProblemKind.SECTION_SIZE, reader, position, rule),)


def _tail(reader: Reader, position: int) -> tuple[Problem, ...]:
    rest = reader.data[position:]
    if not rest:
        return ()
    rule = f"{len(rest)} bytes follow the last section, too few for another"
    return (problem_at(ProblemKind.SECTION_TAIL, reader, position, rule),)


def _read_section(
    window: Reader, common_size: int, problems: tuple[Problem, ...], allowance: Allowance, depth: int
) -> Section:
    type_ = window.u8(3, "section type")
    section = Section(window.file, window.base, window.data, type_, common_size, problems=problems)
    if type_ == SectionType.FIRMWARE_VOLUME_IMAGE:
        return _with_volumes(section, window, allowance, depth)
    if type_ == SectionType.DISPOSABLE:
        inner = window.window(common_size, len(window) - common_size, "section")
        return _with_content(section, Opened(inner), allowance, depth)
    read_header = _HEADER_READERS.get(type_)
    if read_header is None:
        return section
    parsed = read_header(window, common_size)
    if parsed is None:
        return _headerless(section, window)
    header, header_size = parsed
    section = replace(section, header=header, header_size=header_size)
    if isinstance(header, SubtypeHeader):
        return section
    data = window.window(header_size, len(window) - header_size, "section data")
    if isinstance(header, GuidedHeader):
        opened = open_guided(header, data, window.base, allowance)
    else:
        opened = open_compression(header, data, window.base, allowance)
    return _with_content(section, opened, allowance, depth)


def _guided_header(window: Reader, common_size: int) -> tuple[SectionHeader, int] | None:
    fixed_size = common_size + GUIDED_HEADER.size
    if fixed_size > len(window):
        return None
    guid, data_offset, attributes = window.unpack(GUIDED_HEADER, common_size, "GUID-defined section")
    if not fixed_size <= data_offset <= len(window):
        return None
    extra = window.view(fixed_size, data_offset - fixed_size, "GUID-defined section")
    return GuidedHeader(Guid(guid), data_offset, attributes, extra), data_offset


def _compression_header(window: Reader, common_size: int) -> tuple[SectionHeader, int] | None:
    header_size = common_size + COMPRESSION_HEADER.size
    if header_size > len(window):
        return None
    return CompressionHeader(*window.unpack(COMPRESSION_HEADER, common_size, "compression section")), header_size


def _subtype_header(window: Reader, common_size: int) -> tuple[SectionHeader, int] | None:
    if common_size + GUID_SIZE > len(window):
        return None
    return SubtypeHeader(window.guid(common_size, "freeform subtype")), common_size + GUID_SIZE


_HEADER_READERS: dict[int, Callable[[Reader, int], tuple[SectionHeader, int] | None]] = {
    SectionType.GUID_DEFINED: _guided_header,
    SectionType.COMPRESSION: _compression_header,
    SectionType.FREEFORM_SUBTYPE_GUID: _subtype_header,
}
"""Readers of the headers that some types have beyond the common one; None from a reader: it does not fit."""


def _headerless(section: Section, window: Reader) -> Section:
    rule = f"header of the {section.type_name} section does not lie within it"
    problem = problem_at(ProblemKind.SECTION_SIZE, window, 0, rule)
    unopened = Unopened(Closed.DAMAGED, rule) if section.is_encapsulation else None
    return replace(section, unopened=unopened, problems=(*section.problems, problem))


def _with_content(section: Section, opened: Opened, allowance: Allowance, depth: int) -> Section:
    problems = (*section.problems, *opened.problems)
    if opened.content is None:
        return replace(section, unopened=opened.unopened, problems=problems)
    closed = _too_deep(section, allowance, depth)
    if closed is not None:
        return closed
    inner, inner_problems = read_sections(opened.content, allowance, depth + 1)
    return replace(section, sections=inner, content=opened.content.data, problems=(*problems, *inner_problems))


def _with_volumes(section: Section, window: Reader, allowance: Allowance, depth: int) -> Section:
    # Sections hold volumes, and volumes hold sections: one of the two modules has to wait with its import.
    from mmsupervisor.pi.volume.read_volume import find_volumes

    closed = _too_deep(section, allowance, depth)
    if closed is not None:
        return closed
    inner = window.window(section.header_size, len(window) - section.header_size, "volume image")
    volumes, problems = find_volumes(inner, allowance, depth + 1)
    if not volumes and not problems:
        problems = (problem_at(ProblemKind.NO_VOLUME, window, 0, "volume image section holds no volume"),)
    return replace(section, volumes=volumes, problems=(*section.problems, *problems))


def _too_deep(section: Section, allowance: Allowance, depth: int) -> Section | None:
    try:
        allowance.check_depth(depth + 1, section.part, section.offset)
    except LimitError as error:
        problem = Problem(ProblemKind.LIMIT, error.file, error.offset, error.rule)
        return replace(section, unopened=Unopened(Closed.LIMIT, error.rule), problems=(*section.problems, problem))
    return None
