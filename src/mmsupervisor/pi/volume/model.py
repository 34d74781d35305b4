"""Volumes, files and sections as a tree of values.

Nodes are compared by identity: two files with the same bytes in two places are two files. Every node keeps
its own bytes as a view into the part it was read from; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.volume.layout import (
    VOLUME_ALIGNMENT_SHIFT,
    FileAttribute,
    FileState,
    FileType,
    GuidedAttribute,
    SectionType,
    VolumeAttribute,
    data_alignment,
    file_state,
    file_type_name,
    section_type_name,
)
from mmsupervisor.pi.volume.problem import Problem


class Node(Protocol):
    """What every node of the tree has."""

    @property
    def part(self) -> str:
        """Name of the part of the input: the path, plus ``!`` and a word for each decompressed part."""

    @property
    def offset(self) -> int:
        """Offset of the node's first byte within that part, in bytes."""

    @property
    def raw(self) -> memoryview:
        """All bytes of the node, header first."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found in the node itself, without its children."""

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of their offsets."""


class Closed(Enum):
    """Why an encapsulating section was not opened."""

    UNKNOWN_GUID = "unknown GUID"
    UNKNOWN_COMPRESSION = "unknown compression type"
    MISSING_LIBRARY = "missing library"
    DAMAGED = "damaged"
    LIMIT = "beyond the limits"


@dataclass(frozen=True, slots=True)
class Unopened:
    """An encapsulation whose content is not in the tree.

    Attributes:
        why: The reason as a value.
        text: The reason in words, with the GUID, library or rule by name.
    """

    why: Closed
    text: str


@dataclass(frozen=True, slots=True)
class GuidedHeader:
    """Header of a GUID-defined section.

    Attributes:
        guid: How the data is to be processed.
        data_offset: Offset of the data from the section's start, in bytes.
        attributes: Bits of :class:`~mmsupervisor.pi.volume.layout.GuidedAttribute`.
        extra: Bytes between this header and the data, for example a CRC-32 or a signature.
    """

    guid: Guid
    data_offset: int
    attributes: int
    extra: memoryview

    @property
    def needs_processing(self) -> bool:
        """Whether the data is no stream of sections until it was processed."""
        return bool(self.attributes & GuidedAttribute.PROCESSING_REQUIRED)


@dataclass(frozen=True, slots=True)
class CompressionHeader:
    """Header of a compression section.

    Attributes:
        expanded_size: Size that the data claims to have when expanded; never trusted.
        compression_type: 0 none, 1 the UEFI standard algorithm.
    """

    expanded_size: int
    compression_type: int


@dataclass(frozen=True, slots=True)
class SubtypeHeader:
    """Header of a freeform-subtype section.

    Attributes:
        guid: What the data is.
    """

    guid: Guid


SectionHeader = GuidedHeader | CompressionHeader | SubtypeHeader


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A section.

    Attributes:
        part: See :class:`Node`.
        offset: See :class:`Node`.
        raw: See :class:`Node`.
        type: Section type, a number of :class:`~mmsupervisor.pi.volume.layout.SectionType` or an unknown one.
        header_size: Size of all headers, in bytes: the data begins here.
        header: The header that this type has beyond the common one, or None.
        sections: Sections found inside, after opening; empty for a leaf.
        volumes: Volumes found inside, for a firmware volume image section.
        content: What the encapsulation holds, opened: a view of the section itself, or decompressed bytes.
        unopened: Why an encapsulation was not opened, or None.
        problems: See :class:`Node`.
    """

    part: str
    offset: int
    raw: memoryview
    type: int
    header_size: int
    header: SectionHeader | None = None
    sections: tuple[Section, ...] = ()
    volumes: tuple[Volume, ...] = ()
    content: memoryview | None = None
    unopened: Unopened | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def size(self) -> int:
        """Size with header, in bytes, as far as the bytes are there."""
        return len(self.raw)

    @property
    def data(self) -> memoryview:
        """The section's data after all its headers: a PE image, a dependency expression, a compressed stream."""
        return self.raw[self.header_size :]

    @property
    def data_offset(self) -> int:
        """Offset of :attr:`data` within the part, in bytes."""
        return self.offset + self.header_size

    @property
    def type_name(self) -> str:
        """Name of the type."""
        return section_type_name(self.type)

    @property
    def is_encapsulation(self) -> bool:
        """Whether sections may be inside (compression, GUID-defined, disposable)."""
        return self.type in (SectionType.COMPRESSION, SectionType.GUID_DEFINED, SectionType.DISPOSABLE)

    @property
    def is_transformed(self) -> bool:
        """Whether the content had to be computed, so that it is nowhere in flash as it is."""
        return self.content is not None and self.content.obj is not self.raw.obj

    @property
    def guid(self) -> Guid | None:
        """GUID of a GUID-defined or freeform-subtype section."""
        return self.header.guid if isinstance(self.header, GuidedHeader | SubtypeHeader) else None

    @property
    def text(self) -> str | None:
        """Text of a user interface or version section, up to its terminator; None for other types."""
        if self.type == SectionType.USER_INTERFACE:
            return _utf16(self.data)
        if self.type == SectionType.VERSION:
            return _utf16(self.data[2:])
        return None

    @property
    def build_number(self) -> int | None:
        """Build number of a version section; None for other types and for a cut one."""
        if self.type == SectionType.VERSION and len(self.data) >= 2:
            return int.from_bytes(self.data[:2], "little")
        return None

    @property
    def children(self) -> tuple[Section | Volume, ...]:
        """Sections and volumes inside."""
        return (*self.sections, *self.volumes)


def _utf16(data: memoryview) -> str:
    text = bytes(data[: len(data) & ~1]).decode("utf-16-le", errors="replace")
    return text.split("\0", 1)[0]


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """A file of a volume.

    Attributes:
        part: See :class:`Node`.
        offset: See :class:`Node`.
        raw: See :class:`Node`.
        guid: Name.
        type: A number of :class:`~mmsupervisor.pi.volume.layout.FileType` or an unknown one.
        attributes: Bits of :class:`~mmsupervisor.pi.volume.layout.FileAttribute`.
        header_size: 24, or 32 for a large file.
        header_checksum: The byte at offset 0x10 of the header.
        data_checksum: The byte at offset 0x11 of the header.
        size_field: The three-byte size of the header, as it stands: a scan that knows no large files uses it.
        state_byte: State as it stands in flash, not inverted.
        erase_polarity: The volume's erase polarity, which decides what the state byte means.
        sections: Sections, for types that have them.
        problems: See :class:`Node`.
    """

    part: str
    offset: int
    raw: memoryview
    guid: Guid
    type: int
    attributes: int
    header_size: int
    header_checksum: int
    data_checksum: int
    size_field: int
    state_byte: int
    erase_polarity: bool
    sections: tuple[Section, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def size(self) -> int:
        """Size with header, in bytes, as far as the bytes are there."""
        return len(self.raw)

    @property
    def data(self) -> memoryview:
        """Everything after the header: a stream of sections, or opaque data."""
        return self.raw[self.header_size :]

    @property
    def type_name(self) -> str:
        """Name of the type."""
        return file_type_name(self.type)

    @property
    def state(self) -> FileState:
        """What the state byte means."""
        return file_state(self.state_byte, self.erase_polarity)

    @property
    def is_live(self) -> bool:
        """Whether the file counts: written to its end and not deleted."""
        return self.state in (FileState.DATA_VALID, FileState.MARKED_FOR_UPDATE)

    @property
    def is_large(self) -> bool:
        """Whether the header has an extended size."""
        return self.header_size > 24

    @property
    def is_pad(self) -> bool:
        """Whether this is a padding file."""
        return self.type == FileType.PAD

    @property
    def has_data_checksum(self) -> bool:
        """Whether the data is covered by a checksum."""
        return bool(self.attributes & FileAttribute.CHECKSUM)

    @property
    def data_alignment(self) -> int:
        """Alignment, in bytes from the volume's start, that the attributes ask for the data."""
        return data_alignment(self.attributes)

    def all_sections(self, open_encapsulations: bool = True) -> Iterator[Section]:
        """All sections of this file, outer before inner; sections of nested volumes' files are not among them.

        Args:
            open_encapsulations: Whether to look inside encapsulating sections.
        """
        waiting = list(reversed(self.sections))
        while waiting:
            section = waiting.pop()
            yield section
            if open_encapsulations:
                waiting.extend(reversed(section.sections))

    def first_section(self, type_: int, open_encapsulations: bool = True) -> Section | None:
        """The first section of a type, or None.

        Args:
            type_: A number of :class:`~mmsupervisor.pi.volume.layout.SectionType`.
            open_encapsulations: False looks at the outermost sections only, as the supervisor's own scan does.
        """
        return next((s for s in self.all_sections(open_encapsulations) if s.type == type_), None)

    @property
    def ui_name(self) -> str | None:
        """Text of the first user interface section, or None."""
        section = self.first_section(SectionType.USER_INTERFACE)
        return section.text if section else None

    @property
    def version(self) -> str | None:
        """Text of the first version section, or None."""
        section = self.first_section(SectionType.VERSION)
        return section.text if section else None

    @property
    def label(self) -> str:
        """What a table shows: the user interface name, else the GUID's name, else the GUID."""
        return self.ui_name or self.guid.label

    @property
    def children(self) -> tuple[Section, ...]:
        """The sections."""
        return self.sections


@dataclass(frozen=True, slots=True)
class Block:
    """An entry of the block map.

    Attributes:
        count: Number of blocks.
        length: Length of each, in bytes.
    """

    count: int
    length: int


@dataclass(frozen=True, slots=True)
class ExtendedEntry:
    """An entry of a volume's extended header.

    Attributes:
        type: 0x01 OEM types, 0x02 GUID, 0x03 used size; others are kept as they are.
        data: The entry's bytes without its four-byte header.
    """

    type: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class ExtendedHeader:
    """A volume's extended header.

    Attributes:
        offset: Offset from the volume's start, in bytes.
        size: Size with all entries, in bytes.
        name: The volume's name (FvName).
        entries: The entries.
    """

    offset: int
    size: int
    name: Guid
    entries: tuple[ExtendedEntry, ...]


@dataclass(frozen=True, slots=True)
class VariableStore:
    """What a volume of variables says about itself.

    Attributes:
        offset: Offset of the store's header from the volume's start, in bytes.
        guid: Signature of the store.
        kind: ``authenticated variables``, ``variables``, or ``unknown``.
        size: Size with header, in bytes, as claimed.
        is_formatted: Whether the store's format byte says it was formatted (0x5A).
        is_healthy: Whether its state byte says so (0xFE).
    """

    offset: int
    guid: Guid
    kind: str
    size: int
    is_formatted: bool
    is_healthy: bool


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A firmware volume.

    Attributes:
        part: See :class:`Node`.
        offset: See :class:`Node`.
        raw: See :class:`Node`.
        file_system: File system GUID.
        length: Length as the header gives it, in bytes; ``raw`` is shorter if the volume is cut.
        attributes: Bits of :class:`~mmsupervisor.pi.volume.layout.VolumeAttribute`.
        header_length: Length of header and block map, in bytes.
        checksum: The header's checksum field.
        extended_offset: Offset of the extended header as the header gives it, 0 for none.
        revision: Format revision.
        block_map: Entries of the block map.
        extended: The extended header, or None.
        files_offset: Where the file walk starts, from the volume's start, in bytes.
        free_offset: Where free space begins, from the volume's start, in bytes.
        files: Files in order, deleted ones among them.
        variable_store: For a volume of variables, what it holds.
        problems: See :class:`Node`.
    """

    part: str
    offset: int
    raw: memoryview
    file_system: Guid
    length: int
    attributes: int
    header_length: int
    checksum: int
    extended_offset: int
    revision: int
    block_map: tuple[Block, ...]
    extended: ExtendedHeader | None
    files_offset: int
    free_offset: int
    files: tuple[File, ...] = ()
    variable_store: VariableStore | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def name(self) -> Guid | None:
        """The volume's name (FvName), or None."""
        return self.extended.name if self.extended else None

    @property
    def erase_polarity(self) -> bool:
        """Whether erased flash reads as ones."""
        return bool(self.attributes & VolumeAttribute.ERASE_POLARITY)

    @property
    def erase_byte(self) -> int:
        """What an erased byte reads as."""
        return 0xFF if self.erase_polarity else 0x00

    @property
    def alignment(self) -> int:
        """Alignment in bytes that the volume asks for itself."""
        return 1 << ((self.attributes >> VOLUME_ALIGNMENT_SHIFT) & 0x1F)

    @property
    def free_space(self) -> int:
        """Bytes after the last file."""
        return len(self.raw) - self.free_offset

    @property
    def children(self) -> tuple[File, ...]:
        """The files."""
        return self.files
