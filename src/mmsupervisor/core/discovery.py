"""Finding drivers and the policy: one scan at the core's entry, none after (docs/reference/boot-flow.md §4.3, §5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsupervisor.core.events import DriverFound, FileSkipped
from mmsupervisor.core.findings import make_finding
from mmsupervisor.core.inputs import CORE_GUID
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.core.volume_scan import (
    FREEFORM,
    MM_CORE_STANDALONE,
    MM_STANDALONE,
    SECTION_MM_DEPEX,
    SECTION_PE32,
    SECTION_RAW,
    ScannedFile,
    VolumeIdentity,
    identify,
    scan_files,
)
from mmsupervisor.machine.events import Hex
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.depex import Depex, parse_depex
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import VolumeHob
from mmsupervisor.pi.memory_types import pages_for
from mmsupervisor.pi.reader import Reader

_POLICY_GUID = known_guid("gMmSupervisorPolicyFileGuid")
_OTHER_MM_TYPES = {
    0x0A: "a traditional SMM driver (type 0x0A): the supervisor does not load it",
    0x0C: "a combined MM and DXE driver (type 0x0C): the supervisor does not load it",
    0x0D: "a traditional SMM core (type 0x0D): the supervisor does not load it",
}


@dataclass(slots=True)
class Driver:
    """A driver of the discovered list.

    Attributes:
        name: For reports; no two drivers of a scan have the same.
        guid: File GUID, which is its FILE_GUID.
        image: Bytes of its PE32 section, or None if it has none.
        depex: Its dependency expression.
        volume: Address of its volume.
        scheduled: Whether it is or was in the queue.
        initialized: Whether it was loaded, or refused.
        traditional: Whether it is a traditional driver, which a relaxation lets in.
        apriori: Whether an a-priori file names it, so that its expression does not matter.
    """

    name: str
    guid: Guid
    image: bytes | None
    depex: Depex
    volume: int
    scheduled: bool = False
    initialized: bool = False
    traditional: bool = False
    apriori: bool = False


@dataclass(slots=True)
class Discovery:
    """What the scan found.

    Attributes:
        drivers: In volume and file order.
        core_volume: Address of the volume that holds the core, or None.
        volumes: Number of volumes that contribute.
        cache: All driver files, back to back.
    """

    drivers: list[Driver] = field(default_factory=list)
    core_volume: int | None = None
    volumes: int = 0
    cache: bytearray = field(default_factory=bytearray)
    _names: dict[str, int] = field(default_factory=dict)

    def own_name(self, name: str) -> str:
        """Return a name that no driver of the scan has yet: the given one, or ``Name #2`` and so on.

        Traces, findings and reports know drivers by name; files may share theirs, or be there twice.
        """
        own, number = name, self._names.get(name, 1)
        while own in self._names:
            number += 1
            own = f"{name} #{number}"
        self._names[name] = number  # thousands of files may share a name: none is counted from the start again
        self._names.setdefault(own, 1)
        return own


def discover(supervisor: Supervisor, volumes: list[VolumeHob]) -> Discovery:
    """Scan all firmware volumes that have a HOB, in order.

    Raises:
        BusError: there is no memory where a HOB says that a volume is.
    """
    found = Discovery()
    seen: list[VolumeIdentity] = []
    for hob in volumes:
        data = supervisor.memory.read(hob.base, hob.length)
        files = list(scan_files(data))
        if not any(file.type in (MM_STANDALONE, MM_CORE_STANDALONE) for file in files):
            _note_others(supervisor, files)
            continue
        identity = identify(hob.base, data)
        if any(other.address == hob.base or (other.name and other.name == identity.name) for other in seen):
            supervisor.log.emit(FileSkipped("", f"the volume at {hob.base:#x} was seen before"))
            continue
        if supervisor.mmram.touches(hob.base, hob.length):
            _report_volume_in_mmram(supervisor, hob)
            continue
        seen.append(identity)
        found.volumes += 1
        _note_core(found, hob.base, files)
        _scan_drivers(supervisor, found, hob.base, files)
    return found


def _report_volume_in_mmram(supervisor: Supervisor, hob: VolumeHob) -> None:
    reason = "it lies in MMRAM: nothing is copied from there"
    supervisor.log.emit(FileSkipped("", f"the volume at {hob.base:#x}: {reason}"))
    supervisor.report(make_finding("MM-2003", reason, subject=f"volume at {hob.base:#x}", rule="boot-flow.md §5"))


def _note_core(found: Discovery, base: int, files: list[ScannedFile]) -> None:
    first = next((file for file in files if file.type == MM_CORE_STANDALONE), None)
    if found.core_volume is None and first is not None and first.guid == CORE_GUID:
        found.core_volume = base


def _note_others(supervisor: Supervisor, files: list[ScannedFile]) -> None:
    for file in files:
        if file.type in _OTHER_MM_TYPES:
            supervisor.log.emit(FileSkipped(file.guid.label, _OTHER_MM_TYPES[file.type]))


def _scan_drivers(supervisor: Supervisor, found: Discovery, base: int, files: list[ScannedFile]) -> None:
    _note_others(supervisor, files)
    for file in files:
        if file.type != MM_STANDALONE:
            continue
        found.cache += file.data
        image, depex = file.section(SECTION_PE32), file.section(SECTION_MM_DEPEX)
        if depex is not None:
            name = found.own_name(file.name)
            expression = parse_depex(Reader(depex, f"{name} DEPEX"))
            found.drivers.append(Driver(name, file.guid, image, expression, base))
            supervisor.log.emit(DriverFound(name, file.guid.label, Hex(base), Hex(base + file.offset)))
        else:
            _report_skipped(supervisor, file, "it has no MM dependency section: never dispatched, and nobody is told")
            supervisor.reference_bug("boot-flow.md §12.11", f"{file.name} has no dependency section")
        if image is None:
            _report_skipped(supervisor, file, "it has no PE32 section: it hides all later files of its volume")
            supervisor.reference_bug("boot-flow.md §12.11", f"{file.name} has no PE32 section and ends the scan")
            return


def _report_skipped(supervisor: Supervisor, file: ScannedFile, reason: str) -> None:
    supervisor.log.emit(FileSkipped(file.guid.label, reason))
    supervisor.report(make_finding("MM-2003", reason, subject=file.name, rule="boot-flow.md §5"))


def cache_drivers(supervisor: Supervisor, found: Discovery) -> None:
    """Copy all driver files into one block of ring-3 pages, which lives until ready to lock."""
    pages = pages_for(len(found.cache))
    if not pages:
        return
    cache = supervisor.driver_cache
    cache.address = supervisor.pages.allocate(pages, PageType.RUNTIME_SERVICES_DATA, Owner.USER, "driver file cache")
    cache.pages = pages
    supervisor.memory.write(cache.address, found.cache.ljust(pages * PAGE_SIZE, b"\0"))


def find_policy(supervisor: Supervisor, core_volume: int, volumes: list[VolumeHob]) -> bytes | None:
    """Return the data of the policy's RAW section in the core's volume, or None."""
    hob = next((candidate for candidate in volumes if candidate.base == core_volume), None)
    if hob is None:
        return None
    for file in scan_files(supervisor.memory.read(hob.base, hob.length)):
        if file.type == FREEFORM and file.guid == _POLICY_GUID:
            return file.section(SECTION_RAW)
    return None
