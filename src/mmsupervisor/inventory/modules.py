"""Modules of management mode in an image: cores, broker and drivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmsupervisor.inventory.dependencies import Dependency, read_dependency
from mmsupervisor.inventory.executables import describe_executable
from mmsupervisor.inventory.model import ExecutableReport, ModuleReport, Payload, Role
from mmsupervisor.inventory.volumes import NumberedVolume, offsets_in_scan
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.pe import PeImage
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import File, FileType, Section, SectionType

SUPERVISOR_CORE = known_guid("gMmSupervisorCoreGuid")
"""File name of the MM Supervisor's core."""
BROKER = known_guid("MmSupervisorRing3Broker")
"""File name of the ring-3 broker."""

_ROLES = {
    FileType.MM_CORE_STANDALONE: Role.STANDALONE_CORE,
    FileType.MM_CORE: Role.TRADITIONAL_CORE,
    FileType.MM_STANDALONE: Role.STANDALONE_DRIVER,
    FileType.MM: Role.TRADITIONAL_DRIVER,
    FileType.COMBINED_MM_DXE: Role.COMBINED_DRIVER,
}
_NAMED_ROLES = {
    (FileType.MM_CORE_STANDALONE, SUPERVISOR_CORE): Role.SUPERVISOR_CORE,
    (FileType.MM_STANDALONE, BROKER): Role.BROKER,
}


@dataclass(frozen=True, slots=True)
class FoundModule:
    """A module with what the checks need to look at.

    Attributes:
        file: Its file.
        volume: Its volume.
        report: What the report says of it.
        image: Its PE image; None without one that can be read.
        dependency: Its MM dependency expression; None without one.
    """

    file: File
    volume: NumberedVolume
    report: ModuleReport
    image: PeImage | None
    dependency: Dependency | None

    def has_outermost(self, type_: SectionType) -> bool:
        """Whether a section of that type is not encapsulated: the supervisor's scan opens nothing."""
        return self.file.first_section(type_, open_encapsulations=False) is not None


def role_of(file: File) -> Role | None:
    """What a file is to management mode; None for a file that is nothing to it."""
    try:
        type_ = FileType(file.type)
    except ValueError:
        return None
    return _NAMED_ROLES.get((type_, file.guid)) or _ROLES.get(type_)


def find_modules(volumes: Sequence[NumberedVolume], allowance: Allowance) -> Iterator[FoundModule]:
    """All modules, in the order of the image.

    Args:
        volumes: All volumes of the image.
        allowance: Bounds; mapping images counts as expanding, relocations and instructions of dependencies as items.
    """
    for volume in volumes:
        roles = [(file, role_of(file)) for file in volume.place.node.files if file.is_live]
        looked_for = any(role and not role.is_traditional for _, role in roles)
        reached = offsets_in_scan(volume.place.node) if looked_for else frozenset()
        for file, role in roles:
            if role is not None:
                is_found = file.offset in reached and volume.report.visibility.is_reachable
                yield _module(file, volume, role, None if role.is_traditional else is_found, allowance)


def _module(file: File, volume: NumberedVolume, role: Role, is_found: bool | None, allowance: Allowance) -> FoundModule:
    executable, image = _executable(file, allowance)
    section = file.first_section(SectionType.MM_DEPEX)
    dependency = read_dependency(section.data, section.part, section.data_offset, allowance) if section else None
    report = ModuleReport(
        name=file.label,
        guid=file.guid,
        role=role,
        type=file.type_name,
        version=file.version,
        volume=volume.report.number,
        part=volume.report.part,
        offset=file.offset,
        size=file.size,
        executable=executable,
        dependency=dependency.report if dependency else None,
        is_found=is_found,
    )
    return FoundModule(file, volume, report, image, dependency)


def _executable_section(file: File) -> Section | None:
    return file.first_section(SectionType.PE32) or file.first_section(SectionType.TE)


def _executable(file: File, allowance: Allowance) -> tuple[ExecutableReport | None, PeImage | None]:
    section = _executable_section(file)
    if section is None:
        return None, None
    return describe_executable(Reader(section.data, section.part, section.data_offset), allowance)


def payloads_of(module: FoundModule, number: int) -> Iterator[Payload]:
    """The module's image and dependency expression, as they lie in their sections; ``number`` goes to each."""
    name = module.report.name
    section = _executable_section(module.file)
    if section is not None:
        suffix = "te" if section.type == SectionType.TE else "efi"
        yield Payload(name, number, suffix, section.data)
    section = module.file.first_section(SectionType.MM_DEPEX)
    if section is not None:
        yield Payload(name, number, "depex", section.data)
