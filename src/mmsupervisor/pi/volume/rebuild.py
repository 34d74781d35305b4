"""From what was read back to bytes.

A tree that was read can be changed with :func:`dataclasses.replace` on its nodes and written again. Headers, sizes
and checksums are made anew, so that what is written is sound even if what was read was not; compressed content that
did not change keeps its compressed bytes.
"""

from __future__ import annotations

from mmsupervisor.pi.compression import compress_lzma, encode_x86
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import (
    BuildError,
    build_crc32_section,
    build_guided_section,
    build_section,
    join_sections,
)
from mmsupervisor.pi.volume.encapsulation import CRC32_GUID, LZMA_GUID, LZMA_X86_GUID
from mmsupervisor.pi.volume.layout import (
    COMPRESSION_HEADER,
    FFS2_GUID,
    FFS3_GUID,
    FILE_ALIGNMENT,
    FILE_HEADER,
    LARGE_SECTION_HEADER_SIZE,
    SECTION_HEADER_SIZE,
    SIZE_ESCAPE,
    SectionType,
    align_up,
)
from mmsupervisor.pi.volume.model import CompressionHeader, File, GuidedHeader, Section, Volume


def rebuild_section(section: Section) -> bytes:
    """Write a section.

    Raises:
        BuildError: changed content would need a compression that is only read here.
    """
    large = int.from_bytes(section.raw[:3], "little") == SIZE_ESCAPE
    common = LARGE_SECTION_HEADER_SIZE if large else SECTION_HEADER_SIZE
    if section.type == SectionType.FIRMWARE_VOLUME_IMAGE and section.volumes:
        return build_section(section.type, _volume_image(section), large=large)
    if section.content is None:
        return build_section(section.type, section.raw[common:], large=large)
    content = _with_tail(join_sections(map(rebuild_section, section.sections)), section.content)
    # Compressed bytes are kept where they still stand for the content: compressing again need not give the same.
    kept = section.data if section.is_transformed and content == bytes(section.content) else None
    header = section.header
    if isinstance(header, GuidedHeader):
        return _rebuild_guided(section, header, content, kept, large)
    if isinstance(header, CompressionHeader):
        if section.is_transformed and kept is None:
            raise _unwritable(section, f"compression type {header.compression_type}")
        head = COMPRESSION_HEADER.pack(len(content), header.compression_type)
        return build_section(section.type, head + (content if kept is None else kept), large=large)
    return build_section(section.type, content, large=large)


def _rebuild_guided(
    section: Section, header: GuidedHeader, content: bytes, kept: memoryview | None, large: bool
) -> bytes:
    if header.guid == CRC32_GUID:
        return build_crc32_section(content, large=large)
    data: bytes | memoryview
    if kept is not None:
        data = kept
    elif not section.is_transformed:
        data = content
    elif header.guid == LZMA_GUID:
        data = compress_lzma(content)
    elif header.guid == LZMA_X86_GUID:
        data = compress_lzma(encode_x86(content))
    else:
        raise _unwritable(section, header.guid.label)
    return build_guided_section(header.guid, data, attributes=header.attributes, extra=header.extra, large=large)


def _unwritable(section: Section, what: str) -> BuildError:
    return BuildError(f"{section.part}: offset {section.offset:#x}: {what} can be read here, not written")


def _volume_image(section: Section) -> bytes:
    """The data of a volume image section, with its volumes written anew where they stood."""
    data = bytearray(section.data)
    for volume in section.volumes:
        start = volume.offset - section.data_offset
        data[start : start + len(volume.raw)] = rebuild_volume(volume)
    return bytes(data)


def _with_tail(stream: bytes, read: memoryview) -> bytes:
    """Keep what stood after the last section, if what stands before it did not change."""
    if len(stream) < len(read) and stream == read[: len(stream)]:
        return bytes(read)
    return stream


def file_spec(file: File) -> FileSpec:
    """Describe a file that was read, its sections written anew."""
    data = bytes(file.data)
    if file.sections:
        data = _with_tail(join_sections(map(rebuild_section, file.sections)), file.data)
    bits = file.state_byte ^ (0xFF if file.erase_polarity else 0x00)
    return FileSpec(file.guid, file.type, data, file.attributes, bits)


def volume_spec(volume: Volume) -> VolumeSpec:
    """Describe a volume that was read.

    Raises:
        BuildError: it is no volume of files, or its extended header is not where
            :func:`~mmsupervisor.pi.volume.build.build_volume` puts it.
    """
    if volume.file_system not in (FFS2_GUID, FFS3_GUID):
        text = f"volumes of {volume.file_system.label} have no files to describe"
        raise BuildError(f"{volume.part}: offset {volume.offset:#x}: {text}")
    if volume.extended and volume.extended.offset != align_up(volume.header_length, FILE_ALIGNMENT) + FILE_HEADER.size:
        text = "the extended header is not in a padding file after the volume header"
        raise BuildError(f"{volume.part}: offset {volume.offset:#x}: {text}")
    return VolumeSpec(
        files=tuple(file_spec(file) for file in volume.files),
        name=volume.extended.name if volume.extended else None,
        entries=volume.extended.entries if volume.extended else (),
        file_system=volume.file_system,
        size=volume.length,
        block_map=volume.block_map,
        attributes=volume.attributes,
        revision=volume.revision,
        zero_vector=bytes(volume.raw[:16]),
    )


def rebuild_volume(volume: Volume) -> bytes:
    """Write a volume that was read, in its old size. A volume without files, for example of variables, stays as it is.

    Raises:
        BuildError: see :func:`volume_spec`, :func:`rebuild_section`, and
            :func:`~mmsupervisor.pi.volume.build.build_volume`.
    """
    if volume.file_system not in (FFS2_GUID, FFS3_GUID):
        return bytes(volume.raw)
    return build_volume(volume_spec(volume))
