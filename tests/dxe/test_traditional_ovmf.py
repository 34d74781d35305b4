"""Real traditional drivers in ring 3: what each of OVMF's installs, asks for and uses, and where two of them stop.

Exact facts hold for the release of Debian's package that :mod:`tests.support.ovmf` knows; with another one the tests
hold what does not depend on the build.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.dxe.traditional.events import ServiceCalled
from mmsupervisor.dxe.traditional.services import Support
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.mmst import MMST
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import DeviceFacts, PlatformDescription
from mmsupervisor.session import DriverReport, Session, boot
from tests.support.observed import CODE, VARIABLES, flash_platform, observe, settled_store
from tests.support.ovmf import Ovmf

SMALL = "OVMF_CODE.secboot.fd"
LOCK = ["gEfiMmEndOfDxeProtocolGuid", "gEfiMmReadyToLockProtocolGuid"]
RUN = {
    # name: protocols, handlers, notifications
    "CpuIo2Smm": (["gEfiMmCpuIoProtocolGuid"], [], []),
    "SmmLockBox": ([], ["gEfiSmmLockBoxCommunicationGuid"], ["gEdkiiEndOfS3ResumeGuid", *LOCK]),
    "FvbServicesSmm": (["gEfiSmmFirmwareVolumeBlockProtocolGuid", "gEfiDevicePathProtocolGuid"], [], []),
    "SmmFaultTolerantWriteDxe": (
        ["gEfiSmmFaultTolerantWriteProtocolGuid"],
        ["gEfiSmmFaultTolerantWriteProtocolGuid"],
        [*LOCK, "gEfiSmmFirmwareVolumeBlockProtocolGuid"],
    ),
    "VariableSmm": (
        ["gEfiSmmVariableProtocolGuid", "gEdkiiSmmVarCheckProtocolGuid"],
        ["gEfiSmmVariableProtocolGuid", "gVarCheckPolicyLibMmiHandlerGuid"],
        [*LOCK, "gEfiSmmFaultTolerantWriteProtocolGuid"],
    ),
}
OUTSIDE = [
    ("SmmLockBox", "gEfiLockBoxProtocolGuid"),
    ("VariableSmm", "gEfiSmmVariableProtocolGuid"),
    ("VariableSmm", "gSmmVariableWriteGuid"),
    ("SmmFaultTolerantWriteDxe", "gEfiSmmFaultTolerantWriteProtocolGuid"),
]
LOCK_BOX_ORDER = [
    ("gBS->LocateProtocol", "gEfiMmBaseProtocolGuid"),
    ("SmmBase2->GetSmstLocation", ""),
    ("gBS->LocateProtocol", "gEfiMmAccessProtocolGuid"),
    ("SmmAccess2->GetCapabilities", ""),
    ("SmmAccess2->GetCapabilities", ""),
    ("gBS->LocateProtocol", "gEfiDevicePathUtilitiesProtocolGuid"),
]


@pytest.fixture(scope="module")
def observed(ovmf: Ovmf) -> Iterator[Session]:
    with observe(ovmf) as session:
        yield session


def drivers(session: Session) -> dict[str, DriverReport]:
    return {driver.name: driver for driver in session.drivers}


def test_the_boot_reaches_its_end(observed: Session) -> None:
    assert (observed.stop, observed.launch_failure, observed.phase) == (None, None, Phase.READY_TO_BOOT)


@pytest.mark.parametrize("name", RUN)
def test_a_driver_runs_to_success_and_installs_what_it_should(ovmf: Ovmf, observed: Session, name: str) -> None:
    report = drivers(observed)[name]
    assert (report.state, report.status) == ("started", Status.SUCCESS)
    if not ovmf.known_release(CODE):
        assert report.protocols or report.handlers
        return
    protocols, handlers, notifications = RUN[name]
    assert list(report.protocols) == protocols
    assert sorted(report.handlers) == sorted(handlers)
    assert sorted(report.notifications) == sorted(notifications)


def test_the_2_mib_image_runs_to_the_same(ovmf: Ovmf) -> None:
    """Its store and its flash are smaller, and Debian 12 alone ships it; what each driver installs is the same."""
    if SMALL not in {path.name for path in ovmf.files()}:
        assert not ovmf.known_release(CODE), "Debian 12 has it"
        return
    store = ovmf.path("OVMF_VARS.ms.fd")
    description = PlatformDescription(devices=DeviceFacts(flash_variables=store))
    with boot(ovmf.path(SMALL), description=description, observe=True) as session:
        reports = drivers(session)
        for name, (protocols, handlers, notifications) in RUN.items():
            report = reports[name]
            assert (report.state, report.status) == ("started", Status.SUCCESS)
            assert list(report.protocols) == protocols
            assert sorted(report.handlers) == sorted(handlers)
            assert sorted(report.notifications) == sorted(notifications)
        states = {name: reports[name].state for name in ("CpuHotplugSmm", "PiSmmCpuDxeSmm")}
        assert states == {"CpuHotplugSmm": "never dispatched", "PiSmmCpuDxeSmm": "removed"}
        assert session.devices.variables is not None
        assert session.devices.variables.content == store.read_bytes()


def test_what_they_install_for_dxe(ovmf: Ovmf, observed: Session) -> None:
    installed = [(item.driver, item.guid.label) for item in observed.outside_protocols]
    assert installed == OUTSIDE if ovmf.known_release(CODE) else set(OUTSIDE) <= set(installed)
    assert {guid for _, guid in OUTSIDE} <= {guid.label for guid in observed.dxe_protocols}


def test_what_the_lock_box_asks_dxe_for_comes_in_order_and_with_its_place(observed: Session) -> None:
    calls = [record for record in observed.events if isinstance(record.event, ServiceCalled)]
    own = [record for record in calls if record.position.driver == "SmmLockBox"]
    told = [(record.event.service, record.event.guid) for record in own if isinstance(record.event, ServiceCalled)]
    assert told[:6] == LOCK_BOX_ORDER
    assert ("gBS->InstallProtocolInterface", "gEfiLockBoxProtocolGuid") in told
    base, size = drivers(observed)["SmmLockBox"].base, 20480
    assert base is not None
    assert all(record.position.offset is not None and 0 < record.position.offset < size for record in own)


def test_the_census_tells_what_is_not_there(ovmf: Ovmf, observed: Session) -> None:
    missing = {(entry.driver, entry.service.title) for entry in observed.outside_calls if not entry.served}
    three = {"SmmLockBox", "VariableSmm", "SmmFaultTolerantWriteDxe"}
    expected = {(name, "gDS->GetMemorySpaceMap") for name in three}
    assert missing == expected or (missing and not ovmf.known_release(CODE))
    for entry in observed.outside_calls:
        if entry.service.support is Support.NONE:
            assert entry.last == Status.UNSUPPORTED
    counted = {(entry.driver, entry.service.title): entry.count for entry in observed.outside_calls}
    assert counted["SmmFaultTolerantWriteDxe", "gBS->CalculateCrc32"] >= 1
    assert counted["FvbServicesSmm", "PCD->SetBool"] == 1
    assert counted["VariableSmm", "PCD->Get16"] == 1


def test_uses_of_relaxations_name_driver_and_offset(observed: Session) -> None:
    uses = observed.relaxed_uses
    entries = {use.place.driver for use in uses if use.relaxation is Relaxation.RETURN_BY_RET}
    assert set(RUN) == entries
    tables = [use for use in uses if use.relaxation is Relaxation.CONFIGURATION_TABLES]
    assert [use.place.driver for use in tables] == ["SmmLockBox"]
    assert all(use.place.offset is not None and use.count >= 1 for use in uses)


def test_the_flash_is_as_it_was(ovmf: Ovmf, tmp_path: Path) -> None:
    """A checksum or a base address that were wrong would make the real drivers format the store or its work space."""
    before = settled_store(ovmf)
    assert before == ovmf.path(VARIABLES).read_bytes() or not ovmf.known_release(CODE)
    store = tmp_path / "vars.fd"
    store.write_bytes(before)
    description = PlatformDescription(devices=DeviceFacts(flash_variables=store))
    with boot(ovmf.path(CODE), description=description, observe=True, until=Phase.READY_TO_BOOT) as session:
        assert session.devices.variables is not None
        assert session.devices.variables.content == before
        session.variables.set("Ours", "7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20", b"x")
        assert session.devices.variables.content != before


def test_cpu_hotplug_waits_for_what_the_supervisor_itself_is(observed: Session) -> None:
    report = drivers(observed)["CpuHotplugSmm"]
    assert report.state == "never dispatched"
    (finding,) = (one for one in observed.findings if one.subject == "CpuHotplugSmm")
    assert (finding.kind.number, finding.detail) == ("MM-2002", "waits for gEfiSmmCpuServiceProtocolGuid")
    assert report.reason.endswith("the supervisor has the CPUs of its launch")


def test_the_cpu_driver_stops_where_it_patches_its_own_code(observed: Session) -> None:
    """PiSmmCpuDxeSmm writes SMI entry code, tables and page tables: that is ring 0's work, and the supervisor's."""
    report = drivers(observed)["PiSmmCpuDxeSmm"]
    assert report.state == "removed"
    assert report.status is None
    assert report.handlers == ()
    assert report.reason.endswith("the supervisor does so, in ring 0")
    (finding,) = (one for one in observed.findings if one.place and one.place.driver == "PiSmmCpuDxeSmm")
    assert finding.kind.number == "MM-1203"
    assert "PiSmmCpuDxeSmm .text" in finding.detail
    asked = {entry.service.title for entry in observed.outside_calls if entry.driver == "PiSmmCpuDxeSmm"}
    assert {"SmmAccess2->GetCapabilities", "PCD->Get16"} <= asked


def test_two_boots_are_alike(ovmf: Ovmf, observed: Session) -> None:
    with observe(ovmf) as again:
        assert list(again.log.canonical_lines()) == list(observed.log.canonical_lines())


def test_milestones_come_under_their_smm_names(ovmf: Ovmf) -> None:
    with observe(ovmf, Phase.EXIT_BOOT_SERVICES) as session:
        assert session.core is not None
        seen = {guid.label for guid in session.core.supervisor.protocols.installed()}
        assert seen >= {
            "gEfiMmEndOfDxeProtocolGuid",
            "gEfiMmReadyToLockProtocolGuid",
            "gEdkiiSmmReadyToBootProtocolGuid",
            "gEdkiiSmmExitBootServicesProtocolGuid",
        }


def test_the_cpu_io_service_reads_and_writes_ports_by_real_instructions(ovmf: Ovmf) -> None:
    """CpuIo2Smm puts its functions into the system table; its IN and OUT are #GP, carried out and counted."""
    with observe(ovmf) as session:
        assert session.core is not None
        supervisor = session.core.supervisor
        table, memory = supervisor.jumps.user_table, session.memory
        read, write = (memory.read_u64(table + MMST.offset_of(f"MmIo.Io.{name}")) for name in ("Read", "Write"))
        assert session.owner_of(read) == session.owner_of(write) == "CpuIo2Smm"
        buffer = supervisor.shared_page + 0x800
        for letter in b"in ring 3":
            memory.write(buffer, bytes([letter]))
            assert supervisor.ring3.call(write, (0, 0, 0x402, 1, buffer), 0) == Status.SUCCESS
        assert session.console == "in ring 3"
        for width, expected in ((0, 0xE9), (1, 0xFFFF), (2, 0xFFFF_FFFF)):
            port = 0x402 if width == 0 else 0x80
            assert supervisor.ring3.call(read, (0, width, port, 1, buffer), 0) == Status.SUCCESS
            assert int.from_bytes(memory.read(buffer, 1 << width), "little") == expected
        uses = [use for use in session.relaxed_uses if use.relaxation is Relaxation.DIRECT_IO]
        assert {use.place.driver for use in uses} == {"CpuIo2Smm"}
        assert sum(use.count for use in uses) == 9 + 3


def test_the_external_buffer_is_open_only_while_a_handler_works_in_it(observed: Session) -> None:
    assert observed.core is not None
    observed.variables.storage()
    channel = observed.core.supervisor.user
    pages = list(observed.memory.slice(channel.external, channel.size))
    assert all(piece.value.attributes & Attribute.SP for piece in pages)
    uses = [use for use in observed.relaxed_uses if use.relaxation is Relaxation.EXTERNAL_COMM_BUFFER]
    assert [use.place.driver for use in uses] == ["VariableSmm"]


def test_without_relaxations_nothing_of_the_image_runs_and_the_findings_say_why(ovmf: Ovmf) -> None:
    with boot(ovmf.path(CODE), description=flash_platform(ovmf)) as session:
        assert session.drivers == ()
        numbers = [finding.kind.number for finding in session.findings]
        assert numbers == ["MM-2009"] + ["MM-2011"] * (len(numbers) - 1)
        assert {finding.subject for finding in session.findings[1:]} >= {*RUN, "CpuHotplugSmm", "PiSmmCpuDxeSmm"}
        assert all("MM_STANDALONE" in finding.mend for finding in session.findings[1:])


@pytest.mark.parametrize(
    ("without", "number"),
    [
        (Relaxation.RETURN_BY_RET, "MM-1105"),
        (Relaxation.OUTSIDE_MEMORY, "MM-1201"),
        (Relaxation.DRIVER_REMOVAL, "MM-1203"),
    ],
)
def test_each_relaxation_is_needed(ovmf: Ovmf, without: Relaxation, number: str) -> None:
    """Authors converge one by one: with one relaxation less the boot ends where the device would reset."""
    relax = set(Relaxation) - {without, Relaxation.DRIVER_REMOVAL}
    with boot(ovmf.path(CODE), description=flash_platform(ovmf), relax=relax) as session:
        assert session.stop is not None
        assert session.stop.kind.number == number


def test_the_launch_in_dxe_runs_them_too(ovmf: Ovmf) -> None:
    """Its buffers must be runtime memory for their checks; PEI's later generation left them boot memory (§8.1)."""
    profile = PROFILES["dxe-launch"]
    description = replace(flash_platform(ovmf), profile=profile, moves_comm_buffers=False)
    with boot(ovmf.path(CODE), description=description, observe=True) as session:
        assert {name for name, report in drivers(session).items() if report.state == "started"} >= set(RUN)
        assert session.variables.get("SecureBootEnable", "gEfiSecureBootEnableDisableGuid").data == b"\x01"


def test_a_traditional_handler_drops_a_message_that_lies_in_mmram(ovmf: Ovmf) -> None:
    relax = set(Relaxation) - {Relaxation.EXTERNAL_COMM_BUFFER}
    with boot(ovmf.path(CODE), description=flash_platform(ovmf), relax=relax, until=Phase.DXE) as session:
        assert session.lock_box.command(9, bytes(32)) == (1 << 64) - 1  # untouched
        status = session.lock_box.command(1, bytes(32))
        assert status == (1 << 64) - 1
