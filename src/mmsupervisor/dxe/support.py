"""MmDxeSupport: the DXE half of the PEI launch (docs/reference/boot-flow.md §7.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmsupervisor.abi.requests import HEADER_SIZE as REQUEST_HEADER_SIZE
from mmsupervisor.abi.requests import VERSION_INFO, Request, pack_request
from mmsupervisor.dxe.supervisor_requests import SupervisorRequestClient, request_result
from mmsupervisor.ipl.communicate import Answer, Channel, communicate
from mmsupervisor.ipl.interfaces import MmiTrigger
from mmsupervisor.machine.memory import PAGE_SIZE, PhysicalMemory
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.memory_types import MemoryAttribute, MemoryDescriptor, MemoryType
from mmsupervisor.pi.message import HEADER_SIZE, CommBufferStatus
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import ERROR_BIT, Status
from mmsupervisor.pi.supervisor_hobs import UnblockRegion

_OWN_GUID = known_guid("MmDxeSupport")
_REQUEST_GUID = known_guid("gMmSupervisorRequestHandlerGuid")
_COMM_UPDATE_LEVEL = 4


@dataclass(frozen=True, slots=True)
class NewBuffers:
    """Runtime pages to which the channels move.

    Attributes:
        supervisor: Address of the supervisor's buffer.
        user: Address of the user's buffer.
        supervisor_status: Address of the supervisor's mailbox page.
        user_status: Address of the user's mailbox page.
    """

    supervisor: int
    user: int
    supervisor_status: int
    user_status: int


class MmDxeSupport:
    """The supervisor channel in DXE.

    Attributes:
        channel: The supervisor channel.
        version: What the version query answered.
        max_request_level: Highest request that the supervisor serves.
    """

    def __init__(self, memory: PhysicalMemory, channel: Channel, trigger: MmiTrigger) -> None:
        """Take the supervisor channel over from PEI."""
        self._memory = memory
        self.channel = replace(channel)
        self._trigger = trigger
        self.version = 0
        self.max_request_level = 0

    def send(self, guid: Guid, payload: bytes, source: str) -> Answer:
        """Send one message on the supervisor channel."""
        message = guid.raw + len(payload).to_bytes(8, "little") + payload
        return communicate(self._memory, self.channel, self._trigger, message, size=len(message), source=source)

    def request(self, request: int, parameters: bytes, source: str) -> tuple[int, bytes]:
        """Send a supervisor request; see :class:`SupervisorRequestClient`."""
        return SupervisorRequestClient(self.send).request(request, parameters, source)

    def query_version(self) -> int:
        """Ask for the version and return the status."""
        status, body = self.request(Request.VERSION_INFO, bytes(VERSION_INFO.size), "MmDxeSupport: version query")
        if not status & ERROR_BIT:
            self.version, _, self.max_request_level = VERSION_INFO.unpack_from(body)
        return status

    def move_buffers(self, user: Channel, new: NewBuffers) -> int:
        """Move both channels to runtime pages by request 4 and return the status.

        The answer lies in the new buffer and the new mailbox; the old mailbox keeps its valid flag and the
        result of the version query (docs/reference/communicate.md §6.4). The version is then asked for again, by
        the new buffer (boot-flow.md §7.1).
        """
        if self.max_request_level < _COMM_UPDATE_LEVEL:
            return Status.UNSUPPORTED
        blocks = (
            (new.supervisor_status, 1),
            (new.user_status, 1),
            (new.supervisor, self.channel.pages),
            (new.user, user.pages),
        )
        parameters = b"".join(_block(start, pages) for start, pages in blocks)
        self._memory.fill(new.supervisor_status, PAGE_SIZE)
        self._memory.fill(new.user_status, PAGE_SIZE)
        answer = self.send(_REQUEST_GUID, pack_request(Request.COMM_UPDATE, parameters), "MmDxeSupport: buffer update")
        if answer.status:
            return answer.status
        mailbox = CommBufferStatus.parse(
            Reader(self._memory.read(new.supervisor_status, CommBufferStatus.SIZE), "mailbox")
        )
        if mailbox.return_status:
            return mailbox.return_status
        body = self._memory.read(new.supervisor + HEADER_SIZE, REQUEST_HEADER_SIZE)
        status = request_result(body)
        if status & ERROR_BIT:
            return status
        old = self.channel
        self.channel = replace(old, buffer=new.supervisor, status=new.supervisor_status)
        status = self.query_version()
        if status & ERROR_BIT:  # the update was refused: that answer went to the old place, where nobody looks
            self.channel = old
        return status


def _block(start: int, pages: int) -> bytes:
    attribute = int(MemoryAttribute.XP | MemoryAttribute.SP)
    descriptor = MemoryDescriptor(MemoryType.RUNTIME_SERVICES_DATA, start, start, pages, attribute)
    return UnblockRegion(descriptor, _OWN_GUID).pack()
