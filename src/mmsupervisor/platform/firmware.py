"""From a firmware image to what a PEI phase would have reported: volumes, the core, names in drivers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mmsupervisor import prebuilt
from mmsupervisor.core.modules import BROKER_GUID, Symbols
from mmsupervisor.ipl.interfaces import CoreImage
from mmsupervisor.pi.container import Image
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.pe import parse_pe
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import FFS2_GUID, FFS3_GUID, File, FileType, SectionType, Volume, files, volumes
from mmsupervisor.platform.sample import BROKER_NAME, broker_volume


@dataclass(frozen=True, slots=True)
class VisibleVolume:
    """A volume that has a HOB when the core is launched.

    Attributes:
        name: Where it stands in the image.
        data: Its bytes.
    """

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Firmware:
    """What a boot takes from an image.

    Attributes:
        name: The image's path or title.
        sha256: SHA-256 of the image, hexadecimal.
        volumes: Visible volumes, in order.
        core: The core's image, or None.
        brings_broker: Whether the image has a broker of its own; ours is added in a volume where it has not.
    """

    name: str
    sha256: str
    volumes: tuple[VisibleVolume, ...]
    core: CoreImage | None
    brings_broker: bool


def read_firmware(image: Image, data: bytes, name: str) -> Firmware:
    """Take a boot's share of an image that was read.

    Args:
        image: The tree.
        data: The bytes it was read from.
        name: For reports.
    """
    visible = tuple(_visible(image))
    core = _find_core(image)
    brings_broker = any(place.node.guid == BROKER_GUID for place in files(image, FileType.MM_STANDALONE))
    if core is not None and not brings_broker:
        visible += (VisibleVolume("our broker", broker_volume()),)
    return Firmware(name, hashlib.sha256(data).hexdigest(), visible, core, brings_broker)


def _visible(image: Image) -> list[VisibleVolume]:
    """Every volume with a file system that PEI reports: top-level ones, and those it decompresses."""
    found = []
    for place in volumes(image):
        volume = place.node
        if isinstance(volume, Volume) and volume.file_system in (FFS2_GUID, FFS3_GUID):
            found.append(VisibleVolume(f"{volume.part}@{volume.offset:#x}", bytes(volume.raw)))
    return found


def _find_core(image: Image) -> CoreImage | None:
    for place in files(image, FileType.MM_CORE_STANDALONE):
        file = place.node
        section = file.first_section(SectionType.PE32, open_encapsulations=False) if isinstance(file, File) else None
        if section is None:
            continue
        try:
            parsed = parse_pe(Reader(section.data, section.part, section.offset))
        except FormatError:
            continue
        header = parsed.optional_header
        version = header.subsystem_version[0] << 16 | header.subsystem_version[1]
        patch = header.image_version[0] << 16 | header.image_version[1]
        return CoreImage(header.size_of_image, header.section_alignment, version, patch)
    return None


def shipped_symbols(image: Image) -> dict[Guid, Symbols]:
    """Return the names in those of an image's drivers that are ours to the byte, by file GUID.

    The file GUID alone proves nothing: every broker has the same, whoever built it.
    """
    shipped = {prebuilt.driver(name).image_sha256: name for name in prebuilt.names()}
    found = {BROKER_GUID: _symbols(BROKER_NAME)}  # ours is added where the image brings none
    for place in files(image, FileType.MM_STANDALONE):
        file = place.node
        section = file.first_section(SectionType.PE32, open_encapsulations=False) if isinstance(file, File) else None
        if section is not None:
            name = shipped.get(hashlib.sha256(section.data).hexdigest())
            found[place.node.guid] = _symbols(name) if name else Symbols()
    return found


def _symbols(name: str) -> Symbols:
    known = prebuilt.symbols(name)
    return Symbols(tuple(symbol.rva for symbol in known), tuple(symbol.name for symbol in known))
