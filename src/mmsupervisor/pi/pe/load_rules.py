"""The rules by which the MM core refuses an image, each with its name and the status it gives.

Source: docs/reference/boot-flow.md §6.4, memory.md §5. The rules stand in the order in which the reference comes to
them: with several problems, the first one is the one it reports.

Some rules are not the reference's: where it has no check and reads or writes out of bounds, this project has to
refuse. They carry ``in_reference=False``, so that a report can say that a device would have gone on.

API: :data:`LOAD_RULES`, :func:`load_problems`, :class:`LoadRule`, :class:`LoadProblem`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.memory_types import PAGE_SIZE, align_up, pages_for
from mmsupervisor.pi.pe.constants import (
    MAX_DIRECTORIES,
    SECTION_HEADER_SIZE,
    Directory,
    Machine,
    Subsystem,
    machine_name,
)
from mmsupervisor.pi.pe.debug import codeview_entry, record_is_short
from mmsupervisor.pi.pe.headers import PeImage, Section
from mmsupervisor.pi.pe.mapping import MAX_IMAGE_SIZE, image_relocations, map_image
from mmsupervisor.pi.pe.relocations import RelocationError, RelocationFault
from mmsupervisor.pi.status import Status

ACCEPTED_MACHINES = (Machine.IA32, Machine.X64, Machine.EBC, Machine.AARCH64)
"""Machine types the loader takes on X64: it does not insist on X64, only the entry point would."""

MAX_SECTIONS = 1024
"""Largest number of sections that is judged; linkers write fewer than 20."""

MAX_PAGES = pages_for(2 * MAX_IMAGE_SIZE)
"""Largest allocation for an image, in pages; the section alignment alone could ask for 4 GiB."""

_U32 = 2**32


@dataclass(frozen=True)  # no slots: cached_property needs a dictionary
class _Case:
    """An image and where it is to be loaded; ``allocation`` is None when that is not known."""

    image: PeImage
    allocation: int | None

    @property
    def address(self) -> int | None:
        """Address of the image: the allocation rounded up to the section alignment."""
        if self.allocation is None:
            return None
        return image_address(self.image, self.allocation)

    @property
    def is_relocated(self) -> bool:
        """Whether relocations are looked at: not at the linked address."""
        return not self.image.relocations_stripped and self.address != self.image.optional_header.image_base

    @cached_property
    def trouble(self) -> RelocationError | LimitError | None:
        """What stops the image from being mapped and relocated, where no rule on the headers says so."""
        try:
            mapped = map_image(self.image)
            if self.is_relocated:
                for _ in image_relocations(self.image, mapped):
                    pass
        except (RelocationError, LimitError) as error:
            return error
        except FormatError:
            return None
        return None

    def relocation_faults(self, *faults: RelocationFault) -> Iterator[str]:
        """The relocation error in words, if it is one of ``faults``."""
        if isinstance(self.trouble, RelocationError) and self.trouble.fault in faults:
            yield str(self.trouble)


@dataclass(frozen=True, slots=True)
class LoadRule:
    """One rule.

    Attributes:
        name: Short name for reports, unique.
        text: The rule as one clause.
        status: What the reference's load answers when the rule is broken.
        find: Gives each breach in words.
        in_reference: False where the reference has no such check and would go on out of bounds.
        depends_on_address: Whether the allocation decides; without one the rule reports what could happen.
        clears_protection: Whether the breach also switches the protection of image data off for all images.
    """

    name: str
    text: str
    status: Status
    find: Callable[[_Case], Iterator[str]]
    in_reference: bool = True
    depends_on_address: bool = False
    clears_protection: bool = False


@dataclass(frozen=True, slots=True)
class LoadProblem:
    """One breach of a rule.

    Attributes:
        rule: The rule.
        detail: What was found.
        is_certain: False if another allocation address would do.
    """

    rule: LoadRule
    detail: str
    is_certain: bool = True

    @property
    def status(self) -> Status:
        """What the reference's load answers."""
        return self.rule.status

    def __str__(self) -> str:
        """One line: name, what was found, status."""
        return f"{self.rule.name}: {self.detail} ({self.status.efi_name})"


def image_pages(image: PeImage) -> int:
    """Pages that the core allocates for an image: SizeOfImage and one SectionAlignment more."""
    return pages_for(memory_size(image) + image.optional_header.section_alignment)


def image_address(image: PeImage, allocation: int) -> int:
    """Address of the image within its allocation: rounded up to the section alignment."""
    return align_up(allocation, max(image.optional_header.section_alignment, 1))


def memory_size(image: PeImage) -> int:
    """Bytes the loader counts for an image: SizeOfImage, and debug data that no section brings to memory."""
    entry = codeview_entry(image)
    extra = entry.size if entry and entry.virtual_address == 0 and entry.file_offset != 0 else 0
    return image.optional_header.size_of_image + extra


def load_problems(image: PeImage, allocation: int | None = None) -> tuple[LoadProblem, ...]:
    """Every rule that an image breaks, in the order of the reference; empty if it loads.

    Args:
        image: The image.
        allocation: Address of the pages allocated for it; None to judge the image by itself, where a rule that
            depends on the address reports a problem with ``is_certain`` False.
    """
    case = _Case(image, allocation)
    return tuple(
        LoadProblem(rule, detail, allocation is not None or not rule.depends_on_address)
        for rule in LOAD_RULES
        for detail in rule.find(case)
    )


def _directory_count(case: _Case) -> Iterator[str]:
    count = case.image.optional_header.number_of_rva_and_sizes
    if count > MAX_DIRECTORIES:
        yield f"NumberOfRvaAndSizes is {count}, at most {MAX_DIRECTORIES} are allowed"


def _optional_size(case: _Case) -> Iterator[str]:
    header = case.image.optional_header
    size = case.image.file_header.size_of_optional_header
    needed = header.fixed_size + 8 * header.number_of_rva_and_sizes
    if size != needed:
        yield f"SizeOfOptionalHeader is {size:#x}, {header.number_of_rva_and_sizes} directories make it {needed:#x}"


def _image_holds_table(case: _Case) -> Iterator[str]:
    size, offset = case.image.optional_header.size_of_image, case.image.section_table_offset
    count = case.image.file_header.number_of_sections
    if size <= offset or (size - offset) // SECTION_HEADER_SIZE <= count:
        yield f"SizeOfImage {size:#x} has no room for the section table at {offset:#x} with {count} entries"


def _headers_hold_table(case: _Case) -> Iterator[str]:
    size, offset = case.image.optional_header.size_of_headers, case.image.section_table_offset
    count = case.image.file_header.number_of_sections
    if size <= offset or (size - offset) // SECTION_HEADER_SIZE < count:
        yield f"SizeOfHeaders {size:#x} does not cover the section table at {offset:#x} with {count} entries"


def _headers_in_image(case: _Case) -> Iterator[str]:
    header = case.image.optional_header
    if header.size_of_headers >= header.size_of_image:
        yield f"SizeOfHeaders {header.size_of_headers:#x} is not smaller than SizeOfImage {header.size_of_image:#x}"


def _headers_in_file(case: _Case) -> Iterator[str]:
    size, length = case.image.optional_header.size_of_headers, len(case.image.data)
    if size > length:
        yield f"SizeOfHeaders {size:#x}, the file has {length:#x} bytes"


def _security_directory(case: _Case) -> Iterator[str]:
    directory = case.image.directory(Directory.SECURITY)
    if directory is not None and directory.virtual_address + directory.size >= _U32:
        yield f"{directory.size:#x} bytes at {directory.virtual_address:#x} wrap around"


def _machine(case: _Case) -> Iterator[str]:
    machine = case.image.file_header.machine
    if machine not in ACCEPTED_MACHINES:
        yield f"the loader does not take {machine_name(machine)}"


def _raw_sections(case: _Case) -> Iterator[Section]:
    return (section for section in case.image.sections if section.size_of_raw_data)


def _section_after_headers(case: _Case) -> Iterator[str]:
    limit = case.image.optional_header.size_of_headers
    for section in _raw_sections(case):
        if section.virtual_address < limit:
            yield f"section {section.name!r} is at {section.virtual_address:#x}, SizeOfHeaders is {limit:#x}"
        if section.pointer_to_raw_data < limit:
            yield f"data of {section.name!r} is at {section.pointer_to_raw_data:#x}, SizeOfHeaders is {limit:#x}"


def _raw_data_wrap(case: _Case) -> Iterator[str]:
    for section in _raw_sections(case):
        if section.pointer_to_raw_data + section.size_of_raw_data >= _U32:
            yield f"{section.size_of_raw_data:#x} bytes of {section.name!r} at {section.pointer_to_raw_data:#x}"


def _raw_data_in_file(case: _Case) -> Iterator[str]:
    length = len(case.image.data)
    for section in _raw_sections(case):
        end = section.pointer_to_raw_data + section.copied_size
        if length < end < _U32:
            yield f"data of {section.name!r} ends at {end:#x}, the file has {length:#x} bytes"


def _size_limit(case: _Case) -> Iterator[str]:
    if isinstance(case.trouble, LimitError):
        yield str(case.trouble)
    if len(case.image.sections) > MAX_SECTIONS:
        yield f"there are {len(case.image.sections)} sections, more than {MAX_SECTIONS}"
    if image_pages(case.image) > MAX_PAGES:
        yield f"SizeOfImage and SectionAlignment make {image_pages(case.image)} pages, more than {MAX_PAGES}"


def _alignment_zero(case: _Case) -> Iterator[str]:
    if case.image.optional_header.section_alignment == 0:
        yield "SectionAlignment is 0: the address would be rounded up to 4 GiB, out of the allocation"


def _stripped_runtime(case: _Case) -> Iterator[str]:
    if case.image.relocations_stripped and case.image.optional_header.subsystem == Subsystem.EFI_RUNTIME_DRIVER:
        yield "a runtime driver (subsystem 12) has no relocations"


def _stripped_address(case: _Case) -> Iterator[str]:
    base = case.image.optional_header.image_base
    if case.image.relocations_stripped and case.address != base:
        where = "" if case.address is None else f", not at {case.address:#x}"
        yield f"relocations are stripped, the image works at {base:#x} only{where}"


def _section_in_image(case: _Case) -> Iterator[str]:
    limit = memory_size(case.image)
    for section in case.image.sections:
        last = (section.virtual_address + section.virtual_size - 1) % _U32
        if section.copied_size and (section.virtual_address >= limit or last >= limit):
            yield f"section {section.name!r} spans {section.virtual_address:#x} to {last:#x}, the image {limit:#x}"


def _section_fill(case: _Case) -> Iterator[str]:
    limit = case.image.optional_header.size_of_image
    for section in case.image.sections:
        end = section.virtual_address + section.memory_size
        if section.memory_size and end > limit:
            yield f"section {section.name!r} fills memory up to {end:#x}, SizeOfImage is {limit:#x}"


def _codeview(case: _Case) -> Iterator[str]:
    entry = codeview_entry(case.image)
    if entry is not None and entry.virtual_address >= memory_size(case.image):
        yield f"the CodeView data at {entry.virtual_address:#x} is outside the image"


def _codeview_size(case: _Case) -> Iterator[str]:
    entry = codeview_entry(case.image)
    if entry is not None and record_is_short(case.image, entry):
        yield f"the CodeView entry has {entry.size} bytes, too few for its record"


def _relocation_malformed(case: _Case) -> Iterator[str]:
    others = (RelocationFault.TYPE, RelocationFault.FIXUP_CROSSES_END)
    yield from case.relocation_faults(*(fault for fault in RelocationFault if fault not in others))


def _relocation_type(case: _Case) -> Iterator[str]:
    yield from case.relocation_faults(RelocationFault.TYPE)


def _relocation_crossing(case: _Case) -> Iterator[str]:
    yield from case.relocation_faults(RelocationFault.FIXUP_CROSSES_END)


def _entry_in_image(case: _Case) -> Iterator[str]:
    entry, size = case.image.optional_header.address_of_entry_point, memory_size(case.image)
    if entry >= size:
        yield f"the entry point {entry:#x} is outside the image of {size:#x} bytes: the call would go to address 0"


def _header_moved(case: _Case) -> Iterator[str]:
    alignment = case.image.optional_header.section_alignment
    if case.allocation is None:
        if alignment > PAGE_SIZE:
            yield f"SectionAlignment {alignment:#x}: refused unless the allocation happens to be aligned to it"
    elif case.address != case.allocation:
        yield f"the image is at {case.address:#x}, its header is looked for at {case.allocation:#x}"


def _page_alignment(case: _Case) -> Iterator[str]:
    alignment = case.image.optional_header.section_alignment
    if alignment % PAGE_SIZE:
        yield f"SectionAlignment {alignment:#x} is not a multiple of {PAGE_SIZE:#x}"


def _section_on_page(case: _Case) -> Iterator[str]:
    if case.image.optional_header.section_alignment % PAGE_SIZE:
        # The rule before this one has said it for all sections at once.
        return
    for section in case.image.sections:
        if section.memory_size and section.virtual_address % PAGE_SIZE:
            yield f"section {section.name!r} begins at {section.virtual_address:#x}, within a page"


def _code_sections(case: _Case) -> list[tuple[Section, int]]:
    alignment = max(case.image.optional_header.section_alignment, 1)
    code = [(s, align_up(s.virtual_size, alignment)) for s in case.image.sections if s.is_code]
    return sorted(code, key=lambda item: item[0].virtual_address)


def _has_code(case: _Case) -> Iterator[str]:
    if not any(section.is_code for section in case.image.sections):
        yield "no section has CNT_CODE (0x20)"


def _code_empty(case: _Case) -> Iterator[str]:
    for section, size in _code_sections(case):
        if size == 0:
            yield f"code section {section.name!r} has VirtualSize 0"


def _code_inside(case: _Case) -> Iterator[str]:
    limit = image_pages(case.image) * PAGE_SIZE
    for section, size in _code_sections(case):
        if section.virtual_address + size > limit:
            yield f"code section {section.name!r} ends at {section.virtual_address + size:#x}, the pages at {limit:#x}"


def _code_overlap(case: _Case) -> Iterator[str]:
    code = _code_sections(case)
    for (one, size), (two, _) in pairwise(code):
        if one.virtual_address + size > two.virtual_address:
            end = one.virtual_address + size
            yield f"code section {two.name!r} begins at {two.virtual_address:#x}, {one.name!r} ends at {end:#x}"


_UNSUPPORTED, _LOAD_ERROR = Status.UNSUPPORTED, Status.LOAD_ERROR
_INVALID, _SECURITY = Status.INVALID_PARAMETER, Status.SECURITY_VIOLATION

LOAD_RULES: tuple[LoadRule, ...] = (
    LoadRule("directory-count", "there are at most 16 data directories", _UNSUPPORTED, _directory_count),
    LoadRule("optional-header-size", "SizeOfOptionalHeader fits the directories", _UNSUPPORTED, _optional_size),
    LoadRule("image-holds-table", "SizeOfImage has room for all section headers", _UNSUPPORTED, _image_holds_table),
    LoadRule("headers-hold-table", "SizeOfHeaders covers the section table", _UNSUPPORTED, _headers_hold_table),
    LoadRule("headers-in-image", "SizeOfHeaders is smaller than SizeOfImage", _UNSUPPORTED, _headers_in_image),
    LoadRule("headers-in-file", "the headers are in the file", _UNSUPPORTED, _headers_in_file, in_reference=False),
    LoadRule("security-directory", "the security directory does not wrap", _UNSUPPORTED, _security_directory),
    LoadRule("machine", "the machine is IA32, X64, EBC or AARCH64", _UNSUPPORTED, _machine),
    LoadRule("section-after-headers", "sections with data lie after the headers", _UNSUPPORTED, _section_after_headers),
    LoadRule("raw-data-wrap", "a section's data does not wrap around 4 GiB", _UNSUPPORTED, _raw_data_wrap),
    LoadRule("raw-data-in-file", "sections are in the file", _UNSUPPORTED, _raw_data_in_file, in_reference=False),
    LoadRule(
        "size-limit",
        "the image stays within the bounds for hostile input",
        Status.OUT_OF_RESOURCES,
        _size_limit,
        in_reference=False,
    ),
    LoadRule("alignment-zero", "SectionAlignment is not 0", _INVALID, _alignment_zero, in_reference=False),
    LoadRule("stripped-runtime", "a runtime driver has relocations", _LOAD_ERROR, _stripped_runtime),
    LoadRule(
        "stripped-address",
        "an image with stripped relocations lands at its base",
        _INVALID,
        _stripped_address,
        depends_on_address=True,
    ),
    LoadRule("section-in-image", "sections lie in the image", _LOAD_ERROR, _section_in_image),
    LoadRule("section-fill", "sections fill no memory past it", _LOAD_ERROR, _section_fill, in_reference=False),
    LoadRule("codeview", "the debug data lies in the image", _LOAD_ERROR, _codeview),
    LoadRule("codeview-size", "the debug data has room for its record", _UNSUPPORTED, _codeview_size),
    LoadRule("relocation-block", "relocation blocks are well formed", _LOAD_ERROR, _relocation_malformed),
    LoadRule("relocation-type", "relocation types are 0, 1, 2, 3 or 10", _UNSUPPORTED, _relocation_type),
    LoadRule("relocation-end", "fixups end in the image", _LOAD_ERROR, _relocation_crossing, in_reference=False),
    LoadRule("entry-point", "the entry point lies in the image", _LOAD_ERROR, _entry_in_image, in_reference=False),
    LoadRule(
        "header-moved",
        "the image begins where its pages do",
        _SECURITY,
        _header_moved,
        depends_on_address=True,
    ),
    LoadRule(
        "page-alignment",
        "SectionAlignment is a multiple of 4 KiB",
        _SECURITY,
        _page_alignment,
        clears_protection=True,
    ),
    LoadRule("section-on-page", "sections begin on a page", _SECURITY, _section_on_page, in_reference=False),
    LoadRule("code-section", "there is a code section", _SECURITY, _has_code, clears_protection=True),
    LoadRule("code-section-empty", "code sections are not empty", _SECURITY, _code_empty),
    LoadRule("code-section-inside", "code sections lie in the image", _SECURITY, _code_inside),
    LoadRule("code-section-overlap", "code sections do not overlap", _SECURITY, _code_overlap),
)
"""All rules, in the order of the reference."""
