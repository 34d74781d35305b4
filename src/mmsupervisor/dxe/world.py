"""The world outside MM: it launches the core, goes through the phases and sends messages.

What both launches have in common; :mod:`mmsupervisor.dxe.pei_launch_world` and
:mod:`mmsupervisor.dxe.dxe_launch_world` are the two worlds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from mmsupervisor.dxe.boot_services import DxeBootServices
from mmsupervisor.dxe.hob_area import HobArea
from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.dxe.relay import Relay
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.ipl.steps import LaunchFailedError
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.message import Message, MessageV3
from mmsupervisor.pi.status import Status
from mmsupervisor.unblock.driver import StandaloneMmUnblockMem, request_in_dxe
from mmsupervisor.unblock.interfaces import SupervisorRequests
from mmsupervisor.unblock.ledger import UnblockLedger, UnblockRecord
from mmsupervisor.unblock.pei import request_in_pei

COMMUNICATION_GUIDS = (
    known_guid("gEfiMmCommunicationProtocolGuid"),
    known_guid("gEfiMmCommunication2ProtocolGuid"),
    known_guid("gEfiMmCommunication3ProtocolGuid"),
)
"""Protocols of the user channel; clients know one or the other. The launch in DXE has no third."""

_UNBLOCK_PROTOCOL_GUID = known_guid("gMmSupervisorUnblockMemoryProtocolGuid")


class PhaseError(MmSupervisorError):
    """A phase was asked for that lies behind, or a message that this phase cannot send."""


class World(ABC):
    """PEI and DXE of one boot.

    Attributes:
        phase: The last phase reached, or None before the first.
        boot_services: DXE's protocols and events.
        memory_map: Who has what in normal memory.
        unblock_requests: Every MmUnblockMemoryRequest, with its answer.
        unblock_driver: StandaloneMmUnblockMem, once it is dispatched.
        supervisor_requests: Sends requests on the supervisor channel, once DXE has that.
    """

    def __init__(
        self,
        hobs: HobArea,
        *,
        memory_map: UefiMemoryMap,
        boot_services: DxeBootServices,
        withheld: frozenset[Guid] = frozenset(),
    ) -> None:
        """Wire what the worlds share; ``withheld`` are the PPIs and protocols that the platform does not have."""
        self._hobs = hobs
        self._withheld = withheld
        boot_services.withheld = withheld
        self.memory_map = memory_map
        self.boot_services = boot_services
        self.unblock_requests = UnblockLedger()
        self.unblock_driver: StandaloneMmUnblockMem | None = None
        self.supervisor_requests: SupervisorRequests | None = None
        self.phase: Phase | None = None
        self._relays: list[Relay] = []

    @property
    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """All phases, in the order of this launch."""

    @abstractmethod
    def _steps(self) -> Mapping[Phase, Callable[[], None]]:
        """What to do to reach each phase."""

    @property
    @abstractmethod
    def in_pei(self) -> bool:
        """Whether modules of the present phase are PEIMs, and link PEI's libraries."""

    @property
    @abstractmethod
    def supervisor_ppi_installed(self) -> bool:
        """Whether PEI has the supervisor's communication PPI."""

    @abstractmethod
    def _deliver(self, message: bytes, source: str) -> Answer:
        """Send a message on the user channel; raises as :meth:`send` does."""

    @property
    def protocols(self) -> list[Guid]:
        """Protocols in DXE's database, in order of installation."""
        return self.boot_services.protocols

    @property
    def has_communication_protocol(self) -> bool:
        """Whether DXE has the user channel under any of its protocols."""
        return any(self.boot_services.has(guid) for guid in COMMUNICATION_GUIDS)

    @property
    def reached(self) -> tuple[Phase, ...]:
        """The phases so far, in the order of this launch."""
        return () if self.phase is None else self.phases[: self.phases.index(self.phase) + 1]

    def advance(self, target: Phase) -> None:
        """Go through all phases up to ``target``, in a device's order.

        Raises:
            PhaseError: the phase lies behind.
            LaunchFailedError: the launcher gives up.
            SystemStopError: a driver broke a rule.
        """
        done = len(self.reached)
        wanted = self.phases.index(target) + 1
        if wanted < done:
            raise PhaseError(f"phase {target.value} lies behind: {self.phase.value if self.phase else 'none'}")
        for phase in self.phases[done:wanted]:
            self._steps()[phase]()
            self.phase = phase
            self._run_relays(phase)

    def _require_dependencies(self, depex: tuple[Guid, ...], rule: str) -> None:
        """Do not dispatch a launcher whose dependencies the platform does not fulfil: there is no MMI at all."""
        missing = [guid.label for guid in depex if guid in self._withheld]
        if missing:
            detail = f"the launcher is not dispatched: {', '.join(missing)} is missing"
            raise LaunchFailedError(0, Status.NOT_FOUND, detail, rule=rule)

    def signal(self, group: Guid) -> None:
        """Signal an event group of UEFI outside the order of the phases, LegacyBoot for example."""
        self.boot_services.signal(group)

    # Relays

    def add_relay(self, relay: Relay) -> None:
        """Dispatch a relay. One whose protocol is there already sends at once, as a protocol notify does."""
        self._relays.append(relay)
        if isinstance(relay.event, Guid):
            self.boot_services.notify_on_protocol(relay.event, lambda: self._protocol_came(relay))

    def _protocol_came(self, relay: Relay) -> None:
        if relay in self._relays and isinstance(relay.event, Guid) and self.boot_services.has(relay.event):
            self._fire(relay)

    def install_protocol(self, guid: Guid) -> None:
        """Install a protocol in DXE's database."""
        self.boot_services.install(guid)

    def _run_relays(self, event: Phase) -> None:
        for relay in [relay for relay in self._relays if relay.event == event]:
            self._fire(relay)

    def _fire(self, relay: Relay) -> None:
        if relay.once:
            self._relays.remove(relay)
        relay.answers.append(self.send(relay.message, relay.payload(), f"relay: {relay.name}"))

    # Requests and messages

    def unblock(self, start: int, pages: int, requester: Guid) -> UnblockRecord:
        """Call MmUnblockMemoryRequest by the library of the present phase (docs/reference/unblock.md §2).

        Args:
            start: First address.
            pages: Number of pages.
            requester: File GUID of the calling module.
        """
        phase = self.phase.value if self.phase else "before launch"
        answer: tuple[int, str]
        if self.in_pei:
            window = "PEI"
            answer = request_in_pei(self._hobs, start, pages, requester, core_is_up=self.supervisor_ppi_installed)
        else:
            window = "DXE"
            driver = self.unblock_driver if self.boot_services.has(_UNBLOCK_PROTOCOL_GUID) else None
            answer = request_in_dxe(driver, start, pages, requester)
        return self.unblock_requests.note(window, phase, requester, (start, pages), answer)

    def send(self, guid: Guid, payload: bytes, source: str = "message", *, v3: bool = False) -> Answer:
        """Send one message on the user channel, by the means of the present phase.

        Args:
            guid: Whose handlers are called.
            payload: The message's data.
            source: Who sends, for traces.
            v3: Whether its header is of version 3.

        Raises:
            PhaseError: there is no user channel, or nothing is published yet.
        """
        message = MessageV3(guid, payload) if v3 else Message(guid, payload)
        return self._deliver(message.pack(), source)

    def request(self, request: int, parameters: bytes, source: str) -> tuple[int, bytes]:
        """Send a request on the supervisor channel; return its status and the payload behind the request header.

        Raises:
            PhaseError: DXE does not have the supervisor channel yet.
        """
        if self.supervisor_requests is None:
            raise PhaseError("the supervisor channel is not published")
        return self.supervisor_requests.request(request, parameters, source)
