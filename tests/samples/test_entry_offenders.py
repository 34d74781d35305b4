"""Drivers that break a rule when they start, or in one of their messages: each beside its benign twin."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.samples import shapes
from firmware.samples.catalogue import Case
from mmsupervisor import prebuilt
from mmsupervisor.core.events import DriverLoaded, DriverReturned
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import Access
from mmsupervisor.pi.status import Status, status_name
from mmsupervisor.platform.sample import DriverFile, mm_volume, ready_depex, shipped
from mmsupervisor.session import Session, boot
from tests.samples.policies import MSR, PORT, policy
from tests.samples.stage import DESCRIPTION, GUIDS, SAMPLES, Stage, expectations, staged, symbol
from tests.support.invariants import broken_invariants

BAD_STOPS = ("fault", "call", "policy", "budget", "entry", "never", "load")
STOPPED_AT_START = ("LoopsForever", "ReturnsByRet", "UsesImageHandle")
FAILED_AT_START = ("EntryError", "RevisionTooNew")
NEVER = ("NeedsSor", "NeedsDxeProtocol")
NORMAL_MEMORY = 0x100_0000
"""Memory that nobody unblocked."""


def case_of(sample: str, name: str = "Dispatch") -> Case:
    return SAMPLES[sample].case(name)


def report_of(session: Session, name: str) -> Any:
    (report,) = (driver for driver in session.drivers if driver.name == name)
    return report


def test_every_bad_case_has_an_expectation_and_every_expectation_a_case() -> None:
    bad = {(s.name, case.name) for s in SAMPLES.values() for case in s.cases if case.stop in BAD_STOPS}
    assert bad == set(expectations())


def test_every_sample_that_has_a_bad_case_is_tested_here() -> None:
    """A new one fails here until it is run below (the Offender has a file of its own)."""
    bad = {sample for sample, _ in expectations()} - {"Offender"}
    by_message = {sample for sample, _, _ in MESSAGES} | {"EntryError", "ShapeSubject", "UnblockedUnchecked", "IoMsr"}
    assert bad == {"FirstBeforeBroker", *STOPPED_AT_START, *FAILED_AT_START, *NEVER} | by_message
    assert {case.name for case in SAMPLES["IoMsr"].cases if case.stop == "policy"} == set(IO_MSR)


# Entry points


@pytest.mark.parametrize("name", STOPPED_AT_START)
def test_entry_point_ends_the_system(name: str) -> None:
    with staged(name) as stage:
        finding = stage.session.stop
        assert finding is not None
        case = case_of(name)
        stage.assert_reason(finding, case, finding.address if name == "ReturnsByRet" else stage.module.handle)
        assert report_of(stage.session, name).state == "running"
        assert stage.session.phase is None
        stage.assert_dead(finding)


def test_ret_goes_where_the_slot_says() -> None:
    """The slot below the first RSP holds no return address; whatever it holds is where RET goes."""
    with staged("ReturnsByRet") as stage:
        finding = stage.session.stop
        assert finding is not None
        assert finding.place is not None
        stacks = stage.core.supervisor.stacks
        slot = stacks.base + stacks.size - 16
        assert finding.address == finding.place.address == stage.core.supervisor.memory.read_u64(slot - 8)
        assert finding.place.driver == "ReturnsByRet"


def test_broker_acts_for_the_driver_that_called_it() -> None:
    """The broker reads through the image handle; the finding names the driver, at the call."""
    with staged("UsesImageHandle") as stage:
        finding = stage.session.stop
        assert finding is not None
        assert finding.place is not None
        assert (finding.place.driver, finding.error_code) == ("UsesImageHandle", 5)
        assert stage.core.supervisor.modules.find(stage.core.supervisor.rip) is stage.core.supervisor.modules.modules[0]


@pytest.mark.parametrize("name", FAILED_AT_START)
def test_entry_point_fails_and_the_system_lives_on(name: str) -> None:
    with staged(name) as stage:
        case, session = case_of(name), stage.session
        assert session.stop is None
        assert case.status is not None
        report = report_of(session, name)
        assert (report.state, report.status) == ("failed", Status[case.status])
        (finding,) = session.findings
        stage.assert_reason(finding, case)
        assert finding.subject == name
        returned = [one.event.status for one in session.events if isinstance(one.event, DriverReturned)]
        assert returned[-1] == status_name(Status[case.status])
        assert report.base is None
        assert broken_invariants(stage.core) == []


def test_handler_of_a_failed_driver_points_into_freed_pages() -> None:
    with staged("EntryError") as stage:
        guid = GUIDS[str(SAMPLES["EntryError"].handler)].upper()
        (handler,) = (one for one in stage.core.supervisor.handlers.all() if str(one.guid) == guid)
        base = next(one.event.base for one in stage.session.events if _is_loaded(one.event, "EntryError"))
        assert handler.routine - base == symbol("EntryError", "EntryErrorHandler").rva
        finding = stage.stopped()
        case = case_of("EntryError", "Message")
        assert finding.kind.number == expectations()["EntryError", "Message"].number
        assert (finding.vector, finding.error_code) == (case.vector, case.error_code)
        assert finding.address == handler.routine
        assert "free MMRAM" in finding.detail
        stage.assert_dead(finding)


def _is_loaded(event: object, name: str) -> bool:
    return isinstance(event, DriverLoaded) and event.name == name


@pytest.mark.parametrize(
    "twin", [SAMPLES[name].twin for name in (*STOPPED_AT_START, *FAILED_AT_START) if SAMPLES[name].twin]
)
def test_twin_starts(twin: str) -> None:
    sample = next(one for one in SAMPLES.values() if one.twin == twin)
    with staged(sample.name, driver=twin) as stage:
        report = report_of(stage.session, twin)
        assert (report.state, report.status) == ("started", 0)
        assert stage.session.findings == ()
        if sample.handler is not None:
            assert stage.send().status == Status.SUCCESS
        else:
            assert len(report.protocols) == 1
        assert broken_invariants(stage.core) == []


@pytest.mark.parametrize("name", NEVER)
def test_expression_never_comes_true(name: str) -> None:
    with staged(name) as stage:
        report = report_of(stage.session, name)
        assert (report.state, report.status, report.base) == ("never dispatched", None, None)
        (finding,) = stage.session.findings
        stage.assert_reason(finding, case_of(name))
        assert finding.subject == name
        assert stage.session.phase is Phase.READY_TO_BOOT
        assert broken_invariants(stage.core) == []


# Before the broker: the order of files decides


def boot_in_order(*drivers: DriverFile) -> Session:
    """Boot a volume whose first driver takes the place of the broker, in file order."""
    return boot(mm_volume(drivers[1:], broker=drivers[0]), description=DESCRIPTION)


def test_driver_before_the_broker_finds_no_table() -> None:
    with boot_in_order(shipped("FirstBeforeBroker"), shipped("MmSupervisorRing3Broker")) as session:
        finding = session.stop
        assert finding is not None
        stage = Stage(SAMPLES["FirstBeforeBroker"], session, "FirstBeforeBroker")
        stage.assert_reason(finding, case_of("FirstBeforeBroker"))
        assert "MM-2005" in [one.kind.number for one in session.findings]
        stage.assert_dead(finding)


def test_same_driver_in_a_later_file_starts_by_luck() -> None:
    """Both are queued in one pass; the broker runs first because its file does (boot-flow.md §6.3)."""
    with boot_in_order(shipped("MmSupervisorRing3Broker"), shipped("FirstBeforeBroker")) as session:
        assert session.findings == ()
        assert report_of(session, "FirstBeforeBroker").state == "started"


def test_twin_waits_for_the_broker_wherever_its_file_lies() -> None:
    with boot_in_order(shipped("FirstBeforeBrokerTwin"), shipped("MmSupervisorRing3Broker")) as session:
        assert session.stop is None
        assert session.findings == ()
        assert report_of(session, "FirstBeforeBrokerTwin").state == "started"


# Messages of other samples

MESSAGES = (
    ("ConfigTable", "ConfigDelete", {"Case": 3}),
    ("ConfigTable", "ConfigGuidNull", {"Case": 4}),
    ("PoolPages", "PoolCode", {"Case": 0xC}),
    ("SaveState", "RegisterWild", {"Register": 0x203, "Width": 8}),
)


@pytest.mark.parametrize(("sample", "name", "values"), MESSAGES, ids=[name for _, name, _ in MESSAGES])
def test_message_ends_the_system(sample: str, name: str, values: dict[str, Any]) -> None:
    with staged(sample) as stage:
        finding = stage.stopped(**values)
        stage.assert_reason(finding, case_of(sample, name))
        assert finding.place is not None
        assert finding.place.driver == sample
        stage.assert_dead(finding)


@pytest.mark.parametrize("name", ["Read", "Write"])
def test_memory_that_nobody_unblocked(name: str) -> None:
    values = {"Write": int(name == "Write"), "Fill": 0x5A, "Address": NORMAL_MEMORY, "Length": 8}
    with staged("UnblockedUnchecked", driver="Unblocked") as twin:
        assert twin.send(handler=SAMPLES["Unblocked"].handler, **values).status == Status.ACCESS_DENIED
        assert broken_invariants(twin.core) == []
    with staged("UnblockedUnchecked") as stage:
        finding = stage.stopped(**values)
        stage.assert_reason(finding, case_of("UnblockedUnchecked", name), NORMAL_MEMORY)
        assert finding.error_code == (6 if name == "Write" else 4)
        stage.assert_dead(finding)
        assert stage.core.supervisor.memory.read(NORMAL_MEMORY, 8) == bytes(8)


SHAPES = {
    "ShapeCallConstant": ("adjacent_code_sections", "separate_code_sections"),
    "ShapeCallData": ("executable_data_section", "separate_code_sections"),
    "ShapeWriteText": ("writable_code_section", None),
}


def shaped(name: str) -> bytes:
    (shape,) = (one for one in shapes.SHAPES if one.name == name)
    return shapes.make(shape, prebuilt.image("ShapeSubject"))


@pytest.mark.parametrize("name", SHAPES)
def test_section_flags_that_do_not_count(name: str) -> None:
    bad, twin = SHAPES[name]
    case = case_of("ShapeSubject", name)
    with staged("ShapeSubject", image=shaped(bad)) as stage:
        assert stage.send(Case=0).values["Value"][0] == 0x54
        finding = stage.stopped(Case=case.number)
        stage.assert_reason(finding, case)
        stage.assert_dead(finding)
    if twin and name == "ShapeCallData":
        with staged("ShapeSubject", image=shaped(twin)) as stage:
            reply = stage.send(Case=case.number)
            assert (reply.status, reply.values["Value"][0]) == (Status.SUCCESS, 0x44)
            assert broken_invariants(stage.core) == []


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=lambda shape: shape.name)
def test_unsound_image_is_not_started_and_the_system_lives_on(shape: shapes.Shape) -> None:
    with staged("ShapeSubject", image=shaped(shape.name)) as stage:
        report = report_of(stage.session, "ShapeSubject")
        assert stage.session.stop is None
        if shape.outcome.startswith("started"):
            assert report.state == "started"
            assert stage.send(Case=0).values["Value"][0] == 0x54
        elif report.state == "started":
            assert shape.name == "section_alignment_large"
        else:
            assert report.state == "refused"
            (finding,) = stage.session.findings
            assert (finding.kind.number, finding.subject) == ("MM-2001", "ShapeSubject")
            assert finding.rule == "boot-flow.md §6.4"
            assert report.reason == finding.detail
        assert broken_invariants(stage.core) == []


def test_file_without_an_image_makes_ring_0_fault() -> None:
    """It is listed with a NULL image, which the reference dereferences when its turn comes (boot-flow.md §5)."""
    known = shipped("Echo")
    with boot(mm_volume([DriverFile("Empty", known.guid, None, ready_depex())]), description=DESCRIPTION) as session:
        assert session.stop is not None
        assert [one.kind.number for one in session.findings] == ["MM-2003", "MM-1302"]
        assert (session.stop.vector, session.stop.address) == (14, 0)


# IoMsr under a policy that denies one of each

IO_MSR = {
    "ReadPort": {"Action": 0, "Address": PORT},
    "WritePort": {"Action": 1, "Address": PORT, "Value": 1},
    "ReadMsr": {"Action": 2, "Address": MSR},
    "WriteMsr": {"Action": 3, "Address": MSR, "Value": 1},
    "Cli": {"Action": 4},
    "Wbinvd": {"Action": 5},
    "Hlt": {"Action": 6},
}


@pytest.mark.parametrize("name", IO_MSR)
def test_policy_decides(name: str) -> None:
    case = case_of("IoMsr", name)
    with staged("IoMsr", policy=policy(denies=False)) as stage:
        assert stage.send(**IO_MSR[name]).status == Status.SUCCESS
        assert stage.session.findings == ()
    with staged("IoMsr", policy=policy(denies=True)) as stage:
        finding = stage.stopped(**IO_MSR[name])
        stage.assert_reason(finding, case)
        assert finding.status == Status.ACCESS_DENIED
        assert "policy at 0x" in finding.rule
        stage.assert_dead(finding)
        assert stage.core.supervisor.memory.state(stage.module.base).ring3 & Access.READ
