"""The parts of a report that are about memory outside MMRAM, relaxations and the world outside."""

from __future__ import annotations

from collections.abc import Iterator

from mmsupervisor.core.events import MemoryUnblocked, PhaseReached
from mmsupervisor.machine.events import Hex
from mmsupervisor.pi.status import status_name
from mmsupervisor.report.model import OutsideServiceReport, RegionReport, RelaxationReport, UnblockRequestReport
from mmsupervisor.session import Session

_BEFORE = "core entry"


def open_regions(session: Session) -> Iterator[RegionReport]:
    """Iterate over the regions that are open, with who asked and when."""
    if session.core is None:
        return
    opened: dict[int, str] = {}
    phase = _BEFORE
    for record in session.events:
        event = record.event
        if isinstance(event, PhaseReached):
            phase = event.phase
        elif isinstance(event, MemoryUnblocked):
            opened[event.start] = phase
    for region in session.core.supervisor.unblocked.regions:
        owner = "supervisor" if region.supervisor else "user"
        when = opened.get(region.start, _BEFORE)
        yield RegionReport(Hex(region.start), Hex(region.size), owner, region.identifier, when)


def unblock_requests(session: Session) -> Iterator[UnblockRequestReport]:
    """Iterate over the calls of MmUnblockMemoryRequest."""
    for record in session.unblock_requests:
        yield UnblockRequestReport(
            record.window,
            record.phase,
            record.requester,
            Hex(record.start),
            record.pages,
            status_name(record.status),
            record.rule,
        )


def relaxations(session: Session) -> Iterator[RelaxationReport]:
    """Iterate over the uses of relaxations by place."""
    for use in session.relaxed_uses:
        offset = None if use.place.offset is None else Hex(use.place.offset)
        name = use.relaxation.value
        yield RelaxationReport(name, use.place.driver, offset, use.detail, use.count, use.denied, use.denial)


def outside_services(session: Session) -> Iterator[OutsideServiceReport]:
    """Iterate over what traditional drivers asked of DXE."""
    for entry in session.outside_calls:
        service = entry.service
        status = status_name(entry.last)
        yield OutsideServiceReport(entry.driver, service.title, service.support.value, entry.count, status)
