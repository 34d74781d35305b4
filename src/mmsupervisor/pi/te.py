"""TE images: the terse executables of PEI. Parsed and expanded here, so that they can be named and looked at.

The MM core does not accept them: it takes the first PE32 section of a driver's file and skips others, so a
driver whose only executable is a TE section counts as a file without PE32 (:data:`NOT_ACCEPTED`).

Source: PI 1.8 vol. 1 §15 (layout and the rule that offsets count from the stripped PE header).

API: :func:`parse_te`, :func:`map_te`, :class:`TeImage`, :data:`NOT_ACCEPTED`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.pe.constants import machine_name, subsystem_name
from mmsupervisor.pi.pe.headers import DataDirectory, Section, parse_section_table
from mmsupervisor.pi.pe.mapping import MAX_IMAGE_SIZE
from mmsupervisor.pi.reader import Reader

TE_SIGNATURE = b"VZ"

HEADER_SIZE = 40
"""Size of the TE header, in bytes."""

NOT_ACCEPTED = (
    "a TE section is not looked at: the MM core takes the first PE32 section (type 0x10), and a driver file "
    "without one ends the scan of its volume (docs/reference/boot-flow.md §5)"
)
"""Why the MM core does not run a TE image."""

_HEADER = struct.Struct("<2sHBBHIIQIIII")
_SOURCE = "PI 1.8 vol. 1 §15"


@dataclass(frozen=True, slots=True)
class TeImage:
    """A TE image.

    ======  ====  =====================================
    offset  size  field
    ======  ====  =====================================
    0x00    2     Signature ``VZ``
    0x02    2     Machine
    0x04    1     NumberOfSections
    0x05    1     Subsystem
    0x06    2     StrippedSize
    0x08    4     AddressOfEntryPoint
    0x0C    4     BaseOfCode
    0x10    8     ImageBase
    0x18    8     base relocation directory
    0x20    8     debug directory
    ======  ====  =====================================

    Attributes:
        data: The bytes of the section's data.
        file: Name for messages.
        base: Offset of the first byte within ``file``, for messages.
        machine: Machine type.
        subsystem: Subsystem.
        stripped_size: Bytes of PE headers that were removed.
        address_of_entry_point: As in the PE image it was made of.
        base_of_code: As in the PE image.
        image_base: As in the PE image.
        relocation_directory: Base relocations.
        debug_directory: Debug directory.
        sections: Section table; file offsets are those of the PE image.
    """

    data: bytes
    file: str
    base: int
    machine: int
    subsystem: int
    stripped_size: int
    address_of_entry_point: int
    base_of_code: int
    image_base: int
    relocation_directory: DataDirectory
    debug_directory: DataDirectory
    sections: tuple[Section, ...]

    @property
    def shift(self) -> int:
        """How much nearer to the start everything lies than in the PE image: stripped bytes less the TE header."""
        return self.stripped_size - HEADER_SIZE

    @property
    def size_of_image(self) -> int:
        """Bytes of the PE image in memory up to the end of its last section."""
        return max((s.virtual_address + s.memory_size for s in self.sections), default=0)

    @property
    def label(self) -> str:
        """One phrase for a table, for example ``TE IA32, EFI boot service driver``."""
        return f"TE {machine_name(self.machine)}, {subsystem_name(self.subsystem)}"


def parse_te(reader: Reader) -> TeImage:
    """Read a TE image's header and section table.

    Raises:
        FormatError: no TE signature, header or section table cut, or a stripped size smaller than the header.
    """
    fields = reader.unpack(_HEADER, 0, "TE header")
    signature, machine, count, subsystem, stripped, entry, code, image_base, *directories = fields
    if signature != TE_SIGNATURE:
        raise reader.error(0, f"no TE signature, found {signature!r}", _SOURCE)
    if stripped < HEADER_SIZE:
        raise reader.error(6, f"StrippedSize {stripped:#x} is smaller than the TE header", _SOURCE)
    return TeImage(
        data=bytes(reader.data),
        file=reader.file,
        base=reader.base,
        machine=machine,
        subsystem=subsystem,
        stripped_size=stripped,
        address_of_entry_point=entry,
        base_of_code=code,
        image_base=image_base,
        relocation_directory=DataDirectory(*directories[:2]),
        debug_directory=DataDirectory(*directories[2:]),
        sections=parse_section_table(reader, HEADER_SIZE, count),
    )


def map_te(image: TeImage) -> bytearray:
    """Expand a TE image to the layout of the PE image it was made of.

    The TE header and section table stand right before the first byte that was kept; the stripped headers are zero.

    Raises:
        LimitError: the image is larger than the bound for mapped images.
        FormatError: a section does not lie in the file.
    """
    reader = Reader(image.data, image.file, image.base)
    size = image.size_of_image
    if size > MAX_IMAGE_SIZE:
        raise LimitError(image.file, image.base, f"the image takes {size:#x} bytes, more than {MAX_IMAGE_SIZE:#x}")
    mapped = bytearray(size)
    if sum(section.memory_size for section in image.sections) > 2 * MAX_IMAGE_SIZE:
        raise LimitError(image.file, image.base, f"sections of more than {2 * MAX_IMAGE_SIZE:#x} bytes in all")
    header = reader.view(0, HEADER_SIZE + 40 * len(image.sections), "TE headers")
    visible = max(min(len(header), size - image.shift), 0)
    mapped[image.shift : image.shift + visible] = header[:visible]
    for section in image.sections:
        if section.memory_size == 0:
            continue
        start = section.virtual_address
        offset = section.pointer_to_raw_data - image.shift
        raw = (
            reader.view(offset, section.copied_size, f"data of section {section.name!r}")
            if section.copied_size
            else b""
        )
        mapped[start : start + section.memory_size] = bytes(raw) + bytes(section.memory_size - section.copied_size)
    return mapped
