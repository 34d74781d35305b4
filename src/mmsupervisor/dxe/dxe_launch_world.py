"""The world of the old launch: PEI ends, then PiSmmIpl runs in DXE and relays the events itself (dxe-launch.md).

The launch stands where step 19 of its §2 stands in time: before it, DXE has no MM protocol and no way to unblock;
PEI's HOBs were the only one (§6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mmsupervisor.dxe.boot_services import DxeBootServices
from mmsupervisor.dxe.hob_area import HobArea
from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.dxe.phases import DXE_LAUNCH_ORDER, Phase
from mmsupervisor.dxe.runtime_map import RuntimeMap
from mmsupervisor.dxe.supervisor_requests import SupervisorRequestClient
from mmsupervisor.dxe.world import PhaseError, World
from mmsupervisor.ipl.boot_events import (
    ADDRESS_CHANGE_GUID,
    END_OF_DXE_GUID,
    EXIT_BOOT_SERVICES_GUID,
    LOCK_GUID,
    READY_TO_BOOT_GUID,
)
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.ipl.pi_smm_ipl import PiSmmIpl
from mmsupervisor.ipl.steps import DXE_RULE
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.unblock.driver import StandaloneMmUnblockMem

_SUPERVISOR_PROTOCOL_GUID = known_guid("gMmSupervisorCommunicationProtocolGuid")
_UNBLOCK_PROTOCOL_GUID = known_guid("gMmSupervisorUnblockMemoryProtocolGuid")
_CPU_ARCH_GUID = known_guid("gEfiCpuArchProtocolGuid")


class DxeLaunchWorld(World):
    """DXE launches the core.

    Attributes:
        launcher: PiSmmIpl, whose protocols DXE uses.
    """

    def __init__(
        self,
        launcher: PiSmmIpl,
        hobs: HobArea,
        *,
        memory_map: UefiMemoryMap,
        boot_services: DxeBootServices,
        runtime_map: RuntimeMap,
        withheld: frozenset[Guid] = frozenset(),
    ) -> None:
        """Wire the world; ``runtime_map`` is where the launcher's pointers lead."""
        super().__init__(hobs, memory_map=memory_map, boot_services=boot_services, withheld=withheld)
        self.launcher = launcher
        self._runtime_map = runtime_map

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases, in the order of this launch."""
        return DXE_LAUNCH_ORDER

    def _steps(self) -> Mapping[Phase, Callable[[], None]]:
        signal = self.boot_services.signal
        return {
            Phase.END_OF_PEI: self._enter_dxe,
            Phase.LAUNCHED: self._launch,
            Phase.DXE: lambda: None,  # the launcher has done it all
            Phase.END_OF_DXE: lambda: signal(END_OF_DXE_GUID),
            Phase.READY_TO_LOCK: lambda: self.boot_services.install(LOCK_GUID),
            Phase.READY_TO_BOOT: lambda: signal(READY_TO_BOOT_GUID),
            Phase.EXIT_BOOT_SERVICES: lambda: signal(EXIT_BOOT_SERVICES_GUID),
        }

    @property
    def in_pei(self) -> bool:
        """Whether modules of the present phase are PEIMs, and link PEI's libraries."""
        return self.phase is None

    @property
    def supervisor_ppi_installed(self) -> bool:
        """Never: in this launch PEI has no supervisor."""
        return False

    def _enter_dxe(self) -> None:
        """PEI is over, and nobody in MM is told. What the launcher waits for comes, and the unblock driver."""
        given = (_CPU_ARCH_GUID, *PiSmmIpl.DEPEX)
        self.boot_services.install(*given)
        self.unblock_driver = StandaloneMmUnblockMem(self.memory_map)
        self.boot_services.notify_on_protocol(_SUPERVISOR_PROTOCOL_GUID, self._connect_unblock_driver)

    def _connect_unblock_driver(self) -> None:
        """Install the unblock protocol as soon as the supervisor channel is there, at step 19 (§6)."""
        if self.unblock_driver is not None and self.boot_services.has(_SUPERVISOR_PROTOCOL_GUID):
            self.supervisor_requests = SupervisorRequestClient(self._send_to_supervisor)
            self.unblock_driver.channel = self.supervisor_requests
            self.boot_services.install(_UNBLOCK_PROTOCOL_GUID)

    def _launch(self) -> None:
        self._require_dependencies(PiSmmIpl.DEPEX, DXE_RULE)
        self.launcher.launch()

    def _send_to_supervisor(self, guid: Guid, payload: bytes, source: str) -> Answer:
        message = guid.raw + len(payload).to_bytes(8, "little") + payload
        return self.launcher.ask_supervisor(message, source)

    def set_virtual_address_map(self, offset: int) -> None:
        """Move all runtime memory to virtual addresses ``offset`` above its physical ones, as an OS may do.

        Raises:
            PhaseError: boot services have not ended.
        """
        if self.phase is not Phase.EXIT_BOOT_SERVICES:
            raise PhaseError("SetVirtualAddressMap before ExitBootServices")
        self._runtime_map.plan(offset)
        self.boot_services.signal(ADDRESS_CHANGE_GUID)
        self._runtime_map.put_in_force()

    def _deliver(self, message: bytes, source: str) -> Answer:
        if not self.launcher.published or not self.has_communication_protocol:
            raise PhaseError("the user channel is not published")
        return self.launcher.user.communicate(message, source=source)
