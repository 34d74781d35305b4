"""Telling ring 3 that the system dies (docs/reference/telemetry.md §3, §5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmsupervisor.abi.telemetry import TelemetryRecord
from mmsupervisor.core.events import SystemReset
from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.core.supervisor import STANDS_STILL, Supervisor
from mmsupervisor.machine.events import Event, Hex
from mmsupervisor.pi.guid import ZERO_GUID
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import status_name

_CORE_GUID = known_guid("gMmSupervisorCoreGuid")
_BREAKPOINT = 3
_RECORD_OFFSET = 8
_REPORTS = 2
"""At most two reports of one CPU: the routine itself may fail once."""


@dataclass(frozen=True, slots=True)
class TelemetryReported(Event):
    """The error report was given to ring 3, or could not be.

    Attributes:
        vector: Exception vector in it.
        image: Name of the file GUID in it.
        rip: Instruction pointer in it.
        load_address: Image base in it.
        outcome: What became of it.
    """

    kind: ClassVar[str] = "telemetry"
    vector: int
    image: str
    rip: Hex
    load_address: Hex
    outcome: str


def make_record(supervisor: Supervisor, finding: Finding) -> TelemetryRecord | None:
    """Build the report of a fatal finding, or None where the reference finds no image and reports nothing.

    A blocked system call ends in a breakpoint of ring 0, so the report names the core and not the offender
    (docs/reference/telemetry.md, surprise 1).
    """
    if finding.vector is None or finding.kind.number == "MM-1302":
        base = supervisor.core_base
        return TelemetryRecord(_BREAKPOINT if finding.vector is None else finding.vector, _CORE_GUID, base, base)
    rip = supervisor.rip
    if not supervisor.mmram.touches(rip, 1):
        return TelemetryRecord(finding.vector, ZERO_GUID, rip, rip)
    module = supervisor.modules.find(rip)
    if module is None:
        return None
    return TelemetryRecord(finding.vector, module.guid, rip, module.base)


def end_system(supervisor: Supervisor, finding: Finding) -> None:
    """Report a fatal finding to ring 3, then reset. What stands still does neither; a report that hangs ends it too."""
    if supervisor.reset != STANDS_STILL:
        _deliver_report(supervisor, finding)
    supervisor.log.emit(SystemReset(supervisor.reset, finding.kind.number))


def _deliver_report(supervisor: Supervisor, finding: Finding) -> None:
    """Give the report to the registered routine in ring 3; a failure in it is reported once more, then given up."""
    supervisor.reporting = True
    try:
        for _ in range(_REPORTS):
            record = make_record(supervisor, finding)
            if record is None:
                unknown = TelemetryRecord(finding.vector or 0, ZERO_GUID, supervisor.rip, 0)
                _note(supervisor, unknown, "not delivered: no image holds RIP")
                return
            if not supervisor.jumps.error_report:
                _note(supervisor, record, "not delivered: no routine is registered")
                return
            supervisor.memory.write(supervisor.shared_page + _RECORD_OFFSET, record.pack())
            cpu = supervisor.stopped_cpu
            arguments = (cpu, supervisor.shared_page + _RECORD_OFFSET)
            try:
                status = supervisor.ring3.call(supervisor.jumps.error_report, arguments, cpu)
            except SystemStopError as error:
                _note(supervisor, record, f"the routine itself failed: {error.finding.kind.number}")
                finding = error.finding
                if finding.kind.stands_still:
                    supervisor.reset = STANDS_STILL
                    return
                continue
            _note(supervisor, record, f"delivered: {status_name(status)}")
            return
    finally:
        supervisor.reporting = False


def _note(supervisor: Supervisor, record: TelemetryRecord, outcome: str) -> None:
    place = (Hex(record.rip), Hex(record.load_address))
    supervisor.log.emit(TelemetryReported(record.vector, record.driver.label, *place, outcome))
