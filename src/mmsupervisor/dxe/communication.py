"""MmCommunicationDxe: the user channel as DXE drivers see it (docs/reference/communicate.md §3)."""

from __future__ import annotations

from dataclasses import replace

from mmsupervisor.ipl.communicate import Answer, Channel
from mmsupervisor.ipl.interfaces import MmiTrigger
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.message import HEADER_SIZE, HEADER_V3_SIZE, CommBufferStatus
from mmsupervisor.pi.status import Status

_V3_GUID = known_guid("gEfiMmCommunicateHeaderV3Guid")
_LIMIT = 1 << 64


class MmCommunication:
    """The MM Communication protocols, all three of them."""

    def __init__(self, memory: PhysicalMemory, channel: Channel, trigger: MmiTrigger) -> None:
        """Copy the channel once, as the driver copies its HOB at entry."""
        self._memory = memory
        self.channel = replace(channel)
        self._trigger = trigger

    def communicate(self, message: bytes | None, size: int | None = None, source: str = "DXE") -> Answer:
        """Send one message.

        Args:
            message: The caller's buffer, header first; None for a NULL pointer.
            size: CommSize; None for a NULL pointer.
            source: Who sends, for traces.
        """
        if message is None:
            return Answer(Status.INVALID_PARAMETER, 0, b"")
        total = self._total(message)
        if total is None or total > self.channel.size or (size is not None and size != total):
            return Answer(Status.INVALID_PARAMETER, size or 0, b"")
        memory, channel = self._memory, self.channel
        memory.write(channel.buffer, message[:total].ljust(total, b"\0"))
        mailbox = self._mailbox()
        posted = CommBufferStatus(1, mailbox.return_status, mailbox.return_buffer_size, mailbox.reserved)
        memory.write(channel.status, posted.pack())
        self._trigger(source)
        mailbox = self._mailbox()
        if mailbox.is_valid:
            memory.write(channel.status, replace(mailbox, is_valid=0).pack())
        returned = mailbox.return_buffer_size
        data = memory.read(channel.buffer, min(returned, channel.size))
        return Answer(mailbox.return_status, returned, data)

    def _mailbox(self) -> CommBufferStatus:
        return CommBufferStatus.unpack(self._memory.read(self.channel.status, CommBufferStatus.SIZE))

    @staticmethod
    def _total(message: bytes) -> int | None:
        """Return the message's own idea of its size, or None if its header contradicts itself."""
        if len(message) < HEADER_SIZE:
            return None
        length = int.from_bytes(message[0x10:HEADER_SIZE], "little")
        if Guid(message[:GUID_SIZE]) != _V3_GUID:
            return HEADER_SIZE + length if HEADER_SIZE + length < _LIMIT else None
        if len(message) < HEADER_V3_SIZE:
            return None
        needed = HEADER_V3_SIZE + int.from_bytes(message[0x30:HEADER_V3_SIZE], "little")
        return length if length >= needed else None
