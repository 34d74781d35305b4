"""The sample platform, strict: what each driver does, exactly, and what the boot phases bring."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

import mmsupervisor
from mmsupervisor.abi.findings import FINDING_KINDS
from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.core.events import DriverLoaded, HandlerRegistered, ProtocolInstalled
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.dxe.relay import Relay
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.sample import GOOD_DRIVERS, shipped
from mmsupervisor.session import Session
from tests.samples.support import GUIDS, SAMPLES, boot_samples, handler_of, ready_driver, send, step

LIFECYCLE = (
    "gEfiDxeMmReadyToLockProtocolGuid", "gEfiMmEndOfPeiProtocol", "gEfiEndOfDxeEventGroupGuid",
    "gEfiEventExitBootServicesGuid", "gEfiEventReadyToBootGuid",
)  # fmt: skip
"""Handlers of the broker in the order of registration (boot-flow.md §9)."""

PROTOCOLS = {
    "MmSupervisorRing3Broker": ("gEfiMmCpuProtocolGuid", "gMmRing3HandlerReadyProtocol"),
    "Producer": ("gSampleProducerProtocolGuid",),
    "RunsBefore": ("gSampleRunsBeforeProtocolGuid",),
    "RunsAfter": ("gSampleRunsAfterProtocolGuid",),
    "CpuIo": ("gEfiMmCpuIoProtocolGuid",),
}
"""Protocols that each driver installs at its entry; the others install none."""

HANDLERS = {"MmSupervisorRing3Broker": LIFECYCLE, "MmSupervisorErrorReport": (), "RunsBefore": (), "RunsAfter": ()}
"""Handlers that each driver registers at its entry, where it is not the one of its messages."""

NOTIFICATIONS = {
    "Consumer": ("gSampleLateProtocolGuid",),
    "Lifecycle": (
        "gEfiMmEndOfPeiProtocol",
        "gEfiMmEndOfDxeProtocolGuid",
        "gEfiMmReadyToLockProtocolGuid",
        "gEfiEventReadyToBootGuid",
        "gEfiEventExitBootServicesGuid",
        "gEdkiiSmmReadyToBootProtocolGuid",
        "gEdkiiSmmExitBootServicesProtocolGuid",
        "gEdkiiSmmLegacyBootProtocolGuid",
    ),
}
"""Protocols whose installation each driver asks to be told of; the others ask for none."""

_FIRST = ("MmSupervisorErrorReport", "RunsBefore", "Producer", "RunsAfter")
_LAST = ("Consumer",)
ORDER = (
    "MmSupervisorRing3Broker",
    *_FIRST,
    *(name for name in GOOD_DRIVERS if name not in _FIRST + _LAST),
    *_LAST,
)
"""Drivers in the order in which their dependencies let them start."""


@pytest.fixture(scope="module")
def launched() -> Iterator[Session]:
    with mmsupervisor.boot(until=Phase.LAUNCHED) as session:
        yield session


def label(name: str) -> str:
    return GUIDS[name].label if name in GUIDS else name


def events_of(session: Session, kind: type, driver: str) -> list[str]:
    return [
        record.event.guid
        for record in session.events
        if isinstance(record.event, kind) and record.position.driver == driver
    ]


def test_every_driver_of_the_platform_starts_and_nothing_is_found(launched: Session) -> None:
    assert launched.stop is None
    assert launched.findings == ()
    expected = ("MmSupervisorRing3Broker", *GOOD_DRIVERS)
    assert [(driver.name, driver.state, driver.status) for driver in launched.drivers] == [
        (name, "started", 0) for name in expected
    ]


def test_drivers_start_in_the_order_of_their_dependencies(launched: Session) -> None:
    loaded = [record.event.name for record in launched.events if isinstance(record.event, DriverLoaded)]
    assert tuple(loaded) == ORDER


@pytest.mark.parametrize("name", ORDER)
def test_each_driver_installs_exactly_its_protocols(launched: Session, name: str) -> None:
    assert events_of(launched, ProtocolInstalled, name) == [label(guid) for guid in PROTOCOLS.get(name, ())]


@pytest.mark.parametrize("name", ORDER)
def test_each_driver_registers_exactly_its_handlers(launched: Session, name: str) -> None:
    sample = SAMPLES.get(name)
    expected = HANDLERS.get(name, (sample.handler,) if sample and sample.handler else ())
    if name == "StatusReturner":
        expected = expected * 2
    assert events_of(launched, HandlerRegistered, name) == [label(guid) for guid in expected]


@pytest.mark.parametrize("name", ORDER)
def test_each_driver_waits_for_exactly_its_protocols(launched: Session, name: str) -> None:
    (report,) = (driver for driver in launched.drivers if driver.name == name)
    assert report.notifications == tuple(sorted(label(guid) for guid in NOTIFICATIONS.get(name, ())))


def test_nothing_is_left_under_way(launched: Session) -> None:
    """Also after procedures on other processors, whose calls nest."""
    assert launched.core is not None
    step(launched, "ApUser", 3)
    assert launched.core.ring3.depth == 0
    assert launched.core.supervisor.handlers.depth == 0
    assert [cpu.busy for cpu in launched.core.supervisor.cpus] == [False] * 4
    assert launched.core.supervisor.current_cpu == 0


def test_the_broker_makes_its_system_calls_in_order(launched: Session) -> None:
    calls = [
        record.event.call
        for record in launched.events
        if record.event.kind == "system-call" and record.position.driver == "MmSupervisorRing3Broker"
    ]
    expected = ["SMM_QRY_HOB", "SMM_REG_HDL_JMP", "SMM_SET_CPL3_TBL", "SMM_INST_PROT", "SMM_INST_PROT"]
    assert [call for call in calls if call != "SMM_ALOC_PAGE"] == expected + ["SMM_REG_HNDL"] * 5


def test_phases_bring_the_lifecycle_protocols_in_a_devices_order() -> None:
    with boot_samples("Lifecycle", until=Phase.LAUNCHED) as session:
        seen = []
        for phase in Phase:
            before = len(session.events)
            session.advance(phase)
            new = [record.event for record in session.events[before:]]
            installed = [event.guid for event in new if isinstance(event, ProtocolInstalled)]
            _, body = send(session, "Lifecycle", b"\xff" * 0x48)
            counts = [int.from_bytes(body[8 * n : 8 * n + 8], "little") for n in range(1, 9)]
            seen.append((phase, installed, counts[:5]))
            assert counts[5:] == [0, 0, 0], "the traditional lifecycle protocols are never produced"
        assert seen == [
            (Phase.LAUNCHED, [], [0, 0, 0, 0, 0]),
            (Phase.END_OF_PEI, ["gEfiMmEndOfPeiProtocol"], [1, 0, 0, 0, 0]),
            (Phase.DXE, [], [1, 0, 0, 0, 0]),
            (Phase.END_OF_DXE, ["gEfiMmEndOfDxeProtocolGuid"], [1, 1, 0, 0, 0]),
            (Phase.READY_TO_LOCK, ["gEfiMmReadyToLockProtocolGuid"], [1, 1, 1, 0, 0]),
            (Phase.READY_TO_BOOT, ["gEfiEventReadyToBootGuid"], [1, 1, 1, 1, 0]),
            (Phase.EXIT_BOOT_SERVICES, ["gEfiEventExitBootServicesGuid"], [1, 1, 1, 1, 1]),
        ]


def test_repeated_relays_of_end_of_dxe_install_again() -> None:
    with boot_samples("Lifecycle") as session:
        session.communicate("gEfiEndOfDxeEventGroupGuid", b"\0")
        session.communicate("gEfiEventReadyToBootGuid", b"\0")
        _, body = send(session, "Lifecycle", b"\xff" * 0x48)
        counts = [int.from_bytes(body[8 * n : 8 * n + 8], "little") for n in range(1, 9)]
        assert counts[1] == 2, "EndOfDxe is not guarded (boot-flow.md surprise 9)"
        assert counts[3] == 1, "ReadyToBoot is"


def test_a_relay_sends_its_message_when_its_event_comes() -> None:
    with boot_samples("Echo", until=Phase.LAUNCHED) as session:
        payload = b"\xff" * 8 + (3).to_bytes(4, "little") + bytes(12) + b"boot mode"
        relay = Relay("boot mode", Phase.END_OF_DXE, handler_of("Echo"), lambda: payload)
        by_protocol = Relay(
            "by protocol", GUIDS["gSampleLateProtocolGuid"], handler_of("Echo"), lambda: payload, once=False
        )
        session.add_relay(relay)
        session.add_relay(by_protocol)
        session.advance(Phase.DXE)
        assert relay.answers == []
        session.advance(Phase.READY_TO_LOCK)
        assert len(relay.answers) == 1
        assert relay.answers[0].data.endswith(b"BOOT MODE")
        assert by_protocol.answers == []
        session.install_dxe_protocol(GUIDS["gSampleLateProtocolGuid"])
        session.install_dxe_protocol(GUIDS["gSampleLateProtocolGuid"])
        assert len(by_protocol.answers) == 2


def test_every_finding_kind_has_a_mend_and_a_meaning() -> None:
    for number, kind in FINDING_KINDS.items():
        assert number == kind.number
        assert kind.title
        assert kind.meaning.endswith(".")
        assert kind.mend.endswith(".")


MILESTONES = ("gEfiEventReadyToBootGuid", "gEfiEventExitBootServicesGuid")


@pytest.mark.parametrize(("known", "found"), [(MILESTONES, 0), (MILESTONES[:1], 0), ((), 3)])
def test_waits_for_milestones_under_traditional_names(known: tuple[str, ...], found: int) -> None:
    """The sample waits under all names; without those of the broker it waits in vain, and is told which."""
    image = shipped("Lifecycle").image
    assert image is not None
    for number, name in enumerate(MILESTONES):
        assert known_guid(name).raw in image
        if name not in known:
            image = image.replace(known_guid(name).raw, bytes([number + 1]) * 16)
    with boot_samples(extra=[ready_driver("Waiting", image)]) as session:
        waits = [finding for finding in session.findings if finding.kind.number == "MM-2012"]
        assert session.findings == tuple(waits)
    assert len(waits) == found
    assert all(finding.subject == "Waiting" for finding in waits)
    if found:
        assert "gEdkiiSmmReadyToBootProtocolGuid" in waits[0].detail


def test_a_debug_build_boots_the_platform_and_stands_still_at_a_bad_message() -> None:
    with mmsupervisor.boot(description=PlatformDescription(profile=PROFILES["newest-debug"])) as session:
        assert session.stop is None
        assert session.findings == ()
        with pytest.raises(SystemStopError) as caught:
            send(session, "StatusReturner", struct.pack("<5Q", 0, Status.DEVICE_ERROR, 0, 0, 0))
        assert caught.value.finding.kind.number == "MM-1303"
        assert session.stop is caught.value.finding


def test_drivers_that_share_a_name_are_told_apart() -> None:
    other = replace(shipped("EntryError"), name="Echo")
    with boot_samples("Echo", extra=[other]) as session:
        reports = {driver.name: (driver.guid, driver.state) for driver in session.drivers}
        (finding,) = session.findings
        assert send(session, "Echo", b"who answers?")[1] == b"who answers?"
    assert reports["Echo"] == (shipped("Echo").guid, "started")
    assert reports["Echo #2"] == (other.guid, "failed")
    assert (finding.kind.number, finding.subject) == ("MM-2004", "Echo #2")
