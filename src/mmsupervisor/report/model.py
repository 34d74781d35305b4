"""The report of one session, as frozen values.

The fields and their order are the JSON that the commands print (:mod:`mmsupervisor.report.document`); numbers that
are typed :data:`~mmsupervisor.machine.events.Hex` are shown in hexadecimal, sizes are in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mmsupervisor.machine.events import Hex
from mmsupervisor.pi.guid import Guid
from mmsupervisor.report.finding_model import FindingReport


class Outcome(Enum):
    """How a session ended, worst first; the value is what a report says."""

    VIOLATION = "violation"
    BUDGET_SPENT = "budget spent"
    LAUNCH_FAILED = "launch failed"
    BAD_POLICY = "bad policy"
    DAMAGED = "damaged image"
    NOT_DISPATCHED = "not dispatched"
    DRIVER_ERROR = "driver error"
    NOT_HANDLED = "not handled"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class InputReport:
    """What was booted.

    Attributes:
        name: Path as the user gave it, or the title of what was built in.
        size: Bytes.
        sha256: SHA-256, hexadecimal.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The isolation policy in force.

    Attributes:
        source: Where it comes from: a file as the user named it, ``the image``, or ``built in``.
        size: Bytes.
        sha256: SHA-256, hexadecimal.
        trouble: What the supervisor's security check objects to, or empty.
    """

    source: str
    size: int
    sha256: str
    trouble: str


@dataclass(frozen=True, slots=True)
class StoreReport:
    """The variable store: the writable part of the flash.

    Attributes:
        name: The file as the user named it, or in words where it came from.
        size: Bytes.
        sha256: SHA-256 when the boot began, hexadecimal.
        sha256_after: SHA-256 when the report was made.
    """

    name: str
    size: int
    sha256: str
    sha256_after: str


@dataclass(frozen=True, slots=True)
class PlatformReport:
    """On what it ran.

    Attributes:
        name: Name of the platform description.
        vendor: Whose save-state layout the CPUs have.
        cpus: Number of CPUs.
        profile: Which generation of the reference.
        processor: The ring-3 processor.
        budget: Instructions that one entry into ring 3 may take.
    """

    name: str
    vendor: str
    cpus: int
    profile: str
    processor: str
    budget: int


@dataclass(frozen=True, slots=True)
class VolumeLine:
    """A volume that the core was told of.

    Attributes:
        number: Its number, from 0 in the order of the HOBs.
        place: Where it is in the image, or in words whose it is.
        address: Where it lay in memory; None if no core came up.
        size: Bytes.
        drivers: Number of drivers that the core's scan took from it.
        holds_core: Whether it is the core's volume, in which alone a policy is looked for.
    """

    number: int
    place: str
    address: Hex | None
    size: int
    drivers: int
    holds_core: bool


@dataclass(frozen=True, slots=True)
class DriverLine:
    """What became of one driver.

    Attributes:
        name: Its name.
        guid: Its file GUID.
        state: ``started``, ``failed``, ``running``, ``refused``, ``never dispatched`` or ``not reached``.
        volume: Number of its volume.
        order: Its position among the drivers that were entered, from 1; None if it was not.
        status: Name of what its entry point returned, or None.
        reason: Why it was refused, removed or not dispatched, and where its work belongs if not to a driver; or empty.
        base: Address of its image, or None.
        system_calls: Number of system calls it made, through the broker too.
        handlers: GUIDs that its MMI handlers serve.
        root_handlers: Number of its root handlers.
        protocols: Protocols it installed, in order.
        notifications: Protocols whose installation it asked to be told of.
    """

    name: str
    guid: Guid
    state: str
    volume: int
    order: int | None
    status: str | None
    reason: str
    base: Hex | None
    system_calls: int
    handlers: tuple[Guid, ...]
    root_handlers: int
    protocols: tuple[Guid, ...]
    notifications: tuple[Guid, ...]


@dataclass(frozen=True, slots=True)
class MessageReport:
    """A message and its answer.

    Attributes:
        guid: Whom it was for.
        sent: The payload sent, as hexadecimal digits.
        answered: Whether the supervisor lived to answer.
        status: Name of the status in the mailbox, or None if there was no answer.
        size: Size that the mailbox reports, header included, or None.
        payload: The payload afterwards, as hexadecimal digits, or None.
    """

    guid: Guid
    sent: str
    answered: bool
    status: str | None
    size: int | None
    payload: str | None

    @property
    def is_handled(self) -> bool:
        """Whether a handler took it, as far as the sender can tell."""
        return self.status == "EFI_SUCCESS"


@dataclass(frozen=True, slots=True)
class EndReport:
    """What a device would have done at a violation.

    Attributes:
        cause: Number of the finding.
        reset: ``warm`` or ``cold``; ``none`` where a device stands still.
        vector: Exception vector in the error report that ring 3 is given, or None without a report.
        image: File GUID in it, or None.
        rip: Instruction pointer in it, or None.
        outcome: What became of the report.
    """

    cause: str
    reset: str
    vector: int | None
    image: Guid | None
    rip: Hex | None
    outcome: str


@dataclass(frozen=True, slots=True)
class ReferenceBug:
    """A bug of the reference that was reproduced.

    Attributes:
        source: Where the fact sheet describes it.
        times: How often it was met.
        first: What it did the first time.
    """

    source: str
    times: int
    first: str


@dataclass(frozen=True, slots=True)
class RegionReport:
    """A region outside MMRAM that is open.

    Attributes:
        start: First address.
        size: Bytes.
        owner: ``user`` or ``supervisor``.
        requester: Identifier of who asked; the core's own for MMIO and comm buffers.
        when: The phase that was reached last when it was opened, or ``core entry``.
    """

    start: Hex
    size: Hex
    owner: str
    requester: Guid
    when: str


@dataclass(frozen=True, slots=True)
class UnblockRequestReport:
    """A call of MmUnblockMemoryRequest.

    Attributes:
        window: ``PEI`` or ``DXE``.
        when: The phase that was reached last, or ``before launch``.
        requester: File GUID of who asked.
        start: First address.
        pages: Number of pages.
        status: What the requester was answered.
        rule: The rule that decided.
    """

    window: str
    when: str
    requester: Guid
    start: Hex
    pages: int
    status: str
    rule: str


@dataclass(frozen=True, slots=True)
class RelaxationReport:
    """The uses of one relaxation at one place.

    Attributes:
        name: Which relaxation.
        driver: The driver, or empty.
        offset: Offset in it, or None.
        detail: What the first use did.
        count: How often.
        denied: How often the policy would have denied it.
        denial: The rule of the first denial, or empty.
    """

    name: str
    driver: str
    offset: Hex | None
    detail: str
    count: int
    denied: int
    denial: str


@dataclass(frozen=True, slots=True)
class OutsideServiceReport:
    """What a traditional driver asked of DXE.

    Attributes:
        driver: The driver.
        service: Table and service, for example ``gBS->LocateProtocol``.
        support: What the stand-in does for it.
        count: How often it was called.
        status: What the last call returned.
    """

    driver: str
    service: str
    support: str
    count: int
    status: str


@dataclass(frozen=True, slots=True)
class MissedReport:
    """Touches of watched memory that the audit of handlers did not look at.

    Attributes:
        instruction: What touched it; it cannot be taken apart.
        count: How often.
    """

    instruction: str
    count: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the audits of handlers and of their replies saw.

    Attributes:
        findings: Mistakes: of handlers in order, then of replies.
        missed: Touches that were not looked at, by instruction.
        replies: Whether replies were compared with those of a second session, which needs a message.
    """

    findings: tuple[FindingReport, ...]
    missed: tuple[MissedReport, ...]
    replies: bool


@dataclass(frozen=True, slots=True)
class SessionReport:
    """All of it.

    Attributes:
        outcome: How the session ended.
        image: What was booted.
        policy: The policy in force, or None if there is none.
        store: The variable store, or None if there is no writable flash.
        platform: On what.
        until: The phase that was asked for.
        phases: Phases reached, in order.
        volumes: Firmware volumes with a HOB, in order.
        drivers: Drivers, in the order of the core's scan.
        messages: Messages sent, in order.
        findings: Findings, in order.
        end: What a device would have done at the end, or None for a system that lives.
        reference_bugs: Bugs of the reference that were met, by source.
        regions: Regions outside MMRAM that are open, in order of opening.
        unblock_requests: Calls of MmUnblockMemoryRequest, in order.
        relaxations: Uses of relaxations, by place; empty for a strict run.
        outside_services: What traditional drivers asked of DXE.
        audit: What the audit of handlers saw, or None without one.
        events: Number of events of the run.
    """

    outcome: Outcome
    image: InputReport
    policy: PolicyInForce | None
    store: StoreReport | None
    platform: PlatformReport
    until: str
    phases: tuple[str, ...]
    volumes: tuple[VolumeLine, ...]
    drivers: tuple[DriverLine, ...]
    messages: tuple[MessageReport, ...]
    findings: tuple[FindingReport, ...]
    end: EndReport | None
    reference_bugs: tuple[ReferenceBug, ...]
    regions: tuple[RegionReport, ...]
    unblock_requests: tuple[UnblockRequestReport, ...]
    relaxations: tuple[RelaxationReport, ...]
    outside_services: tuple[OutsideServiceReport, ...]
    audit: AuditReport | None
    events: int
