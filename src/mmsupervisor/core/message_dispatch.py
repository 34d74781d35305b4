"""What both generations of MmEntryPoint share: a message to its handlers, and the answer out again.

How a message comes in differs: :mod:`mmsupervisor.core.mmi` reads two status blocks,
:mod:`mmsupervisor.core.one_slot` the one mailbox of the DXE launch.
Facts: docs/reference/boot-flow.md §10.2, communicate.md §3.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import MmiBegan
from mmsupervisor.core.findings import make_finding
from mmsupervisor.core.handlers import MmiHandler
from mmsupervisor.core.ownership import is_user_range
from mmsupervisor.core.supervisor import CommChannel, Supervisor
from mmsupervisor.machine.memory import PAGE_MASK, Attribute, BusError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import ERROR_BIT, Status, status_name

_READY_TO_BOOT_GUID = known_guid("gEfiEventReadyToBootGuid")
_PAGE_FAULT = 14
_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class InternalMessage:
    """A message in the internal copy of its channel.

    Attributes:
        guid: Whose handlers are called.
        header: Bytes before the payload.
        payload: Bytes that the handler is told.
    """

    guid: Guid
    header: int
    payload: int


class MalformedMessageError(CoreError):
    """A message that is answered without any handler being called."""


def _require_present(supervisor: Supervisor, address: int, size: int) -> None:
    """Die where ring 0 itself would take a page fault: its own channel is not mapped any more.

    A buffer update that fails half way leaves the mailboxes' addresses as they were (communicate.md §6.4). Before the
    lock-down everything is present.
    """
    if not supervisor.lifecycle.initialised:
        return
    start = address & ~PAGE_MASK
    absent = supervisor.memory.first_absent(start, address + size - start)
    if absent is not None:
        detail = f"ring 0 touches its channel at {absent:#x}, which is not present"
        rule = "communicate.md §6.4: partial failure"
        finding = make_finding("MM-1302", detail, subject="comm buffers", rule=rule, vector=_PAGE_FAULT, address=absent)
        raise supervisor.die(finding)


def read_outside(supervisor: Supervisor, address: int, size: int) -> bytes:
    """Read normal memory as ring 0 does: where nothing answers, the bus gives all ones.

    Raises:
        SystemStopError: the pages are not present; ring 0 dies.
    """
    _require_present(supervisor, address, size)
    try:
        return supervisor.memory.read(address, size)
    except BusError:
        return b"\xff" * size


def copy_in(supervisor: Supervisor, channel: CommChannel) -> None:
    """Copy a channel's whole external buffer to its internal one, as :func:`read_outside` reads it."""
    _require_present(supervisor, channel.external, channel.size)
    try:
        supervisor.memory.copy(channel.internal, channel.external, channel.size)
    except BusError:
        supervisor.memory.write(channel.internal, read_outside(supervisor, channel.external, channel.size))


def _copy_out(supervisor: Supervisor, channel: CommChannel, size: int) -> None:
    """Copy bytes of a channel's internal buffer to its external one, as :func:`write_outside` writes them."""
    _require_present(supervisor, channel.external, size)
    with suppress(BusError):
        supervisor.memory.copy(channel.external, channel.internal, size)


def write_outside(supervisor: Supervisor, address: int, data: bytes) -> None:
    """Write normal memory as ring 0 does: where nothing answers, the write is lost.

    Raises:
        SystemStopError: the pages are not present; ring 0 dies.
    """
    _require_present(supervisor, address, len(data))
    with suppress(BusError):
        supervisor.memory.write(address, data)


def _owner(supervisor: Supervisor, address: int, size: int) -> bool | None:
    try:
        return is_user_range(supervisor.memory, address, size)
    except CoreError:
        return None


def _call_user(supervisor: Supervisor, handler: MmiHandler, buffer: int, size_pointer: int) -> int:
    if not supervisor.jumps.central:
        return Status.NOT_READY
    arguments = (handler.handle, 0, buffer, size_pointer, handler.routine)
    return supervisor.ring3.call(supervisor.jumps.central, arguments, 0, target=handler.routine)


def _judged(supervisor: Supervisor, handler: MmiHandler, status: int) -> int:
    """Return a handler's status; an error that is none of those with a meaning is an ASSERT (boot-flow.md §10.2)."""
    if status & ERROR_BIT and status != Status.INTERRUPT_PENDING:
        detail = f"the handler of {handler.label} returned {status_name(status)}"
        supervisor.failed_assert("boot-flow.md §10.2", detail, subject="MMI dispatch")
    return status


def _call_with_message(supervisor: Supervisor, handler: MmiHandler, message: InternalMessage) -> int:
    """Call a handler with the copy of a message in MMRAM; a relaxation gives traditional ones the original."""
    module = supervisor.modules.find(handler.routine)
    relaxed = supervisor.relaxations.permits(Relaxation.EXTERNAL_COMM_BUFFER)
    if module is None or not module.traditional or not relaxed:
        return _call_user(supervisor, handler, supervisor.user.internal + message.header, supervisor.shared_page)
    supervisor.relaxations.note(
        supervisor.log,
        Relaxation.EXTERNAL_COMM_BUFFER,
        module.place(handler.routine),
        f"message {message.guid.label} is given outside MMRAM",
    )
    return _call_outside(supervisor, handler, message)


def _call_outside(supervisor: Supervisor, handler: MmiHandler, message: InternalMessage) -> int:
    """Open the external buffer to ring 3 while a handler works in it, and let the internal copy follow."""
    memory, channel = supervisor.memory, supervisor.user
    _copy_out(supervisor, channel, channel.size)
    memory.clear_attributes(channel.external, channel.size, Attribute.SP)
    try:
        status = _call_user(supervisor, handler, channel.external + message.header, supervisor.shared_page)
    finally:
        memory.set_attributes(channel.external, channel.size, Attribute.SP)
    copy_in(supervisor, channel)
    return status


def run_root_handlers(supervisor: Supervisor) -> int:
    """Call the root handlers of ring 3 and return their combined status."""

    def call(handler: MmiHandler) -> int:
        return _judged(supervisor, handler, _call_user(supervisor, handler, 0, 0))

    return supervisor.handlers.manage(None, user=True, call=call)


def dispatch_to_user(supervisor: Supervisor, source: str, message: InternalMessage) -> tuple[int, int]:
    """Call the ring-3 handlers of a message.

    Returns:
        Their combined status, and the answer's size with its header.

    Raises:
        MalformedMessageError: BAD_BUFFER_SIZE: the size that a handler returned overflows.
        SystemStopError: a handler broke a rule.
    """
    memory = supervisor.memory
    supervisor.log.emit(MmiBegan(source, "user", message.guid.label, message.payload))
    buffer = supervisor.user.internal + message.header
    memory.write_u64(supervisor.shared_page, message.payload)
    result = supervisor.handlers.manage(
        message.guid,
        user=_owner(supervisor, buffer, message.payload),
        call=lambda handler: _judged(supervisor, handler, _call_with_message(supervisor, handler, message)),
    )
    size = memory.read_u64(supervisor.shared_page) + message.header
    if size >= _LIMIT:
        raise MalformedMessageError(Status.BAD_BUFFER_SIZE, "the handler's size overflows")
    return result, size


def dispatch_to_supervisor(supervisor: Supervisor, source: str, message: InternalMessage) -> tuple[int, int]:
    """Call the ring-0 handlers of a message; return as :func:`dispatch_to_user` does."""
    supervisor.log.emit(MmiBegan(source, "supervisor", message.guid.label, message.payload))
    buffer = supervisor.supervisor.internal + message.header
    size = message.payload

    def call(handler: MmiHandler) -> int:
        nonlocal size
        if handler.supervisor is None:  # never: manage() calls the handlers of one owner only
            return Status.NOT_FOUND
        status, size = handler.supervisor(buffer, size)
        return _judged(supervisor, handler, status)

    owner = _owner(supervisor, buffer, message.payload)
    result = supervisor.handlers.manage(message.guid, user=owner, call=call)
    return result, size + message.header


def copy_back(supervisor: Supervisor, channel: CommChannel, total: int) -> None:
    """Copy an answer of ``total`` bytes to the external buffer, or nothing of one that does not fit."""
    if total <= channel.size:
        _copy_out(supervisor, channel, total)
    else:
        detail = f"a size of {total:#x} is reported, and nothing is copied"
        supervisor.failed_assert("communicate.md §3.1", detail)
        supervisor.reference_bug("communicate.md §13.3", detail)


def mailbox_status(result: int) -> Status:
    """Reduce the handlers' status to what a mailbox reports (docs/reference/communicate.md §3.3)."""
    return Status.SUCCESS if result == Status.SUCCESS else Status.NOT_FOUND


def report_malformed(supervisor: Supervisor, error: CoreError, source: str, rule: str) -> None:
    """Record a message that no handler saw."""
    supervisor.log.emit(MmiBegan(source, "malformed", "", 0))
    supervisor.report(make_finding("MM-2008", error.detail, subject="message", rule=rule, status=error.status))


def report_unhandled(supervisor: Supervisor, message: InternalMessage, result: int, *, user: bool) -> None:
    """Record why a message was answered NOT_FOUND."""
    handlers = [handler for handler in supervisor.handlers.all() if handler.guid == message.guid]
    if message.payload == 0:
        detail = "its length is 0, and such a message never reaches a handler"
        supervisor.reference_bug("communicate.md §13.1", f"message {message.guid.label} has length 0")
    elif not handlers:
        detail = "no handler is registered for its GUID"
    elif not any((handler.supervisor is None) == user for handler in handlers):
        detail = "its handlers belong to the other channel"
        if message.guid == _READY_TO_BOOT_GUID and not user and not supervisor.lifecycle.ready_to_lock:
            supervisor.reference_bug("boot-flow.md §12.8", "the fallback lock by ReadyToBoot locks nothing")
    else:
        detail = f"its handlers left it unserved ({status_name(result)})"
        source = "communicate.md §13.11" if user else "boot-flow.md §12.15"
        supervisor.reference_bug(source, f"message {message.guid.label}: the sender is told EFI_NOT_FOUND")
    supervisor.report(
        make_finding("MM-2008", detail, subject=f"message {message.guid.label}", rule="boot-flow.md §10.2")
    )
