"""Building sections (PI 1.8 vol. 3 §2.1.5). What is built here is read back alike."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from mmsupervisor.pi.compression import compress_lzma, encode_x86
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.volume.encapsulation import CRC32_GUID, LZMA_GUID, LZMA_X86_GUID
from mmsupervisor.pi.volume.layout import (
    COMPRESSION_HEADER,
    GUIDED_HEADER,
    LARGE_SECTION_HEADER_SIZE,
    SECTION_ALIGNMENT,
    SECTION_HEADER_SIZE,
    SIZE_ESCAPE,
    CompressionType,
    GuidedAttribute,
    SectionType,
)


class BuildError(MmSupervisorError):
    """What was asked for cannot be expressed in the format."""


def join_sections(sections: Iterable[bytes]) -> bytes:
    """Make a stream of sections: each begins at a multiple of four, with zeros between."""
    stream = bytearray()
    for section in sections:
        stream += bytes(-len(stream) % SECTION_ALIGNMENT)
        stream += section
    return bytes(stream)


def build_section(type_: int, data: bytes | memoryview, *, large: bool = False) -> bytes:
    """Build a section.

    Args:
        type_: Section type.
        data: Everything after the common header.
        large: Whether to use an extended size where it is not needed; where it is needed, it is used anyway.

    Raises:
        BuildError: the size does not fit into 32 bits.
    """
    size = SECTION_HEADER_SIZE + len(data)
    if not large and size < SIZE_ESCAPE:
        return size.to_bytes(3, "little") + bytes((type_,)) + data
    size = LARGE_SECTION_HEADER_SIZE + len(data)
    if size >= 1 << 32:
        raise BuildError(f"a section cannot have {size:#x} bytes")
    return SIZE_ESCAPE.to_bytes(3, "little") + bytes((type_,)) + size.to_bytes(4, "little") + data


def build_guided_section(
    guid: Guid, data: bytes | memoryview, *, attributes: int, extra: bytes | memoryview = b"", large: bool = False
) -> bytes:
    """Build a GUID-defined section.

    Args:
        guid: How the data is to be processed.
        data: The data, processed already.
        attributes: Bits of :class:`~mmsupervisor.pi.volume.layout.GuidedAttribute`.
        extra: Bytes between header and data.
        large: As for :func:`build_section`.
    """
    inner = GUIDED_HEADER.size + len(extra)
    large = large or SECTION_HEADER_SIZE + inner + len(data) >= SIZE_ESCAPE
    common = LARGE_SECTION_HEADER_SIZE if large else SECTION_HEADER_SIZE
    if common + inner > 0xFFFF:
        raise BuildError(f"the header of a GUID-defined section cannot have {common + inner:#x} bytes")
    header = GUIDED_HEADER.pack(guid.raw, common + inner, attributes)
    return build_section(SectionType.GUID_DEFINED, b"".join((header, extra, data)), large=large)


def build_lzma_section(sections: bytes, *, x86: bool = False, large: bool = False) -> bytes:
    """Build a GUID-defined section that holds a stream of sections, LZMA-compressed.

    Args:
        sections: The stream, see :func:`join_sections`.
        x86: Whether to apply the x86 branch filter first.
        large: As for :func:`build_section`.
    """
    guid = LZMA_X86_GUID if x86 else LZMA_GUID
    data = compress_lzma(encode_x86(sections) if x86 else sections)
    return build_guided_section(guid, data, attributes=GuidedAttribute.PROCESSING_REQUIRED, large=large)


def build_crc32_section(sections: bytes, *, large: bool = False) -> bytes:
    """Build a GUID-defined section that guards a stream of sections with a CRC-32; arguments as above."""
    extra = zlib.crc32(sections).to_bytes(4, "little")
    attributes = GuidedAttribute.AUTH_STATUS_VALID
    return build_guided_section(CRC32_GUID, sections, attributes=attributes, extra=extra, large=large)


def build_compression_section(sections: bytes, *, large: bool = False) -> bytes:
    """Build a compression section whose content is not compressed; arguments as above."""
    header = COMPRESSION_HEADER.pack(len(sections), CompressionType.NOT_COMPRESSED)
    return build_section(SectionType.COMPRESSION, header + sections, large=large)


def build_volume_image_section(volume: bytes | memoryview, *, large: bool = False) -> bytes:
    """Build a section that holds a volume."""
    return build_section(SectionType.FIRMWARE_VOLUME_IMAGE, volume, large=large)


def build_subtype_section(guid: Guid, data: bytes | memoryview, *, large: bool = False) -> bytes:
    """Build a freeform section whose data a GUID describes."""
    return build_section(SectionType.FREEFORM_SUBTYPE_GUID, guid.raw + data, large=large)


def build_ui_section(name: str) -> bytes:
    """Build a user interface section: the name a person knows the file by."""
    return build_section(SectionType.USER_INTERFACE, _utf16(name))


def build_version_section(version: str, build_number: int = 0) -> bytes:
    """Build a version section."""
    return build_section(SectionType.VERSION, build_number.to_bytes(2, "little") + _utf16(version))


def _utf16(text: str) -> bytes:
    return f"{text}\0".encode("utf-16-le")
