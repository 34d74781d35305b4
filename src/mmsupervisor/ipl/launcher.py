"""MmIplPei, today's launcher, in PEI: places the core, hands MMRAM over, closes and locks it.

Facts: docs/reference/boot-flow.md §2. The launcher before it is :mod:`mmsupervisor.ipl.pi_smm_ipl`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from mmsupervisor.abi.requests import HEADER_SIZE as REQUEST_HEADER_SIZE
from mmsupervisor.abi.requests import RESULT_OFFSET, VERSION_INFO, Request, pack_request
from mmsupervisor.ipl.communicate import Answer, Channel, communicate
from mmsupervisor.ipl.interfaces import CoreEntry, CoreImage, HobStore, MmAccess, MmiTrigger
from mmsupervisor.ipl.steps import CorePlaced, LaunchFailedError, LaunchStep, choose_range
from mmsupervisor.machine.events import EventLog, Hex
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, PhysicalMemory
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import ModuleAllocationHob
from mmsupervisor.pi.memory_types import align_up, pages_for
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import ERROR_BIT, Status, status_name
from mmsupervisor.pi.supervisor_hobs import MmramBlock, SupervisorCommBuffer, UserCommBuffer, hob_for

_COMMON_GUID = known_guid("gMmCommonRegionHobGuid")
_USER_GUID = known_guid("gMmCommBufferHobGuid")
_SMRAM_GUID = known_guid("gEfiSmmSmramMemoryGuid")
_CORE_GUID = known_guid("gMmSupervisorCoreGuid")
_REQUEST_GUID = known_guid("gMmSupervisorRequestHandlerGuid")
_DISPATCH_GUID = known_guid("gMmSupervisorDriverDispatchGuid")
_END_OF_PEI_GUID = known_guid("gEfiMmEndOfPeiProtocol")

_RUNTIME_CODE = 5
_STATUS_SIZE = 8


class PeiLauncher:
    """MmIplPei.

    Attributes:
        DEPEX: PPIs without which it is not dispatched.
        supervisor_channel: The supervisor channel, once its HOB was read.
        user_channel: The user channel, or None without its HOB.
        published: Whether the communication PPIs were installed.
        version: What the core answered to the version query.
    """

    DEPEX: ClassVar[tuple[Guid, ...]] = (
        known_guid("gEfiPeiMmAccessPpiGuid"),
        known_guid("gEfiPeiMmControlPpiGuid"),
        known_guid("gMmCommunicationBufferReadyPpiGuid"),
    )

    def __init__(
        self,
        memory: PhysicalMemory,
        log: EventLog,
        *,
        access: MmAccess,
        trigger: MmiTrigger,
        hobs: HobStore,
        core: CoreImage | None,
        enter_core: CoreEntry,
    ) -> None:
        """Wire the launcher; ``core`` is None if no volume holds one."""
        self._memory = memory
        self._log = log
        self._access = access
        self._trigger = trigger
        self._hobs = hobs
        self._core = core
        self._enter_core = enter_core
        self.supervisor_channel: Channel
        self.user_channel: Channel | None = None
        self.published = False
        self.version = 0
        self._first_trouble = ""

    def _note(self, step: int, what: str, status: int = Status.SUCCESS) -> None:
        self._log.emit(LaunchStep(step, what, status_name(status)))
        if status & ERROR_BIT and not self._first_trouble:
            self._first_trouble = f"step {step}: {what}"

    def launch(self) -> None:
        """Run all steps up to the publication of the PPIs.

        Raises:
            LaunchFailedError: a step failed in a way that the launcher returns.
            SystemStopError: a driver broke a rule during dispatch.
        """
        self._read_comm_hobs()
        ranges = self._access.capabilities()
        for index in range(len(ranges)):
            self._require(5, "open MMRAM", self._access.open(index))
        chosen = choose_range(ranges)
        if chosen is None:
            self._note(6, "no usable MMRAM range: the core is not loaded", Status.NOT_FOUND)
        else:
            self._load_and_enter()
        for index in range(len(ranges)):
            self._require(13, "close MMRAM", self._access.close(index))
        for index in range(len(ranges)):
            self._require(13, "lock MMRAM", self._access.lock(index))
        self._note(13, "MMRAM closed and locked")
        self._query_version()
        self._dispatch(usable=chosen is not None)
        self.published = True
        self._note(16, "communication PPIs installed")

    def _require(self, step: int, what: str, status: Status) -> None:
        if status & ERROR_BIT:
            self._note(step, what, status)
            raise LaunchFailedError(step, status, what)

    def _read_comm_hobs(self) -> None:
        try:
            self._parse_comm_hobs()
        except FormatError as error:
            raise LaunchFailedError(2, Status.UNSUPPORTED, str(error)) from error

    def _parse_comm_hobs(self) -> None:
        first = next(self._hobs.guid_hobs(_COMMON_GUID), None)
        if first is None:
            raise LaunchFailedError(2, Status.UNSUPPORTED, "gMmCommonRegionHobGuid is missing")
        other = SupervisorCommBuffer.parse(Reader(first.data, "HOB gMmCommonRegionHobGuid"))
        if other.type != 0:
            raise LaunchFailedError(2, Status.UNSUPPORTED, f"the first common region has type {other.type}, not 0")
        self.supervisor_channel = Channel(other.address, other.pages, other.status, supervisor=True)
        second = next(self._hobs.guid_hobs(_USER_GUID), None)
        if second is not None:
            user = UserCommBuffer.parse(Reader(second.data, "HOB gMmCommBufferHobGuid"))
            self.user_channel = Channel(user.address, user.pages, user.status, supervisor=False)
        self._note(2, "comm buffer HOBs read")

    def _load_and_enter(self) -> None:
        """Steps 7 to 12. On X64 the core's status is lost (surprise 1): only the version query tells."""
        if self._core is None:
            self._note(7, "no MM_CORE_STANDALONE file with a PE32 section", Status.NOT_FOUND)
            return
        try:
            base = self._carve(self._core)
        except FormatError as error:
            self._note(8, str(error), Status.INVALID_PARAMETER)
            return
        if base is None:
            return
        status = self._enter_core(self._hobs.address)
        self._note(11, "core entered; its status is not looked at", status)

    def _carve(self, core: CoreImage) -> int | None:
        """Cut the core's pages from the top of the chosen range of the SMRAM HOB and rebuild the HOB."""
        hob = next(self._hobs.guid_hobs(_SMRAM_GUID), None)
        if hob is None:
            self._note(8, "gEfiSmmSmramMemoryGuid is missing: the core is not loaded", Status.NOT_FOUND)
            return None
        ranges = MmramBlock.parse(Reader(hob.data, "HOB gEfiSmmSmramMemoryGuid")).descriptors
        size = pages_for(core.size + core.alignment) * PAGE_SIZE
        index = choose_range(ranges, below_4_gib=True)
        if index is None or ranges[index].physical_size <= size or ranges[index].physical_size & PAGE_MASK:
            raise LaunchFailedError(8, Status.OUT_OF_RESOURCES, "no region for the core: the launcher loops for ever")
        region = ranges[index]
        rest = replace(region, physical_size=region.physical_size - size)
        start = region.physical_start + rest.physical_size
        cpu_start = region.cpu_start + rest.physical_size
        taken = MmramDescriptor(start, cpu_start, size, region.region_state | MmramState.ALLOCATED)
        descriptors = (*ranges[:index], rest, *ranges[index + 1 :], taken)
        self._hobs.forget(_SMRAM_GUID)
        self._hobs.append(hob_for(MmramBlock(descriptors), _SMRAM_GUID))
        base = align_up(start, core.alignment)
        self._hobs.append(ModuleAllocationHob(start, size, _CORE_GUID, base, _RUNTIME_CODE))
        self._log.emit(CorePlaced(Hex(base), Hex(size)))
        return base

    def talk(self, channel: Channel, guid: Guid, payload: bytes, source: str) -> Answer:
        """Send one message of the launcher's own."""
        message = guid.raw + len(payload).to_bytes(8, "little") + payload
        return communicate(self._memory, channel, self._trigger, message, size=len(message), source=source)

    def _query_version(self) -> None:
        payload = pack_request(Request.VERSION_INFO, bytes(VERSION_INFO.size))
        answer = self.talk(self.supervisor_channel, _REQUEST_GUID, payload, "launcher: version query")
        status = answer.status
        body = answer.data[HEADER_SIZE:]
        if not status & ERROR_BIT and len(body) >= len(payload):
            status = int.from_bytes(body[RESULT_OFFSET : RESULT_OFFSET + 8], "little")
            self.version = VERSION_INFO.unpack_from(body, REQUEST_HEADER_SIZE)[0]
        if not status & ERROR_BIT and self.version == 0:
            status = Status.SECURITY_VIOLATION
        self._note(14, f"version query: {self.version:#x}", status)
        if status & ERROR_BIT:
            cause = f"; {self._first_trouble}" if not self._first_trouble.startswith("step 14") else ""
            raise LaunchFailedError(14, status, f"the core does not answer the version query{cause}")

    def _dispatch(self, *, usable: bool) -> None:
        answer = self.talk(self.supervisor_channel, _DISPATCH_GUID, bytes(1), "launcher: driver dispatch")
        status = answer.status
        if not status & ERROR_BIT and answer.size >= _STATUS_SIZE:
            # Eight bytes are read although one came back; the rest is what the version query left there.
            status = self._memory.read_u64(self.supervisor_channel.buffer + HEADER_SIZE)
        self._note(15, "driver dispatch", answer.status)
        if status & ERROR_BIT or not usable:
            raise LaunchFailedError(15, Status.UNSUPPORTED, "driver dispatch failed")

    def end_of_pei(self) -> Answer | None:
        """Relay EndOfPei to ring 3; None without a user channel."""
        if self.user_channel is None:
            return None
        return self.talk(self.user_channel, _END_OF_PEI_GUID, bytes(1), "launcher: EndOfPei")
