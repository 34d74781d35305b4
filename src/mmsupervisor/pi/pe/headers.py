"""Headers of a PE32 or PE32+ image.

Source: Microsoft PE and COFF specification; UEFI 2.10 §2.1.1.

Parsing is strict about what must be there to go on (signatures, the headers themselves, the section table) and
lenient about values that lie: those are reported by :mod:`mmsupervisor.pi.pe.load_rules`, each by its name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from mmsupervisor.pi.pe.constants import (
    MAX_DIRECTORIES,
    SECTION_HEADER_SIZE,
    Directory,
    FileFlags,
    Machine,
    SectionFlags,
    machine_name,
    subsystem_name,
)
from mmsupervisor.pi.reader import Reader

DOS_SIGNATURE = b"MZ"
PE_SIGNATURE = b"PE\0\0"

_MAGIC_PE32 = 0x10B
_MAGIC_PE32_PLUS = 0x20B
_DOS_HEADER_SIZE = 0x40
_LFANEW = 0x3C

_FILE_HEADER = struct.Struct("<HHIIIHH")
_SECTION = struct.Struct("<8sIIIIIIHHI")
_DIRECTORY = struct.Struct("<II")
# Standard fields and Windows fields up to the data directories; PE32 has BaseOfData and a 32-bit ImageBase.
_OPTIONAL_32 = struct.Struct("<HBBIIIIIIIIIHHHHHHIIIIHHIIIIII")
_OPTIONAL_64 = struct.Struct("<HBBIIIIIQIIHHHHHHIIIIHHQQQQII")

_SOURCE = "PE/COFF specification"


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The COFF file header.

    Attributes:
        machine: Machine type; :class:`~mmsupervisor.pi.pe.constants.Machine` names the known ones.
        number_of_sections: Entries of the section table.
        time_date_stamp: As written by the linker.
        size_of_optional_header: Bytes between this header and the section table.
        characteristics: Bits of :class:`~mmsupervisor.pi.pe.constants.FileFlags`.
    """

    machine: int
    number_of_sections: int
    time_date_stamp: int
    size_of_optional_header: int
    characteristics: int


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """One data directory.

    Attributes:
        virtual_address: Offset from the image base; for the security directory an offset in the file.
        size: Length in bytes.
    """

    virtual_address: int
    size: int


@dataclass(frozen=True, slots=True)
class OptionalHeader:
    """The optional header, as far as EFI uses it. All addresses are relative to the image base.

    Attributes:
        is_pe32_plus: Whether this is the 64-bit form.
        address_of_entry_point: Entry point, 0 for none.
        base_of_code: Start of code, as the linker says.
        image_base: Address the image was linked for.
        section_alignment: Alignment in memory, in bytes.
        file_alignment: Alignment in the file, in bytes.
        image_version: (major, minor) of the image; the core's patch level is made of it.
        subsystem_version: (major, minor) of the subsystem; the core's version is made of it.
        size_of_image: Bytes from the base to the end of the last section.
        size_of_headers: Bytes of the file that are copied to the base.
        checksum: As written by the linker.
        subsystem: :class:`~mmsupervisor.pi.pe.constants.Subsystem` names the known ones.
        dll_characteristics: Bits of :class:`~mmsupervisor.pi.pe.constants.DllFlags`.
        number_of_rva_and_sizes: Number of directories as the header says; may be more than there is room for.
        directories: The directories that are there, 16 at most.
    """

    is_pe32_plus: bool
    address_of_entry_point: int
    base_of_code: int
    image_base: int
    section_alignment: int
    file_alignment: int
    image_version: tuple[int, int]
    subsystem_version: tuple[int, int]
    size_of_image: int
    size_of_headers: int
    checksum: int
    subsystem: int
    dll_characteristics: int
    number_of_rva_and_sizes: int
    directories: tuple[DataDirectory, ...]

    @property
    def fixed_size(self) -> int:
        """Bytes before the data directories."""
        return (_OPTIONAL_64 if self.is_pe32_plus else _OPTIONAL_32).size


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the section table.

    Attributes:
        name: Up to eight characters; bytes that are not ASCII are escaped.
        virtual_size: Bytes in memory; 0 in some old images, then the raw size counts.
        virtual_address: Start in memory, relative to the image base.
        size_of_raw_data: Bytes in the file.
        pointer_to_raw_data: Offset in the file.
        characteristics: Bits of :class:`~mmsupervisor.pi.pe.constants.SectionFlags`; unknown bits are kept.
    """

    name: str
    virtual_size: int
    virtual_address: int
    size_of_raw_data: int
    pointer_to_raw_data: int
    characteristics: int

    @property
    def is_code(self) -> bool:
        """Whether CNT_CODE is set: the only flag that makes pages executable here."""
        return bool(self.characteristics & SectionFlags.CNT_CODE)

    @property
    def is_writable(self) -> bool:
        """Whether MEM_WRITE is set."""
        return bool(self.characteristics & SectionFlags.MEM_WRITE)

    @property
    def copied_size(self) -> int:
        """Bytes the loader copies from the file: the smaller of both sizes, the raw size if VirtualSize is 0."""
        if self.virtual_size == 0 or self.virtual_size > self.size_of_raw_data:
            return self.size_of_raw_data
        return self.virtual_size

    @property
    def memory_size(self) -> int:
        """Bytes of the image that the section fills, zeros included."""
        return max(self.virtual_size, self.copied_size)


@dataclass(frozen=True)  # no slots: cached_property needs a dictionary
class PeImage:
    """A PE image as it lies in a file.

    Attributes:
        data: The bytes of the file.
        file: Name for messages.
        base: Offset of the first byte within ``file``, for messages.
        header_offset: Offset of the PE signature.
        file_header: COFF file header.
        optional_header: Optional header.
        sections: Section table in file order.
    """

    data: bytes
    file: str
    base: int
    header_offset: int
    file_header: FileHeader
    optional_header: OptionalHeader
    sections: tuple[Section, ...]

    @property
    def reader(self) -> Reader:
        """A reader of the file."""
        return Reader(self.data, self.file, self.base)

    @property
    def machine_name(self) -> str:
        """Machine in words."""
        return machine_name(self.file_header.machine)

    @property
    def subsystem_name(self) -> str:
        """Subsystem in words."""
        return subsystem_name(self.optional_header.subsystem)

    @property
    def label(self) -> str:
        """One phrase for a table, for example ``PE32+ X64, EFI boot service driver``."""
        form = "PE32+" if self.optional_header.is_pe32_plus else "PE32"
        return f"{form} {self.machine_name}, {self.subsystem_name}"

    @property
    def is_x64(self) -> bool:
        """Whether this is an X64 PE32+ image, the only kind whose entry point the supervisor can call."""
        return self.optional_header.is_pe32_plus and self.file_header.machine == Machine.X64

    @property
    def relocations_stripped(self) -> bool:
        """Whether the image can only be used at its image base.

        An image without a relocation directory whose flag is clear has nothing to relocate: it loads anywhere.
        """
        return bool(self.file_header.characteristics & FileFlags.RELOCS_STRIPPED)

    @property
    def section_table_offset(self) -> int:
        """Offset of the section table in the file."""
        return self.header_offset + 4 + _FILE_HEADER.size + self.file_header.size_of_optional_header

    @cached_property
    def has_exception_data(self) -> bool:
        """Whether unwind data (``.pdata``) is there: what a stack trace can rely on."""
        return self.directory(Directory.EXCEPTION) is not None or any(s.name == ".pdata" for s in self.sections)

    def directory(self, index: Directory) -> DataDirectory | None:
        """A data directory that is there and not empty, else None."""
        directories = self.optional_header.directories
        if index >= len(directories) or directories[index].size == 0:
            return None
        return directories[index]

    def section_at(self, virtual_address: int) -> Section | None:
        """The first section whose memory holds an address relative to the base."""
        return next(
            (s for s in self.sections if s.virtual_address <= virtual_address < s.virtual_address + s.memory_size),
            None,
        )

    def file_offset(self, virtual_address: int) -> int | None:
        """Offset in the file of an address relative to the base, or None if it is not in the file."""
        section = self.section_at(virtual_address)
        if section is None:
            return virtual_address if virtual_address < self.optional_header.size_of_headers else None
        within = virtual_address - section.virtual_address
        return section.pointer_to_raw_data + within if within < section.size_of_raw_data else None


def parse_pe(reader: Reader) -> PeImage:
    """Read the headers of a PE32 or PE32+ image.

    As the loader of the reference does, a file without a DOS header may begin with the PE signature.

    Args:
        reader: The file; for a firmware module the data of its PE32 section.

    Raises:
        FormatError: no PE signature, an unknown optional header, or headers or section table cut by the end.
    """
    header_offset = 0
    if bytes(reader.data[:2]) == DOS_SIGNATURE:
        reader.view(0, _DOS_HEADER_SIZE, "DOS header")
        header_offset = reader.u32(_LFANEW, "e_lfanew")
    signature = reader.copy(header_offset, 4, "PE signature")
    if signature != PE_SIGNATURE:
        raise reader.error(header_offset, f"no PE signature, found {signature!r}", _SOURCE)
    fields = reader.unpack(_FILE_HEADER, header_offset + 4, "COFF file header")
    machine, sections, stamp, _, _, optional_size, characteristics = fields
    file_header = FileHeader(machine, sections, stamp, optional_size, characteristics)
    optional_offset = header_offset + 4 + _FILE_HEADER.size
    optional_header = _parse_optional(reader, optional_offset, optional_size)
    table = parse_section_table(reader, optional_offset + optional_size, sections)
    return PeImage(bytes(reader.data), reader.file, reader.base, header_offset, file_header, optional_header, table)


def _parse_optional(reader: Reader, offset: int, size: int) -> OptionalHeader:
    magic = reader.u16(offset, "optional header magic")
    if magic == _MAGIC_PE32_PLUS:
        layout = _OPTIONAL_64
        fields = reader.unpack(layout, offset, "optional header")
        code, base, rest = fields[6:8], fields[8], fields[9:]
    elif magic == _MAGIC_PE32:
        layout = _OPTIONAL_32
        fields = reader.unpack(layout, offset, "optional header")
        code, base, rest = fields[6:8], fields[9], fields[10:]
    else:
        raise reader.error(offset, f"optional header magic {magic:#x} is neither PE32 nor PE32+", _SOURCE)
    count = fields[-1]
    # The header may promise more directories than it has room for; only what lies in it is read.
    present = min(count, MAX_DIRECTORIES, max(size - layout.size, 0) // _DIRECTORY.size)
    at = offset + layout.size
    directories = tuple(
        DataDirectory(*reader.unpack(_DIRECTORY, at + _DIRECTORY.size * index, "data directory"))
        for index in range(present)
    )
    return OptionalHeader(
        is_pe32_plus=layout is _OPTIONAL_64,
        address_of_entry_point=code[0],
        base_of_code=code[1],
        image_base=base,
        section_alignment=rest[0],
        file_alignment=rest[1],
        image_version=(rest[4], rest[5]),
        subsystem_version=(rest[6], rest[7]),
        size_of_image=rest[9],
        size_of_headers=rest[10],
        checksum=rest[11],
        subsystem=rest[12],
        dll_characteristics=rest[13],
        number_of_rva_and_sizes=count,
        directories=directories,
    )


def parse_section_table(reader: Reader, offset: int, count: int) -> tuple[Section, ...]:
    """Read ``count`` entries of a section table; used for PE and TE images.

    Raises:
        FormatError: the table runs past the end of the file.
    """
    reader.view(offset, count * SECTION_HEADER_SIZE, f"section table of {count} entries")
    return tuple(_section(reader, offset + SECTION_HEADER_SIZE * index) for index in range(count))


def _section(reader: Reader, offset: int) -> Section:
    name, virtual_size, virtual_address, raw_size, raw_offset, *_, flags = reader.unpack(_SECTION, offset, "section")
    text = name.rstrip(b"\0").decode("ascii", "backslashreplace")
    return Section(text, virtual_size, virtual_address, raw_size, raw_offset, flags)
