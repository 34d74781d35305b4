"""Records that trees are compared by, and the comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mmsupervisor.pi.container import Image
from mmsupervisor.pi.volume import File, Section, SectionType, Volume

Records = dict[str, tuple[object, ...]]


def digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def volume_record(file_system: str, length: int) -> tuple[object, ...]:
    return ("volume", file_system.lower(), length)


def file_record(guid: str, type_: int, size: int) -> tuple[object, ...]:
    return ("file", guid.lower(), type_, size)


def section_record(type_: int, size: int, data: bytes | memoryview) -> tuple[object, ...]:
    """``data`` is everything after the common header."""
    return ("section", type_, size, digest(data))


def our_records(image: Image) -> Records:
    records: Records = {}
    for volume in image.volumes:
        _add_volume(records, "", volume, volume.offset)
    return records


def _add_volume(records: Records, parent: str, volume: Volume, offset: int) -> None:
    path = f"{parent}v{offset:x}"
    records[path] = volume_record(str(volume.file_system), volume.length)
    for file in volume.files:
        _add_file(records, f"{path}/f{file.offset - volume.offset:x}", file)


def _add_file(records: Records, path: str, file: File) -> None:
    records[path] = file_record(str(file.guid), file.type, file.size)
    for section in file.sections:
        _add_section(records, f"{path}/", section, file.offset + file.header_size)


def _add_section(records: Records, parent: str, section: Section, stream_offset: int) -> None:
    path = f"{parent}s{section.offset - stream_offset:x}"
    common = 8 if bytes(section.raw[:3]) == b"\xff\xff\xff" else 4
    records[path] = section_record(section.type, section.size, section.raw[common:])
    # What was decompressed is a new part, whose offsets begin at zero; what was not, stands in its section.
    inner = 0 if section.is_transformed else section.data_offset
    for child in section.sections:
        _add_section(records, f"{path}/", child, inner)
    for volume in section.volumes:
        _add_volume(records, f"{path}/", volume, volume.offset - section.data_offset)


@dataclass(frozen=True)
class Difference:
    """One path on which two readers do not agree; None where a side has nothing."""

    path: str
    ours: tuple[object, ...] | None
    theirs: tuple[object, ...] | None


@dataclass(frozen=True)
class Failing:
    """A known failing of an oracle: its name, why we are right, and which differences it explains."""

    name: str
    reason: str
    explains: Callable[[Difference, Records], bool]


def differences(ours: Records, theirs: Records) -> Iterator[Difference]:
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            yield Difference(path, ours.get(path), theirs.get(path))


def unexplained(ours: Records, theirs: Records, failings: tuple[Failing, ...]) -> tuple[list[Difference], set[str]]:
    """Differences that no known failing explains, and the names of the failings that explained others."""
    left: list[Difference] = []
    used: set[str] = set()
    for difference in differences(ours, theirs):
        names = {f.name for f in failings if f.explains(difference, ours)}
        used |= names
        if not names:
            left.append(difference)
    return left, used


def is_type(record: tuple[object, ...] | None, *types: SectionType) -> bool:
    return record is not None and record[0] == "section" and record[1] in types
