"""Traditional SMM drivers: found and scheduled as the PI SMM core does, under the relaxation "traditional entry".

Source: PI 1.8 vol. 4 §1.4 (SMM driver dispatch: a-priori file, dependency expressions over both databases).
"""

from __future__ import annotations

from functools import partial

from mmsupervisor.core.discovery import Discovery, Driver
from mmsupervisor.core.events import DriverFound
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.core.volume_scan import FREEFORM, SECTION_MM_DEPEX, SECTION_PE32, SECTION_RAW, ScannedFile, scan_files
from mmsupervisor.machine.events import Hex
from mmsupervisor.pi.depex import TRUE, encode, parse_depex
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import VolumeHob
from mmsupervisor.pi.mmst import MMST
from mmsupervisor.pi.reader import Reader

TRADITIONAL_TYPES = (0x0A, 0x0C)
"""File types MM and combined MM and DXE (PI 1.8 vol. 3 §2.1.4.1)."""

_APRIORI_GUID = known_guid("gAprioriGuid")
_INSTALL_OFFSET = MMST.offset_of("MmInstallProtocolInterface")
_MIRRORED = {
    known_guid("gEfiEventReadyToBootGuid"): known_guid("gEdkiiSmmReadyToBootProtocolGuid"),
    known_guid("gEfiEventExitBootServicesGuid"): known_guid("gEdkiiSmmExitBootServicesProtocolGuid"),
}


def discover_traditional(supervisor: Supervisor, volumes: list[VolumeHob], found: Discovery) -> bool:
    """Add the traditional drivers of all volumes with a HOB, in the order in which they are tried; whether any is.

    Those that an a-priori file of their volume names come first and are started whatever their expression says.
    """
    drivers: list[Driver] = []
    for hob in volumes:
        if supervisor.mmram.touches(hob.base, hob.length):
            continue
        files = list(scan_files(supervisor.memory.read(hob.base, hob.length)))
        own = [_driver(supervisor, found, file, hob.base) for file in files if file.type in TRADITIONAL_TYPES]
        drivers += _by_apriori(own, files)
    found.drivers += drivers
    return bool(drivers)


def mirror_lifecycle(supervisor: Supervisor) -> None:
    """Announce the boot's milestones under the SMM protocols of edk2's PiSmmCore too.

    The broker announces ReadyToBoot and ExitBootServices under the events' own GUIDs (docs/reference/boot-flow.md
    §11); EndOfDxe and ready to lock have the same GUIDs in both worlds.
    """
    for event, protocol in _MIRRORED.items():
        supervisor.protocols.notify(event, partial(_announce, supervisor, protocol))


def _announce(supervisor: Supervisor, protocol: Guid) -> None:
    """Install a protocol without an interface by ring 3's own service, on behalf of the routine under way."""
    use = f"announcement of {protocol.label}"
    page = supervisor.pages.allocate(1, PageType.RUNTIME_SERVICES_DATA, Owner.USER, use)
    supervisor.memory.write(page, bytes(GUID_SIZE) + protocol.raw)
    service = supervisor.memory.read_u64(supervisor.jumps.user_table + _INSTALL_OFFSET)
    rsp = supervisor.processor.registers().rsp
    supervisor.ring3.call(service, (page, page + GUID_SIZE, 0, 0), supervisor.current_cpu, below=rsp)


def _driver(supervisor: Supervisor, found: Discovery, file: ScannedFile, volume: int) -> Driver:
    section, name = file.section(SECTION_MM_DEPEX), found.own_name(file.name)
    depex = parse_depex(Reader(encode(TRUE) if section is None else section, f"{name} DEPEX"))
    supervisor.log.emit(DriverFound(name, file.guid.label, Hex(volume), Hex(volume + file.offset)))
    return Driver(name, file.guid, file.section(SECTION_PE32), depex, volume, traditional=True)


def _by_apriori(drivers: list[Driver], files: list[ScannedFile]) -> list[Driver]:
    file = next((item for item in files if item.type == FREEFORM and item.guid == _APRIORI_GUID), None)
    raw = file.section(SECTION_RAW) if file else None
    if not raw:
        return drivers
    wanted = [Guid(raw[at : at + GUID_SIZE]) for at in range(0, len(raw) - GUID_SIZE + 1, GUID_SIZE)]
    known = {driver.guid: driver for driver in drivers}
    first = [known[guid] for guid in dict.fromkeys(wanted) if guid in known]
    for driver in first:
        driver.apriori = True
    return first + [driver for driver in drivers if not driver.apriori]
