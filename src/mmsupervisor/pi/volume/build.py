"""Building files and volumes (PI 1.8 vol. 3 §3.2). What is built here is read back alike.

A volume is described by a :class:`VolumeSpec` and built by :func:`build_volume`; padding files that alignment needs
are put in. :mod:`mmsupervisor.pi.volume.rebuild` makes such descriptions from volumes that were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.volume.build_section import BuildError
from mmsupervisor.pi.volume.checksum import file_header_sum, sum8, sum16
from mmsupervisor.pi.volume.layout import (
    BLOCK,
    CHECKSUM_OFFSET,
    DEFAULT_VOLUME_ATTRIBUTES,
    EXTENDED_ENTRY,
    EXTENDED_HEADER,
    FFS2_GUID,
    FFS3_GUID,
    FILE_ALIGNMENT,
    FILE_HEADER,
    FIXED_CHECKSUM,
    LARGE_FILE_HEADER_SIZE,
    PAD_GUID,
    SIGNATURE,
    SIZE_ESCAPE,
    VALID_STATE_BITS,
    VOLUME_HEADER,
    FileAttribute,
    FileType,
    VolumeAttribute,
    align_up,
    alignment_attributes,
    data_alignment,
)
from mmsupervisor.pi.volume.model import Block, ExtendedEntry

_REVISION: Final = 2
_UNUSED_STATE_BITS: Final = 0xF8


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file to build.

    Attributes:
        guid: Name.
        type: File type.
        data: Everything after the header: a stream of sections, or opaque data.
        attributes: Bits of :class:`~mmsupervisor.pi.volume.layout.FileAttribute`; ``LARGE_FILE`` is added where needed.
        state_bits: State before inversion; by default, written to its end.
    """

    guid: Guid
    type: int
    data: bytes
    attributes: int = 0
    state_bits: int = VALID_STATE_BITS

    @classmethod
    def aligned(cls, guid: Guid, type_: int, data: bytes, alignment: int, *, checksum: bool = False) -> FileSpec:
        """A file whose data is to be aligned, in bytes from the volume's start."""
        attributes = alignment_attributes(alignment) | (FileAttribute.CHECKSUM if checksum else 0)
        return cls(guid, type_, data, attributes)

    @property
    def is_large(self) -> bool:
        """Whether the header needs, or is asked to have, an extended size."""
        return bool(self.attributes & FileAttribute.LARGE_FILE) or FILE_HEADER.size + len(self.data) > SIZE_ESCAPE

    @property
    def header_size(self) -> int:
        """Size of the header, in bytes."""
        return LARGE_FILE_HEADER_SIZE if self.is_large else FILE_HEADER.size


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A volume to build.

    Attributes:
        files: Files in order. Padding files among them are taken as they are.
        name: The volume's name; None: no extended header.
        entries: Entries of the extended header.
        file_system: File system; None: the one with large files if there is one, else the other.
        size: Size in bytes; None: as small as the block size allows.
        block_size: Length of a flash block, in bytes.
        block_map: The block map, if it is not to be made from size and block size.
        attributes: Bits of :class:`~mmsupervisor.pi.volume.layout.VolumeAttribute`, with the alignment in bits 16-20.
        revision: Format revision.
        zero_vector: First sixteen bytes.
    """

    files: tuple[FileSpec, ...] = ()
    name: Guid | None = None
    entries: tuple[ExtendedEntry, ...] = ()
    file_system: Guid | None = None
    size: int | None = None
    block_size: int = 0x1000
    block_map: tuple[Block, ...] | None = None
    attributes: int = DEFAULT_VOLUME_ATTRIBUTES
    revision: int = _REVISION
    zero_vector: bytes = bytes(16)

    @property
    def erase_byte(self) -> int:
        """What an erased byte reads as."""
        return 0xFF if self.attributes & VolumeAttribute.ERASE_POLARITY else 0x00


def build_file(spec: FileSpec, erase_byte: int = 0xFF) -> bytes:
    """Build a file.

    Args:
        spec: What to build.
        erase_byte: What an erased byte of its volume reads as: 0x00 or 0xFF; it decides how the state is written.
    """
    large = spec.is_large
    size = spec.header_size + len(spec.data)
    attributes = spec.attributes | (FileAttribute.LARGE_FILE if large else 0)
    data_sum = -sum8(spec.data) & 0xFF if attributes & FileAttribute.CHECKSUM else FIXED_CHECKSUM
    state = spec.state_bits ^ erase_byte
    size_field = bytes(3) if large else size.to_bytes(3, "little")
    header = bytearray(FILE_HEADER.pack(spec.guid.raw, 0, data_sum, spec.type, attributes, size_field, state))
    if large:
        header += size.to_bytes(8, "little")
    header[0x10] = -file_header_sum(header) & 0xFF
    return bytes(header) + spec.data


def pad_file(size: int, erase_byte: int = 0xFF) -> FileSpec:
    """A padding file of ``size`` bytes with its header.

    Raises:
        BuildError: ``size`` is too small for a header.
    """
    if size < FILE_HEADER.size:
        raise BuildError(f"a padding file cannot have {size} bytes")
    header_size = FILE_HEADER.size if size <= SIZE_ESCAPE else LARGE_FILE_HEADER_SIZE
    return FileSpec(PAD_GUID, FileType.PAD, bytes((erase_byte,)) * (size - header_size))


def build_volume(spec: VolumeSpec) -> bytes:
    """Build a volume.

    Raises:
        BuildError: the files do not fit into the size, a large file is asked for in file system 2, or the size is
            no multiple of the block size.
    """
    file_system = spec.file_system or (FFS3_GUID if any(f.is_large for f in spec.files) else FFS2_GUID)
    # Without a given block map there will be one entry, and always the one that ends it.
    header_length = VOLUME_HEADER.size + (len(spec.block_map or (None,)) + 1) * BLOCK.size
    body = bytearray()
    extended_offset = _add_extended_header(spec, body, header_length)
    for file in spec.files:
        if file.is_large and file_system != FFS3_GUID:
            raise BuildError(f"file {file.guid.label} is too large for file system {file_system.label}")
        _add_aligned(file, body, header_length, spec.erase_byte)
    used = header_length + len(body)
    size = spec.size if spec.size is not None else align_up(used, spec.block_size)
    if used > size:
        raise BuildError(f"files need {used:#x} bytes, the volume has {size:#x}")
    blocks = spec.block_map or (Block(size // spec.block_size, spec.block_size),)
    if sum(block.count * block.length for block in blocks) != size:
        raise BuildError(f"blocks do not add up to the volume's size {size:#x}")
    header = _build_header(spec, file_system, extended_offset, blocks)
    return b"".join((header, body, bytes((spec.erase_byte,)) * (size - used)))


def _add_extended_header(spec: VolumeSpec, body: bytearray, header_length: int) -> int:
    """Add the extended header, inside a padding file so that readers that do not know it walk over it."""
    if spec.name is None:
        if spec.entries:
            raise BuildError("entries of an extended header need a volume name")
        return 0
    entries = b"".join(EXTENDED_ENTRY.pack(EXTENDED_ENTRY.size + len(e.data), e.type) + e.data for e in spec.entries)
    extended = EXTENDED_HEADER.pack(spec.name.raw, EXTENDED_HEADER.size + len(entries)) + entries
    _add_file(FileSpec(PAD_GUID, FileType.PAD, extended), body, header_length, spec.erase_byte)
    return header_length + len(body) - len(extended)


def _add_aligned(file: FileSpec, body: bytearray, header_length: int, erase_byte: int) -> None:
    """Add a file, after a padding file if its data must be aligned and would not be."""
    if file.type != FileType.PAD:
        alignment = data_alignment(file.attributes)
        position = align_up(header_length + len(body), FILE_ALIGNMENT)
        start = align_up(position + file.header_size, alignment) - file.header_size
        while 0 < start - position < FILE_HEADER.size:
            start += alignment
        if start > position:
            _add_file(pad_file(start - position, erase_byte), body, header_length, erase_byte)
    _add_file(file, body, header_length, erase_byte)


def _add_file(file: FileSpec, body: bytearray, header_length: int, erase_byte: int) -> None:
    body += bytes((erase_byte,)) * (-(header_length + len(body)) % FILE_ALIGNMENT)
    body += build_file(file, erase_byte)


def _build_header(spec: VolumeSpec, file_system: Guid, extended_offset: int, blocks: tuple[Block, ...]) -> bytes:
    block_map = b"".join(BLOCK.pack(block.count, block.length) for block in (*blocks, Block(0, 0)))
    header = bytearray(
        VOLUME_HEADER.pack(
            spec.zero_vector,
            file_system.raw,
            sum(block.count * block.length for block in blocks),
            SIGNATURE,
            spec.attributes,
            VOLUME_HEADER.size + len(block_map),
            0,
            extended_offset,
            0,
            spec.revision,
        )
    )
    header += block_map
    checksum = -sum16(bytes(header)) & 0xFFFF
    header[CHECKSUM_OFFSET : CHECKSUM_OFFSET + 2] = checksum.to_bytes(2, "little")
    return bytes(header)
