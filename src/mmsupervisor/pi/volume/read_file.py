"""Reading one file of a volume (PI 1.8 vol. 3 §3.2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.checksum import file_header_sum, sum8
from mmsupervisor.pi.volume.erased import first_other
from mmsupervisor.pi.volume.layout import (
    FFS3_GUID,
    FILE_HEADER,
    FIXED_CHECKSUM,
    LARGE_FILE_HEADER_SIZE,
    SECTIONED_TYPES,
    FileAttribute,
    FileState,
    FileType,
    data_alignment,
    file_state,
)
from mmsupervisor.pi.volume.model import File, Section
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at
from mmsupervisor.pi.volume.read_section import read_sections


@dataclass(frozen=True, slots=True)
class FileHeader:
    """A file's header as it stands in flash.

    Attributes:
        guid: Name.
        header_checksum: Header checksum byte.
        data_checksum: File checksum byte.
        type: File type.
        attributes: File attributes.
        size_field: Three-byte size.
        state_byte: State, not inverted.
        header_size: Size of the header, in bytes.
        size: Size of the file with header, in bytes; whether it fits is not checked.
        checksum_holds: Whether the header checksum holds.
        large_in_ffs2: Whether a volume of file system 2 holds it although it says that it is large.
    """

    guid: Guid
    header_checksum: int
    data_checksum: int
    type: int
    attributes: int
    size_field: int
    state_byte: int
    header_size: int
    size: int
    checksum_holds: bool
    large_in_ffs2: bool


def read_file_header(reader: Reader, position: int, file_system: Guid) -> FileHeader:
    """Read the header at ``position``.

    Raises:
        FormatError: the header itself does not lie within the reader.
    """
    raw_guid, header_sum, data_sum, type_, attributes, raw_size, state = reader.unpack(
        FILE_HEADER, position, "file header"
    )
    size_field = size = int.from_bytes(raw_size, "little")
    header_size = FILE_HEADER.size
    says_large = bool(attributes & FileAttribute.LARGE_FILE)
    if says_large and (file_system == FFS3_GUID or size_field == 0):
        header_size = LARGE_FILE_HEADER_SIZE
        size = reader.u64(position + FILE_HEADER.size, "extended file size")
    header = reader.view(position, header_size, "file header")
    return FileHeader(
        Guid(raw_guid),
        header_sum,
        data_sum,
        type_,
        attributes,
        size_field,
        state,
        header_size,
        size,
        file_header_sum(header) == 0,
        says_large and file_system != FFS3_GUID,
    )


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What the reading of files needs to know about their volume.

    Attributes:
        guid: File system GUID.
        erase_polarity: Whether erased flash reads as ones.
    """

    guid: Guid
    erase_polarity: bool

    @property
    def erase_byte(self) -> int:
        """What an erased byte reads as."""
        return 0xFF if self.erase_polarity else 0x00


def read_file(
    window: Reader, position: int, header: FileHeader, system: FileSystem, *, allowance: Allowance, depth: int
) -> File:
    """Read a file of a volume.

    Args:
        window: The file's bytes; fewer than ``header.size`` for a cut file.
        position: Offset of the file from the volume's start, in bytes.
        header: Its header.
        system: The volume's file system.
        allowance: Bounds of the parse.
        depth: Levels of nesting around the file.

    Raises:
        LimitError: more items than allowed.
    """
    allowance.take_items(1, window.file, window.base)
    body = window.window(header.header_size, len(window) - header.header_size, "file data")
    problems = _header_problems(header, window, position, system)
    if len(window) < header.size:
        rule = f"file needs {header.size:#x} bytes, {len(window):#x} are left in the volume"
        problems.append(problem_at(ProblemKind.FILE_CUT, window, 0, rule))
    else:
        problems += _data_problems(header, body, window)
    if header.type == FileType.PAD:
        content = first_other(body.data, system.erase_byte)
        if content is not None:
            problems.append(problem_at(ProblemKind.PAD_CONTENT, body, content, "padding file has content"))
    sections: tuple[Section, ...] = ()
    if header.type in SECTIONED_TYPES:
        sections, stream_problems = read_sections(body, allowance, depth)
        problems += stream_problems
    return File(
        part=window.file,
        offset=window.base,
        raw=window.data,
        guid=header.guid,
        type=header.type,
        attributes=header.attributes,
        header_size=header.header_size,
        header_checksum=header.header_checksum,
        data_checksum=header.data_checksum,
        size_field=header.size_field,
        state_byte=header.state_byte,
        erase_polarity=system.erase_polarity,
        sections=sections,
        problems=tuple(problems),
    )


def _header_problems(header: FileHeader, window: Reader, position: int, system: FileSystem) -> list[Problem]:
    problems = []
    state = file_state(header.state_byte, system.erase_polarity)
    if not header.checksum_holds:
        rule = "checksum of the file header does not hold"
        problems.append(problem_at(ProblemKind.FILE_HEADER_CHECKSUM, window, 0x10, rule))
    if state not in (FileState.DATA_VALID, FileState.MARKED_FOR_UPDATE, FileState.DELETED):
        rule = f"file state {header.state_byte:#04x} says {state.name}: it was not written to its end"
        problems.append(problem_at(ProblemKind.FILE_STATE, window, 0x17, rule))
    if header.large_in_ffs2:
        rule = "file says that it is large; the volume's file system has no large files"
        problems.append(problem_at(ProblemKind.LARGE_FILE, window, 0x13, rule))
    alignment = data_alignment(header.attributes)
    data_position = position + header.header_size
    if header.type != FileType.PAD and data_position % alignment:
        rule = f"file data at {data_position:#x} of the volume is not aligned to {alignment:#x}"
        problems.append(problem_at(ProblemKind.FILE_ALIGNMENT, window, 0x13, rule))
    return problems


def _data_problems(header: FileHeader, body: Reader, window: Reader) -> list[Problem]:
    if not header.attributes & FileAttribute.CHECKSUM:
        if header.data_checksum == FIXED_CHECKSUM:
            return []
        rule = f"file checksum is {header.data_checksum:#04x} and must be {FIXED_CHECKSUM:#04x}"
    elif (sum8(body.data) + header.data_checksum) & 0xFF == 0:
        return []
    else:
        rule = "checksum of the file data does not hold"
    return [problem_at(ProblemKind.FILE_DATA_CHECKSUM, window, 0x11, rule)]
