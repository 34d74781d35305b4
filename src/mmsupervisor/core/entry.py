"""The core's entry point, step by step (docs/reference/boot-flow.md §4)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from mmsupervisor.abi.dxe_launch import DispatchResult
from mmsupervisor.abi.profile import NEWEST_RELEASE, Launch, Profile
from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.calls import SERVICES
from mmsupervisor.core.comm_buffers import prepare_comm_buffers
from mmsupervisor.core.discovery import Discovery, cache_drivers, discover, find_policy
from mmsupervisor.core.dispatcher import Dispatcher
from mmsupervisor.core.errors import CoreError, LaunchError
from mmsupervisor.core.events import CoreStep
from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.core.gate import SystemCallGate
from mmsupervisor.core.inputs import CoreInputs, read_inputs
from mmsupervisor.core.lifecycle import serve_exit_boot_services, serve_ready_to_lock
from mmsupervisor.core.lockdown import lock_down
from mmsupervisor.core.mmram import Mmram
from mmsupervisor.core.old_inputs import OldCoreInputs, read_old_inputs
from mmsupervisor.core.one_slot import register_entry
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.policy_watch import PolicyWatch
from mmsupervisor.core.relaxations import Relaxations
from mmsupervisor.core.requests import serve_request
from mmsupervisor.core.ring3 import Ring3
from mmsupervisor.core.supervisor import Machine, Supervisor
from mmsupervisor.core.telemetry import end_system
from mmsupervisor.core.traditional import discover_traditional, mirror_lifecycle
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, BusError
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import HobType
from mmsupervisor.pi.hob.records import HEADER_SIZE as HOB_HEADER_SIZE
from mmsupervisor.pi.memory_types import pages_for
from mmsupervisor.pi.status import ERROR_BIT, Status, status_name
from mmsupervisor.pi.supervisor_hobs import GuardFlags
from mmsupervisor.policy.blob import read_blob_as_runtime
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.model import PolicyBoundsError
from mmsupervisor.processor.interface import Processor

_DISPATCH_GUID = known_guid("gMmSupervisorDriverDispatchGuid")
_LOCK_GUID = known_guid("gEfiDxeMmReadyToLockProtocolGuid")
_REQUEST_GUID = known_guid("gMmSupervisorRequestHandlerGuid")
_EXIT_GUID = known_guid("gEfiEventExitBootServicesGuid")
_CONFIGURATION_GUID = known_guid("gEfiMmConfigurationProtocolGuid")
_LOADED_IMAGE_GUID = known_guid("gEfiLoadedImageProtocolGuid")
_HOB_LIST_GUID = known_guid("gEfiHobListGuid")
_LARGEST_HOB_LIST = 16 << 20
_HOB_HEADER = struct.Struct("<HH")
_STATUS_SIZE = 8


def _no_symbols(_guid: Guid) -> Symbols:
    return Symbols()


@dataclass(slots=True)
class Core:
    """A core that came up.

    Attributes:
        supervisor: Its state.
        dispatcher: Its dispatcher.
        ring3: Its way down.
        discovery: What the one scan found.
        inputs: The HOB list it was given.
    """

    supervisor: Supervisor
    dispatcher: Dispatcher
    ring3: Ring3
    discovery: Discovery
    inputs: CoreInputs


def start_core(
    machine: Machine,
    processor: Processor,
    hob_list: int,
    *,
    profile: Profile = NEWEST_RELEASE,
    symbols_of: Callable[[Guid], Symbols] = _no_symbols,
    relaxations: Relaxations | None = None,
    policy_watch: PolicyWatch | None = None,
) -> Core:
    """Run the core's entry point.

    Args:
        machine: What it runs on; MMRAM is open.
        processor: The ring-3 processor.
        hob_list: Address of the HOB list.
        profile: Which generation of the reference to be.
        symbols_of: Names in a driver's image, by file GUID.
        relaxations: What strictness is loosened; None for nothing.
        policy_watch: The policy's source and who sees every question to it; None for neither.

    Raises:
        LaunchError: the entry point returned an error; the launcher decides what follows.
        SystemStopError: the reference resets the machine here.
    """
    entry: _Entry | None = None
    try:
        inputs = _read_hob_list(machine, hob_list, profile)
        supervisor = Supervisor(machine, processor, inputs.mmram, profile)
        supervisor.relaxations = relaxations or supervisor.relaxations
        supervisor.policy_watch = policy_watch or supervisor.policy_watch
        entry = _Entry(supervisor, inputs, symbols_of)
        return entry.run()
    except (FormatError, BusError) as error:
        raise LaunchError(Status.INVALID_PARAMETER, str(error), half_made=_half_made(entry)) from error
    except CoreError as error:
        raise LaunchError(error.status, error.detail, half_made=_half_made(entry)) from error


def _half_made(entry: _Entry | None) -> Supervisor | None:
    return entry.supervisor if entry is not None and entry.smi_set_up else None


def _read_hob_list(machine: Machine, address: int, profile: Profile) -> CoreInputs:
    bank = machine.memory.state(address).bank
    if bank is None:
        raise LaunchError(Status.INVALID_PARAMETER, f"there is no memory at the HOB list's address {address:#x}")
    data = machine.memory.read(address, _hob_list_size(machine, address, bank.end - address))
    inputs = read_old_inputs(data, machine.memory) if profile.launch is Launch.DXE else read_inputs(data)
    _require_mappable(inputs.mmram, machine.memory.pages.limit)
    return inputs


def _require_mappable(mmram: Mmram, limit: int) -> None:
    """Refuse ranges that no page table can hold. The reference has no such check and would run into an ASSERT."""
    for region in mmram.ranges:
        start, size = region.physical_start, region.physical_size
        if (start | size) & PAGE_MASK or start + size > limit:
            detail = f"MMRAM range {start:#x} + {size:#x} is not whole pages within the physical address width"
            raise LaunchError(Status.INVALID_PARAMETER, detail)


def _hob_list_size(machine: Machine, address: int, room: int) -> int:
    """Walk the records to the end, as far as memory goes; a malformed one is left to the reader to refuse."""
    room = min(room, _LARGEST_HOB_LIST)
    size = 0
    while size + HOB_HEADER_SIZE <= room:
        kind, length = _HOB_HEADER.unpack(machine.memory.read(address + size, _HOB_HEADER.size))
        size += max(length, HOB_HEADER_SIZE)
        if kind == HobType.END_OF_HOB_LIST or length < HOB_HEADER_SIZE:
            break
    return min(size, room)


class _Entry:
    """The steps, each a method; numbers are those of the fact sheet."""

    def __init__(self, supervisor: Supervisor, inputs: CoreInputs, symbols_of: Callable[[Guid], Symbols]) -> None:
        self.supervisor = supervisor
        self._inputs = inputs
        self._symbols_of = symbols_of
        self.smi_set_up = False

    def _done(self, step: int, what: str) -> None:
        self.supervisor.log.emit(CoreStep(step, what))

    def run(self) -> Core:
        supervisor = self.supervisor
        ring3 = Ring3(supervisor, SystemCallGate(supervisor, SERVICES))
        supervisor.ring3 = ring3
        self._set_up_guards()
        ranges = len(self._inputs.mmram.ranges)
        self._done(3, f"memory services over {ranges} MMRAM ranges, {supervisor.pages.free_pages} pages free")
        self._copy_hob_list()
        found = discover(supervisor, self._inputs.volumes())
        if supervisor.relaxations.permits(Relaxation.TRADITIONAL_ENTRY):
            self._let_traditional_drivers_in(found)
        cache_drivers(supervisor, found)
        self._done(7, f"{len(found.drivers)} drivers in {found.volumes} volumes")
        self._set_up_cpus()
        self._register_entry(found)
        dispatcher = Dispatcher(supervisor, found, self._symbols_of)
        self._register_handlers(dispatcher)
        self._prepare_comm_buffers()
        image = self._inputs.core_image()
        supervisor.core_base = image.entry_point if image else 0
        supervisor.protocols.install(_LOADED_IMAGE_GUID)
        self._initialise_policy(found)
        try:
            lock_down(supervisor, self._inputs)
        except SystemStopError as error:
            end_system(supervisor, error.finding)
            raise
        supervisor.lifecycle.initialised = True
        self._done(20, "the core is initialised")
        return Core(supervisor, dispatcher, ring3, found, self._inputs)

    def _let_traditional_drivers_in(self, found: Discovery) -> None:
        if discover_traditional(self.supervisor, self._inputs.volumes(), found):
            mirror_lifecycle(self.supervisor)

    def _set_up_guards(self) -> None:
        """Guard the page types that the memory protection HOB names (docs/reference/memory.md §6)."""
        settings = self._inputs.protection_settings()
        if settings is not None and settings.guards & GuardFlags.PAGE_GUARD:
            types = (PageType.RUNTIME_SERVICES_CODE, PageType.RUNTIME_SERVICES_DATA)
            self.supervisor.pages.guarded_types = frozenset(kind for kind in types if settings.page_types >> kind & 1)

    def _copy_hob_list(self) -> None:
        supervisor, raw = self.supervisor, self._inputs.raw
        pages = pages_for(len(raw))
        kind = PageType.RUNTIME_SERVICES_CODE  # so that lock-down makes the copy read-only
        supervisor.hob_list = supervisor.pages.allocate(pages, kind, Owner.USER, "HOB list copy")
        supervisor.memory.write(supervisor.hob_list, raw.ljust(pages * PAGE_SIZE, b"\0"))
        supervisor.configuration[_HOB_LIST_GUID] = supervisor.hob_list
        self._done(5, f"HOB list of {len(raw)} bytes copied")

    def _set_up_cpus(self) -> None:
        supervisor = self.supervisor
        supervisor.cpus = self._inputs.cpus()
        stacks = supervisor.stacks
        stacks.count = len(supervisor.cpus)
        stacks.size = supervisor.profile.stack_pages * PAGE_SIZE
        pages = supervisor.profile.stack_pages * stacks.count
        data = PageType.RUNTIME_SERVICES_DATA
        supervisor.pages.allocate(pages, data, Owner.SUPERVISOR, "supervisor stacks")
        stacks.base = supervisor.pages.allocate(pages, data, Owner.USER, "ring-3 stacks")
        supervisor.memory.fill(stacks.base, pages * PAGE_SIZE)
        supervisor.protocols.install(_CONFIGURATION_GUID)
        self._done(9, f"{stacks.count} CPUs, a ring-3 stack of {stacks.size:#x} bytes each")

    def _register_entry(self, found: Discovery) -> None:
        """Let MMIs reach MmEntryPoint; the older generation tells the launcher by the mailbox."""
        self.smi_set_up = True
        if isinstance(self._inputs, OldCoreInputs):
            self.supervisor.slot = self._inputs.slot
            register_entry(self.supervisor, self._inputs.slot, found.core_volume)

    def _register_handlers(self, dispatcher: Dispatcher) -> None:
        supervisor = self.supervisor

        def serve_dispatch(buffer: int, size: int) -> tuple[int, int]:
            status = dispatcher.dispatch()
            if supervisor.slot is not None and size:
                result = DispatchResult.ERROR if status & ERROR_BIT else DispatchResult.SUCCESS
                supervisor.memory.write(buffer, bytes([result]))
            elif size >= _STATUS_SIZE:
                supervisor.memory.write_u64(buffer, status)
            elif status & ERROR_BIT:
                detail = f"{status_name(status)} does not fit into {size} bytes: the launcher takes it for success"
                supervisor.reference_bug("boot-flow.md §12.7", detail)
            return Status.SUCCESS, size

        register = supervisor.handlers.register
        supervisor.lock_time_handlers = [
            register(_DISPATCH_GUID, supervisor=serve_dispatch),
            register(_LOCK_GUID, supervisor=lambda buffer, size: serve_ready_to_lock(supervisor, buffer, size)),
        ]
        register(_REQUEST_GUID, supervisor=lambda buffer, size: serve_request(supervisor, buffer, size))
        if supervisor.profile.closes_supervisor_channel:
            register(_EXIT_GUID, supervisor=lambda buffer, size: serve_exit_boot_services(supervisor, buffer, size))

    def _prepare_comm_buffers(self) -> None:
        prepare_comm_buffers(self.supervisor, self._inputs)
        other, user = self.supervisor.supervisor, self.supervisor.user
        self._done(12, f"comm buffers of {other.pages} and {user.pages} pages")

    def _initialise_policy(self, found: Discovery) -> None:
        """Find, copy and check the policy. Whatever goes wrong, the core goes on (§4.3 step 6)."""
        supervisor = self.supervisor
        volume = found.core_volume
        if volume is None and supervisor.slot is not None:
            supervisor.reference_bug("dxe-launch.md §8.8", "the core's volume has no HOB: BFV 0, drivers in it unseen")
        blob = None if volume is None else find_policy(supervisor, volume, self._inputs.volumes())
        problem = self._adopt_policy(blob) if blob is not None else "there is none in the core's volume"
        if problem:
            supervisor.reference_bug("boot-flow.md §12.5", f"policy: {problem}; the boot goes on")
            supervisor.report(make_finding("MM-2006", problem, subject="isolation policy", rule="boot-flow.md §4.3"))
            supervisor.failed_assert("boot-flow.md §4.3 step 6", f"policy: {problem}", subject="isolation policy")
        self._done(15, "isolation policy " + ("in force" if supervisor.policy else "missing"))

    def _adopt_policy(self, blob: bytes) -> str:
        """Put a policy into force and return what is wrong with it, or an empty string."""
        supervisor = self.supervisor
        try:
            policy = supervisor.policy_watch.named(read_blob_as_runtime(blob))
        except FormatError as error:
            return str(error)
        size = policy.size
        pages = pages_for(size)
        use = "isolation policy"
        address = supervisor.pages.allocate(pages, PageType.RUNTIME_SERVICES_DATA, Owner.SUPERVISOR, use)
        supervisor.memory.write(address, blob[:size])
        supervisor.policy_address = address
        supervisor.policy_blob = blob[:size]
        supervisor.policy = CompiledPolicy(policy)
        try:
            violation = security_policy_check(policy)
        except PolicyBoundsError as error:
            return str(error)
        return str(violation) if violation else ""
