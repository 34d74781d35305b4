"""What is said of a PE or TE image."""

from __future__ import annotations

from mmsupervisor.inventory.model import ExecutableReport, SectionReport
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.image_kind import classify
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.pe import (
    MAX_IMAGE_SIZE,
    PeImage,
    RelocationError,
    RelocationType,
    Section,
    SectionFlags,
    image_relocations,
    machine_name,
    map_image,
    module_name,
    parse_pe,
    subsystem_name,
)
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.te import TE_SIGNATURE, TeImage, parse_te

_LETTERS = ((SectionFlags.MEM_READ, "r"), (SectionFlags.MEM_WRITE, "w"), (SectionFlags.MEM_EXECUTE, "x"))


def describe_executable(reader: Reader, allowance: Allowance) -> tuple[ExecutableReport, PeImage | None]:
    """Describe an image, damaged or not.

    Args:
        reader: The image, as it lies in its section or file.
        allowance: Bounds; mapping an image to count its relocations counts as expanding, each of them as an item.

    Returns:
        The description, and the parsed image where it is a PE image that can be read and that the bounds allow.
    """
    try:
        if bytes(reader.data[:2]) == TE_SIGNATURE:
            return _te(parse_te(reader), len(reader)), None
        image = parse_pe(reader)
        allowance.take_expanded(min(image.optional_header.size_of_image, MAX_IMAGE_SIZE), reader.file, reader.base)
        return _pe(image, allowance), image
    except FormatError as error:
        kind = classify(reader)
        return ExecutableReport(kind.kind.value, "", "", len(reader), trouble=error.rule), None


def _pe(image: PeImage, allowance: Allowance) -> ExecutableReport:
    header = image.optional_header
    relocations, trouble = _count_relocations(image, allowance)
    return ExecutableReport(
        format="PE32+" if header.is_pe32_plus else "PE32",
        machine=image.machine_name,
        subsystem=image.subsystem_name,
        size=len(image.data),
        image_size=header.size_of_image,
        image_base=header.image_base,
        entry_point=header.address_of_entry_point,
        section_alignment=header.section_alignment,
        relocations=relocations,
        relocations_stripped=image.relocations_stripped,
        linker_name=module_name(image),
        sections=tuple(_section(section) for section in image.sections),
        trouble=trouble,
    )


def _count_relocations(image: PeImage, allowance: Allowance) -> tuple[int | None, str]:
    """The number of relocations, or what is wrong with them or with the image.

    Raises:
        LimitError: the image holds more of them than ``allowance`` leaves.
    """
    try:
        mapped = map_image(image)
    except FormatError as error:
        return None, error.rule
    relocations = image_relocations(image, mapped, allowance)
    try:
        return sum(1 for relocation in relocations if relocation.type != RelocationType.ABSOLUTE), ""
    except RelocationError as error:
        return None, error.rule


def _te(image: TeImage, size: int) -> ExecutableReport:
    return ExecutableReport(
        format="TE",
        machine=machine_name(image.machine),
        subsystem=subsystem_name(image.subsystem),
        size=size,
        image_size=image.size_of_image,
        image_base=image.image_base,
        entry_point=image.address_of_entry_point,
        sections=tuple(_section(section) for section in image.sections),
    )


def _section(section: Section) -> SectionReport:
    flags = section.characteristics
    return SectionReport(
        section.name,
        section.virtual_address,
        section.virtual_size,
        section.size_of_raw_data,
        flags,
        "".join(letter if flags & bit else "-" for bit, letter in _LETTERS),
        section.is_code,
    )
