"""The protocols that PiSmmIpl publishes (docs/reference/dxe-launch.md §1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.ipl.mailbox import Mailbox
from mmsupervisor.ipl.slot_communicate import SlotChannel, SlotCommunicate
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.memory_types import MemoryDescriptor, MemoryType
from mmsupervisor.pi.status import Status

PROTOCOLS = (
    known_guid("gEfiMmBaseProtocolGuid"),
    known_guid("gEfiMmCommunicationProtocolGuid"),
    known_guid("gEfiMmCommunication2ProtocolGuid"),
    known_guid("gMmSupervisorCommunicationProtocolGuid"),
)
"""Installed on one handle in one call. There is no MM Communication 3."""

VARIABLE_MARKERS = (known_guid("gEfiSmmVariableProtocolGuid"), known_guid("gSmmVariableWriteGuid"))
"""Installed with NULL interfaces on a second handle, so that DXE's variable wrappers are dispatched."""

SUPERVISOR_SIGNATURE = int.from_bytes(b"MSCP", "little")
SUPERVISOR_VERSION = 1


class MmBase:
    """gEfiMmBaseProtocolGuid, of which gEfiSmmBase2ProtocolGuid is the older name."""

    def __init__(self, mailbox: Mailbox) -> None:
        """Answer from the mailbox."""
        self._mailbox = mailbox

    def in_mm(self) -> bool:
        """Whether the caller runs in MM: the mailbox's flag, which normal memory never sees set."""
        return bool(self._mailbox.read().in_mm)

    def mmst_location(self) -> tuple[Status, int]:
        """Return a status, and the address of the MMST where the caller runs in MM."""
        mailbox = self._mailbox.read()
        return (Status.SUCCESS, mailbox.mmst) if mailbox.in_mm else (Status.UNSUPPORTED, 0)


class UserCommunication:
    """MM Communication and MM Communication 2: the user channel."""

    def __init__(self, worker: SlotCommunicate, channel: SlotChannel) -> None:
        """Serve a channel."""
        self._worker = worker
        self.channel = channel

    def communicate(
        self, message: bytes | None, size: int | None = None, source: str = "DXE", *, in_place: bool = False
    ) -> Answer:
        """Send a message by MM Communication; arguments as :meth:`SlotCommunicate.send` has them."""
        return self._worker.send(self.channel, message, size=size, source=source, in_place=in_place)

    def communicate2(
        self, _physical: bytes | None, virtual: bytes | None, size: int | None = None, source: str = "DXE"
    ) -> Answer:
        """Send a message by MM Communication 2, whose physical pointer nobody looks at."""
        return self.communicate(virtual, size, source)


@dataclass(frozen=True, slots=True)
class SupervisorInterface:
    """The data of gMmSupervisorCommunicationProtocolGuid, as a caller finds them.

    Attributes:
        region: Memory descriptor of the supervisor buffer.
        signature: 'MSCP'.
        version: 1.
    """

    region: MemoryDescriptor
    signature: int = SUPERVISOR_SIGNATURE
    version: int = SUPERVISOR_VERSION


class SupervisorCommunication:
    """gMmSupervisorCommunicationProtocolGuid: the supervisor channel.

    Attributes:
        interface: What the protocol's pointer leads to.
    """

    def __init__(self, worker: SlotCommunicate, channel: SlotChannel) -> None:
        """Serve a channel; its region is runtime data without attributes, virtual equal to physical."""
        self._worker = worker
        self.channel = channel
        kind = MemoryType.RUNTIME_SERVICES_DATA
        self.interface = SupervisorInterface(MemoryDescriptor(kind, channel.address, channel.address, channel.pages, 0))

    def convert_region(self) -> None:
        """Let VirtualStart of the region follow the channel's pointer."""
        region = replace(self.interface.region, virtual_start=self.channel.pointer)
        self.interface = replace(self.interface, region=region)

    def communicate(
        self,
        this: SupervisorInterface | None,
        message: bytes | None,
        size: int | None = None,
        source: str = "DXE",
        *,
        in_place: bool = False,
    ) -> Answer:
        """Send a message; ``this`` is the protocol's own pointer, which is judged first (§5 row 1)."""
        if this is None or this.signature != SUPERVISOR_SIGNATURE or this.version != SUPERVISOR_VERSION:
            return Answer(Status.INVALID_PARAMETER, size or 0, b"")
        return self._worker.send(self.channel, message, size=size, source=source, in_place=in_place)
