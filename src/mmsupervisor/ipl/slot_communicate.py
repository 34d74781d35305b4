"""PiSmmIpl's communicate call: one slot for both channels (docs/reference/dxe-launch.md §5).

MessageLength goes in as the caller wrote it: MM takes the size from the mailbox.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.ipl.interfaces import AddressSpace, MmiTrigger, ReferenceBugs
from mmsupervisor.ipl.mailbox import Mailbox
from mmsupervisor.machine.memory import PAGE_SIZE, PhysicalMemory
from mmsupervisor.pi.memory_types import pages_for
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.pi.status import ERROR_BIT, Status

_LENGTH_OFFSET = 0x10
_LIMIT = 1 << 64


@dataclass(slots=True)
class SlotChannel:
    """A channel as PiSmmIpl knows it.

    Attributes:
        address: Physical address of the buffer: what is posted, before and after VirtualAddressChange.
        pages: Its pages.
        pointer: What the launcher itself goes by; converted at VirtualAddressChange.
    """

    address: int
    pages: int
    pointer: int

    @property
    def size(self) -> int:
        """Bytes of the buffer."""
        return self.pages * PAGE_SIZE


class SlotCommunicate:
    """The worker behind all three communicate services."""

    def __init__(
        self,
        memory: PhysicalMemory,
        space: AddressSpace,
        mailbox: Mailbox,
        trigger: MmiTrigger,
        reference_bug: ReferenceBugs,
    ) -> None:
        """Wire the worker."""
        self._memory = memory
        self._space = space
        self._mailbox = mailbox
        self._trigger = trigger
        self._reference_bug = reference_bug

    def send(
        self, channel: SlotChannel, message: bytes | None, *, size: int | None, source: str, in_place: bool = False
    ) -> Answer:
        """Send one message and return the answer; the rows of §5 in their order.

        Args:
            channel: The channel.
            message: The caller's buffer, header first; None for a NULL pointer.
            size: CommSize; None for a NULL pointer.
            source: Who sends, for traces.
            in_place: Whether the caller's buffer is the channel's own buffer, so that nothing is copied.
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
        buffer = self._space.physical(channel.pointer)
        if not in_place:
            self._memory.write(buffer, message[:size].ljust(size, b"\0"))
        if self._mailbox.read().in_mm:
            return Answer(Status.INVALID_PARAMETER, size, b"")
        return self._post(channel, size, source)

    def _post(self, channel: SlotChannel, size: int, source: str) -> Answer:
        posted = self._mailbox.read()
        if posted.communication_buffer:
            waiting = f"the message waiting at {posted.communication_buffer:#x} is lost: there is one slot"
            self._reference_bug("dxe-launch.md §5", waiting)
        self._mailbox.update(communication_buffer=channel.address, buffer_size=size)
        if self._trigger(source) & ERROR_BIT:
            return Answer(Status.UNSUPPORTED, size, b"")
        answered = self._mailbox.read()
        returned = answered.buffer_size
        if returned > size:
            detail = f"{returned:#x} bytes go into a caller's buffer of {size:#x}"
            self._reference_bug("dxe-launch.md §8.7", detail)
        data = self._memory.read(self._space.physical(channel.pointer), min(returned, channel.size))
        return Answer(answered.return_status, returned, data)
