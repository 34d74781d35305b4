"""What a boot with traditional SMM drivers takes from an image, and the stand-in for DXE that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mmsupervisor.core.findings import Finding, make_finding
from mmsupervisor.dxe.boot_services import DxeBootServices
from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.dxe.pei_launch_world import PeiLaunchWorld
from mmsupervisor.dxe.traditional.stand_in import StandIn
from mmsupervisor.dxe.world import World
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.container import Image
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.pcd_database import DatumType, Pcd, PcdDatabase, Storage, is_pcd_database, parse_pcd_database
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import File, FileType, SectionType, files
from mmsupervisor.platform.description import PcdValue

_DISPATCH_GUID = known_guid("gMmSupervisorDriverDispatchGuid")
_COMMUNICATION_GUID = known_guid("gEfiMmCommunicationProtocolGuid")
_TYPES = (FileType.MM, FileType.COMBINED_MM_DXE)
_DATABASE_HOLDERS = ((FileType.PEIM, FileType.COMBINED_PEIM_DRIVER), (FileType.DRIVER,))
"""Types of the files that carry the database of PEI and that of DXE, whose tokens go on counting."""

_EXTENDED_TOKENS = 1 << 32
"""Where numbers of PCDs begin that only the platform description knows by token space."""


@dataclass(frozen=True, slots=True)
class TraditionalFile:
    """A file that only a relaxation lets in.

    Attributes:
        name: Its name.
        guid: File GUID.
        type: File type.
    """

    name: str
    guid: Guid
    type: int


def traditional_files(image: Image) -> tuple[TraditionalFile, ...]:
    """Return the traditional MM drivers of an image, in its order."""
    found = []
    for place in files(image, *_TYPES):
        file = place.node
        if isinstance(file, File):
            found.append(TraditionalFile(file.label, file.guid, file.type))
    return tuple(found)


def refusals(found: tuple[TraditionalFile, ...]) -> list[Finding]:
    """Return one finding for each traditional driver that no relaxation lets in."""
    return [
        make_finding(
            "MM-2011",
            f"its file type is {item.type:#04x}, and the core's scan takes no other than 0x0e",
            subject=item.name,
            rule="boot-flow.md §5",
        )
        for item in found
    ]


def _databases(image: Image, types: tuple[FileType, ...], first_token: int) -> Iterator[PcdDatabase]:
    for place in files(image, *types):
        section = place.node.first_section(SectionType.RAW) if isinstance(place.node, File) else None
        if section is None or not is_pcd_database(section.data):
            continue
        try:
            yield parse_pcd_database(Reader(section.data, section.part, section.offset), first_token)
        except FormatError:
            continue  # drivers that ask for a value are told that there is none


def image_pcds(image: Image) -> tuple[Pcd, ...]:
    """Return the PCDs of the databases of PEI and DXE, by token."""
    found: list[Pcd] = []
    for types in _DATABASE_HOLDERS:
        database = next(_databases(image, types, len(found) + 1), None)
        found += database.pcds if database else ()
    return tuple(found)


def with_described_pcds(pcds: tuple[Pcd, ...], described: tuple[PcdValue, ...]) -> tuple[Pcd, ...]:
    """Put the values of a platform description in place of an image's, and add those that it does not have."""
    found = {pcd.token: pcd for pcd in pcds}
    by_space = {(pcd.token_space, pcd.ex_token): pcd.token for pcd in pcds if pcd.token_space}
    for number, item in enumerate(described):
        token = item.token if item.space is None else by_space.get((item.space, item.token), _EXTENDED_TOKENS + number)
        value = _bytes_of(item)
        known = found.get(token)
        number_in_space = None if item.space is None else item.token
        new = Pcd(token, item.space, number_in_space, item.type, Storage.DATA, len(value), value)
        found[token] = replace(known, value=value) if known else new
    return tuple(found.values())


_WIDTHS = {DatumType.BOOLEAN: 1, DatumType.UINT8: 1, DatumType.UINT16: 2, DatumType.UINT32: 4, DatumType.UINT64: 8}


def _bytes_of(item: PcdValue) -> bytes:
    return item.value if isinstance(item.value, bytes) else item.value.to_bytes(_WIDTHS[item.type], "little")


def make_stand_in(
    memory: PhysicalMemory,
    memory_map: UefiMemoryMap,
    *,
    mmram: tuple[MmramDescriptor, ...],
    hob_list: int,
    pcds: tuple[Pcd, ...],
    boot_services: DxeBootServices,
    images: int,
) -> StandIn:
    """Make the stand-in for ``images`` drivers, with DXE's own database behind it."""
    return StandIn(
        memory,
        memory_map,
        mmram=mmram,
        hob_list=hob_list,
        pcds=pcds,
        has_protocol=boot_services.has,
        announce=boot_services.install,
        images=images,
    )


def begin_with_dxe(stand_in: StandIn, world: World) -> None:
    """Let traditional drivers be dispatched as soon as DXE can talk to MM.

    After a launch in PEI a second dispatch is asked for; a launch in DXE asks for its only one later than this.
    """
    if not isinstance(world, PeiLaunchWorld):
        stand_in.begin()
        return

    def communication_came() -> None:
        if stand_in.ready or not world.boot_services.has(_COMMUNICATION_GUID) or world.support is None:
            return
        stand_in.begin()
        world.support.send(_DISPATCH_GUID, bytes(8), "PiSmmIpl: traditional drivers")

    world.boot_services.notify_on_protocol(_COMMUNICATION_GUID, communication_came)
