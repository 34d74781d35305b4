"""Sound volumes and section streams to bend, and what every tree that was read must stand."""

from __future__ import annotations

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Limits
from mmsupervisor.pi.volume import Node, SectionType, problems, walk
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import (
    build_compression_section,
    build_crc32_section,
    build_lzma_section,
    build_section,
    build_subtype_section,
    build_ui_section,
    build_version_section,
    build_volume_image_section,
    join_sections,
)

LIMITS = Limits(input_bytes=1 << 20, expanded_bytes=1 << 22, items=20_000)
NAME = Guid.parse("11111111-2222-3333-4444-555555555555")


def streams() -> list[bytes]:
    """Sound section streams to bend."""
    leaves = join_sections(
        (
            build_section(SectionType.MM_DEPEX, b"\x06\x08"),
            build_section(SectionType.PE32, bytes(range(200)), large=True),
            build_ui_section("Name"),
            build_version_section("1.0", 7),
            build_subtype_section(NAME, b"data"),
        )
    )
    wrapped = join_sections(
        (
            build_crc32_section(leaves),
            build_compression_section(leaves),
            build_lzma_section(leaves),
            build_lzma_section(leaves, x86=True),
        )
    )
    return [leaves, wrapped, build_volume_image_section(volume_of(leaves))]


def volume_of(stream: bytes, attributes: int = 0x40) -> bytes:
    """A volume with that stream in a file, a large file and a named header."""
    files = (
        FileSpec(NAME, 0x0E, stream, attributes),
        FileSpec(NAME, 0x0E, stream, 1),
        FileSpec.aligned(NAME, 0x01, b"raw", 256),
    )
    return build_volume(VolumeSpec(files, name=NAME, block_size=0x200))


def volumes() -> list[bytes]:
    """Sound volumes to bend."""
    return [volume_of(stream) for stream in streams()]


def look_at(root: Node) -> None:
    """Touch everything a report would show."""
    for place in walk(root):
        node = place.node
        for name in ("label", "text", "version", "type_name", "build_number", "guid", "state", "free_space"):
            str(getattr(node, name, "")).encode("utf-8")
        assert len(place.encapsulations) <= LIMITS.nesting
    for problem in problems(root):
        assert problem.offset >= 0
        assert "\n" not in str(problem)
