"""A bench for the launcher: MMRAM access, HOBs and a core that do what a test says, and a list of what was done."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from mmsupervisor.ipl.interfaces import CoreImage
from mmsupervisor.ipl.launcher import PeiLauncher
from mmsupervisor.machine.events import EventLog
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import ZERO_GUID, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob, HobRecord
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import MmramBlock, SupervisorCommBuffer, UserCommBuffer, hob_for

SMRAM = known_guid("gEfiSmmSmramMemoryGuid")
REQUEST = known_guid("gMmSupervisorRequestHandlerGuid")
DISPATCH = known_guid("gMmSupervisorDriverDispatchGuid")
BUFFER, USER, STATUS, USER_STATUS = 0x10000, 0x30000, 0x50000, 0x51000
MIB = 1 << 20
CORE = CoreImage(0x20000, 0x1000, 0x0001_0000, 0x0001_0001)


def mmram(start: int, size: int, state: int = 0) -> MmramDescriptor:
    return MmramDescriptor(start, start, size, MmramState.CLOSED | state)


@dataclass
class Hobs:
    """A HOB list that needs no memory."""

    records: list[HobRecord]
    address: int = 0x8000

    def guid_hobs(self, name: Guid) -> Iterator[GuidHob]:
        return (record for record in list(self.records) if isinstance(record, GuidHob) and record.name == name)

    def append(self, record: HobRecord) -> None:
        self.records.append(record)

    def forget(self, name: Guid) -> None:
        first = next(self.guid_hobs(name))
        self.records[self.records.index(first)] = replace(first, name=ZERO_GUID)


@dataclass
class Access:
    """MM Access: ``fail`` names the call that is refused."""

    ranges: tuple[MmramDescriptor, ...]
    done: list[str]
    fail: str = ""

    def capabilities(self) -> tuple[MmramDescriptor, ...]:
        return self.ranges

    def _do(self, what: str) -> Status:
        self.done.append(what)
        return Status.DEVICE_ERROR if what == self.fail else Status.SUCCESS

    def open(self, index: int) -> Status:
        return self._do(f"open {index}")

    def close(self, index: int) -> Status:
        return self._do(f"close {index}")

    def lock(self, index: int) -> Status:
        return self._do(f"lock {index}")


@dataclass
class Bench:
    """All that a launcher meets. Change it, then call :meth:`launcher`.

    Attributes:
        done: What the launcher did, in order.
        answers: What the core answers to a GUID: it may write to the buffer, and returns status and size.
        messages: GUID and payload of each message.
    """

    ranges: tuple[MmramDescriptor, ...] = (mmram(16 * MIB, 4 * MIB),)
    core: CoreImage | None = CORE
    core_status: Status = Status.SUCCESS
    done: list[str] = field(default_factory=list)
    answers: dict[Guid, Callable[[], tuple[int, int]]] = field(default_factory=dict)
    messages: list[tuple[Guid, bytes]] = field(default_factory=list)
    trigger_status: Status = Status.SUCCESS
    fail: str = ""
    memory: PhysicalMemory = field(default_factory=lambda: PhysicalMemory(36))
    log: EventLog = field(default_factory=EventLog)

    def __post_init__(self) -> None:
        self.memory.add_ram(0, MIB, "memory")
        self.hobs = Hobs(
            [
                hob_for(SupervisorCommBuffer(BUFFER, 16, STATUS)),
                hob_for(UserCommBuffer(USER, 16, USER_STATUS)),
                hob_for(MmramBlock(self.ranges), SMRAM),
            ]
        )
        self.answers = {REQUEST: self.version, DISPATCH: lambda: (0, 0x19)}

    def version(self, version: int = 0x0001_0000, result: int = 0) -> tuple[int, int]:
        """Answer the version query."""
        self.memory.write_u64(BUFFER + 0x18 + 0x10, result)
        self.memory.write(BUFFER + 0x18 + 24, struct.pack("<IIQ", version, 0x0001_0001, 4))
        return 0, 0x18 + 24 + 16

    def enter(self, hob_list: int) -> Status:
        self.done.append(f"enter {hob_list:#x}")
        return self.core_status

    def trigger(self, source: str) -> Status:
        self.done.append(f"MMI: {source}")
        if self.trigger_status:
            return self.trigger_status
        for buffer, mailbox in ((USER, USER_STATUS), (BUFFER, STATUS)):
            if self.memory.read(mailbox, 1) != b"\0":
                guid = Guid(self.memory.read(buffer, 16))
                length = self.memory.read_u64(buffer + 0x10)
                self.messages.append((guid, self.memory.read(buffer + 0x18, min(length, 256))))
                status, size = self.answers.get(guid, lambda: (Status.NOT_FOUND, 0x19))()
                self.memory.write(mailbox, CommBufferStatus(0, int(status), size).pack())
                break
        return Status.SUCCESS

    def launcher(self) -> PeiLauncher:
        return PeiLauncher(
            self.memory,
            self.log,
            access=Access(self.ranges, self.done, self.fail),
            trigger=self.trigger,
            hobs=self.hobs,
            core=self.core,
            enter_core=self.enter,
        )
