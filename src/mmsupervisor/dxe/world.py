"""The world outside MM: it launches the core, goes through the phases and sends messages."""

from __future__ import annotations

from dataclasses import replace

from mmsupervisor.dxe.communication import MmCommunication
from mmsupervisor.dxe.hob_area import HobArea
from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.dxe.relay import Relay
from mmsupervisor.dxe.support import MmDxeSupport, NewBuffers
from mmsupervisor.ipl.communicate import Answer, Channel, communicate
from mmsupervisor.ipl.interfaces import MmiTrigger
from mmsupervisor.ipl.launcher import PeiLauncher
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.supervisor_hobs import UserCommBuffer
from mmsupervisor.unblock.driver import StandaloneMmUnblockMem, request_in_dxe
from mmsupervisor.unblock.ledger import UnblockLedger, UnblockRecord
from mmsupervisor.unblock.pei import request_in_pei

_USER_HOB_GUID = known_guid("gMmCommBufferHobGuid")
_END_OF_DXE_GUID = known_guid("gEfiEndOfDxeEventGroupGuid")
_LOCK_GUID = known_guid("gEfiDxeMmReadyToLockProtocolGuid")
_READY_TO_BOOT_GUID = known_guid("gEfiEventReadyToBootGuid")
_EXIT_GUID = known_guid("gEfiEventExitBootServicesGuid")


class PhaseError(MmSupervisorError):
    """A phase was asked for that lies behind, or a message that this phase cannot send."""


class World:
    """PEI and DXE of one boot.

    Attributes:
        phase: The last phase reached, or None before the launch.
        support: The supervisor channel of DXE, from phase DXE on.
        communication: The user channel of DXE, from phase DXE on.
        memory_map: Who has what in normal memory.
        unblock_requests: Every MmUnblockMemoryRequest, with its answer.
        protocols: Protocols in DXE's database, in order of installation.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        launcher: PeiLauncher,
        trigger: MmiTrigger,
        hobs: HobArea,
        *,
        memory_map: UefiMemoryMap,
        new_buffers: NewBuffers | None,
    ) -> None:
        """Wire the world. ``new_buffers`` is None where the buffers were runtime memory from the start."""
        self.memory_map = memory_map
        self.unblock_requests = UnblockLedger()
        self._unblock_driver: StandaloneMmUnblockMem | None = None
        self._memory = memory
        self._launcher = launcher
        self._trigger = trigger
        self._hobs = hobs
        self._new_buffers = new_buffers
        self.phase: Phase | None = None
        self.support: MmDxeSupport | None = None
        self.communication: MmCommunication | None = None
        self.protocols: list[Guid] = []
        self._relays: list[Relay] = []

    def advance(self, target: Phase) -> None:
        """Go through all phases up to ``target``, in a device's order.

        Raises:
            PhaseError: the phase lies behind.
            LaunchFailedError: the launcher gives up.
            SystemStopError: a driver broke a rule.
        """
        reached = -1 if self.phase is None else self.phase.order
        if target.order < reached:
            raise PhaseError(f"phase {target.value} lies behind: {self.phase.value if self.phase else 'none'}")
        for phase in list(Phase)[reached + 1 : target.order + 1]:
            self._STEPS[phase](self)
            self.phase = phase
            self._run_relays(phase)

    def _launch(self) -> None:
        self._launcher.launch()

    def _end_of_pei(self) -> None:
        self._launcher.end_of_pei()

    def _enter_dxe(self) -> None:
        support = MmDxeSupport(self._memory, self._launcher.supervisor_channel, self._trigger)
        support.query_version()
        user = self._launcher.user_channel
        if user is not None and self._new_buffers is not None and support.move_buffers(user, self._new_buffers) == 0:
            self._patch_user_hob(self._new_buffers)
        self.support = support
        self._unblock_driver = StandaloneMmUnblockMem(self.memory_map)
        self._unblock_driver.channel = support
        hob = next(self._hobs.guid_hobs(_USER_HOB_GUID), None)
        if hob is not None:
            found = UserCommBuffer.parse(Reader(hob.data, "HOB gMmCommBufferHobGuid"))
            channel = Channel(found.address, found.pages, found.status, supervisor=False)
            self.communication = MmCommunication(self._memory, channel, self._trigger)

    def _patch_user_hob(self, new: NewBuffers) -> None:
        """Let the DXE copy of the user's HOB name the new buffer; the supervisor's HOB keeps the old address."""
        hob = next(self._hobs.guid_hobs(_USER_HOB_GUID))
        body = UserCommBuffer.parse(Reader(hob.data, "HOB gMmCommBufferHobGuid"))
        body = replace(body, address=new.user, status=new.user_status)
        self._hobs.replace(hob, GuidHob(hob.name, body.pack()))

    def _relay(self, guid: Guid, source: str) -> None:
        if self.communication is not None:
            self.communication.communicate(_message(guid, bytes(1)), source=source)

    def _end_of_dxe(self) -> None:
        self._relay(_END_OF_DXE_GUID, "relay: EndOfDxe")

    def _ready_to_lock(self) -> None:
        self._relay(_LOCK_GUID, "relay: ready to lock")
        if self.support is not None:
            self.support.lock()

    def _ready_to_boot(self) -> None:
        self._relay(_READY_TO_BOOT_GUID, "relay: ReadyToBoot")

    def _exit_boot_services(self) -> None:
        self._relay(_EXIT_GUID, "relay: ExitBootServices")
        if self.support is not None:
            self.support.exit_boot_services()

    _STEPS = {  # noqa: RUF012 - a table of methods, never changed
        Phase.LAUNCHED: _launch,
        Phase.END_OF_PEI: _end_of_pei,
        Phase.DXE: _enter_dxe,
        Phase.END_OF_DXE: _end_of_dxe,
        Phase.READY_TO_LOCK: _ready_to_lock,
        Phase.READY_TO_BOOT: _ready_to_boot,
        Phase.EXIT_BOOT_SERVICES: _exit_boot_services,
    }

    def add_relay(self, relay: Relay) -> None:
        """Dispatch a relay. One whose protocol is there already sends at once, as a protocol notify does."""
        self._relays.append(relay)
        if isinstance(relay.event, Guid) and relay.event in self.protocols:
            self._fire(relay)

    def install_protocol(self, guid: Guid) -> None:
        """Install a protocol in DXE's database."""
        self.protocols.append(guid)
        self._run_relays(guid)

    def _run_relays(self, event: Phase | Guid) -> None:
        for relay in [relay for relay in self._relays if relay.event == event]:
            self._fire(relay)

    def _fire(self, relay: Relay) -> None:
        if relay.once:
            self._relays.remove(relay)
        relay.answers.append(self.send(relay.message, relay.payload(), f"relay: {relay.name}"))

    def unblock(self, start: int, pages: int, requester: Guid) -> UnblockRecord:
        """Call MmUnblockMemoryRequest by the library of the present phase (docs/reference/unblock.md §2).

        Args:
            start: First address.
            pages: Number of pages.
            requester: File GUID of the calling module.
        """
        phase = self.phase.value if self.phase else "before launch"
        answer: tuple[int, str]
        if self.phase is None or self.phase.order < Phase.DXE.order:
            window = "PEI"
            answer = request_in_pei(self._hobs, start, pages, requester, core_is_up=self._launcher.published)
        else:
            window = "DXE"
            answer = request_in_dxe(self._unblock_driver, start, pages, requester)
        return self.unblock_requests.note(window, phase, requester, (start, pages), answer)

    def send(self, guid: Guid, payload: bytes, source: str = "message") -> Answer:
        """Send one message on the user channel, by the means of the present phase.

        Raises:
            PhaseError: there is no user channel, or nothing is published yet.
        """
        message = _message(guid, payload)
        if self.communication is not None:
            return self.communication.communicate(message, source=source)
        channel = self._launcher.user_channel
        if channel is None or not self._launcher.published:
            raise PhaseError("the user channel is not published")
        return communicate(self._memory, channel, self._trigger, message, size=len(message), source=source)


def _message(guid: Guid, payload: bytes) -> bytes:
    return guid.raw + len(payload).to_bytes(8, "little") + payload
