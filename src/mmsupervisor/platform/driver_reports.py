"""What became of each driver: from the core's lists, the broker's database and the run's events."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsupervisor.broker.database import Ring3Database, read_database
from mmsupervisor.core.discovery import Driver
from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import DriverLoaded, DriverRefused, ProtocolInstalled, SystemCallMade
from mmsupervisor.core.pages import Owner, PageRecord, PageType
from mmsupervisor.machine.events import Record
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import ERROR_BIT

SUPERVISORS_WORK = {
    Guid.parse("A3FF0EF5-0C28-42F5-B544-8C7DE1E80014"): (
        "PiSmmCpuDxeSmm sets up entry code, page tables and save states of all CPUs; the supervisor does so, in ring 0"
    ),
    Guid.parse("84EEA114-C6BE-4445-8F90-51D97863E363"): (
        "CpuHotplugSmm gives CPUs that are added a place in MMRAM and waits for the driver that starts them; the"
        " supervisor has the CPUs of its launch"
    ),
}
"""Traditional drivers whose work belongs to the supervisor itself, by file GUID: what to leave out, and why
(docs/reference/developer-considerations.md §8)."""


@dataclass(frozen=True, slots=True)
class DriverReport:
    """What became of one driver.

    Attributes:
        name: Its name.
        guid: Its file GUID.
        state: ``started``, ``failed`` (its entry point returned an error), ``removed`` (its entry point broke a rule
            and a relaxation let it be removed), ``running`` (it was running when the system died), ``refused``,
            ``never dispatched``, or ``not reached`` (the system died before its turn).
        volume: Address of its volume.
        order: Its position among the drivers that were entered, from 1; None if it was not.
        status: What its entry point returned, or None.
        reason: Why it was refused, removed or not dispatched, and where its work belongs if not to a driver; or empty.
        base: Address of its image, or None.
        system_calls: Number of system calls it made, through the broker too.
        handlers: Names of the GUIDs its MMI handlers serve, ``root`` for root handlers.
        protocols: Names of the protocols it installed, in order.
        notifications: Names of the protocols whose installation it asked to be told of, sorted.
    """

    name: str
    guid: Guid
    state: str
    volume: int
    order: int | None
    status: int | None
    reason: str
    base: int | None
    system_calls: int
    handlers: tuple[str, ...]
    protocols: tuple[str, ...]
    notifications: tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    """What the log tells of one driver, counted as it happens."""

    calls: int = 0
    protocols: list[str] = field(default_factory=list)


class DriverTallies:
    """What a run's events tell of its drivers.

    Attributes:
        refused: Why a driver was refused, by name.
        order: Positions of the drivers that were entered, from 1, by name.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._tallies: dict[str, _Tally] = {}
        self.refused: dict[str, str] = {}
        self.order: dict[str, int] = {}

    def take(self, record: Record) -> None:
        """Count an event; a sink of the log."""
        event, driver = record.event, record.position.driver
        if isinstance(event, SystemCallMade):
            self._tallies.setdefault(driver, _Tally()).calls += 1
        elif isinstance(event, ProtocolInstalled) and driver:
            self._tallies.setdefault(driver, _Tally()).protocols.append(event.guid)
        elif isinstance(event, DriverRefused):
            self.refused[event.name] = event.reason
        elif isinstance(event, DriverLoaded):  # what is loaded is entered at once
            self.order[event.name] = len(self.order) + 1

    def system_calls(self, driver: str) -> int:
        """Return how many system calls a driver made."""
        return self._tallies[driver].calls if driver in self._tallies else 0

    def protocols(self, driver: str) -> tuple[str, ...]:
        """Return the names of the protocols that a driver installed, in order."""
        return tuple(self._tallies[driver].protocols) if driver in self._tallies else ()


def read_protocols(core: Core) -> Ring3Database:
    """Read the broker's protocol database out of ring 3's data pages."""
    supervisor = core.supervisor
    wanted = PageRecord(PageType.RUNTIME_SERVICES_DATA, Owner.USER)
    data = [(piece.start, piece.size) for piece in supervisor.pages.records if piece.value == wanted]
    return read_database(supervisor.memory, data)


def report_drivers(core: Core, tallies: DriverTallies, *, launched: bool) -> tuple[DriverReport, ...]:
    """Return what became of each driver, in the order of the scan.

    Args:
        core: The core.
        tallies: What the events told.
        launched: Whether the launch was completed, so that every driver had its chance.
    """
    waiting: dict[str, set[str]] = {}
    for protocol in read_protocols(core).protocols:
        for function in protocol.notifications:
            owner = core.supervisor.modules.place(function).driver
            waiting.setdefault(owner, set()).add(protocol.guid.label)
    return tuple(
        _report(core, driver, tallies, tuple(sorted(waiting.get(driver.name, ()))), launched=launched)
        for driver in core.dispatcher.drivers
    )


def _state(core: Core, driver: Driver, tallies: DriverTallies, *, launched: bool) -> tuple[str, str]:
    """Return a driver's state and the reason for it."""
    status = core.dispatcher.results.get(driver.name)
    if driver.name in tallies.refused:
        return "refused", tallies.refused[driver.name]
    if not driver.initialized:
        return "never dispatched" if launched else "not reached", driver.depex.infix
    if driver.name in core.dispatcher.removed:
        kind = core.dispatcher.removed[driver.name].kind
        return "removed", f"{kind.number} {kind.title}"
    if status is None:
        return "running", ""
    return "failed" if status & ERROR_BIT else "started", ""


def _report(
    core: Core, driver: Driver, tallies: DriverTallies, notifications: tuple[str, ...], *, launched: bool
) -> DriverReport:
    module = core.supervisor.modules.by_name(driver.name)
    state, reason = _state(core, driver, tallies, launched=launched)
    if reason and driver.guid in SUPERVISORS_WORK:
        reason += f"; {SUPERVISORS_WORK[driver.guid]}"
    handlers = (
        () if module is None else tuple(h.label for h in core.supervisor.handlers.all() if module.holds(h.routine))
    )
    return DriverReport(
        driver.name,
        driver.guid,
        state,
        driver.volume,
        tallies.order.get(driver.name),
        core.dispatcher.results.get(driver.name),
        reason,
        module.base if module else None,
        tallies.system_calls(driver.name),
        handlers,
        tallies.protocols(driver.name),
        notifications,
    )
