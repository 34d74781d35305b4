"""What ring 3 is told when the system dies, and how often (docs/reference/telemetry.md §3, §5)."""

from __future__ import annotations

import pytest

from mmsupervisor.core.events import SystemReset
from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.core.modules import Module
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.core.telemetry import TelemetryReported, end_system, make_record
from mmsupervisor.pi.guid import ZERO_GUID
from mmsupervisor.pi.guid_names import known_guid
from tests.core.small import FREE_RAM, SOMEBODY, events, ring3, user_page

CORE = known_guid("gMmSupervisorCoreGuid")
REPORTER = 0x7000


@pytest.fixture
def driver(supervisor: Supervisor) -> Module:
    """A driver whose code was running."""
    base = user_page(supervisor)
    module = Module("Offender", SOMEBODY, base, 0x1000, base)
    supervisor.modules.add(module)
    supervisor.rip = base + 0x123
    return module


@pytest.mark.parametrize(
    ("number", "vector", "blamed"),
    [
        ("MM-1202", 14, "driver"),
        ("MM-1103", 6, "driver"),
        ("MM-1302", 14, "core"),  # ring 0's own fault
        ("MM-1001", None, "core"),  # a blocked call ends in ring 0's breakpoint
    ],
)
def test_whose_the_record_is(supervisor: Supervisor, driver: Module, number: str, vector: int, blamed: str) -> None:
    record = make_record(supervisor, make_finding(number, "test", vector=vector))
    assert record is not None
    assert record.vector == (3 if vector is None else vector)
    if blamed == "core":
        assert (record.driver, record.load_address) == (CORE, supervisor.core_base)
    else:
        assert (record.driver, record.rip, record.load_address) == (SOMEBODY, driver.base + 0x123, driver.base)


def test_outside_mmram_and_outside_all_images(supervisor: Supervisor) -> None:
    finding = make_finding("MM-1204", "test", vector=14)
    supervisor.rip = FREE_RAM
    record = make_record(supervisor, finding)
    assert record is not None
    assert (record.driver, record.load_address) == (ZERO_GUID, FREE_RAM)
    supervisor.rip = user_page(supervisor)
    assert make_record(supervisor, finding) is None


@pytest.mark.parametrize(("failures", "outcomes"), [(0, 1), (1, 2), (2, 2), (9, 2)])
def test_a_reporter_that_fails_is_called_once_more_and_no_more(
    supervisor: Supervisor, driver: Module, failures: int, outcomes: int
) -> None:
    left = failures

    def report(_cpu: int, _buffer: int) -> int:
        nonlocal left
        if left:
            left -= 1
            raise supervisor.die(make_finding("MM-1202", "in the reporter", vector=14))
        return 0

    supervisor.jumps.error_report = REPORTER
    ring3(supervisor).answers[REPORTER] = report
    with pytest.raises(SystemStopError) as caught:
        raise supervisor.die(make_finding("MM-1202", "test", vector=14))
    end_system(supervisor, caught.value.finding)
    told = [event.outcome for event in events(supervisor, TelemetryReported) if isinstance(event, TelemetryReported)]
    assert len(told) == outcomes
    assert told[-1].startswith("delivered" if failures < 2 else "the routine itself failed")
    assert events(supervisor, SystemReset) == [SystemReset("warm", "MM-1202")]
    assert driver.base
