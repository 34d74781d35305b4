"""The world of today's launch: MmIplPei in PEI, MmDxeSupport and edk2's relays in DXE (boot-flow.md §2, §7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mmsupervisor.dxe.boot_services import DxeBootServices
from mmsupervisor.dxe.communication import MmCommunication
from mmsupervisor.dxe.hob_area import HobArea
from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.dxe.milestones import SupervisorMilestones, UserMilestones
from mmsupervisor.dxe.phases import PEI_LAUNCH_ORDER, Phase
from mmsupervisor.dxe.support import MmDxeSupport, NewBuffers
from mmsupervisor.dxe.world import COMMUNICATION_GUIDS, PhaseError, World
from mmsupervisor.ipl.boot_events import END_OF_DXE_GUID, EXIT_BOOT_SERVICES_GUID, LOCK_GUID, READY_TO_BOOT_GUID
from mmsupervisor.ipl.communicate import Answer, Channel, communicate
from mmsupervisor.ipl.interfaces import MmiTrigger
from mmsupervisor.ipl.launcher import PeiLauncher
from mmsupervisor.ipl.steps import PEI_RULE
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.supervisor_hobs import UserCommBuffer
from mmsupervisor.unblock.driver import StandaloneMmUnblockMem

_USER_HOB_GUID = known_guid("gMmCommBufferHobGuid")
_SUPERVISOR_PROTOCOL_GUID = known_guid("gMmSupervisorCommunicationProtocolGuid")
_UNBLOCK_PROTOCOL_GUID = known_guid("gMmSupervisorUnblockMemoryProtocolGuid")
_COMMUNICATION_2_GUID = known_guid("gEfiMmCommunication2ProtocolGuid")
_CPU_ARCH_GUID = known_guid("gEfiCpuArchProtocolGuid")
_ACCESS_GUID = known_guid("gEfiSmmAccess2ProtocolGuid")
_CONTROL_GUID = known_guid("gEfiSmmControl2ProtocolGuid")
_USER_PPI_GUID = known_guid("gEfiPeiSmmCommunicationPpiGuid")
_SUPERVISOR_PPI_GUID = known_guid("gPeiMmSupervisorCommunicationPpiGuid")


class PeiLaunchWorld(World):
    """PEI launches the core.

    Attributes:
        support: The supervisor channel of DXE, from phase DXE on.
        communication: The user channel of DXE, from phase DXE on.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        launcher: PeiLauncher,
        trigger: MmiTrigger,
        hobs: HobArea,
        *,
        memory_map: UefiMemoryMap,
        boot_services: DxeBootServices,
        new_buffers: NewBuffers | None,
        withheld: frozenset[Guid] = frozenset(),
        tells_exit: bool = True,
    ) -> None:
        """Wire the world.

        Args:
            memory: The machine's memory.
            launcher: MmIplPei.
            trigger: Raises an MMI.
            hobs: The HOB list.
            memory_map: Who has what in normal memory.
            boot_services: DXE's protocols and events.
            new_buffers: Where the comm buffers move; None where they were runtime memory from the start.
            withheld: PPIs and protocols that the platform does not have.
            tells_exit: Whether MmDxeSupport is of the generation that tells the supervisor ExitBootServices.
        """
        super().__init__(hobs, memory_map=memory_map, boot_services=boot_services, withheld=withheld)
        self._memory = memory
        self._launcher = launcher
        self._trigger = trigger
        self._new_buffers = new_buffers
        self._tells_exit = tells_exit
        self.support: MmDxeSupport | None = None
        self.communication: MmCommunication | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases, in the order of this launch."""
        return PEI_LAUNCH_ORDER

    def _steps(self) -> Mapping[Phase, Callable[[], None]]:
        signal = self.boot_services.signal
        return {
            Phase.LAUNCHED: self._launch,
            Phase.END_OF_PEI: self._end_of_pei,
            Phase.DXE: self._enter_dxe,
            Phase.END_OF_DXE: lambda: signal(END_OF_DXE_GUID),
            Phase.READY_TO_LOCK: lambda: self.boot_services.install(LOCK_GUID),
            Phase.READY_TO_BOOT: lambda: signal(READY_TO_BOOT_GUID),
            Phase.EXIT_BOOT_SERVICES: lambda: signal(EXIT_BOOT_SERVICES_GUID),
        }

    @property
    def in_pei(self) -> bool:
        """Whether modules of the present phase are PEIMs, and link PEI's libraries."""
        return self.phase in (None, Phase.LAUNCHED, Phase.END_OF_PEI)

    @property
    def supervisor_ppi_installed(self) -> bool:
        """Whether PEI has the supervisor's communication PPI."""
        return self._launcher.published and _SUPERVISOR_PPI_GUID not in self._withheld

    def _launch(self) -> None:
        self._require_dependencies(PeiLauncher.DEPEX, PEI_RULE)
        self._launcher.launch()

    def _end_of_pei(self) -> None:
        self._launcher.end_of_pei()

    def _enter_dxe(self) -> None:
        """Dispatch the drivers whose dependencies the platform fulfils, in the order of a device."""
        boot = self.boot_services
        boot.install(_CPU_ARCH_GUID, _ACCESS_GUID, _CONTROL_GUID)
        self.unblock_driver = StandaloneMmUnblockMem(self.memory_map)
        boot.notify_on_protocol(_SUPERVISOR_PROTOCOL_GUID, self._connect_unblock_driver)
        if boot.has(_CONTROL_GUID):
            self._start_support()
        if boot.has(_ACCESS_GUID) and boot.has(_CONTROL_GUID):
            self._start_communication()
        if boot.has(_COMMUNICATION_2_GUID):
            UserMilestones(boot, self._tell_user).create()

    def _start_support(self) -> None:
        """MmDxeSupport's entry point."""
        support = MmDxeSupport(self._memory, self._launcher.supervisor_channel, self._trigger)
        support.query_version()
        user = self._launcher.user_channel
        if user is not None and self._new_buffers is not None and support.move_buffers(user, self._new_buffers) == 0:
            self._patch_user_hob(self._new_buffers)
        self.support = support
        self.boot_services.install(_SUPERVISOR_PROTOCOL_GUID)
        SupervisorMilestones(self.boot_services, self._tell_supervisor, self._tells_exit).create()

    def _connect_unblock_driver(self) -> None:
        """Install the unblock protocol as soon as the supervisor channel is there (unblock.md §2.3)."""
        if self.unblock_driver is not None and self.boot_services.has(_SUPERVISOR_PROTOCOL_GUID):
            self.supervisor_requests = self.support
            self.unblock_driver.channel = self.support
            self.boot_services.install(_UNBLOCK_PROTOCOL_GUID)

    def _start_communication(self) -> None:
        """MmCommunicationDxe's entry point, after MmDxeSupport has patched the HOB."""
        hob = next(self._hobs.guid_hobs(_USER_HOB_GUID), None)
        if hob is not None:
            found = UserCommBuffer.parse(Reader(hob.data, "HOB gMmCommBufferHobGuid"))
            channel = Channel(found.address, found.pages, found.status, supervisor=False)
            self.communication = MmCommunication(self._memory, channel, self._trigger)
            self.boot_services.install(*COMMUNICATION_GUIDS)

    def _tell_supervisor(self, guid: Guid, source: str) -> None:
        if self.support is not None:
            self.support.send(guid, bytes(1), source)

    def _tell_user(self, guid: Guid, source: str) -> None:
        if self.communication is not None:
            self.communication.communicate(guid.raw + (1).to_bytes(8, "little") + bytes(1), source=source)

    def _patch_user_hob(self, new: NewBuffers) -> None:
        """Let the DXE copy of the user's HOB name the new buffer; the supervisor's HOB keeps the old address."""
        hob = next(self._hobs.guid_hobs(_USER_HOB_GUID))
        body = UserCommBuffer.parse(Reader(hob.data, "HOB gMmCommBufferHobGuid"))
        body = replace(body, address=new.user, status=new.user_status)
        self._hobs.replace(hob, GuidHob(hob.name, body.pack()))

    def _deliver(self, message: bytes, source: str) -> Answer:
        if self.communication is not None and self.has_communication_protocol:
            return self.communication.communicate(message, source=source)
        channel = self._launcher.user_channel
        usable = self.in_pei and self._launcher.published and _USER_PPI_GUID not in self._withheld
        if channel is None or not usable:
            raise PhaseError("the user channel is not published")
        return communicate(self._memory, channel, self._trigger, message, size=len(message), source=source)
