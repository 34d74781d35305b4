"""One MMI of the DXE launch's generation: one mailbox for both channels (docs/reference/dxe-launch.md §5).

The address of the posted buffer tells the channel, its size is the size of the message: MessageLength is not
looked at, there is no version 3 header, and only as many bytes come in as were posted.
"""

from __future__ import annotations

from dataclasses import replace

from mmsupervisor.abi.dxe_launch import CorePrivateData
from mmsupervisor.core.events import MmiBegan, MmiEnded
from mmsupervisor.core.message_dispatch import (
    InternalMessage,
    MalformedMessageError,
    copy_back,
    dispatch_to_supervisor,
    dispatch_to_user,
    mailbox_status,
    read_outside,
    report_malformed,
    report_unhandled,
    run_root_handlers,
    write_outside,
)
from mmsupervisor.core.supervisor import CommChannel, OneSlot, Supervisor
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status, status_name

_RULE = "dxe-launch.md §5"
_TRUSTED = ("range_count", "ranges", "entry_point", "mmst", "image_base", "image_size", "image_entry", "boot_volume")


def register_entry(supervisor: Supervisor, slot: OneSlot, boot_volume: int | None) -> None:
    """Fill in what the core tells the launcher, and write the mailbox out.

    The reference writes addresses of its code and data here; of our core only the image's placeholder has an
    address, which stands for them.
    """
    private = slot.private
    slot.private = replace(
        private,
        entry_point=private.image_entry,
        entry_point_registered=1,
        mmst=private.image_base,
        boot_volume=boot_volume or 0,
    )
    supervisor.memory.write(slot.address, slot.private.pack())
    supervisor.reference_bug(
        "dxe-launch.md §8.6", "the mailbox tells normal memory where the core's MMST and entry lie"
    )


def serve_slot(supervisor: Supervisor, slot: OneSlot, source: str) -> None:
    """Serve one MMI: the whole mailbox in, its message to the handlers, the whole mailbox out.

    Raises:
        SystemStopError: a handler broke a rule.
    """
    raw = read_outside(supervisor, slot.address, CorePrivateData.SIZE)
    posted = CorePrivateData.parse(Reader(raw, "mailbox"))
    _note_changes(supervisor, slot.private, posted)
    slot.private = replace(posted, in_mm=1)
    answer = replace(_serve(supervisor, posted, source), communication_buffer=0, in_mm=0)
    slot.private = answer
    write_outside(supervisor, slot.address, answer.pack())
    supervisor.log.emit(MmiEnded(status_name(answer.return_status), answer.buffer_size))


def _note_changes(supervisor: Supervisor, known: CorePrivateData, posted: CorePrivateData) -> None:
    """Tell that normal memory has changed what the core believes of itself; nothing of ours goes by it."""
    changed = [name for name in _TRUSTED if getattr(known, name) != getattr(posted, name)]
    if changed:
        detail = f"the core takes over {', '.join(changed)} as normal memory has them"
        supervisor.reference_bug("dxe-launch.md §8.6", detail)


def _serve(supervisor: Supervisor, posted: CorePrivateData, source: str) -> CorePrivateData:
    if posted.communication_buffer == 0:
        supervisor.log.emit(MmiBegan(source, "none", "", 0))
        run_root_handlers(supervisor)
        return posted
    channel = _channel(supervisor, posted)
    if channel is None:
        answer = _refuse(supervisor, posted, source, "it lies in neither comm buffer, or is too large for it")
        run_root_handlers(supervisor)
        return answer
    if posted.buffer_size < HEADER_SIZE:
        return _refuse(supervisor, posted, source, f"{posted.buffer_size} bytes have no header")
    try:
        result, size = _dispatch(supervisor, channel, posted.buffer_size, source)
    except MalformedMessageError as error:
        report_malformed(supervisor, error, source, _RULE)
        return replace(posted, return_status=int(error.status))
    return replace(posted, return_status=int(mailbox_status(result)), buffer_size=size)


def _channel(supervisor: Supervisor, posted: CorePrivateData) -> CommChannel | None:
    for channel in (supervisor.user, supervisor.supervisor):
        if posted.communication_buffer == channel.external and posted.buffer_size <= channel.size:
            return channel
    return None


def _refuse(supervisor: Supervisor, posted: CorePrivateData, source: str, why: str) -> CorePrivateData:
    error = MalformedMessageError(Status.ACCESS_DENIED, f"message at {posted.communication_buffer:#x}: {why}")
    report_malformed(supervisor, error, source, _RULE)
    return replace(posted, return_status=int(Status.ACCESS_DENIED))


def _dispatch(supervisor: Supervisor, channel: CommChannel, size: int, source: str) -> tuple[int, int]:
    """Copy a message in, call its handlers, copy the answer out; root handlers follow the user's only."""
    memory = supervisor.memory
    memory.write(channel.internal, read_outside(supervisor, channel.external, size).ljust(channel.size, b"\0"))
    guid = Guid(memory.read(channel.internal, GUID_SIZE))
    message = InternalMessage(guid, HEADER_SIZE, size - HEADER_SIZE)
    user = channel is supervisor.user
    dispatch = dispatch_to_user if user else dispatch_to_supervisor
    result, returned = dispatch(supervisor, source, message)
    copy_back(supervisor, channel, returned)
    if result != Status.SUCCESS:
        report_unhandled(supervisor, message, result, user=user)
    if user:
        run_root_handlers(supervisor)
    return result, returned


def refuse_without_core(memory: PhysicalMemory, mailbox: int) -> None:
    """Answer an MMI for a core whose entry point failed after its SMI set-up: ACCESS_DENIED to any message.

    Its comm buffers are not known or its requests not served yet (docs/reference/dxe-launch.md §2, consequence a).
    """
    posted = CorePrivateData.parse(Reader(memory.read(mailbox, CorePrivateData.SIZE), "mailbox"))
    if posted.communication_buffer:
        answer = replace(posted, communication_buffer=0, return_status=int(Status.ACCESS_DENIED))
        memory.write(mailbox, answer.pack())
