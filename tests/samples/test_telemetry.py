"""What ring 3 is told when the system dies (telemetry.md §3, §5), by the error-report driver and without one."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.telemetry import TelemetryReported
from mmsupervisor.session import Session
from tests.samples.support import boot_samples, offend, send, symbol_offset

OUTSIDE = 0x100_0000
"""Normal memory that nobody unblocked."""

REPORTER = "MmSupervisorErrorReport"
SHARED_OFFSET = 8


def die(session: Session, case: str, *arguments: int) -> TelemetryReported:
    with pytest.raises(SystemStopError):
        offend(session, case, *arguments)
    events = [record.event for record in session.events if isinstance(record.event, TelemetryReported)]
    assert session.events[-1].event.kind == "reset"
    assert len(events) == 1
    return events[0]


def record_in_memory(session: Session) -> tuple[bytes, int, int, bytes, int, int]:
    assert session.core is not None
    raw = session.memory.read(session.core.supervisor.shared_page + SHARED_OFFSET, 904)
    assert raw[48:] == bytes(856)
    return struct.unpack_from("<4sIQ16sQQ", raw)  # type: ignore[return-value]


def test_a_fault_is_reported_with_vector_driver_rip_and_base() -> None:
    with boot_samples(REPORTER, "Offender") as session:
        event = die(session, "Undefined")
        assert session.core is not None
        module = session.core.supervisor.modules.by_name("Offender")
        assert module is not None
        signature, size, vector, guid, rip, base = record_in_memory(session)
        assert (signature, size, vector) == (b"MSVT", 904, 6)
        assert guid == prebuilt.driver("Offender").guid.raw
        assert (rip - base, base) == (symbol_offset("Offender", "AtUndefined"), module.base)
        assert event.outcome == "delivered: EFI_SUCCESS"
        reporter = session.core.supervisor.modules.by_name(REPORTER)
        assert reporter is not None
        count = session.memory.read(reporter.base + symbol_offset(REPORTER, "gErrorReportCount"), 4)
        assert int.from_bytes(count, "little") == 1, "the driver kept it"


def test_a_blocked_call_is_blamed_on_the_core() -> None:
    """Surprise 1: a breakpoint of ring 0 is what the report names."""
    with boot_samples(REPORTER, "Offender") as session:
        event = die(session, "NumberPastEnd")
        assert session.core is not None
        assert event.vector == 3
        assert event.image == "gMmSupervisorCoreGuid"
        assert event.load_address == session.core.supervisor.core_base


def test_without_a_reporter_the_system_resets_without_a_record() -> None:
    with boot_samples("Offender") as session:
        assert die(session, "Undefined").outcome == "not delivered: no routine is registered"


def test_a_rip_outside_mmram_has_no_driver() -> None:
    with boot_samples(REPORTER, "Offender") as session:
        event = die(session, "ExecuteAddress", OUTSIDE)
        assert event.image == "00000000-0000-0000-0000-000000000000"
        assert event.rip == event.load_address == OUTSIDE


def test_a_rip_in_mmram_but_in_no_image_is_not_reported() -> None:
    with boot_samples(REPORTER, "Offender") as session:
        assert session.core is not None
        stack = session.core.supervisor.stacks.base
        assert die(session, "ExecuteAddress", stack).outcome == "not delivered: no image holds RIP"


def test_a_message_after_death_is_refused() -> None:
    with boot_samples(REPORTER, "Offender", "Echo") as session:
        die(session, "Undefined")
        before = len(session.events)
        with pytest.raises(SystemStopError):
            send(session, "Echo", b"\xff" * 32)
        with pytest.raises(SystemStopError):
            session.trigger()
        assert len(session.events) == before, "no MMI is served any more"
