"""Small volumes for tests, built by our own builder, and short ways to read them."""

from __future__ import annotations

from mmsupervisor.pi.container import Image, read_image
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import File, FileType, Section, SectionType, Volume, find_volumes, read_sections
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import build_section, build_ui_section, build_version_section, join_sections

DRIVER = Guid.parse("11111111-2222-3333-4444-555555555555")
OTHER = Guid.parse("99999999-2222-3333-4444-555555555555")
NAME = Guid.parse("77777777-2222-3333-4444-555555555555")
CODE = bytes(range(256)) * 3
DEPEX = b"\x06\x08"
SECTIONS = join_sections(
    (
        build_section(SectionType.MM_DEPEX, DEPEX),
        build_section(SectionType.PE32, CODE),
        build_ui_section("SampleMm"),
        build_version_section("1.2", 34),
    )
)


def driver_spec(data: bytes = SECTIONS, guid: Guid = DRIVER, **fields: int) -> FileSpec:
    return FileSpec(guid, FileType.MM_STANDALONE, data, **fields)


def sample_spec() -> VolumeSpec:
    raw = FileSpec.aligned(OTHER, FileType.RAW, b"raw bytes" * 9, 512, checksum=True)
    return VolumeSpec((driver_spec(), raw), name=NAME)


def sample_volume() -> bytes:
    return build_volume(sample_spec())


def volume_of(data: bytes, **limits: int) -> Volume:
    """The only volume of the bytes."""
    (volume,) = find_volumes(Reader(data, "sample"), Allowance(Limits(**limits)))[0]
    return volume


def image_of(data: bytes, **limits: int) -> Image:
    return read_image(Reader(data, "sample"), Allowance(Limits(**limits)))


def sections_of(stream: bytes, **limits: int) -> tuple[Section, ...]:
    return read_sections(Reader(stream, "sample"), Allowance(Limits(**limits)))[0]


def section_of(section: bytes, **limits: int) -> Section:
    (read,) = sections_of(section, **limits)
    return read


def real_files(volume: Volume) -> list[File]:
    return [file for file in volume.files if not file.is_pad]


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]
