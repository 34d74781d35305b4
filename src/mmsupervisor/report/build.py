"""From a session to its report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mmsupervisor.core.events import ReferenceBugMet, SystemReset
from mmsupervisor.core.findings import Finding
from mmsupervisor.core.telemetry import TelemetryReported
from mmsupervisor.machine.events import Hex
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.pi.status import status_name
from mmsupervisor.platform.firmware import place_of
from mmsupervisor.policy.blob import read_blob_as_runtime
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.model import PolicyBoundsError
from mmsupervisor.report.finding_model import FindingReport
from mmsupervisor.report.findings import report_finding
from mmsupervisor.report.memory import open_regions, outside_services, relaxations, unblock_requests
from mmsupervisor.report.model import (
    AuditReport,
    DriverLine,
    EndReport,
    InputReport,
    MessageReport,
    MissedReport,
    Outcome,
    PlatformReport,
    PolicyInForce,
    ReferenceBug,
    SessionReport,
    StoreReport,
    VolumeLine,
)
from mmsupervisor.session import Answer, DriverReport, Session

_OUTCOMES = {
    "MM-1301": Outcome.BUDGET_SPENT,
    "MM-2001": Outcome.NOT_DISPATCHED,
    "MM-2002": Outcome.NOT_DISPATCHED,
    "MM-2003": Outcome.NOT_DISPATCHED,
    "MM-2004": Outcome.DRIVER_ERROR,
    "MM-2006": Outcome.BAD_POLICY,
    "MM-2009": Outcome.LAUNCH_FAILED,
    "MM-2011": Outcome.NOT_DISPATCHED,
    "MM-2013": Outcome.DAMAGED,
}
"""What a finding makes of a session. Others are violations if they end it, and else change nothing."""


_ROOT = "root"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message that was sent.

    Attributes:
        guid: Whom it was for.
        payload: The payload sent.
        answer: The answer, or None if the system died of it.
    """

    guid: Guid
    payload: bytes
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Audited:
    """What audits of the session saw.

    Attributes:
        findings: Mistakes, in order.
        missed: How many touches were not looked at, by instruction.
        replies: Whether replies were compared with those of a second session.
    """

    findings: tuple[Finding, ...]
    missed: Mapping[str, int]
    replies: bool


def describe_input(name: str, data: bytes) -> InputReport:
    """Name an input as the user did, with its size and hash."""
    return InputReport(name, len(data), hashlib.sha256(data).hexdigest())


def build_report(
    session: Session,
    image: InputReport,
    *,
    exchanges: Iterable[Exchange] = (),
    policy_source: str = "the image",
    audited: Audited | None = None,
) -> SessionReport:
    """Report what became of a session.

    Args:
        session: The session, not yet closed.
        image: What was booted, as the user named it.
        exchanges: Messages sent, in order.
        policy_source: Where the policy comes from.
        audited: What audits saw, or None if there were none.
    """
    messages = tuple(_message(exchange) for exchange in exchanges)
    volumes = tuple(_volumes(session))
    numbers = {volume.address: volume.number for volume in volumes}
    return SessionReport(
        outcome=_outcome(session, messages),
        image=image,
        policy=_policy(session, policy_source),
        store=_store(session),
        platform=_platform(session),
        until=session.description.until.value,
        phases=tuple(phase.value for phase in session.phases),
        volumes=volumes,
        drivers=tuple(_driver(driver, numbers[Hex(driver.volume)]) for driver in session.drivers),
        messages=messages,
        findings=tuple(_findings(session)),
        end=_end(session),
        reference_bugs=tuple(_reference_bugs(session)),
        regions=tuple(open_regions(session)),
        unblock_requests=tuple(unblock_requests(session)),
        relaxations=tuple(relaxations(session)),
        outside_services=tuple(outside_services(session)),
        audit=None if audited is None else _audit(session, audited),
        events=len(session.events) + session.log.dropped,
    )


def _findings(session: Session) -> Iterator[FindingReport]:
    for finding in session.findings:
        yield report_finding(finding, session.memory, fatal=finding is session.stop)


def _audit(session: Session, audited: Audited) -> AuditReport:
    findings = tuple(report_finding(finding, session.memory, fatal=False) for finding in audited.findings)
    missed = tuple(MissedReport(instruction, audited.missed[instruction]) for instruction in sorted(audited.missed))
    return AuditReport(findings, missed, audited.replies)


def _outcome(session: Session, messages: tuple[MessageReport, ...]) -> Outcome:
    found = {_OUTCOMES[number] for number in (f.kind.number for f in session.findings) if number in _OUTCOMES}
    if session.stop is not None:
        found.add(_OUTCOMES.get(session.stop.kind.number, Outcome.VIOLATION))
    if any(message.answered and not message.is_handled for message in messages):
        found.add(Outcome.NOT_HANDLED)
    return next((outcome for outcome in Outcome if outcome in found), Outcome.OK)


def _policy(session: Session, source: str) -> PolicyInForce | None:
    blob = None if session.core is None else session.core.supervisor.policy_blob
    if blob is None:
        return None
    return PolicyInForce(source, len(blob), hashlib.sha256(blob).hexdigest(), policy_trouble(blob, source))


def policy_trouble(blob: bytes, file: str) -> str:
    """Return what the supervisor's security check objects to in a policy, or an empty string."""
    try:
        violation = security_policy_check(read_blob_as_runtime(blob, file))
    except (FormatError, PolicyBoundsError) as error:
        return str(error)
    return str(violation) if violation else ""


def _store(session: Session) -> StoreReport | None:
    store, flash = session.devices.store, session.devices.variables
    if store is None or flash is None:
        return None
    return StoreReport(store.name, flash.size, store.sha256, hashlib.sha256(flash.content).hexdigest())


def _platform(session: Session) -> PlatformReport:
    description = session.description
    return PlatformReport(
        description.name,
        description.vendor.name,
        description.cpus,
        description.profile.name,
        session.processor,
        description.budget,
    )


def _status(value: int | None) -> str | None:
    return None if value is None else status_name(value)


def _volumes(session: Session) -> Iterator[VolumeLine]:
    """List the volumes that had a HOB. They lie in memory in the order of the HOBs, which is the firmware's."""
    core, firmware = session.core, session.firmware
    addresses = [None] * len(firmware.volumes) if core is None else [Hex(hob.base) for hob in core.inputs.volumes()]
    drivers = session.drivers
    for number, (volume, address) in enumerate(zip(firmware.volumes, addresses, strict=True)):
        yield VolumeLine(
            number,
            place_of(volume, firmware.name),
            address,
            len(volume.data),
            sum(driver.volume == address for driver in drivers),
            core is not None and core.discovery.core_volume == address,
        )


def _driver(driver: DriverReport, volume: int) -> DriverLine:
    base = None if driver.base is None else Hex(driver.base)
    return DriverLine(
        driver.name,
        driver.guid,
        driver.state,
        volume,
        driver.order,
        _status(driver.status),
        driver.reason,
        base,
        driver.system_calls,
        tuple(Guid.parse(label) for label in driver.handlers if label != _ROOT),
        driver.handlers.count(_ROOT),
        tuple(Guid.parse(label) for label in driver.protocols),
        tuple(Guid.parse(label) for label in driver.notifications),
    )


def _message(exchange: Exchange) -> MessageReport:
    answer, sent = exchange.answer, exchange.payload.hex()
    if answer is None:
        return MessageReport(exchange.guid, sent, answered=False, status=None, size=None, payload=None)
    payload = answer.data[HEADER_SIZE:].hex()
    return MessageReport(exchange.guid, sent, True, status_name(answer.status), answer.size, payload)


def _end(session: Session) -> EndReport | None:
    """Read the end from the last events: the error report, then the reset."""
    if session.stop is None:
        return None
    events = [record.event for record in session.events[-1000:]]
    reset = next((event.how for event in reversed(events) if isinstance(event, SystemReset)), "warm")
    report = next((event for event in reversed(events) if isinstance(event, TelemetryReported)), None)
    cause = session.stop.kind.number
    if report is None:
        return EndReport(cause, reset, None, None, None, "no error report")
    return EndReport(cause, reset, report.vector, Guid.parse(report.image), report.rip, report.outcome)


def _reference_bugs(session: Session) -> Iterator[ReferenceBug]:
    met: dict[str, list[str]] = {}
    for record in session.events:
        if isinstance(record.event, ReferenceBugMet):
            met.setdefault(record.event.source, []).append(record.event.detail)
    for source in sorted(met):
        yield ReferenceBug(source, len(met[source]), met[source][0])
