"""A small machine with a core and no processor: everything of ring 0 can be tried on it in milliseconds.

:class:`Small` is a platform whose every HOB and file may be changed before :meth:`Small.start`; ring 3 is
:class:`Ring3Double`, which answers each routine as a test says and remembers who was called.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mmsupervisor.abi.profile import NEWEST_RELEASE, Profile
from mmsupervisor.abi.requests import HEADER_SIZE as REQUEST_HEADER_SIZE
from mmsupervisor.abi.requests import RESULT_OFFSET, pack_request
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.calls import SERVICES
from mmsupervisor.core.entry import Core, start_core
from mmsupervisor.core.events import ReferenceBugMet
from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.core.gate import SystemCallGate
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.supervisor import CommChannel, Machine, Supervisor
from mmsupervisor.core.unblocked import UnblockParameters
from mmsupervisor.machine.memory import PAGE_SIZE, PhysicalMemory
from mmsupervisor.machine.save_state import SAVE_STATE_OFFSET, Vendor, plain_area
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import (
    CpuHob,
    HandoffHob,
    HobRecord,
    ResourceHob,
    ResourceType,
    VolumeHob,
    build_hob_list,
)
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.supervisor_hobs import (
    MmramBlock,
    MpInformation2,
    ProcessorEntry,
    SmmBase,
    SupervisorCommBuffer,
    UserCommBuffer,
    hob_for,
)
from mmsupervisor.processor.interface import Processor, Registers, SystemCall

MMRAM = 0x100_0000
MMRAM_SIZE = 0x40_0000
MMRAM_END = MMRAM + MMRAM_SIZE
TILES = 0x1_0000
RAM = 0x10_0000
HOBS = 0x11_0000
VOLUMES = 0x20_0000
SUPERVISOR_BUFFER, USER_BUFFER = 0x40_0000, 0x44_0000
SUPERVISOR_STATUS, USER_STATUS = 0x48_0000, 0x48_1000
FREE_RAM = 0x80_0000
HOLE = 0x4000_0000
MMIO = 0xFEE0_0000
MMIO_SIZE = 0x4000
COMM_PAGES = 16
SMRAM_GUID = known_guid("gEfiSmmSmramMemoryGuid")
SOMEBODY = Guid.parse("5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11")
OTHER = Guid.parse("7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20")
REQUEST = known_guid("gMmSupervisorRequestHandlerGuid")
DISPATCH = known_guid("gMmSupervisorDriverDispatchGuid")
LOCK = known_guid("gEfiDxeMmReadyToLockProtocolGuid")
EXIT = known_guid("gEfiEventExitBootServicesGuid")
V3 = known_guid("gEfiMmCommunicateHeaderV3Guid")
BSP, ENABLED, HEALTHY = 1, 2, 4
STALE_STATUS, STALE_SIZE = 0x57A1E, 0x51DE


class NoDevice:
    """A device whose registers are all zero."""

    def mmio_read(self, offset: int, width: int) -> int:
        return 0

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        pass


class NoProcessor:
    """Stands where the ring-3 processor belongs; nothing in these tests may run on it."""

    name = "none"

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory

    def registers(self) -> Registers:
        return Registers()

    def close(self) -> None:
        pass


@dataclass
class Ring3Double:
    """Ring 3: ``answers`` gives a status, or a function of the arguments, by target or routine; 0 otherwise.

    Attributes:
        calls: Routine, arguments and CPU of each call, in order.
    """

    answers: dict[int, int | Callable[..., int]] = field(default_factory=dict)
    calls: list[tuple[int, tuple[int, ...], int]] = field(default_factory=list)

    def call(
        self, routine: int, arguments: tuple[int, ...], cpu: int, *, target: int = 0, below: int | None = None
    ) -> int:
        self.calls.append((routine, arguments, cpu))
        answer = self.answers.get(target or routine, 0)
        return answer(*arguments) if callable(answer) else answer


def memory_resource(start: int, length: int, kind: ResourceType = ResourceType.SYSTEM_MEMORY) -> ResourceHob:
    return ResourceHob(kind, start, length, 0)


def free_range(start: int, size: int) -> MmramDescriptor:
    return MmramDescriptor(start, start, size, MmramState.CLOSED)


def taken_range(start: int, size: int) -> MmramDescriptor:
    return MmramDescriptor(start, start, size, MmramState.CLOSED | MmramState.ALLOCATED)


def processors(*identifiers: int) -> tuple[ProcessorEntry, ...]:
    return tuple(ProcessorEntry(apic, ENABLED | HEALTHY | (BSP if not n else 0)) for n, apic in enumerate(identifiers))


@dataclass
class Small:
    """What the core is launched with. Every part may be changed before :meth:`start`."""

    resources: list[HobRecord] = field(
        default_factory=lambda: [
            memory_resource(RAM, MMRAM - RAM),
            memory_resource(MMRAM, MMRAM_SIZE, ResourceType.MEMORY_RESERVED),
            memory_resource(MMIO, MMIO_SIZE, ResourceType.MEMORY_MAPPED_IO),
        ]
    )
    mmram: tuple[HobRecord, ...] = field(
        default_factory=lambda: (
            hob_for(MmramBlock((taken_range(MMRAM, TILES), free_range(MMRAM + TILES, MMRAM_SIZE - TILES))), SMRAM_GUID),
        )
    )
    cpus: list[HobRecord] = field(
        default_factory=lambda: [
            hob_for(MpInformation2(processors(0, 4))),
            hob_for(SmmBase((MMRAM - 0x8000, MMRAM - 0x6000))),
        ]
    )
    comm: list[HobRecord] = field(
        default_factory=lambda: [
            hob_for(SupervisorCommBuffer(SUPERVISOR_BUFFER, COMM_PAGES, SUPERVISOR_STATUS)),
            hob_for(UserCommBuffer(USER_BUFFER, COMM_PAGES, USER_STATUS)),
        ]
    )
    extra: list[HobRecord] = field(default_factory=list)
    volumes: list[bytes] = field(default_factory=list)
    profile: Profile = NEWEST_RELEASE
    machine: Machine = field(default_factory=lambda: Machine(PhysicalMemory(36)))

    def __post_init__(self) -> None:
        memory = self.machine.memory
        memory.add_ram(0, 0xA0000, "low memory")
        memory.add_ram(RAM, MMRAM - RAM, "memory")
        memory.add_ram(MMRAM, MMRAM_SIZE, "MMRAM")
        memory.add_device(MMIO, MMIO_SIZE, "local APIC", NoDevice())

    def add_volume(self, data: bytes, address: int | None = None) -> int:
        """Put a volume into memory and report it by HOB; its address."""
        place = VOLUMES + sum(-(-len(other) // PAGE_SIZE) * PAGE_SIZE for other in self.volumes)
        place = place if address is None else address
        self.volumes.append(data)
        self.machine.memory.write(place, data)
        self.extra.append(VolumeHob(place, len(data)))
        return place

    def hob_list(self) -> int:
        """Write the HOB list and return its address."""
        records: list[HobRecord] = [HandoffHob(), CpuHob(36), *self.resources, *self.mmram]
        records += [*self.cpus, *self.comm, *self.extra]
        self.machine.memory.write(HOBS, build_hob_list(records, HOBS))
        return HOBS

    def start(self) -> Core:
        """Run the core's entry point; ring 3 is a double from then on."""
        processor: Processor = NoProcessor(self.machine.memory)  # type: ignore[assignment]
        core = start_core(self.machine, processor, self.hob_list(), profile=self.profile)
        core.supervisor.ring3 = Ring3Double()
        for cpu in core.supervisor.cpus:
            set_save_state(core.supervisor, cpu.index, plain_area(Vendor.AMD))
        return core


def set_save_state(supervisor: Supervisor, cpu: int, area: bytes) -> None:
    supervisor.memory.write(supervisor.cpus[cpu].smbase + SAVE_STATE_OFFSET, area)


def ring3(supervisor: Supervisor) -> Ring3Double:
    """The double behind a supervisor."""
    assert isinstance(supervisor.ring3, Ring3Double)
    return supervisor.ring3


def user_page(supervisor: Supervisor, pages: int = 1) -> int:
    """Allocate data pages of ring 3."""
    return supervisor.pages.allocate(pages, PageType.RUNTIME_SERVICES_DATA, Owner.USER, "test data")


def put_guid(supervisor: Supervisor, guid: Guid) -> int:
    """Put a GUID where ring 3 may point at it."""
    address = user_page(supervisor)
    supervisor.memory.write(address, guid.raw)
    return address


def system_call(supervisor: Supervisor, number: int, *arguments: int) -> int:
    """Make a system call through the gate and return RAX."""
    a1, a2, a3 = (*arguments, 0, 0, 0)[:3]
    gate = SystemCallGate(supervisor, SERVICES)
    return gate.dispatch(SystemCall(int(number), (a1, a2, a3), 0, 0))


def fatal_call(supervisor: Supervisor, number: int, *arguments: int) -> Finding:
    """Make a system call that must be fatal and return the finding; the system is taken alive again."""
    try:
        result = system_call(supervisor, number, *arguments)
    except SystemStopError as error:
        supervisor.stop = None
        return error.finding
    name = CallNumber(number).name if number in set(CallNumber) else hex(number)
    raise AssertionError(f"{name}{tuple(map(hex, arguments))} returned {result:#x}")


# Messages


def message(guid: Guid, payload: bytes, length: int | None = None) -> bytes:
    """A message with its header; ``length`` lies about the payload's."""
    return guid.raw + struct.pack("<Q", len(payload) if length is None else length) + payload


def message_v3(guid: Guid, payload: bytes, size: int | None = None) -> bytes:
    """A message of version 3; ``size`` lies about BufferSize."""
    size = 0x38 + len(payload) if size is None else size
    return V3.raw + struct.pack("<QQ", size, 0) + guid.raw + struct.pack("<Q", len(payload)) + payload


@dataclass(frozen=True)
class Reply:
    """What one MMI left in a channel."""

    valid: int
    status: int
    size: int
    data: bytes

    @property
    def payload(self) -> bytes:
        return self.data[0x18:]

    @property
    def result(self) -> int:
        """The Result field of a supervisor request."""
        return int.from_bytes(self.payload[RESULT_OFFSET : RESULT_OFFSET + 8], "little")


def mailbox(supervisor: Supervisor, channel: CommChannel) -> CommBufferStatus:
    return CommBufferStatus.parse(Reader(supervisor.memory.read(channel.status, 24), "mailbox"))


def post(supervisor: Supervisor, channel: CommChannel, data: bytes, *, valid: int = 1) -> None:
    """Put bytes into a channel's external buffer and set its mailbox, in which an earlier answer still lies."""
    supervisor.memory.write(channel.external, data)
    supervisor.memory.write(channel.status, CommBufferStatus(valid, STALE_STATUS, STALE_SIZE).pack())


def read_reply(supervisor: Supervisor, channel: CommChannel) -> Reply:
    box = mailbox(supervisor, channel)
    data = supervisor.memory.read(channel.external, channel.size)
    return Reply(box.is_valid, box.return_status, box.return_buffer_size, data)


def send_user(core: Core, data: bytes) -> Reply:
    """Send raw bytes on the user channel by one MMI."""
    supervisor = core.supervisor
    post(supervisor, supervisor.user, data)
    serve_mmi(supervisor, "test")
    return read_reply(supervisor, supervisor.user)


def send_supervisor(core: Core, data: bytes) -> Reply:
    """Send raw bytes on the supervisor channel by one MMI; the answer may come at another place (request 4)."""
    supervisor = core.supervisor
    post(supervisor, supervisor.supervisor, data)
    serve_mmi(supervisor, "test")
    return read_reply(supervisor, supervisor.supervisor)


def request(core: Core, number: int, parameters: bytes = b"", *, room: int = 0) -> Reply:
    """Send a supervisor request; ``room`` bytes follow the parameters."""
    return send_supervisor(core, message(REQUEST, pack_request(number, parameters + bytes(room))))


def result_of(reply: Reply) -> int:
    assert reply.status == 0
    return reply.result


def unblock_bytes(
    start: int,
    pages: int,
    *,
    identifier: Guid = SOMEBODY,
    memory_type: int = 6,
    attribute: int = 0,
    virtual: int = 0,
    padding: int = 0,
) -> bytes:
    """The 56 bytes of an unblock request, every byte open to change."""
    return struct.pack("<IIQQQQ", memory_type, padding, start, virtual, pages, attribute) + identifier.raw


def unblock(supervisor: Supervisor, start: int, pages: int, **fields: int | Guid) -> str:
    """Ask the list itself, without a message."""
    raw = unblock_bytes(start, pages, **fields)  # type: ignore[arg-type]
    return supervisor.unblocked.request(UnblockParameters.parse(raw))


def register_user(supervisor: Supervisor, guid: Guid | None, routine: int, answer: int | Callable[..., int] = 0) -> int:
    """Register a ring-3 handler that answers so; its handle. The central jump is set if it was not."""
    supervisor.jumps.central = supervisor.jumps.central or 0x1234
    ring3(supervisor).answers[routine] = answer
    return supervisor.handlers.register(guid, routine=routine).handle


def bugs(supervisor: Supervisor) -> list[str]:
    """Sources of the reference bugs met so far."""
    return [record.event.source for record in supervisor.log.records if isinstance(record.event, ReferenceBugMet)]


def events(supervisor: Supervisor, kind: type) -> list[object]:
    """All events of a class so far."""
    return [record.event for record in supervisor.log.records if isinstance(record.event, kind)]


def finding_numbers(supervisor: Supervisor) -> list[str]:
    return [finding.kind.number for finding in supervisor.findings]


def as_guid_list(guids: Iterable[Guid]) -> bytes:
    return b"".join(guid.raw for guid in guids)


REQUEST_HEADER = REQUEST_HEADER_SIZE
