"""Walking the files of a volume, past damage where that is possible (PI 1.8 vol. 3 §3.2.3)."""

from __future__ import annotations

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.erased import first_other
from mmsupervisor.pi.volume.layout import (
    FILE_ALIGNMENT,
    FILE_HEADER,
    VALID_STATE_BITS,
    FileState,
    align_up,
    file_state,
)
from mmsupervisor.pi.volume.model import File
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at
from mmsupervisor.pi.volume.read_file import FileHeader, FileSystem, read_file, read_file_header

_STATE_OFFSET = 0x17


def walk_files(
    volume: Reader, start: int, system: FileSystem, *, allowance: Allowance, depth: int
) -> tuple[tuple[File, ...], int, list[Problem]]:
    """Read all files of a volume.

    A file with a bad header checksum is kept if what follows its size makes sense; otherwise the walk looks for
    the next header whose checksum holds and says what it skipped.

    Args:
        volume: The volume.
        start: Where the first file may begin, from the volume's start, in bytes; a multiple of eight.
        system: The volume's file system.
        allowance: Bounds of the parse.
        depth: Levels of nesting around the files.

    Returns:
        The files, the offset where free space begins, and problems that belong to no file.

    Raises:
        LimitError: more items than allowed.
    """
    walker = _Walker(volume, system, allowance, depth)
    free_offset = walker.walk(start)
    return tuple(walker.files), free_offset, walker.problems


class _Walker:
    def __init__(self, volume: Reader, system: FileSystem, allowance: Allowance, depth: int) -> None:
        self.files: list[File] = []
        self.problems: list[Problem] = []
        self._volume = volume
        self._end = len(volume)
        self._system = system
        self._erase_byte = system.erase_byte
        self._allowance = allowance
        self._depth = depth
        self._state_bytes: bytes | None = None

    def walk(self, position: int) -> int:
        """Walk from ``position``; return where free space begins."""
        while position + FILE_HEADER.size <= self._end and not self._is_free(position):
            header = self._header(position)
            step = self._step(position, header) if header else None
            if header is None or step is None:
                found = self._next_good_header(position + FILE_ALIGNMENT)
                self._note_skipped(position, found, header)
                position = found
                continue
            if file_state(header.state_byte, self._system.erase_polarity) is FileState.HEADER_INVALID:
                self._note(ProblemKind.FILE_STATE, position, "file header is marked invalid and skipped")
                step = header.header_size
            else:
                self.files.append(self._file(position, step, header))
            position = align_up(position + step, FILE_ALIGNMENT)
        position = min(position, self._end)
        self._check_free_space(position)
        return position

    def _file(self, position: int, size: int, header: FileHeader) -> File:
        window = self._volume.window(position, size, "file")
        return read_file(window, position, header, self._system, allowance=self._allowance, depth=self._depth)

    def _is_free(self, position: int) -> bool:
        return first_other(self._volume.data[position : position + FILE_HEADER.size], self._erase_byte) is None

    def _header(self, position: int) -> FileHeader | None:
        try:
            return read_file_header(self._volume, position, self._system.guid)
        except FormatError:
            return None

    def _step(self, position: int, header: FileHeader) -> int | None:
        """Size to take for a file, or None if its size cannot be believed."""
        left = self._end - position
        if header.size < header.header_size:
            return None
        if header.checksum_holds:
            return min(header.size, left)
        if header.size > left or not self._makes_sense(align_up(position + header.size, FILE_ALIGNMENT)):
            return None
        return header.size

    def _makes_sense(self, position: int) -> bool:
        """Whether a file may have ended just before ``position``."""
        if position + FILE_HEADER.size > self._end or self._is_free(position):
            return True
        header = self._header(position)
        return header is not None and header.checksum_holds

    def _next_good_header(self, position: int) -> int:
        """Offset of the next header, from ``position`` on, that can be believed; the volume's end if none."""
        written = VALID_STATE_BITS ^ self._erase_byte
        if self._state_bytes is None:
            # One in eight bytes, copied once: searching these is faster than stepping from header to header.
            self._state_bytes = bytes(self._volume.data[_STATE_OFFSET % FILE_ALIGNMENT :: FILE_ALIGNMENT])
        ahead = _STATE_OFFSET // FILE_ALIGNMENT
        index = self._state_bytes.find(written, position // FILE_ALIGNMENT + ahead)
        while index >= 0:
            candidate = (index - ahead) * FILE_ALIGNMENT
            self._allowance.take_items(1, self._volume.file, self._volume.base + candidate)
            header = self._header(candidate)
            if header and header.checksum_holds and header.header_size <= header.size <= self._end - candidate:
                return candidate
            index = self._state_bytes.find(written, index + 1)
        return self._end

    def _note_skipped(self, position: int, found: int, header: FileHeader | None) -> None:
        if header and header.size < header.header_size:
            rule = f"file size {header.size:#x} is below its header"
            self._note(ProblemKind.FILE_SIZE, position, rule)
        elif header:
            self._note(ProblemKind.FILE_HEADER_CHECKSUM, position, "checksum of the file header does not hold")
        self._note(ProblemKind.SKIPPED, position, f"{found - position:#x} bytes skipped up to the next file")

    def _check_free_space(self, position: int) -> None:
        other = first_other(self._volume.data[position:], self._erase_byte)
        if other is not None:
            self._note(ProblemKind.FREE_SPACE_CONTENT, position + other, "free space is not erased from here on")

    def _note(self, kind: ProblemKind, position: int, rule: str) -> None:
        self.problems.append(problem_at(kind, self._volume, position, rule))
