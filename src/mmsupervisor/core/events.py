"""The events of the core. Each class is one line of a trace; its docstring says when it happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmsupervisor.machine.events import Event, Hex


@dataclass(frozen=True, slots=True)
class CoreStep(Event):
    """A step of the core's entry point or of lock-down is done.

    Attributes:
        number: Its number in docs/reference/boot-flow.md §4.
        what: What it did.
    """

    kind: ClassVar[str] = "core-step"
    number: int
    what: str


@dataclass(frozen=True, slots=True)
class DriverFound(Event):
    """The one scan found a driver's file.

    Attributes:
        name: User-interface name or file GUID's name.
        guid: File GUID.
        volume: Address of the volume.
        file: Address of the file's header.
    """

    kind: ClassVar[str] = "driver-found"
    name: str
    guid: str
    volume: Hex
    file: Hex


@dataclass(frozen=True, slots=True)
class FileSkipped(Event):
    """The scan passed over something a developer may have meant as a driver.

    Attributes:
        guid: File GUID.
        reason: Why.
    """

    kind: ClassVar[str] = "file-skipped"
    guid: str
    reason: str


@dataclass(frozen=True, slots=True)
class DriverLoaded(Event):
    """An image was loaded, relocated and protected.

    Attributes:
        name: The driver.
        base: Address of the image.
        size: Bytes of the mapped image.
        entry: Offset of the entry point.
    """

    kind: ClassVar[str] = "driver-loaded"
    name: str
    base: Hex
    size: Hex
    entry: Hex


@dataclass(frozen=True, slots=True)
class DriverRefused(Event):
    """An image breaks a load rule; the driver is never started.

    Attributes:
        name: The driver.
        reason: The rule.
        status: What the load routine returned.
    """

    kind: ClassVar[str] = "driver-refused"
    name: str
    reason: str
    status: str


@dataclass(frozen=True, slots=True)
class DriverReturned(Event):
    """An entry point came back.

    Attributes:
        name: The driver.
        status: What it returned.
    """

    kind: ClassVar[str] = "driver-returned"
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class SystemCallMade(Event):
    """A system call was served, or was fatal.

    Attributes:
        call: Name, or the number for an unknown one.
        arguments: RDX, R8, R9 as far as the call has arguments.
        guid: Name of the GUID pointed to, for calls that take one.
        result: RAX afterwards; None for a fatal call.
    """

    kind: ClassVar[str] = "system-call"
    call: str
    arguments: tuple[Hex, ...]
    guid: str
    result: Hex | None


@dataclass(frozen=True, slots=True)
class HandlerRegistered(Event):
    """An MMI handler was registered.

    Attributes:
        guid: Name of its GUID, or ``root``.
        handler: Address of its code.
        handle: The handle that ring 3 got.
        owner: ``user`` or ``supervisor``.
    """

    kind: ClassVar[str] = "handler-registered"
    guid: str
    handler: Hex
    handle: Hex
    owner: str


@dataclass(frozen=True, slots=True)
class HandlerUnregistered(Event):
    """An MMI handler was unregistered, or flagged to be removed after the dispatch under way.

    Attributes:
        guid: Name of its GUID, or ``root``.
        handle: Its handle.
        deferred: Whether it was only flagged.
    """

    kind: ClassVar[str] = "handler-unregistered"
    guid: str
    handle: Hex
    deferred: bool


@dataclass(frozen=True, slots=True)
class HandlerReturned(Event):
    """An MMI handler came back.

    Attributes:
        guid: Name of the GUID it serves, or ``root``.
        handle: Its handle.
        status: What it returned.
    """

    kind: ClassVar[str] = "handler-returned"
    guid: str
    handle: Hex
    status: str


@dataclass(frozen=True, slots=True)
class ProtocolInstalled(Event):
    """A protocol appeared in the supervisor's database.

    Attributes:
        guid: Its name.
        handle: The handle it is on.
    """

    kind: ClassVar[str] = "protocol-installed"
    guid: str
    handle: Hex


@dataclass(frozen=True, slots=True)
class MmiBegan(Event):
    """An MMI began.

    Attributes:
        source: What raised it.
        channel: ``user``, ``supervisor`` or ``none``.
        guid: Name of the message's GUID, or empty.
        size: Bytes of the message's payload.
    """

    kind: ClassVar[str] = "mmi"
    source: str
    channel: str
    guid: str
    size: int


@dataclass(frozen=True, slots=True)
class MmiEnded(Event):
    """An MMI ended.

    Attributes:
        status: What the mailbox reports, or empty without a message.
        size: What the mailbox reports as size, in bytes.
    """

    kind: ClassVar[str] = "mmi-end"
    status: str
    size: int


@dataclass(frozen=True, slots=True)
class RequestServed(Event):
    """A supervisor request was answered.

    Attributes:
        request: Its name.
        result: The Result field.
        detail: What decided, in words.
    """

    kind: ClassVar[str] = "request"
    request: str
    result: str
    detail: str


@dataclass(frozen=True, slots=True)
class MemoryUnblocked(Event):
    """Pages outside MMRAM were opened.

    Attributes:
        start: First address.
        size: Bytes.
        owner: ``user`` or ``supervisor``.
        requester: Name of the identifier GUID.
    """

    kind: ClassVar[str] = "unblocked"
    start: Hex
    size: Hex
    owner: str
    requester: str


@dataclass(frozen=True, slots=True)
class PhaseReached(Event):
    """A phase of the boot was reached.

    Attributes:
        phase: Its name.
    """

    kind: ClassVar[str] = "phase"
    phase: str


@dataclass(frozen=True, slots=True)
class FindingMade(Event):
    """A finding was made.

    Attributes:
        number: Its kind.
        title: The kind's name.
        place: Driver and offset, or the subject.
        detail: The access or request.
        rule: The rule broken.
        fatal: Whether it ends the system.
    """

    kind: ClassVar[str] = "finding"
    number: str
    title: str
    place: str
    detail: str
    rule: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class ReferenceBugMet(Event):
    """A decision was made that is a bug of the reference, reproduced.

    Attributes:
        source: Where the fact sheet describes it.
        detail: What it did here.
    """

    kind: ClassVar[str] = "reference-bug"
    source: str
    detail: str


@dataclass(frozen=True, slots=True)
class SystemReset(Event):
    """The system died and, on the device, reset.

    Attributes:
        how: ``warm`` or ``cold``.
        cause: Number of the finding.
    """

    kind: ClassVar[str] = "reset"
    how: str
    cause: str


@dataclass(frozen=True, slots=True)
class RelaxationUsed(Event):
    """A relaxation was used at this place for the first time; later uses are counted only.

    Attributes:
        relaxation: Its name.
        detail: What was done.
    """

    kind: ClassVar[str] = "relaxed"
    relaxation: str
    detail: str


@dataclass(frozen=True, slots=True)
class PolicyDenialPassed(Event):
    """Under a relaxation something was done that the policy denies, at this place for the first time.

    Attributes:
        detail: What was done.
        rule: The rule that denies it.
    """

    kind: ClassVar[str] = "would-be-denied"
    detail: str
    rule: str


@dataclass(frozen=True, slots=True)
class DriverRemoved(Event):
    """Under a relaxation a driver that broke a rule was removed, where on the device the system would reset.

    Attributes:
        name: The driver.
        cause: Number of the finding.
    """

    kind: ClassVar[str] = "driver-removed"
    name: str
    cause: str
