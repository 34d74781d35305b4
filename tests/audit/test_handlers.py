"""The audit of handlers: each mistake of the Careless driver is found where it is made, the sound way gives nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mmsupervisor.abi.findings_audit import AUDIT_KINDS
from mmsupervisor.audit.handlers import HandlerAudit
from mmsupervisor.audit.watching_processor import MemoryTouch
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.pi.status import Status
from mmsupervisor.processor.interface import Registers
from tests.audit.stage import DRIVER, HANDLER, RECORD, careless, memory_hash, payload, status_of
from tests.samples.stage import Stage

Address = Callable[[Stage, int], int]


def outside(_stage: Stage, page: int) -> int:
    return page


def own_data(stage: Stage, _page: int) -> int:
    """An address in the driver's own data, which a sender may guess."""
    return stage.module.base + 0x3000


@dataclass(frozen=True)
class Mistake:
    """A mistake and how it is found.

    Attributes:
        name: What is done.
        case: The driver's case.
        address: What the message points to.
        length: And how many bytes of it.
        number: The only finding.
        says: A part of its text.
        dies: Whether the system dies of it.
    """

    name: str
    case: str
    address: Address
    length: int
    number: str
    says: str
    dies: bool = False


MISTAKES = (
    Mistake("double fetch", "DoubleFetch", outside, 0, "MM-4001", "were read before, at Careless+"),
    Mistake("pointer used", "NestedPointer", outside, 16, "MM-4002", "before the supervisor said yes"),
    Mistake("pointer asked about in part", "NestedLength", outside, 16, "MM-4002", "was asked about"),
    Mistake("pointer into MMRAM", "NestedPointer", own_data, 8, "MM-4002", "no validator says yes"),
    Mistake(
        "message's validator",
        "WrongValidator",
        outside,
        16,
        "MM-4003",
        "which is unblocked memory",
    ),
    Mistake(
        "other validator",
        "WrongValidatorOfMessage",
        outside,
        16,
        "MM-4003",
        "which is the message",
    ),
    Mistake("callout", "Callout", outside, 0, "MM-4004", "at offset 0x10", dies=True),
)


def send(stage: Stage, mistake: Mistake, page: int, *, benign: bool) -> int:
    message = payload(mistake.case, benign=benign, address=mistake.address(stage, page), length=mistake.length)
    return status_of(stage.session.communicate(HANDLER, message))


@pytest.mark.parametrize("observe", [False, True], ids=["strict", "observe"])
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake_is_found_and_its_twin_is_clean(mistake: Mistake, observe: bool, processor: str) -> None:
    with careless(processor, observe=observe) as (stage, page), HandlerAudit(stage.session) as audit:
        send(stage, mistake, page, benign=True)
        assert audit.findings == []
        if mistake.dies:
            with pytest.raises(SystemStopError):
                send(stage, mistake, page, benign=False)
        else:
            send(stage, mistake, page, benign=False)
        assert [finding.kind.number for finding in audit.findings] == [mistake.number]
        finding = audit.findings[0]
        assert mistake.says in finding.detail, finding.detail
        assert finding.place is not None
        assert finding.place.driver == DRIVER
        assert finding.place.symbol.startswith("CarelessHandler"), str(finding)
        assert any(finding.kind is kind for kind in AUDIT_KINDS)


def answer_function(stage: Stage) -> int:
    """The driver's own function, as its address lies in its data after a call."""
    base = stage.module.base
    data = stage.core.supervisor.memory.read(base, stage.module.size)
    words = struct.unpack(f"<{len(data) // 8}Q", data)
    return next(word for word in words if base + 0x1000 <= word < base + 0x2000)


def test_code_pointer_outside_is_found(processor: str) -> None:
    with careless(processor) as (stage, page):
        twin = payload("PointerOutside", benign=True, address=page)
        mistake = payload("PointerOutside", address=page)
        assert status_of(stage.session.communicate(HANDLER, twin)) == Status.SUCCESS
        stage.session.memory.write_u64(page, answer_function(stage))
        with HandlerAudit(stage.session) as audit:
            assert status_of(stage.session.communicate(HANDLER, twin)) == Status.SUCCESS
            assert audit.findings == []
            assert status_of(stage.session.communicate(HANDLER, mistake)) == Status.SUCCESS
            assert [finding.kind.number for finding in audit.findings] == ["MM-4005"]
            assert audit.findings[0].address == page


# What is no mistake


def test_reading_what_the_driver_itself_wrote_is_no_double_fetch() -> None:
    with careless() as (stage, page), HandlerAudit(stage.session) as audit:
        audit.touched(touch(page, write=False, rip=stage.module.base + 0x1000))
        audit.touched(touch(page, write=True, rip=stage.module.base + 0x1010))
        audit.touched(touch(page, write=False, rip=stage.module.base + 0x1020))
        assert audit.findings == []
        audit.touched(touch(page, write=False, rip=stage.module.base + 0x1030))
        assert [finding.kind.number for finding in audit.findings] == ["MM-4001"]


def touch(address: int, *, write: bool, rip: int) -> MemoryTouch:
    return MemoryTouch(address, 4, write, 0, rip, Registers())


def test_the_next_mmi_begins_anew() -> None:
    with careless() as (stage, page), HandlerAudit(stage.session) as audit:
        for _ in range(3):
            stage.session.communicate(HANDLER, payload("DoubleFetch", benign=True, address=page))
        assert audit.findings == []


def test_a_mistake_is_reported_once() -> None:
    with careless() as (stage, page), HandlerAudit(stage.session) as audit:
        for _ in range(3):
            stage.session.communicate(HANDLER, payload("DoubleFetch", address=page))
        assert len(audit.findings) == 1


def test_pointers_are_found_behind_a_header_of_version_3() -> None:
    with careless() as (stage, page), HandlerAudit(stage.session) as audit:
        stage.session.communicate(HANDLER, payload("NestedPointer", address=page, length=16), v3=True)
        (finding,) = audit.findings
        assert finding.kind.number == "MM-4002"
        assert f"the message holds {page:#x} at offset 0x10" in finding.detail


@pytest.mark.parametrize("is_locked", [True, False])
def test_a_traditional_driver_may_call_dxe_until_the_lock_only(is_locked: bool) -> None:
    with careless() as (stage, _), HandlerAudit(stage.session) as audit:
        stage.module.traditional = True
        assert stage.core.supervisor.lifecycle.ready_to_lock
        stage.core.supervisor.lifecycle.ready_to_lock = is_locked
        with pytest.raises(SystemStopError):
            stage.session.communicate(HANDLER, payload("Callout", address=0x200_0000))
        assert [finding.kind.number for finding in audit.findings] == ["MM-4004"] * is_locked


def policy(stage: Stage) -> int:
    return stage.core.supervisor.policy_address


@pytest.mark.parametrize("address", [policy, lambda _: 0x200_0000], ids=["policy", "closed memory"])
def test_a_pointer_that_the_supervisor_stops_is_told_too(address: Callable[[Stage], int]) -> None:
    with careless() as (stage, _), HandlerAudit(stage.session) as audit:
        send(stage, Mistake("", "NestedPointer", lambda *_: address(stage), 8, "", ""), 0, benign=True)
        assert audit.findings == []
        with pytest.raises(SystemStopError):
            send(stage, Mistake("", "NestedPointer", lambda *_: address(stage), 8, "", ""), 0, benign=False)
        assert [finding.kind.number for finding in audit.findings] == ["MM-4002"]
        assert audit.findings[0].address == address(stage)
        assert "which is not ring 3's" in audit.findings[0].detail


def test_closed_memory_under_observation_is_told_too() -> None:
    """A relaxation lets the driver go on; the address came from the message all the same."""
    with careless(observe=True) as (stage, _), HandlerAudit(stage.session) as audit:
        send(stage, Mistake("", "NestedPointer", lambda *_: 0x200_0000, 8, "", ""), 0, benign=False)
        assert [finding.kind.number for finding in audit.findings] == ["MM-4002"]


# It changes nothing


def every_message(stage: Stage, page: int) -> None:
    for mistake in MISTAKES:
        if not mistake.dies:
            for benign in (True, False):
                send(stage, mistake, page, benign=benign)
    stage.session.trigger()


@pytest.mark.parametrize("observe", [False, True])
def test_trace_and_memory_are_those_of_a_run_without_it(processor: str, observe: bool) -> None:
    found = []
    for audited in (False, True):
        with careless(processor, observe=observe) as (stage, page):
            audit = HandlerAudit(stage.session) if audited else None
            every_message(stage, page)
            if audit is not None:
                assert {finding.kind.number for finding in audit.findings} == {"MM-4001", "MM-4002", "MM-4003"}
                audit.close()
            assert stage.session.memory.read(page, len(RECORD)) == RECORD
            found.append((list(stage.session.log.canonical_lines()), memory_hash(stage.session)))
    assert found[0] == found[1]


def test_a_change_of_memory_or_trace_would_be_noticed() -> None:
    with careless() as (stage, page):
        lines, memory = list(stage.session.log.canonical_lines()), memory_hash(stage.session)
        stage.session.memory.write(page + 100, b"x")
        assert memory_hash(stage.session) != memory
        stage.session.trigger()
        assert list(stage.session.log.canonical_lines()) != lines


def test_the_session_goes_on_after_it() -> None:
    with careless() as (stage, page):
        before = stage.core.supervisor.processor
        audit = HandlerAudit(stage.session)
        assert stage.core.supervisor.processor is not before
        audit.close()
        audit.close()
        assert stage.core.supervisor.processor is before
        send(stage, MISTAKES[0], page, benign=False)
        assert audit.findings == []


def test_a_dying_driver_dies_alike(processor: str) -> None:
    """The finding that ends the system is the same to the letter."""
    ends = []
    for audited in (False, True):
        with careless(processor) as (stage, page):
            audit = HandlerAudit(stage.session) if audited else None
            with pytest.raises(SystemStopError) as caught:
                send(stage, MISTAKES[-1], page, benign=False)
            ends.append(str(caught.value.finding))
            if audit is not None:
                audit.close()
    assert ends[0] == ends[1]


def test_all_kinds_are_shown() -> None:
    shown = {mistake.number for mistake in MISTAKES} | {"MM-4005", "MM-4006", "MM-4007"}
    assert shown == {kind.number for kind in AUDIT_KINDS}
