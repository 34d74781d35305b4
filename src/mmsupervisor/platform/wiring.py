"""Wires a platform: memory, HOBs, launcher, core, world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mmsupervisor.abi.dxe_launch import CommonRegion, CoreData, RegionType
from mmsupervisor.abi.profile import Launch, Profile
from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.entry import Core, start_core
from mmsupervisor.core.errors import LaunchError
from mmsupervisor.core.events import ReferenceBugMet
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.core.one_slot import refuse_without_core
from mmsupervisor.core.policy_watch import PolicyWatch
from mmsupervisor.core.relaxations import Relaxations
from mmsupervisor.core.supervisor import Machine, Supervisor
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.devices.apm import COMMAND_PORT, ApmRegisters
from mmsupervisor.dxe.boot_services import DxeBootServices
from mmsupervisor.dxe.dxe_launch_world import DxeLaunchWorld
from mmsupervisor.dxe.hob_area import HobArea
from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.dxe.memory_space import DxeMemorySpace
from mmsupervisor.dxe.mm_access import ChipsetMmAccess, ChipsetSmmAccess2
from mmsupervisor.dxe.pei_launch_world import PeiLaunchWorld
from mmsupervisor.dxe.runtime_map import RuntimeMap
from mmsupervisor.dxe.support import NewBuffers
from mmsupervisor.dxe.traditional.stand_in import StandIn
from mmsupervisor.dxe.world import World
from mmsupervisor.ipl.launcher import PeiLauncher
from mmsupervisor.ipl.pi_smm_ipl import DxeServices, PiSmmIpl
from mmsupervisor.machine.events import EventLog
from mmsupervisor.machine.memory import PAGE_SIZE, PhysicalMemory
from mmsupervisor.machine.save_state import SAVE_STATE_OFFSET, Vendor, plain_area, trap_area
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import CpuHob, GuidHob, HandoffHob, HobRecord, VolumeHob
from mmsupervisor.pi.memory_types import MemoryType, pages_for
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import (
    MmramBlock,
    MpInformation2,
    ProcessorEntry,
    ProcessorStatus,
    ProtectedRegion,
    ProtectedRegionType,
    SmmBase,
    SupervisorCommBuffer,
    UserCommBuffer,
    hob_for,
)
from mmsupervisor.platform.description import MIB, PlatformDescription
from mmsupervisor.platform.devices import DeviceSet
from mmsupervisor.platform.firmware import Firmware, with_visible_volumes
from mmsupervisor.platform.memory_layout import ABOVE_1_MIB, TILE, MemoryLayout
from mmsupervisor.platform.traditional import begin_with_dxe, make_stand_in, with_described_pcds
from mmsupervisor.processor.cpuid import amd_cpuid, intel_cpuid
from mmsupervisor.processor.interface import Processor, ProcessorOptions
from mmsupervisor.processor.select import make_processor

_ENTRY_OFFSET = 0x8000
_HOB_AREA = MIB
_VOLUME_AREA = 0x90_0000
_SMRAM_GUID = known_guid("gEfiSmmSmramMemoryGuid")
_REGION_GUID = known_guid("gMmCommonRegionHobGuid")
_CORE_DATA_GUID = known_guid("gMmCoreDataHobGuid")


@dataclass(frozen=True, slots=True)
class NormalMemory:
    """Where PEI and DXE keep things below MMRAM.

    Attributes:
        hobs: The HOB list.
        supervisor_buffer: And so on: buffers and mailboxes of both channels, in PEI and after their move.
    """

    hobs: int
    supervisor_buffer: int
    user_buffer: int
    supervisor_status: int
    user_status: int
    moved: NewBuffers

    @classmethod
    def take(cls, memory_map: UefiMemoryMap, profile: Profile, *, moves: bool) -> NormalMemory:
        """Allocate what PEI and DXE need; buffers that nobody moves are runtime memory from the start."""
        boot, runtime = MemoryType.BOOT_SERVICES_DATA, MemoryType.RUNTIME_SERVICES_DATA
        hobs = memory_map.allocate(_HOB_AREA // PAGE_SIZE, boot, "HOB list")

        def channel(kind: MemoryType, when: str) -> tuple[int, int, int, int]:
            return (
                memory_map.allocate(profile.supervisor_comm_pages, kind, f"supervisor comm buffer{when}"),
                memory_map.allocate(profile.user_comm_pages, kind, f"user comm buffer{when}"),
                memory_map.allocate(1, kind, f"supervisor mailbox{when}"),
                memory_map.allocate(1, kind, f"user mailbox{when}"),
            )

        return cls(hobs, *channel(boot if moves else runtime, ""), NewBuffers(*channel(runtime, ", moved")))


@dataclass(frozen=True, slots=True)
class PortTrap:
    """A port access that raised an MMI, as the save state of its CPU tells it.

    Attributes:
        port: The port.
        value: What was written; for a read, RAX at that time.
        width: Bytes: 1, 2 or 4.
        output: Direction.
        cpu: Index of the CPU.
    """

    port: int = COMMAND_PORT
    value: int = 0
    width: int = 1
    output: bool = True
    cpu: int = 0


_MM_CONTROL = PortTrap()


class Platform:
    """A wired platform, before or after its launch.

    Attributes:
        description: What it is made of.
        firmware: What it boots.
        machine: Memory, ports, MSRs, events.
        layout: Where memory lies.
        devices: What answers ports, MSRs and MMIO.
        processor: The ring-3 processor.
        apm: The APM control and status registers.
        hobs: PEI's HOB list.
        access: MM Access as PEI sees it.
        smm_access2: And as DXE sees it.
        memory_space: What gDS knows of memory, for a launch in DXE.
        world: PEI and DXE.
        core: The core, once its entry point has succeeded.
        core_failure: Why it has not, or None.
        relaxations: What strictness is loosened, and every use of it.
        stand_in: What stands for DXE before traditional drivers, or None where they are not let in.
    """

    def __init__(
        self,
        description: PlatformDescription,
        firmware: Firmware,
        *,
        processor: str = "auto",
        log: EventLog | None = None,
        symbols_of: Callable[[Guid], Symbols],
        relaxed: frozenset[Relaxation] = frozenset(),
        policy_watch: PolicyWatch | None = None,
    ) -> None:
        """Wire a platform; nothing runs yet."""
        self.description = description
        self.firmware = with_visible_volumes(firmware, description.visible_volumes)
        self._symbols_of = symbols_of
        self._policy_watch = policy_watch
        self._profile = self._effective_profile()
        memory = PhysicalMemory(description.address_bits)
        self.machine = Machine(memory, log=log or EventLog())
        self.core: Core | None = None
        self.core_failure: LaunchError | None = None
        self.layout = MemoryLayout(description)
        try:
            self.layout.add_memory(memory)
            self.devices = DeviceSet(self.machine, description, firmware.image)
            self.layout.add_empty_bus(memory)
        except BaseException:
            memory.close()
            raise
        self.apm: ApmRegisters = self.devices.apm
        self.processor: Processor = make_processor(processor, memory, self._options())
        self._memory_map = UefiMemoryMap(self.layout.free_ranges())
        self._places = NormalMemory.take(self._memory_map, self._profile, moves=description.moves_comm_buffers)
        self.hobs = HobArea(memory, self._places.hobs, _HOB_AREA, self._hob_records())
        self.access = ChipsetMmAccess(self.layout.chipset_ranges())
        self.smm_access2 = ChipsetSmmAccess2(self.layout.hob_ranges())
        self.memory_space = DxeMemorySpace(1 << description.address_bits)
        self.world: World = self._dxe_world() if self._profile.launch is Launch.DXE else self._pei_world()
        wanted = Relaxation.TRADITIONAL_ENTRY in relaxed and self.firmware.traditional
        self.stand_in = self._make_stand_in() if wanted else None
        self.relaxations = Relaxations(relaxed, self.stand_in)

    def _make_stand_in(self) -> StandIn:
        stand_in = make_stand_in(
            self.machine.memory,
            self._memory_map,
            mmram=self.layout.hob_ranges(),
            hob_list=self._places.hobs,
            pcds=with_described_pcds(self.firmware.pcds, self.description.pcds),
            boot_services=self.world.boot_services,
            images=len(self.firmware.traditional),
        )
        begin_with_dxe(stand_in, self.world)
        return stand_in

    def _pei_world(self) -> PeiLaunchWorld:
        memory, description = self.machine.memory, self.description
        launcher = PeiLauncher(
            memory,
            self.machine.log,
            access=self.access,
            trigger=self.trigger,
            hobs=self.hobs,
            core=self.firmware.core_with_hob,
            enter_core=self._enter_core,
        )
        return PeiLaunchWorld(
            memory,
            launcher,
            self.trigger,
            self.hobs,
            memory_map=self._memory_map,
            boot_services=DxeBootServices(),
            new_buffers=self._places.moved if description.moves_comm_buffers else None,
            withheld=description.withheld,
            tells_exit=self._profile.closes_supervisor_channel,
        )

    def _dxe_world(self) -> DxeLaunchWorld:
        boot, runtime_map = DxeBootServices(), RuntimeMap(self._memory_map)
        services = DxeServices(
            access=self.smm_access2,
            trigger=self.trigger,
            memory_space=self.memory_space,
            pages=self._memory_map,
            boot=boot,
            hobs=self.hobs,
            space=runtime_map,
            reference_bug=self._note_reference_bug,
        )
        launcher = PiSmmIpl(
            self.machine.memory,
            self.machine.log,
            services,
            core=self.firmware.core,
            enter_core=self._enter_core,
            debug=self._profile.debug,
        )
        return DxeLaunchWorld(
            launcher,
            self.hobs,
            memory_map=self._memory_map,
            boot_services=boot,
            runtime_map=runtime_map,
            withheld=self.description.withheld,
        )

    def _note_reference_bug(self, source: str, detail: str) -> None:
        self.machine.log.emit(ReferenceBugMet(source, detail))

    def _effective_profile(self) -> Profile:
        core = self.firmware.core
        profile = self.description.profile
        if core is None:
            return profile
        return replace(profile, core_version=core.version, core_patch_level=core.patch_level)

    def _options(self) -> ProcessorOptions:
        make = amd_cpuid if self.description.vendor is Vendor.AMD else intel_cpuid
        return ProcessorOptions(make(self.description.address_bits), self.description.budget)

    def _hob_records(self) -> list[HobRecord]:
        description = self.description
        records: list[HobRecord] = [
            HandoffHob(memory_top=description.mmram_base, memory_bottom=ABOVE_1_MIB),
            CpuHob(description.address_bits),
            *self.layout.resources(),
            *self._volume_hobs(),
        ]
        count = description.cpus
        flags = ProcessorStatus.ENABLED | ProcessorStatus.HEALTHY
        entries = tuple(
            ProcessorEntry(index, int(flags | (ProcessorStatus.BSP if index == 0 else 0)), (0, index, 0))
            for index in range(count)
        )
        bases = tuple(description.mmram_base - _ENTRY_OFFSET + TILE * index for index in range(count))
        return [
            *records,
            hob_for(MpInformation2(entries)),
            hob_for(SmmBase(bases)),
            hob_for(MmramBlock(self.layout.hob_ranges()), _SMRAM_GUID),
            *self._comm_hobs(),
            *self._protection_hobs(),
        ]

    def _protection_hobs(self) -> list[GuidHob]:
        description = self.description
        regions = [
            ProtectedRegion(ProtectedRegionType.IOMMU, item.start, pages_for(item.size))
            for item in description.protected
        ]
        found = [hob_for(region) for region in regions]
        return found if description.protection is None else [*found, hob_for(description.protection)]

    def _comm_hobs(self) -> list[GuidHob]:
        places, profile = self._places, self._profile
        other, user = (
            (places.supervisor_buffer, profile.supervisor_comm_pages),
            (places.user_buffer, profile.user_comm_pages),
        )
        if profile.launch is Launch.DXE:
            return [
                GuidHob(_REGION_GUID, CommonRegion(RegionType.SUPERVISOR, *other).pack()),
                GuidHob(_REGION_GUID, CommonRegion(RegionType.USER, *user).pack()),
                GuidHob(_CORE_DATA_GUID, CoreData().pack()),
            ]
        return [
            hob_for(SupervisorCommBuffer(*other, places.supervisor_status)),
            hob_for(UserCommBuffer(*user, places.user_status)),
        ]

    def _volume_hobs(self) -> list[VolumeHob]:
        """Put each visible volume into memory, as PEI does that shadows or decompresses it."""
        hobs = []
        position = _VOLUME_AREA
        for volume in self.firmware.volumes:
            self.machine.memory.write(position, volume.data)
            hobs.append(VolumeHob(position, len(volume.data)))
            pages = pages_for(len(volume.data))
            self._memory_map.reserve(position, pages, MemoryType.BOOT_SERVICES_DATA, f"volume {volume.name}")
            position += pages * PAGE_SIZE
        return hobs

    def _write_save_states(self, trap: PortTrap | None) -> None:
        """Leave the save state of every CPU as hardware leaves it on entry."""
        vendor = self.description.vendor
        for index in range(self.description.cpus):
            area = plain_area(vendor)
            if trap is not None and trap.cpu == index:
                area = trap_area(vendor, trap.port, trap.width, output=trap.output, rax=trap.value)
            smbase = self.description.mmram_base - _ENTRY_OFFSET + TILE * index
            self.machine.memory.write(smbase + SAVE_STATE_OFFSET, area)

    def _enter_core(self, hob_list: int) -> Status:
        self._write_save_states(None)
        try:
            self.core = start_core(
                self.machine,
                self.processor,
                hob_list,
                profile=self._profile,
                symbols_of=self._symbols_of,
                relaxations=self.relaxations,
                policy_watch=self._policy_watch,
            )
        except LaunchError as error:
            self.core_failure = error
            return error.status
        self.core.supervisor.vendor = self.description.vendor
        return Status.SUCCESS

    def trigger(self, source: str, trap: PortTrap | None = _MM_CONTROL) -> Status:
        """Raise an MMI. Where no core came up, nothing answers it.

        Args:
            source: Who raises it, for traces.
            trap: The port access behind it: by default what MM Control does, a write of 0 to port 0xB2 by the
                BSP; None for an MMI that no port access raised.
        """
        if trap is not None and trap.port == COMMAND_PORT and trap.output:
            self.devices.software_mmi(trap.value)
        if self.core is not None:
            self._write_save_states(trap)
            serve_mmi(self.core.supervisor, source)
        elif self.core_failure is not None and self.core_failure.half_made is not None:
            self._serve_half_made(self.core_failure.half_made, source)
        return Status.SUCCESS

    def _serve_half_made(self, supervisor: Supervisor, source: str) -> None:
        """Serve an MMI by a core whose entry point failed after its SMI set-up, as far as it came."""
        if isinstance(self.world, DxeLaunchWorld):
            refuse_without_core(self.machine.memory, self.world.launcher.mailbox.address)
        else:
            serve_mmi(supervisor, source)

    def close(self) -> None:
        """Give up all resources."""
        self.processor.close()
        self.machine.memory.close()
