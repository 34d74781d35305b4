"""Volumes and files of an image, numbered, with what an MM core sees of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmsupervisor.core.volume_scan import MM_STANDALONE, SECTION_PE32, scan_files
from mmsupervisor.inventory.model import FileReport, Visibility, VolumeReport
from mmsupervisor.inventory.parts import PartName
from mmsupervisor.pi.container import Image
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.volume import File, FileType, GuidedHeader, Place, ProblemKind, Section, Volume, volumes


@dataclass(frozen=True, slots=True)
class NumberedVolume:
    """A volume of the image with its number in the report.

    Attributes:
        place: The volume and what it lies in.
        report: What the report says of it.
    """

    place: Place[Volume]
    report: VolumeReport


def number_volumes(image: Image, part_name: PartName) -> tuple[NumberedVolume, ...]:
    """All volumes of an image, outer before inner, numbered from 0."""
    numbers: dict[int, int] = {}
    found = []
    for number, place in enumerate(volumes(image)):
        numbers[id(place.node)] = number
        parent = numbers[id(place.volume)] if place.volume else None
        found.append(NumberedVolume(place, _report(place, number, parent, part_name)))
    return tuple(found)


def _report(place: Place[Volume], number: int, parent: int | None, part_name: PartName) -> VolumeReport:
    volume = place.node
    return VolumeReport(
        number=number,
        part=part_name(volume.part),
        offset=volume.offset,
        size=len(volume.raw),
        claimed_size=volume.length,
        guid=volume.name,
        file_system=volume.file_system,
        free=volume.free_space if not volume.variable_store else 0,
        checksum_holds=all(problem.kind is not ProblemKind.VOLUME_CHECKSUM for problem in volume.problems),
        parent=parent,
        holder=place.file.guid if place.file else None,
        encapsulations=tuple(_wrapping(section) for section in _own_encapsulations(place)),
        visibility=visibility_of(place),
        variable_store=volume.variable_store.kind if volume.variable_store else None,
        files=tuple(_file(file) for file in volume.files),
    )


def visibility_of(place: Place[Volume]) -> Visibility:
    """Whether an MM core finds what is in a volume (docs/architecture.md, "How a run flows").

    PEI reports volumes that stand in flash, and those that it takes out of a main volume; the MM core itself never
    opens anything (docs/reference/boot-flow.md §5).
    """
    if place.is_top_level:
        return Visibility.IN_FLASH
    around = sum(isinstance(node, Volume) for node in place.ancestors)
    if around == 1 and place.file is not None and place.file.type == FileType.FIRMWARE_VOLUME_IMAGE:
        return Visibility.FROM_MAIN_VOLUME
    return Visibility.TOO_DEEP


def _own_encapsulations(place: Place[Volume]) -> Iterator[Section]:
    """Encapsulations between a volume and the file it is in."""
    own: list[Section] = []
    for node in place.ancestors:
        if isinstance(node, File):
            own.clear()
        elif isinstance(node, Section) and node.is_encapsulation:
            own.append(node)
    return iter(own)


_WRAPPING = {
    known_guid("gLzmaCustomDecompressGuid"): "LZMA",
    known_guid("gLzmaF86CustomDecompressGuid"): "LZMA with x86 filter",
    known_guid("gTianoCustomDecompressGuid"): "Tiano",
    known_guid("gBrotliCustomDecompressGuid"): "Brotli",
    known_guid("gEfiCrc32GuidedSectionExtractionGuid"): "CRC-32",
}


def _wrapping(section: Section) -> str:
    header = section.header
    if isinstance(header, GuidedHeader):
        return _WRAPPING.get(header.guid, header.guid.label)
    return section.type_name.lower()


def _file(file: File) -> FileReport:
    return FileReport(
        offset=file.offset,
        guid=file.guid,
        name=file.ui_name,
        type=file.type_name,
        size=file.size,
        state=file.state.name,
        sections=tuple(section.type_name for section in file.sections),
    )


def offsets_in_scan(volume: Volume) -> frozenset[int]:
    """Offsets, in the volume's part, of the files that the MM core's scan of a volume reaches.

    An MM_STANDALONE file without a PE32 section is the last one that it reaches (boot-flow.md §5).
    """
    reached = set()
    for file in scan_files(bytes(volume.raw)):
        reached.add(volume.offset + file.offset)
        if file.type == MM_STANDALONE and file.section(SECTION_PE32) is None:
            break
    return frozenset(reached)
