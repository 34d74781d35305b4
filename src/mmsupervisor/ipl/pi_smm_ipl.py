"""PiSmmIpl, the launcher of old, in DXE: its entry point step by step (docs/reference/dxe-launch.md §2, §3).

Today's launcher is :mod:`mmsupervisor.ipl.launcher`. Steps 9 (fixed-address loading) and the SMM profile's part of
step 12 hang on PCDs that are off by default; they are not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from mmsupervisor.abi.dxe_launch import CommonRegion, CoreData, DispatchResult, RegionType
from mmsupervisor.abi.requests import HEADER_SIZE as REQUEST_HEADER_SIZE
from mmsupervisor.abi.requests import RESULT_OFFSET, VERSION_INFO, Request, pack_request
from mmsupervisor.ipl.boot_events import BootEvents, Relays
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.ipl.interfaces import (
    AddressSpace,
    BootServices,
    CoreEntry,
    CoreImage,
    HobStore,
    MemorySpace,
    MmiTrigger,
    PageAllocator,
    ReferenceBugs,
    SmmAccess2,
)
from mmsupervisor.ipl.mailbox import Mailbox
from mmsupervisor.ipl.range_table import RangeTable, Window, image_base
from mmsupervisor.ipl.services import PROTOCOLS, VARIABLE_MARKERS, MmBase, SupervisorCommunication, UserCommunication
from mmsupervisor.ipl.slot_communicate import SlotChannel, SlotCommunicate
from mmsupervisor.ipl.steps import DXE_RULE, CorePlaced, LaunchFailedError, LaunchStep
from mmsupervisor.machine.events import EventLog, Hex
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.memory_types import MemoryAttribute, MemoryType, pages_for
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import ERROR_BIT, Status, status_name

_REGION_GUID = known_guid("gMmCommonRegionHobGuid")
_CORE_DATA_GUID = known_guid("gMmCoreDataHobGuid")
_REQUEST_GUID = known_guid("gMmSupervisorRequestHandlerGuid")
_DISPATCH_GUID = known_guid("gMmSupervisorDriverDispatchGuid")
_CPU_ARCH_GUID = known_guid("gEfiCpuArchProtocolGuid")

_OWNER = "PiSmmIpl"
_CACHEABLE = MemoryAttribute.WB | MemoryAttribute.UC
_MOST_RESTARTS = 1000
"""The reference repeats the dispatch message for ever while the core asks for it."""


@dataclass(frozen=True, slots=True)
class DxeServices:
    """What PiSmmIpl finds in DXE.

    Attributes:
        access: SMM Access 2.
        trigger: SMM Control 2.
        memory_space: gDS.
        pages: Page allocation.
        boot: Protocols and events.
        hobs: The HOB list.
        space: Where pointers lead.
        reference_bug: Takes note of reproduced bugs.
    """

    access: SmmAccess2
    trigger: MmiTrigger
    memory_space: MemorySpace
    pages: PageAllocator
    boot: BootServices
    hobs: HobStore
    space: AddressSpace
    reference_bug: ReferenceBugs


class PiSmmIpl:
    """The driver.

    Attributes:
        DEPEX: Protocols without which it is not dispatched.
        version: What the core answered to the version query.
        published: Whether its protocols are installed.
        mailbox: The mailbox, from step 2 on; its page stays whatever comes after.
        mm_base: MM Base, and so on: the protocols' functions, usable once ``published``.
        events: What it waits for, from step 20 on.
    """

    DEPEX: ClassVar[tuple[Guid, ...]] = (
        known_guid("gEfiSmmAccess2ProtocolGuid"),
        known_guid("gEfiSmmControl2ProtocolGuid"),
    )

    def __init__(
        self,
        memory: PhysicalMemory,
        log: EventLog,
        services: DxeServices,
        *,
        core: CoreImage | None,
        enter_core: CoreEntry,
        debug: bool = False,
    ) -> None:
        """Wire the driver.

        Args:
            memory: The machine's memory.
            log: Takes its steps.
            services: What it finds in DXE.
            core: The core in any volume that DXE has opened, or None.
            enter_core: Calls the core's entry point.
            debug: Whether a failed ASSERT stops the system.
        """
        self._memory = memory
        self._log = log
        self._services = services
        self._core = core
        self._enter_core = enter_core
        self._debug = debug
        self._regions: dict[RegionType, SlotChannel] = {}
        self._table: RangeTable
        self._table_address = 0
        self._window: Window | None = None
        self.version = 0
        self.published = False
        self.mailbox: Mailbox
        self.mm_base: MmBase
        self.user: UserCommunication
        self.supervisor: SupervisorCommunication
        self.events: BootEvents | None = None

    # What every step reports by

    def _note(self, step: int, what: str, status: int = Status.SUCCESS) -> None:
        self._log.emit(LaunchStep(step, what, status_name(status)))

    def _fail(self, step: int, status: int, detail: str) -> NoReturn:
        self._note(step, detail, status)
        raise LaunchFailedError(step, status, detail, rule=DXE_RULE)

    def _assert(self, step: int, what: str, status: int) -> None:
        """Judge a status that the reference only ASSERTs: a RELEASE build goes on."""
        if self._debug and status & ERROR_BIT:
            self._fail(step, status, f"ASSERT, {what}: the system stands still")
        self._note(step, what, status)

    # The entry point

    def launch(self) -> None:
        """Run the entry point.

        Raises:
            LaunchFailedError: it returned an error and was unloaded: no event exists. Or it did what halts DXE.
            SystemStopError: a driver broke a rule during dispatch.
        """
        self._read_regions()
        self._allocate_mailbox()
        self._build_range_table()
        self._assert(5, "MMRAM opened", self._services.access.open())
        if self._table.chosen is None:
            self._note(6, "no usable MMRAM range: the core is not loaded", Status.NOT_FOUND)
        else:
            self._place_core()
        self._close_and_lock()
        self._query_version()
        self._dispatch_drivers()
        self._publish()

    def _read_regions(self) -> None:
        """Step 1."""
        hobs = list(self._services.hobs.guid_hobs(_REGION_GUID))
        if not hobs:
            self._assert(1, "gMmCommonRegionHobGuid is missing", Status.NOT_FOUND)
            self._fail(1, Status.NOT_FOUND, "gMmCommonRegionHobGuid is missing")
        for hob in hobs:
            try:
                region = CommonRegion.parse(Reader(hob.data, "HOB gMmCommonRegionHobGuid"))
            except FormatError as error:  # the reference would read on behind the HOB
                self._fail(1, Status.INVALID_PARAMETER, str(error))
            if region.type not in tuple(RegionType):
                continue
            kind = RegionType(region.type)
            if kind in self._regions:
                self._fail(1, Status.ALREADY_STARTED, f"two common regions have type {int(kind)}")
            self._regions[kind] = SlotChannel(region.address, region.pages, region.address)
        for kind in RegionType:
            if kind not in self._regions:
                self._fail(1, Status.NOT_FOUND, f"no common region has type {int(kind)}")
        self._note(1, "comm buffer HOBs read")

    def _allocate_mailbox(self) -> None:
        """Steps 2 and 3."""
        page = self._services.pages.allocate(1, MemoryType.RUNTIME_SERVICES_DATA, f"{_OWNER}: mailbox")
        self.mailbox = Mailbox(self._memory, self._services.space, page)
        worker = SlotCommunicate(
            self._memory, self._services.space, self.mailbox, self._services.trigger, self._services.reference_bug
        )
        self.mm_base = MmBase(self.mailbox)
        self.user = UserCommunication(worker, self._regions[RegionType.USER])
        self.supervisor = SupervisorCommunication(worker, self._regions[RegionType.SUPERVISOR])
        self._note(2, f"mailbox at {page:#x}")

    def _build_range_table(self) -> None:
        """Step 4, and the choice of step 6."""
        self._table = RangeTable(self._services.access.capabilities())
        size = len(self._table.pack())
        kind = MemoryType.BOOT_SERVICES_DATA
        self._table_address = self._services.pages.allocate(pages_for(size), kind, f"{_OWNER}: range table")
        self._write_table()
        self._note(4, f"table of {len(self._table.ranges)} MMRAM ranges")

    def _write_table(self) -> None:
        self._memory.write(self._table_address, self._table.pack())
        self.mailbox.update(range_count=len(self._table.ranges), ranges=self._table_address)

    # Steps 7 to 13

    def _place_core(self) -> None:
        self._window = self._table.window()
        self._set_cacheable(self._window)
        status = self._load_and_enter()
        if status & ERROR_BIT and self._has_cpu_arch:
            attributes = MemoryAttribute.UC
            self._services.memory_space.set_attributes(self._window.start, self._window.size, attributes)
            self._note(13, "MMRAM set to uncached; the error itself is lost", status)

    @property
    def _has_cpu_arch(self) -> bool:
        return self._services.boot.has(_CPU_ARCH_GUID)

    def _set_cacheable(self, window: Window) -> None:
        """Step 8. Failures are warnings."""
        space = self._services.memory_space
        known = space.capabilities(window.start)
        if known & _CACHEABLE != _CACHEABLE:
            status = space.set_capabilities(window.start, window.size, known | _CACHEABLE)
            self._note(8, "write-back and uncached added to what MMRAM can do", status)
        if not self._has_cpu_arch:
            self._note(8, "no CPU arch protocol: MMRAM is taken to be write-back already")
            return
        status = space.set_attributes(window.start, window.size, MemoryAttribute.WB)
        self._note(8, "MMRAM set to write-back, all other attributes cleared", status)
        if space.attributes(window.start) & (MemoryAttribute.RP | MemoryAttribute.RO | MemoryAttribute.XP):
            self._assert(8, "an access attribute is left on MMRAM", Status.ACCESS_DENIED)

    def _load_and_enter(self) -> int:
        """Steps 10 to 12; return the status that only step 13 looks at."""
        core = self._core
        if core is None:
            self._note(10, "no MM_CORE_STANDALONE file with a PE32 section in any volume", Status.NOT_FOUND)
            return Status.NOT_FOUND
        pages = self._table.carve(core)
        if pages is None:
            self._assert(11, "the chosen MMRAM range is smaller than the core", Status.OUT_OF_RESOURCES)
            detail = "the chosen MMRAM range is smaller than the core: its size wraps, and the core would lie outside"
            self._fail(11, Status.OUT_OF_RESOURCES, detail)
        base = image_base(pages, core)
        self._write_table()
        self._log.emit(CorePlaced(Hex(base), Hex(pages.size)))
        self.mailbox.update(image_base=base, image_size=core.size, image_entry=base)
        hob = next(self._services.hobs.guid_hobs(_CORE_DATA_GUID), None)
        if hob is None:
            self._fail(
                12, Status.NOT_FOUND, "gMmCoreDataHobGuid is missing: the launcher writes through a NULL pointer"
            )
        self._services.hobs.replace(hob, GuidHob(_CORE_DATA_GUID, CoreData(self.mailbox.address).pack()))
        status = self._enter_core(self._services.hobs.address)
        self._note(12, "core entered", status)
        return status

    # Steps 14 to 16

    def _close_and_lock(self) -> None:
        access = self._services.access
        self._assert(14, "MMRAM closed", access.close())
        locked = access.lock()
        self._assert(15, "MMRAM locked", locked)
        self._note(15, "security lock event reported, whether or not MMRAM is locked")
        if self._table.chosen is None or locked & ERROR_BIT:
            self._services.pages.free(self._table_address)
            why = "no MMRAM range can hold the core" if self._table.chosen is None else "MMRAM is not locked"
            self._fail(16, Status.UNSUPPORTED, why)

    # Steps 17 and 18: the first MMIs

    def _query_version(self) -> None:
        payload = pack_request(Request.VERSION_INFO, bytes(VERSION_INFO.size))
        # MessageLength counts the header only; the mailbox's size tells all of it (§3).
        message = _REQUEST_GUID.raw + REQUEST_HEADER_SIZE.to_bytes(8, "little") + payload
        answer = self.ask_supervisor(message, "PiSmmIpl: version query")
        status = answer.status
        body = answer.data[HEADER_SIZE:]
        if not status & ERROR_BIT and len(body) >= len(payload):
            status = int.from_bytes(body[RESULT_OFFSET : RESULT_OFFSET + 8], "little")
            self.version = VERSION_INFO.unpack_from(body, REQUEST_HEADER_SIZE)[0]
        if not status & ERROR_BIT and self.version == 0:
            status = Status.SECURITY_VIOLATION
        self._note(17, f"version query: {self.version:#x}", status)
        if status & ERROR_BIT:
            detail = "the core does not answer the version query"
            raise LaunchFailedError(17, status, detail, rule=DXE_RULE)

    def _dispatch_drivers(self) -> None:
        message = _DISPATCH_GUID.raw + (1).to_bytes(8, "little") + bytes(1)
        for _ in range(_MOST_RESTARTS):
            answer = self.ask_supervisor(message, "PiSmmIpl: driver dispatch")
            result = answer.data[HEADER_SIZE] if len(answer.data) > HEADER_SIZE else DispatchResult.ERROR
            self._note(18, f"driver dispatch, result {result}; the launch goes on whatever it is", answer.status)
            if answer.status & ERROR_BIT or result != DispatchResult.RESTART:
                return
        self._fail(18, Status.TIMEOUT, "the core asks for dispatch again and again: the launcher loops for ever")

    def ask_supervisor(self, message: bytes, source: str) -> Answer:
        """Send a message on the supervisor channel, before or after the protocol is published."""
        return self.supervisor.communicate(self.supervisor.interface, message, len(message), source)

    # Steps 19 to 21

    def _publish(self) -> None:
        boot = self._services.boot
        self.published = True
        self._note(19, "MM Base, MM Communication, MM Communication 2 and the supervisor's protocol installed")
        boot.install(*PROTOCOLS)
        relays = Relays(self._tell_user, self._tell_supervisor, self._convert_pointers, self._failed_assert)
        self.events = BootEvents(boot, relays, self._services.reference_bug)
        self._note(20, "events created")
        self.events.create()
        boot.install(*VARIABLE_MARKERS)
        self._note(21, "variable markers installed")

    def _tell_user(self, guid: Guid, source: str) -> None:
        self.user.communicate(_event_message(guid), source=source)

    def _tell_supervisor(self, guid: Guid, source: str) -> None:
        self.ask_supervisor(_event_message(guid), source)

    def _failed_assert(self, what: str) -> None:
        self._assert(20, what, Status.UNSUPPORTED)

    def _convert_pointers(self) -> None:
        """Convert what the communicate services go by; what is posted to MM stays physical (§1)."""
        space = self._services.space
        lost = []
        for channel, name in ((self.supervisor.channel, "supervisor"), (self.user.channel, "user")):
            virtual = space.convert_pointer(channel.pointer)
            if virtual is None:
                lost.append(name)
            else:
                channel.pointer = virtual
        if lost:
            detail = f"{' and '.join(lost)} comm buffer: no runtime memory, so the pointer stays; the OS may reuse it"
            self._services.reference_bug("dxe-launch.md §8.1", detail)
        self.supervisor.convert_region()
        mailbox = space.convert_pointer(self.mailbox.pointer)
        if mailbox is not None:
            self.mailbox.pointer = mailbox


def _event_message(guid: Guid) -> bytes:
    return guid.raw + (1).to_bytes(8, "little") + bytes(1)
