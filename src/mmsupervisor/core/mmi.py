"""One MMI: mailboxes in, message to its handlers, mailboxes out.

Facts: docs/reference/boot-flow.md §10, communicate.md §3 and §4.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from mmsupervisor.core.entry_context import write_entry_context
from mmsupervisor.core.errors import CoreError, Ring0FaultError
from mmsupervisor.core.events import MmiBegan, MmiEnded
from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.core.handlers import MmiHandler
from mmsupervisor.core.ownership import is_user_range
from mmsupervisor.core.supervisor import CommChannel, Supervisor
from mmsupervisor.core.telemetry import end_system
from mmsupervisor.machine.memory import PAGE_MASK, Attribute, BusError
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.message import HEADER_SIZE, HEADER_V3_SIZE, CommBufferStatus
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status, status_name

_V3_GUID = known_guid("gEfiMmCommunicateHeaderV3Guid")
_READY_TO_BOOT_GUID = known_guid("gEfiEventReadyToBootGuid")
_PAGE_FAULT = 14
_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class _Message:
    guid: Guid
    header: int
    payload: int


class MalformedMessageError(CoreError):
    """A message that is answered without any handler being called."""


def _require_present(supervisor: Supervisor, address: int, size: int) -> None:
    """Die where ring 0 itself would take a page fault: its own channel is not mapped any more.

    A buffer update that fails half way leaves the mailboxes' addresses as they were (communicate.md §6.4).
    """
    start = address & ~PAGE_MASK
    for piece in supervisor.memory.slice(start, address + size - start):
        if piece.value.attributes & Attribute.RP:
            detail = f"ring 0 touches its channel at {piece.start:#x}, which is not present"
            rule = "communicate.md §6.4: partial failure"
            finding = make_finding(
                "MM-1302", detail, subject="comm buffers", rule=rule, vector=_PAGE_FAULT, address=piece.start
            )
            raise supervisor.die(finding)


def _read_outside(supervisor: Supervisor, address: int, size: int) -> bytes:
    """Read normal memory as ring 0 does: where nothing answers, the bus gives all ones."""
    _require_present(supervisor, address, size)
    try:
        return supervisor.memory.read(address, size)
    except BusError:
        return b"\xff" * size


def _write_outside(supervisor: Supervisor, address: int, data: bytes) -> None:
    """Write normal memory as ring 0 does: where nothing answers, the write is lost."""
    _require_present(supervisor, address, len(data))
    with suppress(BusError):
        supervisor.memory.write(address, data)


def _read_mailbox(supervisor: Supervisor, channel: CommChannel) -> CommBufferStatus:
    return CommBufferStatus.parse(Reader(_read_outside(supervisor, channel.status, CommBufferStatus.SIZE), "mailbox"))


def _read_message(supervisor: Supervisor, channel: CommChannel, *, v3_allowed: bool) -> _Message:
    """Copy the whole external buffer in and check the message's sizes."""
    memory = supervisor.memory
    memory.write(channel.internal, _read_outside(supervisor, channel.external, channel.size))
    guid = Guid(memory.read(channel.internal, GUID_SIZE))
    length = memory.read_u64(channel.internal + 0x10)
    if guid == _V3_GUID:
        if not v3_allowed:
            raise MalformedMessageError(Status.UNSUPPORTED, "a V3 header on the supervisor channel")
        if length > channel.size or length < HEADER_V3_SIZE:
            raise MalformedMessageError(Status.BAD_BUFFER_SIZE, f"V3 BufferSize is {length:#x}")
        guid = Guid(memory.read(channel.internal + 0x20, GUID_SIZE))
        payload = length - HEADER_V3_SIZE
        if memory.read_u64(channel.internal + 0x30) != payload:
            supervisor.reference_bug("communicate.md §13.10", f"MessageSize is ignored, the handler is given {payload}")
        return _Message(guid, HEADER_V3_SIZE, payload)
    if HEADER_SIZE + length > channel.size:
        raise MalformedMessageError(Status.BAD_BUFFER_SIZE, f"MessageLength is {length:#x}")
    return _Message(guid, HEADER_SIZE, length)


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


def run_root_handlers(supervisor: Supervisor) -> int:
    """Call the root handlers of ring 3 and return their combined status."""
    return supervisor.handlers.manage(None, user=True, call=lambda handler: _call_user(supervisor, handler, 0, 0))


def _serve_user(supervisor: Supervisor, source: str, mailbox: CommBufferStatus) -> CommBufferStatus:
    channel = supervisor.user
    try:
        message = _read_message(supervisor, channel, v3_allowed=True)
        result, size = _dispatch_user(supervisor, source, message)
    except MalformedMessageError as error:
        return _answer_malformed(supervisor, mailbox, error, source)
    _copy_back(supervisor, channel, size)
    if result != Status.SUCCESS:
        _report_unhandled(supervisor, message, result, user=True)
    run_root_handlers(supervisor)
    return _answer(mailbox, result, size)


def _dispatch_user(supervisor: Supervisor, source: str, message: _Message) -> tuple[int, int]:
    """Call the ring-3 handlers of a message; return their result and the answer's size with its header."""
    memory = supervisor.memory
    supervisor.log.emit(MmiBegan(source, "user", message.guid.label, message.payload))
    buffer = supervisor.user.internal + message.header
    memory.write_u64(supervisor.shared_page, message.payload)
    result = supervisor.handlers.manage(
        message.guid,
        user=_owner(supervisor, buffer, message.payload),
        call=lambda handler: _call_user(supervisor, handler, buffer, supervisor.shared_page),
    )
    size = memory.read_u64(supervisor.shared_page) + message.header
    if size >= _LIMIT:
        raise MalformedMessageError(Status.BAD_BUFFER_SIZE, "the handler's size overflows")
    return result, size


def _serve_supervisor(supervisor: Supervisor, source: str, mailbox: CommBufferStatus) -> CommBufferStatus:
    try:
        message = _read_message(supervisor, supervisor.supervisor, v3_allowed=False)
    except MalformedMessageError as error:
        return _answer_malformed(supervisor, mailbox, error, source)
    supervisor.log.emit(MmiBegan(source, "supervisor", message.guid.label, message.payload))
    buffer = supervisor.supervisor.internal + message.header
    size = message.payload

    def call(handler: MmiHandler) -> int:
        nonlocal size
        if handler.supervisor is None:  # never: manage() calls the handlers of one owner only
            return Status.NOT_FOUND
        status, size = handler.supervisor(buffer, size)
        return status

    owner = _owner(supervisor, buffer, message.payload)
    result = supervisor.handlers.manage(message.guid, user=owner, call=call)
    # Request 4 may have moved the channel: the answer goes to the new place.
    _copy_back(supervisor, supervisor.supervisor, size + message.header)
    if result != Status.SUCCESS:
        _report_unhandled(supervisor, message, result, user=False)
    return _answer(mailbox, result, size + message.header)


def _answer(mailbox: CommBufferStatus, result: int, size: int) -> CommBufferStatus:
    status = Status.SUCCESS if result == Status.SUCCESS else Status.NOT_FOUND
    return replace(mailbox, is_valid=0, return_status=int(status), return_buffer_size=size)


def _copy_back(supervisor: Supervisor, channel: CommChannel, total: int) -> None:
    if total <= channel.size:
        _write_outside(supervisor, channel.external, supervisor.memory.read(channel.internal, total))
    else:
        supervisor.reference_bug("communicate.md §13.3", f"a size of {total:#x} is reported, and nothing is copied")


def _answer_malformed(
    supervisor: Supervisor, mailbox: CommBufferStatus, error: CoreError, source: str
) -> CommBufferStatus:
    supervisor.log.emit(MmiBegan(source, "malformed", "", 0))
    supervisor.report(
        make_finding("MM-2008", error.detail, subject="message", rule="communicate.md §3.1", status=error.status)
    )
    return replace(mailbox, is_valid=0, return_status=int(error.status), return_buffer_size=0)


def _report_unhandled(supervisor: Supervisor, message: _Message, result: int, *, user: bool) -> None:
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


def serve_mmi(supervisor: Supervisor, source: str) -> None:
    """Serve one MMI from its mailboxes to its mailboxes.

    Args:
        supervisor: The supervisor; a dead one serves nothing.
        source: What raised the MMI, for the trace.

    Raises:
        SystemStopError: the system is dead, from now on or already.
    """
    if supervisor.stop is not None:
        raise SystemStopError(supervisor.stop)
    supervisor.log.mmi += 1
    try:
        _serve(supervisor, source)
    except SystemStopError as error:
        end_system(supervisor, error.finding)
        raise


def _serve(supervisor: Supervisor, source: str) -> None:
    try:
        write_entry_context(supervisor)
    except Ring0FaultError as error:
        raise supervisor.die(
            make_finding("MM-1302", error.detail, subject="MM system table", vector=error.vector, address=error.address)
        ) from error
    user = _read_mailbox(supervisor, supervisor.user)
    other = _read_mailbox(supervisor, supervisor.supervisor)
    if other.is_valid and not user.is_valid and not _is_refused(supervisor):
        answer = _serve_supervisor(supervisor, source, other)
        mailbox = supervisor.supervisor.status
    else:
        answer = _serve_user_mailbox(supervisor, source, user, other)
        mailbox = supervisor.user.status
    _write_outside(supervisor, mailbox, answer.pack())
    supervisor.log.emit(MmiEnded(status_name(answer.return_status), answer.return_buffer_size))


def _is_refused(supervisor: Supervisor) -> bool:
    return supervisor.lifecycle.runtime and supervisor.profile.closes_supervisor_channel


def _serve_user_mailbox(
    supervisor: Supervisor, source: str, user: CommBufferStatus, other: CommBufferStatus
) -> CommBufferStatus:
    """Serve everything that is answered in the user's mailbox."""
    if user.is_valid:
        if other.is_valid:
            supervisor.reference_bug("communicate.md §13.4", "both mailboxes are valid; the supervisor's waits")
        return _serve_user(supervisor, source, user)
    if other.is_valid:
        supervisor.log.emit(MmiBegan(source, "refused", "", 0))
        supervisor.reference_bug("communicate.md §13.2", "the refusal goes to the user's mailbox")
        return replace(user, return_status=int(Status.ACCESS_DENIED), return_buffer_size=0)
    supervisor.log.emit(MmiBegan(source, "none", "", 0))
    run_root_handlers(supervisor)
    return user
