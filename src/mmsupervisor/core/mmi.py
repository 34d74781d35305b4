"""One MMI: mailboxes in, message to its handlers, mailboxes out.

Facts: docs/reference/boot-flow.md §10, communicate.md §3 and §4. The older generation's one mailbox is
:mod:`mmsupervisor.core.one_slot`.
"""

from __future__ import annotations

from dataclasses import replace

from mmsupervisor.core.entry_context import write_entry_context
from mmsupervisor.core.errors import CoreError, Ring0FaultError
from mmsupervisor.core.events import MmiBegan, MmiEnded
from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.core.message_dispatch import (
    InternalMessage,
    MalformedMessageError,
    copy_back,
    copy_in,
    dispatch_to_supervisor,
    dispatch_to_user,
    mailbox_status,
    read_outside,
    report_malformed,
    report_unhandled,
    run_root_handlers,
    write_outside,
)
from mmsupervisor.core.one_slot import serve_slot
from mmsupervisor.core.supervisor import CommChannel, Supervisor
from mmsupervisor.core.telemetry import end_system
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.message import HEADER_SIZE, HEADER_V3_SIZE, CommBufferStatus
from mmsupervisor.pi.status import Status, status_name

_V3_GUID = known_guid("gEfiMmCommunicateHeaderV3Guid")


def _read_mailbox(supervisor: Supervisor, channel: CommChannel) -> CommBufferStatus:
    """Read a channel's mailbox; a core whose entry point failed may not know of it, and takes it for empty."""
    if channel.status == 0:
        return CommBufferStatus()
    return CommBufferStatus.unpack(read_outside(supervisor, channel.status, CommBufferStatus.SIZE))


def _read_message(supervisor: Supervisor, channel: CommChannel, *, v3_allowed: bool) -> InternalMessage:
    """Copy the whole external buffer in and check the message's sizes."""
    memory = supervisor.memory
    copy_in(supervisor, channel)
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
        return InternalMessage(guid, HEADER_V3_SIZE, payload)
    if HEADER_SIZE + length > channel.size:
        raise MalformedMessageError(Status.BAD_BUFFER_SIZE, f"MessageLength is {length:#x}")
    return InternalMessage(guid, HEADER_SIZE, length)


def _serve_user(supervisor: Supervisor, source: str, mailbox: CommBufferStatus) -> CommBufferStatus:
    try:
        message = _read_message(supervisor, supervisor.user, v3_allowed=True)
        result, size = dispatch_to_user(supervisor, source, message)
    except MalformedMessageError as error:
        return _answer_malformed(supervisor, mailbox, error, source)
    copy_back(supervisor, supervisor.user, size)
    if result != Status.SUCCESS:
        report_unhandled(supervisor, message, result, user=True)
    run_root_handlers(supervisor)
    return _answer(mailbox, result, size)


def _serve_supervisor(supervisor: Supervisor, source: str, mailbox: CommBufferStatus) -> CommBufferStatus:
    try:
        message = _read_message(supervisor, supervisor.supervisor, v3_allowed=False)
    except MalformedMessageError as error:
        return _answer_malformed(supervisor, mailbox, error, source)
    result, size = dispatch_to_supervisor(supervisor, source, message)
    # Request 4 may have moved the channel: the answer goes to the new place.
    copy_back(supervisor, supervisor.supervisor, size)
    if result != Status.SUCCESS:
        report_unhandled(supervisor, message, result, user=False)
    return _answer(mailbox, result, size)


def _answer(mailbox: CommBufferStatus, result: int, size: int) -> CommBufferStatus:
    return CommBufferStatus(0, int(mailbox_status(result)), size, mailbox.reserved)


def _answer_malformed(
    supervisor: Supervisor, mailbox: CommBufferStatus, error: CoreError, source: str
) -> CommBufferStatus:
    report_malformed(supervisor, error, source, "communicate.md §3.1")
    supervisor.failed_assert("communicate.md §3.1", error.detail, subject="message")
    return replace(mailbox, is_valid=0, return_status=int(error.status), return_buffer_size=0)


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
    if supervisor.slot is not None:
        serve_slot(supervisor, supervisor.slot, source)
    else:
        _serve_status_blocks(supervisor, source)


def _serve_status_blocks(supervisor: Supervisor, source: str) -> None:
    """Serve one channel of today's generation: each has its own status block, and the user's goes first."""
    user = _read_mailbox(supervisor, supervisor.user)
    other = _read_mailbox(supervisor, supervisor.supervisor)
    if other.is_valid and not user.is_valid and _is_refused(supervisor):
        answer, channel = _refuse_supervisor(supervisor, source, user), supervisor.user
        ended = MmiEnded(status_name(Status.ACCESS_DENIED), 0)
    else:
        if other.is_valid and not user.is_valid:
            answer, channel = _serve_supervisor(supervisor, source, other), supervisor.supervisor
        else:
            answer, channel = _serve_user_mailbox(supervisor, source, user, other), supervisor.user
        ended = MmiEnded(status_name(answer.return_status), answer.return_buffer_size)
    if channel.status:
        write_outside(supervisor, channel.status, answer.pack())
    supervisor.log.emit(ended)


def _is_refused(supervisor: Supervisor) -> bool:
    return supervisor.lifecycle.runtime and supervisor.profile.closes_supervisor_channel


def _refuse_supervisor(supervisor: Supervisor, source: str, user: CommBufferStatus) -> CommBufferStatus:
    """Refuse a message of the supervisor channel: the refusal is written nowhere, the user's mailbox as it was."""
    supervisor.log.emit(MmiBegan(source, "refused", "", 0))
    supervisor.failed_assert("communicate.md §13.2", "a message on the supervisor channel after ExitBootServices")
    supervisor.reference_bug("communicate.md §13.2", "the refusal takes the path of the user's mailbox: nobody sees it")
    return user


def _serve_user_mailbox(
    supervisor: Supervisor, source: str, user: CommBufferStatus, other: CommBufferStatus
) -> CommBufferStatus:
    """Serve everything that is answered in the user's mailbox."""
    if user.is_valid:
        if other.is_valid:
            supervisor.reference_bug("communicate.md §13.4", "both mailboxes are valid; the supervisor's waits")
        return _serve_user(supervisor, source, user)
    supervisor.log.emit(MmiBegan(source, "none", "", 0))
    run_root_handlers(supervisor)
    return user
