"""The supervisor's state: what the reference keeps in its globals, in one object.

It holds no behaviour beyond recording findings; the services work on it. Everything is reachable from
here, so that a snapshot or a report has one place to begin.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from mmsupervisor.abi.dxe_launch import CorePrivateData
from mmsupervisor.abi.profile import NEWEST_RELEASE, Profile
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.events import FindingMade, ReferenceBugMet
from mmsupervisor.core.findings import Finding, Place, SystemStopError, make_finding
from mmsupervisor.core.handlers import HandlerDatabase, MmiHandler
from mmsupervisor.core.mmram import Mmram
from mmsupervisor.core.modules import ModuleList
from mmsupervisor.core.pages import PageServices, SupervisorPool
from mmsupervisor.core.policy_watch import PolicyWatch
from mmsupervisor.core.protocols import ProtocolDatabase
from mmsupervisor.core.relaxations import Relaxations
from mmsupervisor.core.scene import take_scene
from mmsupervisor.core.unblocked import UnblockedList
from mmsupervisor.machine.events import EventLog
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.machine.routing import MsrRouter, PortRouter
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.pi.guid import Guid
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.processor.interface import Processor

STANDS_STILL = "none"
"""The reset that follows where a device stands still, as at a failed ASSERT of a DEBUG build: there is none."""


class Ring3Caller(Protocol):
    """The way down into ring 3 (docs/reference/syscall-abi.md §3)."""

    def call(
        self, routine: int, arguments: tuple[int, ...], cpu: int, *, target: int = 0, below: int | None = None
    ) -> int:
        """Run a routine in ring 3 on a CPU and return its status; ``target`` is what it jumps to.

        With ``below``, a stack pointer, it is called on behalf of the routine under way.

        Raises:
            SystemStopError: the routine broke a rule; the system is dead.
        """


class EventClock:
    """Time that advances by being read: the same in every run."""

    def __init__(self, ticks_per_read: int = 1000) -> None:
        """Begin at zero; each reading is ``ticks_per_read`` later than the one before."""
        self._ticks = 0
        self._step = ticks_per_read

    def read(self) -> int:
        """Return the time in ticks of the time-stamp counter."""
        self._ticks = (self._ticks + self._step) & ((1 << 64) - 1)
        return self._ticks

    def set(self, ticks: int) -> None:
        """Go on from another time."""
        self._ticks = ticks


@dataclass(slots=True)
class Machine:
    """What the supervisor runs on.

    Attributes:
        memory: Physical memory.
        ports: I/O ports.
        msrs: Model-specific registers.
        log: The events of the run.
        clock: The only time there is.
    """

    memory: PhysicalMemory
    ports: PortRouter = field(default_factory=PortRouter)
    msrs: MsrRouter = field(default_factory=MsrRouter)
    log: EventLog = field(default_factory=EventLog)
    clock: EventClock = field(default_factory=EventClock)


@dataclass(slots=True)
class Cpu:
    """One CPU.

    Attributes:
        index: Its position in the list of CPUs.
        apic_id: Its APIC identifier, which is its ProcessorId.
        smbase: Its SMBASE.
        present: Whether it took part in the MMI under way.
        busy: Whether it is running an AP procedure.
    """

    index: int
    apic_id: int
    smbase: int
    present: bool = True
    busy: bool = False


@dataclass(slots=True)
class Jumps:
    """Ring-3 routines that the broker and others registered; 0 while unknown.

    Attributes:
        central: Calls an MMI handler.
        ap: Calls an AP procedure.
        error_report: Is told of violations.
        user_table: Address of ring 3's MM system table.
    """

    central: int = 0
    ap: int = 0
    error_report: int = 0
    user_table: int = 0


@dataclass(slots=True)
class CommChannel:
    """One channel's buffers.

    Attributes:
        external: Address of the buffer in normal memory.
        status: Address of its MM_COMM_BUFFER_STATUS.
        pages: Pages of the buffer.
        internal: Address of its copy in MMRAM.
    """

    external: int = 0
    status: int = 0
    pages: int = 0
    internal: int = 0

    @property
    def size(self) -> int:
        """Bytes of the buffer."""
        return self.pages << 12


@dataclass(slots=True)
class OneSlot:
    """The mailbox of the DXE launch, which both channels share (docs/reference/dxe-launch.md §1.1).

    Attributes:
        address: Where it lies in normal memory.
        private: The core's own copy, overwritten by every MMI.
    """

    address: int
    private: CorePrivateData


@dataclass(slots=True)
class Ring3Stacks:
    """The block of ring-3 stacks (docs/reference/syscall-abi.md §4).

    Attributes:
        base: Its address.
        size: Bytes of each stack.
        count: Number of stacks, one for each CPU.
    """

    base: int = 0
    size: int = 0
    count: int = 0


@dataclass(slots=True)
class DriverCache:
    """The copy of all driver files, read-only for ring 3 until ready to lock.

    Attributes:
        address: Where it lies.
        pages: Its pages; 0 once freed.
    """

    address: int = 0
    pages: int = 0


@dataclass(slots=True)
class SaveStateRequest:
    """The one global holder of a save-state request (docs/reference/save-state.md §6).

    Attributes:
        cookie: The protocol pointer that latched it, or 0 if none did.
        register: The register to read.
        cpu: On which CPU.
        used: Whether it was read; it may be read again.
    """

    cookie: int = 0
    register: int = 0
    cpu: int = 0
    used: bool = False


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """The first half of a handler-profile call, waiting for the second.

    Attributes:
        call: Which first half.
        guid: The handler's GUID.
        handler: The handler.
        caller: Who registers it.
    """

    call: CallNumber
    guid: Guid
    handler: int
    caller: int


@dataclass(frozen=True, slots=True)
class ProfileRecord:
    """One record of the handler profile.

    Attributes:
        guid: The handler's GUID.
        handler: The handler.
        caller: Who registered it.
        context: Its context.
    """

    guid: Guid
    handler: int
    caller: int
    context: bytes


@dataclass(slots=True)
class Lifecycle:
    """Flags that only ever go up.

    Attributes:
        initialised: The core's entry point is done.
        ready_to_lock: The supervisor has locked.
        runtime: The supervisor has seen ExitBootServices.
        comm_moved: The comm buffers were moved by request 4.
    """

    initialised: bool = False
    ready_to_lock: bool = False
    runtime: bool = False
    comm_moved: bool = False


class Supervisor:
    """All of MmSupervisorCore's state.

    Attributes:
        machine: What it runs on.
        processor: The ring-3 processor.
        profile: Which generation of the reference it reproduces.
        relaxations: What strictness is loosened; nothing by default.
        removable: Whether what breaks a rule now is a driver that a relaxation lets be removed.
        mmram: The MMRAM ranges.
        pages: Page services.
        pool: Supervisor pool.
        modules: Loaded images.
        protocols: The supervisor's protocol database.
        handlers: MMI handlers.
        ring3: The way down.
        policy: The isolation policy in force, or None if none was found.
        policy_watch: Its source, and who is told of every question to it.
        policy_blob: Its bytes, or None.
        policy_address: Where they lie in MMRAM, or 0.
        vendor: Whose save-state layout the CPUs have.
        cpus: All CPUs; the first is the BSP.
        current_cpu: Index of the CPU being simulated.
        stacks: Ring-3 stacks.
        unblocked: Regions outside MMRAM that are open.
        jumps: Registered ring-3 routines.
        user: The user channel.
        supervisor: The supervisor channel.
        slot: The mailbox of both channels in the DXE launch, or None where each has its status block.
        shared_page: Address of SupervisorToUserDataBuffer.
        driver_cache: The copy of all driver files.
        snapshot: The memory policy as recorded at ready to lock, or None before.
        lock_time_handlers: Supervisor handlers that ready to lock unregisters.
        hob_list: Address of the read-only HOB copy, or 0.
        configuration: The supervisor's configuration tables.
        visible_tables: Address of the page where a relaxation shows them to ring 3, or 0.
        save_state_request: The global holder.
        profile_request: Half a handler-profile call, or None.
        profile_records: The handler profile.
        lifecycle: Flags.
        calls_made: Calls that may be made only once and were.
        place: Where ring 3 was at its last exit, for reports: the driver for which the broker acted.
        rip: The instruction pointer itself at that exit.
        core_base: Address of the core's image.
        reporting: Whether the error report is being given: the only ring-3 code that runs in a dead system.
        findings: All findings, in order, each once.
        stop: The finding that ended the system, or None.
        stopped_cpu: On which CPU it happened.
        reset: The reset that follows.
    """

    def __init__(self, machine: Machine, processor: Processor, mmram: Mmram, profile: Profile = NEWEST_RELEASE) -> None:
        """Begin with empty databases over the machine's MMRAM."""
        self.machine = machine
        self.processor = processor
        self.profile = profile
        self.relaxations = Relaxations()
        self.removable = False
        self.mmram = mmram
        self.pages = PageServices(machine.memory, mmram)
        self.pool = SupervisorPool(self.pages)
        self.modules = ModuleList()
        self.protocols = ProtocolDatabase(self.pool, machine.log)
        self.handlers = HandlerDatabase(self.pool, machine.log)
        self.ring3: Ring3Caller
        self.policy: CompiledPolicy | None = None
        self.policy_watch = PolicyWatch()
        self.policy_blob: bytes | None = None
        self.policy_address = 0
        self.vendor = Vendor.AMD
        self.cpus: list[Cpu] = [Cpu(0, 0, 0x30000)]
        self.current_cpu = 0
        self.stacks = Ring3Stacks()
        self.unblocked = UnblockedList(self)
        self.jumps = Jumps()
        self.user = CommChannel()
        self.supervisor = CommChannel()
        self.slot: OneSlot | None = None
        self.shared_page = 0
        self.driver_cache = DriverCache()
        self.snapshot: bytes | None = None
        self.lock_time_handlers: list[MmiHandler] = []
        self.hob_list = 0
        self.configuration: dict[Guid, int] = {}
        self.visible_tables = 0
        self.save_state_request = SaveStateRequest()
        self.profile_request: ProfileRequest | None = None
        self.profile_records: list[ProfileRecord] = []
        self.lifecycle = Lifecycle()
        self.calls_made: set[CallNumber] = set()
        self.place = Place("", 0)
        self.rip = 0
        self.core_base = 0
        self.reporting = False
        self.findings: list[Finding] = []
        self._reported: set[Finding] = set()
        self.stop: Finding | None = None
        self.stopped_cpu = 0
        self.reset = "warm"

    @property
    def memory(self) -> PhysicalMemory:
        """The machine's memory."""
        return self.machine.memory

    @property
    def log(self) -> EventLog:
        """The run's events."""
        return self.machine.log

    def report(self, finding: Finding) -> None:
        """Record a finding that does not end the system. One that repeats is listed once; each time is an event."""
        if finding not in self._reported:
            self._reported.add(finding)
            self.findings.append(replace(finding, scene=take_scene(self, with_ring3=False)))
        self._emit(finding, fatal=False)

    def reference_bug(self, source: str, detail: str) -> None:
        """Record that a bug of the reference was reproduced; ``source`` is its place in the fact sheet."""
        self.log.emit(ReferenceBugMet(source, detail))

    def die(self, finding: Finding, how: str = "warm", *, with_ring3: bool = False) -> SystemStopError:
        """Record the finding that ends the system and return the error to raise.

        While :attr:`removable` is set, the finding ends a driver only, and the dispatcher removes it.

        Args:
            finding: Why.
            how: The reset that follows, ``warm``, ``cold`` or :data:`STANDS_STILL`; of findings at which every device
                stands still there is none.
            with_ring3: Whether ring 3's registers and stack belong to it although it has no place.
        """
        finding = replace(finding, scene=take_scene(self, with_ring3=with_ring3 or finding.place is not None))
        self.findings.append(finding)
        self._emit(finding, fatal=not self.removable)
        if self.removable:
            return SystemStopError(finding)
        if self.stop is None:
            self.stop = finding
            self.stopped_cpu = self.current_cpu
            self.reset = STANDS_STILL if finding.kind.stands_still else how
        return SystemStopError(finding)

    def failed_assert(self, rule: str, detail: str, *, subject: str = "supervisor") -> None:
        """Judge an ASSERT of the reference that fails: a RELEASE build goes on.

        Args:
            rule: The fact sheet that names the ASSERT.
            detail: What failed.
            subject: What it is about.

        Raises:
            SystemStopError: in a DEBUG build, which stands still: no report, no reset.
        """
        if self.profile.debug:
            raise self.die(make_finding("MM-1303", detail, subject=subject, rule=f"{rule}: ASSERT"))

    def _emit(self, finding: Finding, *, fatal: bool) -> None:
        where = str(finding.place) if finding.place else finding.subject
        kind = finding.kind
        self.log.emit(FindingMade(kind.number, kind.title, where, finding.detail, finding.rule, fatal))
