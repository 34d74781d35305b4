"""The launcher's communicate worker: one message on one channel (docs/reference/communicate.md §3, §4).

It stands for the code that PEI and the DXE driver MmDxeSupport share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmsupervisor.ipl.interfaces import MmiTrigger
from mmsupervisor.machine.memory import PAGE_SIZE, PhysicalMemory
from mmsupervisor.pi.memory_types import pages_for
from mmsupervisor.pi.message import HEADER_SIZE, CommBufferStatus
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import ERROR_BIT, Status

_LENGTH_OFFSET = 0x10
_LIMIT = 1 << 64


@dataclass(slots=True)
class Channel:
    """Where a channel's buffer and mailbox lie, as the outside knows it.

    Attributes:
        buffer: Address of the buffer.
        pages: Its pages.
        status: Address of the mailbox.
        supervisor: Whether it is the supervisor channel.
    """

    buffer: int
    pages: int
    status: int
    supervisor: bool

    @property
    def size(self) -> int:
        """Bytes of the buffer."""
        return self.pages * PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Answer:
    """What a communicate call returns.

    Attributes:
        status: EFI_STATUS.
        size: What it stores into CommSize, in bytes, header included.
        data: The buffer's content afterwards: ``size`` bytes, or fewer where the buffer ends.
    """

    status: int
    size: int
    data: bytes


def communicate(
    memory: PhysicalMemory,
    channel: Channel,
    trigger: MmiTrigger,
    message: bytes | None,
    *,
    size: int | None,
    source: str,
) -> Answer:
    """Send one message and return the answer.

    Args:
        memory: The machine's memory.
        channel: The channel.
        trigger: Raises the MMI.
        message: The caller's buffer, header first; None for a NULL pointer.
        size: CommSize; None for a NULL pointer.
        source: Who sends, for traces.
    """
    if message is None:
        return Answer(Status.INVALID_PARAMETER, 0, b"")
    if size is None:
        size = HEADER_SIZE + int.from_bytes(message[_LENGTH_OFFSET:HEADER_SIZE], "little")
        if size >= _LIMIT:
            return Answer(Status.INVALID_PARAMETER, 0, b"")
    if size < HEADER_SIZE:
        return Answer(Status.INVALID_PARAMETER, size, b"")
    if pages_for(size) > channel.pages:
        return Answer(Status.BAD_BUFFER_SIZE, channel.size, b"")
    mailbox = _mailbox(memory, channel)
    if mailbox.is_valid:
        return Answer(Status.INVALID_PARAMETER, size, b"")
    posted = bytearray(message[:size].ljust(size, b"\0"))
    if channel.supervisor:
        posted[_LENGTH_OFFSET:HEADER_SIZE] = (size - HEADER_SIZE).to_bytes(8, "little")
    memory.write(channel.buffer, posted)
    memory.write(channel.status, replace(mailbox, is_valid=1).pack())
    if trigger(source) & ERROR_BIT:
        return Answer(Status.UNSUPPORTED, size, b"")
    mailbox = _mailbox(memory, channel)
    status = mailbox.return_status | ERROR_BIT if mailbox.return_status else Status.SUCCESS
    returned = mailbox.return_buffer_size
    data = memory.read(channel.buffer, min(returned, channel.size))
    return Answer(status, returned, data)


def _mailbox(memory: PhysicalMemory, channel: Channel) -> CommBufferStatus:
    return CommBufferStatus.parse(Reader(memory.read(channel.status, CommBufferStatus.SIZE), "mailbox"))
