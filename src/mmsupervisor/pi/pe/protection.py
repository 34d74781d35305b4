"""Which attributes the pages of a loaded image get: the reference's span walk, step by step.

Sources: docs/reference/boot-flow.md §6.4 ("Resulting page attributes", surprise 12), memory.md §5 and its
surprises 3, 4 and 6.

The walk, on the pages of the allocation (offset 0 is its first byte, the image begins there):

1. All pages become read-only and executable.
2. ``start`` is 0. For each code section (CNT_CODE) by ascending address: if ``start`` lies *before* the section,
   the span from ``start`` to it becomes writable and not executable, and ``start`` moves to the end of the section
   (VirtualSize rounded up to SectionAlignment). If ``start`` is *at* the section, nothing happens and ``start``
   stays: this is the fault behind the quirk below.
3. The span from ``start`` to the end of the allocation becomes writable and not executable.
4. Each section with neither MEM_WRITE nor CNT_CODE becomes read-only over SizeOfRawData rounded up to
   SectionAlignment.

So the second of two adjacent code sections is swept up by a later span and ends writable and not executable.

API: :func:`plan_protection` gives a :class:`ProtectionPlan` with :class:`PageSpan` and :class:`ProtectionQuirk`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.memory_types import PAGE_SIZE, MemoryAttribute, align_up, pages_for
from mmsupervisor.pi.pe.constants import SectionFlags
from mmsupervisor.pi.pe.headers import PeImage, Section
from mmsupervisor.pi.pe.load_rules import MAX_PAGES, MAX_SECTIONS, image_pages

_RO, _XP, _SP = MemoryAttribute.RO, MemoryAttribute.XP, MemoryAttribute.SP


class QuirkKind(Enum):
    """Ways in which the result differs from what the section flags say."""

    ADJACENT_CODE = "adjacent-code"
    WRITABLE_CODE = "writable-code"
    EXECUTE_WITHOUT_CODE = "execute-without-code"
    UNPROTECTED_TAIL = "unprotected-tail"
    READ_ONLY_PAST_END = "read-only-past-end"


@dataclass(frozen=True, slots=True)
class ProtectionQuirk:
    """One such difference.

    Attributes:
        kind: Which.
        section: Name of the section it is about.
        detail: What happens, one clause.
    """

    kind: QuirkKind
    section: str
    detail: str


@dataclass(frozen=True, slots=True)
class PageSpan:
    """Pages with equal attributes.

    Attributes:
        offset: From the start of the allocation, in bytes.
        length: In bytes.
        attributes: RO and XP as left by the walk, and SP for a supervisor image; none of RO and XP never occurs.
        contents: Names of the sections in it in address order; ``headers`` for the header, empty for a gap.
    """

    offset: int
    length: int
    attributes: MemoryAttribute
    contents: tuple[str, ...]

    @property
    def is_executable(self) -> bool:
        """Whether code can run there."""
        return not self.attributes & _XP

    @property
    def is_writable(self) -> bool:
        """Whether it can be written."""
        return not self.attributes & _RO


@dataclass(frozen=True, slots=True)
class ProtectionPlan:
    """The attributes of every page of an image.

    Attributes:
        pages: Size of the allocation in pages.
        spans: All pages in order, neighbours with equal attributes merged.
        quirks: What differs from the section flags, in section order.
    """

    pages: int
    spans: tuple[PageSpan, ...]
    quirks: tuple[ProtectionQuirk, ...]


def plan_protection(image: PeImage, *, supervisor: bool = False) -> ProtectionPlan:
    """Work out the attributes for an image that breaks no load rule.

    Args:
        image: The image; with problems of :func:`~mmsupervisor.pi.pe.load_rules.load_problems` the answer means
            nothing, and may be an error.
        supervisor: Whether the pages are the supervisor's.

    Raises:
        FormatError: the sections do not begin on pages, so there is nothing to walk.
        LimitError: the image is larger than the bounds for hostile input allow.
    """
    _require_walkable(image)
    count = image_pages(image)
    attributes = [int(_RO | _SP) if supervisor else int(_RO)] * count
    for start, end in _data_spans(image, count * PAGE_SIZE):
        for page in range(start // PAGE_SIZE, min(pages_for(end), count)):
            attributes[page] = (attributes[page] | _XP) & ~_RO
    for page in _covered_pages((_read_only_range(image, section) for section in image.sections), count):
        attributes[page] |= _RO
    return ProtectionPlan(count, tuple(_merge(image, attributes)), tuple(_quirks(image, attributes)))


def _require_walkable(image: PeImage) -> None:
    alignment = image.optional_header.section_alignment
    offset = image.header_offset
    if alignment == 0 or alignment % PAGE_SIZE or any(s.virtual_address % PAGE_SIZE for s in image.sections):
        raise image.reader.error(offset, "sections do not begin on pages, no protection can be planned")
    if image_pages(image) > MAX_PAGES or len(image.sections) > MAX_SECTIONS:
        rule = f"{image_pages(image)} pages and {len(image.sections)} sections are too many to plan"
        raise LimitError(image.file, image.base + offset, rule)


def _covered_pages(ranges: Iterable[tuple[int, int]], count: int) -> Iterator[int]:
    """Pages below ``count`` that lie in at least one range: each page is visited once, however many ranges overlap."""
    steps = [0] * (count + 1)
    for start, end in ranges:
        steps[min(start // PAGE_SIZE, count)] += 1
        steps[min(pages_for(end), count)] -= 1
    depth = 0
    for page in range(count):
        depth += steps[page]
        if depth:
            yield page


def _code_range(image: PeImage, section: Section) -> tuple[int, int]:
    start = section.virtual_address
    return start, start + align_up(section.virtual_size, image.optional_header.section_alignment)


def _data_spans(image: PeImage, end_of_image: int) -> Iterator[tuple[int, int]]:
    start = 0
    for base, end in sorted(_code_range(image, s) for s in image.sections if s.is_code):
        if start < base:
            yield start, base
            start = end
            if start >= end_of_image:
                return
    if start < end_of_image:
        yield start, end_of_image


def _read_only_range(image: PeImage, section: Section) -> tuple[int, int]:
    start = section.virtual_address
    if section.is_code or section.is_writable:
        return start, start
    return start, start + align_up(section.size_of_raw_data, image.optional_header.section_alignment)


def _merge(image: PeImage, attributes: list[int]) -> Iterator[PageSpan]:
    first = 0
    for page in range(1, len(attributes) + 1):
        if page == len(attributes) or attributes[page] != attributes[first]:
            start, end = first * PAGE_SIZE, page * PAGE_SIZE
            yield PageSpan(start, end - start, MemoryAttribute(attributes[first]), tuple(_contents(image, start, end)))
            first = page


def _contents(image: PeImage, start: int, end: int) -> Iterator[str]:
    if start == 0:
        yield "headers"
    for section in sorted(image.sections, key=lambda item: item.virtual_address):
        if section.virtual_address < end and start < section.virtual_address + section.memory_size:
            yield section.name


def _quirks(image: PeImage, attributes: list[int]) -> Iterator[ProtectionQuirk]:
    for section in image.sections:
        if section.memory_size == 0:
            continue
        page = section.virtual_address // PAGE_SIZE
        if section.is_code and page < len(attributes) and attributes[page] & _XP:
            detail = "code directly after code ends writable and not executable: a fetch from it faults"
            yield ProtectionQuirk(QuirkKind.ADJACENT_CODE, section.name, detail)
        if section.is_code and section.is_writable:
            detail = "the section is flagged writable and code: it ends read-only, a write to it faults"
            yield ProtectionQuirk(QuirkKind.WRITABLE_CODE, section.name, detail)
        if section.characteristics & SectionFlags.MEM_EXECUTE and not section.is_code:
            detail = "MEM_EXECUTE without CNT_CODE is not looked at: the section is not executable"
            yield ProtectionQuirk(QuirkKind.EXECUTE_WITHOUT_CODE, section.name, detail)
        yield from _read_only_quirks(image, section, len(attributes) * PAGE_SIZE)


def _read_only_quirks(image: PeImage, section: Section, limit: int) -> Iterator[ProtectionQuirk]:
    if section.is_code or section.is_writable:
        return
    _, end = _read_only_range(image, section)
    memory_end = section.virtual_address + section.memory_size
    if pages_for(end) < pages_for(memory_end):
        detail = f"read-only up to {end:#x} (SizeOfRawData), writable up to {memory_end:#x} (VirtualSize)"
        yield ProtectionQuirk(QuirkKind.UNPROTECTED_TAIL, section.name, detail)
    if end > limit:
        detail = f"read-only up to {end:#x}, the allocation ends at {limit:#x}: the reference changes others' pages"
        yield ProtectionQuirk(QuirkKind.READ_ONLY_PAST_END, section.name, detail)
