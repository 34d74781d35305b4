"""Finding and reading firmware volumes (PI 1.8 vol. 3 §3.2.1, §3.2.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.checksum import sum16
from mmsupervisor.pi.volume.erased import first_other
from mmsupervisor.pi.volume.layout import (
    BLOCK,
    EXTENDED_ENTRY,
    EXTENDED_HEADER,
    FFS1_GUID,
    FFS2_GUID,
    FFS3_GUID,
    FILE_ALIGNMENT,
    NVRAM_GUID,
    SIGNATURE,
    SIGNATURE_OFFSET,
    VOLUME_HEADER,
    VolumeAttribute,
    align_up,
)
from mmsupervisor.pi.volume.model import Block, ExtendedEntry, ExtendedHeader, File, VariableStore, Volume
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at
from mmsupervisor.pi.volume.read_file import FileSystem
from mmsupervisor.pi.volume.variable_store import read_variable_store
from mmsupervisor.pi.volume.walk_files import walk_files

_SIGNATURE = re.compile(re.escape(SIGNATURE))
_FILE_SYSTEMS = (FFS2_GUID, FFS3_GUID)
_REVISIONS = (1, 2)


@dataclass(frozen=True, slots=True)
class _Header:
    file_system: Guid
    length: int
    attributes: int
    header_length: int
    checksum: int
    extended_offset: int
    revision: int
    block_map: tuple[Block, ...]
    checksum_holds: bool
    map_ends: bool

    @property
    def mapped(self) -> int:
        return sum(block.count * block.length for block in self.block_map)

    @property
    def blocks_hold(self) -> bool:
        return self.map_ends and self.mapped == self.length

    @property
    def is_credible(self) -> bool:
        return self.checksum_holds or self.blocks_hold or self.file_system in (*_FILE_SYSTEMS, NVRAM_GUID)

    @property
    def size(self) -> int:
        """The length to go by: where checksum and block map both speak against it, the smaller of what they say."""
        if self.checksum_holds or self.blocks_hold or self.mapped < self.header_length:
            return self.length
        return min(self.length, self.mapped) if self.length >= self.header_length else self.mapped


def find_volumes(
    reader: Reader, allowance: Allowance, depth: int = 0
) -> tuple[tuple[Volume, ...], tuple[Problem, ...]]:
    """Find all volumes, at any offset. Volumes inside a volume found are part of it.

    A header is believed if its checksum holds, or its block map adds up to its length, or its file system is a
    known one; a signature that stands in code or data has none of these.

    Args:
        reader: Where to look.
        allowance: Bounds of the parse.
        depth: Levels of nesting around the place.

    Returns:
        The volumes in order of their offsets, and problems that belong to none of them.

    Raises:
        LimitError: more items than allowed.
    """
    volumes: list[Volume] = []
    problems: list[Problem] = []
    resume = 0
    for match in _SIGNATURE.finditer(reader.data):
        start = match.start() - SIGNATURE_OFFSET
        if start < resume:
            continue
        header = _read_header(reader, start, allowance)
        if header is None:
            if _has_file_system(reader, start):
                rule = "volume header with an impossible header length or revision"
                problems.append(problem_at(ProblemKind.VOLUME_HEADER, reader, start, rule))
            continue
        if not header.is_credible:
            continue
        if header.size < header.header_length:
            rule = f"volume length {header.length:#x} is below the length of its header"
            problems.append(problem_at(ProblemKind.VOLUME_HEADER, reader, start + 0x20, rule))
            continue
        volumes.append(_read_volume(reader, start, header, allowance, depth))
        resume = start + header.size
    return tuple(volumes), tuple(problems)


def read_volume(reader: Reader, allowance: Allowance, depth: int = 0) -> Volume:
    """Read the volume at the start of ``reader``; damage that leaves a readable volume is in its problems.

    Raises:
        FormatError: there is no volume header.
        LimitError: more items than allowed.
    """
    header = _read_header(reader, 0, allowance)
    if header is None or header.size < header.header_length:
        raise reader.error(0, "there is no firmware volume header here", "PI 1.8 vol. 3 §3.2.1")
    return _read_volume(reader, 0, header, allowance, depth)


def _has_file_system(reader: Reader, start: int) -> bool:
    """Whether a signature has a file system's GUID where a volume header has it: then it is no chance."""
    within = start >= 0 and start + VOLUME_HEADER.size <= len(reader)
    return within and reader.guid(start + 0x10, "file system") in (*_FILE_SYSTEMS, NVRAM_GUID)


def _read_header(reader: Reader, start: int, allowance: Allowance) -> _Header | None:
    # Signatures can be planted by the million, each with a long block map: looking at them is charged.
    allowance.take_items(1, reader.file, reader.base + max(start, 0))
    if start < 0 or start + VOLUME_HEADER.size > len(reader):
        return None
    _, file_system, length, signature, attributes, header_length, checksum, extended, _, revision = reader.unpack(
        VOLUME_HEADER, start, "volume header"
    )
    odd = header_length % 2 or header_length < VOLUME_HEADER.size or start + header_length > len(reader)
    if signature != SIGNATURE or odd or revision not in _REVISIONS:
        return None
    allowance.take_items(header_length // BLOCK.size, reader.file, reader.base + start)
    raw = reader.view(start, header_length, "volume header")
    blocks, ended = _read_block_map(raw)
    return _Header(
        Guid(file_system),
        length,
        attributes,
        header_length,
        checksum,
        extended,
        revision,
        blocks,
        sum16(raw) == 0,
        ended,
    )


def _read_block_map(header: memoryview) -> tuple[tuple[Block, ...], bool]:
    blocks: list[Block] = []
    for offset in range(VOLUME_HEADER.size, len(header) - BLOCK.size + 1, BLOCK.size):
        count, length = BLOCK.unpack_from(header, offset)
        if count == 0 and length == 0:
            return tuple(blocks), True
        blocks.append(Block(count, length))
    return tuple(blocks), False


def _read_volume(reader: Reader, start: int, header: _Header, allowance: Allowance, depth: int) -> Volume:
    allowance.check_depth(depth, reader.file, reader.base + start)
    left = len(reader) - start
    window = reader.window(start, min(header.size, left), "volume")
    problems = _header_problems(header, window, left)
    extended = _read_extended_header(header, window, problems)
    files_offset = header.header_length
    if extended is not None:
        files_offset = extended.offset + extended.size
    files_offset = min(align_up(files_offset, FILE_ALIGNMENT), len(window))
    contents = _read_contents(header, window, files_offset, problems, allowance=allowance, depth=depth)
    return Volume(
        part=window.file,
        offset=window.base,
        raw=window.data,
        file_system=header.file_system,
        length=header.length,
        attributes=header.attributes,
        header_length=header.header_length,
        checksum=header.checksum,
        extended_offset=header.extended_offset,
        revision=header.revision,
        block_map=header.block_map,
        extended=extended,
        files_offset=files_offset,
        free_offset=contents.free_offset,
        files=contents.files,
        variable_store=contents.variable_store,
        problems=tuple(problems),
    )


@dataclass(frozen=True, slots=True)
class _Contents:
    free_offset: int
    files: tuple[File, ...] = ()
    variable_store: VariableStore | None = None


def _read_contents(
    header: _Header, window: Reader, start: int, problems: list[Problem], *, allowance: Allowance, depth: int
) -> _Contents:
    """What the volume's file system has from ``start`` on, as far as it is one that is read."""
    if header.file_system in _FILE_SYSTEMS:
        system = FileSystem(header.file_system, bool(header.attributes & VolumeAttribute.ERASE_POLARITY))
        files, free_offset, more = walk_files(window, start, system, allowance=allowance, depth=depth)
        problems += more
        return _Contents(free_offset, files)
    if header.file_system == NVRAM_GUID:
        return _Contents(start, variable_store=read_variable_store(window, header.header_length, problems))
    if first_other(window.data[start:], window.data[-1]) is not None:
        rule = f"file system {_file_system_name(header.file_system)} is not read: what this volume holds is not known"
        problems.append(problem_at(ProblemKind.FILE_SYSTEM, window, 0x10, rule))
    return _Contents(start)


def _file_system_name(file_system: Guid) -> str:
    return "FFS1" if file_system == FFS1_GUID else file_system.label


def _header_problems(header: _Header, window: Reader, left: int) -> list[Problem]:
    problems = []
    if not header.checksum_holds:
        rule = "checksum of the volume header does not hold"
        problems.append(problem_at(ProblemKind.VOLUME_CHECKSUM, window, 0x32, rule))
    if header.size > left:
        rule = f"volume needs {header.size:#x} bytes, {left:#x} are left"
        problems.append(problem_at(ProblemKind.VOLUME_CUT, window, 0x20, rule))
    if not header.blocks_hold:
        rule = f"block map does not end, or does not add up to the volume's length {header.length:#x}"
        problems.append(problem_at(ProblemKind.BLOCK_MAP, window, VOLUME_HEADER.size, rule))
    return problems


def _read_extended_header(header: _Header, window: Reader, problems: list[Problem]) -> ExtendedHeader | None:
    offset = header.extended_offset
    if offset == 0:
        return None
    try:
        name, size = window.unpack(EXTENDED_HEADER, offset, "extended header")
        if offset < header.header_length or size < EXTENDED_HEADER.size:
            raise window.error(offset, f"extended header of {size:#x} bytes is too small or overlaps the header")
        body = window.window(offset, size, "extended header")
        entries = _read_extended_entries(body)
    except FormatError as error:
        problems.append(problem_at(ProblemKind.EXTENDED_HEADER, window, offset, error.rule))
        return None
    return ExtendedHeader(offset, size, Guid(name), entries)


def _read_extended_entries(body: Reader) -> tuple[ExtendedEntry, ...]:
    entries = []
    position = EXTENDED_HEADER.size
    while position < len(body):
        size, type_ = body.unpack(EXTENDED_ENTRY, position, "entry of the extended header")
        if size < EXTENDED_ENTRY.size:
            raise body.error(position, f"entry of {size:#x} bytes in the extended header")
        data = body.view(position, size, "entry of the extended header")
        entries.append(ExtendedEntry(type_, data[EXTENDED_ENTRY.size :]))
        position += size
    return tuple(entries)
