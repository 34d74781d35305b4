"""From a firmware image to what a PEI phase would have reported: volumes, the core, names in drivers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from mmsupervisor import prebuilt
from mmsupervisor.abi.profile import NEWEST_RELEASE, Profile
from mmsupervisor.core.modules import BROKER_GUID
from mmsupervisor.debuginfo.read import embedded_symbols
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.ipl.interfaces import CoreImage
from mmsupervisor.pi.container import Image, read_image
from mmsupervisor.pi.errors import FormatError, MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.pcd_database import Pcd
from mmsupervisor.pi.pe import parse_pe
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import (
    FFS2_GUID,
    FFS3_GUID,
    File,
    FileType,
    Problem,
    SectionType,
    Volume,
    files,
    problems,
    volumes,
)
from mmsupervisor.pi.volume.build import build_volume
from mmsupervisor.pi.volume.build_section import BuildError
from mmsupervisor.pi.volume.rebuild import volume_spec
from mmsupervisor.platform.sample import BROKER_NAME, CORE_GUID, POLICY_GUID, broker_volume, mm_volume, policy_file
from mmsupervisor.platform.traditional import TraditionalFile, image_pcds, traditional_files

_IMAGE_SIGNATURES = (b"MZ", b"VZ")
"""What PE and TE images begin with."""

_OUR_BROKER = "our broker"
_OUR_SUPERVISOR = "our supervisor"
_OURS = (_OUR_BROKER, _OUR_SUPERVISOR)


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
        core_volume: Name of the volume that holds the core, or empty.
        image: The image's bytes.
        traditional: Traditional MM drivers, which only a relaxation lets in.
        pcds: The values that the image's PCD databases begin with; read where traditional drivers are let in.
        damage: Where the image's format is broken, in order; what lies there may be missing from the boot.
    """

    name: str
    sha256: str
    volumes: tuple[VisibleVolume, ...]
    core: CoreImage | None
    brings_broker: bool
    core_volume: str = ""
    image: bytes = field(default=b"", repr=False)
    traditional: tuple[TraditionalFile, ...] = ()
    pcds: tuple[Pcd, ...] = ()
    damage: tuple[Problem, ...] = ()

    @property
    def core_with_hob(self) -> CoreImage | None:
        """The core, if its volume is visible: PEI finds no other; DXE finds one in a nested volume too."""
        return self.core if any(volume.name == self.core_volume for volume in self.volumes) else None

    @property
    def has_our_policy(self) -> bool:
        """Whether the core's volume, and so the policy, is ours: the image has no supervisor."""
        return self.core_volume == _OUR_SUPERVISOR


def no_volume(name: str, data: bytes) -> MmSupervisorError:
    """Return the error that an image without a firmware volume is, with what to do about a lone driver."""
    hint = "; `mmsup run` takes a driver by itself" if data.startswith(_IMAGE_SIGNATURES) else ""
    return MmSupervisorError(f"{name}: there is no firmware volume in it{hint}")


def read_firmware(
    image: Image,
    data: bytes,
    name: str,
    policy: bytes | None = None,
    *,
    traditional: bool = False,
    profile: Profile = NEWEST_RELEASE,
) -> Firmware:
    """Take a boot's share of an image that was read.

    Args:
        image: The tree.
        data: The bytes it was read from.
        name: For reports.
        policy: An isolation policy to put in place of the one in the core's volume; None leaves it.
        traditional: Whether traditional drivers are let in: an image without a supervisor of its own is then given
            our core, policy and broker, in a volume of their own.
        profile: Which generation that core is.

    Raises:
        BuildError: the core's volume cannot be written anew with another policy.
    """
    visible = tuple(_visible(image, policy))
    core, core_volume = _find_core(image)
    brings_broker = any(place.node.guid == BROKER_GUID for place in files(image, FileType.MM_STANDALONE))
    if core is not None and not brings_broker:
        visible += (VisibleVolume(_OUR_BROKER, broker_volume()),)
    found = Firmware(
        name,
        hashlib.sha256(data).hexdigest(),
        visible,
        core,
        brings_broker,
        core_volume,
        data,
        traditional_files(image),
        image_pcds(image) if traditional else (),
        tuple(problem for problem in problems(image) if problem.is_damage),
    )
    return _with_our_supervisor(found, policy, profile) if traditional and found.traditional and not core else found


def _with_our_supervisor(firmware: Firmware, policy: bytes | None, profile: Profile) -> Firmware:
    data = mm_volume([], policy=policy, profile=profile)
    core, _ = _find_core(read_image(Reader(data, _OUR_SUPERVISOR)))
    volumes_ = (*firmware.volumes, VisibleVolume(_OUR_SUPERVISOR, data))
    return replace(firmware, volumes=volumes_, core=core, core_volume=_OUR_SUPERVISOR)


def with_visible_volumes(firmware: Firmware, places: tuple[str, ...]) -> Firmware:
    """Leave out the volumes that are not named.

    Args:
        firmware: The firmware.
        places: The volumes that stay, as ``mmsup info`` says where they are; none named: all stay.

    Raises:
        MmSupervisorError: there is no volume in one of the places.
    """
    if not places:
        return firmware
    by_place = {place_of(volume, firmware.name): volume for volume in firmware.volumes if volume.name not in _OURS}
    for place in places:
        if place not in by_place:
            there = ", ".join(f'"{one}"' for one in by_place)
            raise MmSupervisorError(f'{firmware.name}: no volume at "{place}"; there are {there or "none"}')
    kept = tuple(
        volume for volume in firmware.volumes if volume.name in _OURS or place_of(volume, firmware.name) in places
    )
    return replace(firmware, volumes=kept)


def place_of(volume: VisibleVolume, image: str) -> str:
    """Return where a volume is, in an image of that name: its offset, behind the decompressed part it is in."""
    part, _, offset = volume.name.removeprefix(image).rpartition("@")
    return f"{part.lstrip('!')} {offset}".strip()


def _visible(image: Image, policy: bytes | None) -> list[VisibleVolume]:
    """Every volume with a file system that PEI reports: top-level ones, and those it decompresses."""
    found = []
    for place in volumes(image):
        volume = place.node
        if isinstance(volume, Volume) and volume.file_system in (FFS2_GUID, FFS3_GUID):
            holds_core = any(file.guid == CORE_GUID for file in volume.files)
            content = bytes(volume.raw) if policy is None or not holds_core else _with_policy(volume, policy)
            found.append(VisibleVolume(_volume_name(volume), content))
    return found


def _volume_name(volume: Volume) -> str:
    return f"{volume.part}@{volume.offset:#x}"


def _with_policy(volume: Volume, policy: bytes) -> bytes:
    """Write the core's volume with another policy: in its old size where it fits, else as large as it must be."""
    spec = volume_spec(volume)
    files_ = [file for file in spec.files if file.guid != POLICY_GUID]
    core = next(number for number, file in enumerate(files_) if file.guid == CORE_GUID)
    files_.insert(core + 1, policy_file(policy))
    changed = replace(spec, files=tuple(files_))
    try:
        return build_volume(changed)
    except BuildError:
        return build_volume(replace(changed, size=None, block_map=None))


def _find_core(image: Image) -> tuple[CoreImage | None, str]:
    """Return the first core that can be read, and the name of its volume."""
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
        core = CoreImage(header.size_of_image, header.section_alignment, version, patch)
        return core, _volume_name(place.volume) if place.volume else ""
    return None, ""


def shipped_symbols(image: Image) -> dict[Guid, Symbols]:
    """Return what is known of an image's drivers, by file GUID.

    Those that are ours to the byte have shipped names; the file GUID alone proves nothing: every broker has the same,
    whoever built it. Of others it is the DWARF that their images carry.
    """
    shipped = {prebuilt.driver(name).image_sha256: name for name in prebuilt.names()}
    found = {BROKER_GUID: symbols_of_shipped(BROKER_NAME)}  # ours is added where the image brings none
    for place in files(image, FileType.MM_STANDALONE):
        file = place.node
        section = file.first_section(SectionType.PE32, open_encapsulations=False) if isinstance(file, File) else None
        if section is not None:
            name = shipped.get(hashlib.sha256(section.data).hexdigest())
            found[place.node.guid] = (
                symbols_of_shipped(name) if name else embedded_symbols(bytes(section.data), place.node.guid.label)
            )
    return found


def symbols_of_shipped(name: str) -> Symbols:
    """Return the names in a shipped driver's image."""
    known = prebuilt.symbols(name)
    return Symbols(tuple(symbol.rva for symbol in known), tuple(symbol.name for symbol in known))
