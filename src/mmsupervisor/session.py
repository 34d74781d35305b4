"""The public face: boot a platform, send messages, look at what happened.

>>> import mmsupervisor
>>> with mmsupervisor.boot() as session:
...     [driver.name for driver in session.drivers][:2]
['MmSupervisorRing3Broker', 'Echo']
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from mmsupervisor.abi.relaxations import Relaxation, relaxations_by_name
from mmsupervisor.abi.requests import Request
from mmsupervisor.broker.database import Ring3Database
from mmsupervisor.clients.lock_box import LockBox
from mmsupervisor.clients.variables import Variables
from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import PhaseReached
from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.core.policy_watch import PolicyWatch, PolicyWitness
from mmsupervisor.core.relaxations import RelaxedUse
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.dxe.relay import Relay
from mmsupervisor.dxe.traditional.database import InstalledOutside
from mmsupervisor.dxe.traditional.stand_in import CensusEntry
from mmsupervisor.dxe.world import PhaseError
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.ipl.steps import LaunchFailedError
from mmsupervisor.machine.events import EventLog, Record
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.container import read_image
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import DEFAULT_LIMITS
from mmsupervisor.pi.memory_types import MemoryDescriptor, MemoryType
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import FileType
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.devices import DeviceSet
from mmsupervisor.platform.driver_reports import DriverReport, DriverTallies, read_protocols, report_drivers
from mmsupervisor.platform.firmware import Firmware, read_firmware, shipped_symbols
from mmsupervisor.platform.known_flash import with_known_flash
from mmsupervisor.platform.sample import DriverFile, mm_volume, ready_depex, sample_volume
from mmsupervisor.platform.session_findings import all_findings
from mmsupervisor.platform.wiring import Platform, PortTrap
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.model import Policy
from mmsupervisor.unblock.ledger import UnblockRecord

SAMPLE_NAME = "sample platform"


class Session:
    """A booted platform.

    Attributes:
        firmware: What was booted.
        description: On what, and how far it was to go.
        stop: The finding that ended the system, or None while it lives.
        launch_failure: Why the launcher gave up, or None.
    """

    def __init__(self, platform: Platform) -> None:
        """Wrap a wired platform; use :func:`boot`."""
        self._platform = platform
        self.firmware: Firmware = platform.firmware
        self.description: PlatformDescription = platform.description
        self.stop: Finding | None = None
        self.launch_failure: LaunchFailedError | None = None
        self._lock_box: LockBox | None = None
        self._tallies = DriverTallies()
        platform.machine.log.add_sink(self._tallies.take)

    def __enter__(self) -> Session:
        """Return the session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.close()

    # What happened

    @property
    def events(self) -> list[Record]:
        """All events so far, oldest first."""
        return self._platform.machine.log.records

    @property
    def log(self) -> EventLog:
        """The log itself, for sinks and the canonical trace."""
        return self._platform.machine.log

    @property
    def core(self) -> Core | None:
        """The core, or None if none came up."""
        return self._platform.core

    @property
    def memory(self) -> PhysicalMemory:
        """Physical memory."""
        return self._platform.machine.memory

    @property
    def memory_map(self) -> tuple[MemoryDescriptor, ...]:
        """UEFI's memory map of normal memory, by address, as DXE would report it now."""
        return self._platform.world.memory_map.descriptors()

    @property
    def devices(self) -> DeviceSet:
        """The devices: their state, and writing the flash back."""
        return self._platform.devices

    @property
    def console(self) -> str:
        """What firmware printed, on the debug port and the serial port, as text."""
        return self._platform.devices.console.text

    @property
    def processor(self) -> str:
        """Name of the ring-3 processor."""
        return self._platform.processor.name

    @property
    def phase(self) -> Phase | None:
        """The last phase reached, or None before the first."""
        return self._platform.world.phase

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases reached, in order: in a DXE launch, PEI ends before the launch."""
        return self._platform.world.reached

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, in order; what was in vain comes last: drivers never dispatched, waits never over."""
        return all_findings(self._platform, self.stop, self.launch_failure)

    def protocol_database(self) -> Ring3Database:
        """Read the broker's protocol database: who installed what, and who waits for what.

        Addresses of functions and interfaces belong to drivers: see :meth:`owner_of`.
        """
        if self.core is None:
            return Ring3Database((), 0)
        return read_protocols(self.core)

    def owner_of(self, address: int) -> str:
        """Return the name of the driver whose image holds an address, or an empty string."""
        return "" if self.core is None else self.core.supervisor.modules.place(address).driver

    @property
    def drivers(self) -> tuple[DriverReport, ...]:
        """What became of each driver that the core's scan found, in the order of the scan."""
        if self.core is None:
            return ()
        return report_drivers(self.core, self._tallies, launched=Phase.LAUNCHED in self.phases)

    @property
    def relaxed_uses(self) -> tuple[RelaxedUse, ...]:
        """Every use of a relaxation by place, in order of the first use."""
        return self._platform.relaxations.uses

    @property
    def outside_calls(self) -> tuple[CensusEntry, ...]:
        """What traditional drivers asked of DXE, by driver and service, in order of the first call."""
        return self._platform.stand_in.census if self._platform.stand_in else ()

    @property
    def outside_protocols(self) -> tuple[InstalledOutside, ...]:
        """What traditional drivers installed in DXE's database, in order."""
        return self._platform.stand_in.installed if self._platform.stand_in else ()

    # What can be done

    def advance(self, phase: Phase) -> None:
        """Go through all phases up to ``phase``. A system that dies on the way is in :attr:`stop`.

        Raises:
            PhaseError: the phase lies behind.
        """
        if self.stop is not None or self.launch_failure is not None:
            return
        world = self._platform.world
        done = len(world.reached)
        ahead = world.phases[done : world.phases.index(phase) + 1]
        try:
            for step in ahead or (phase,):
                world.advance(step)
                if step in ahead:
                    self.log.emit(PhaseReached(step.value))
        except SystemStopError as error:
            self.stop = error.finding
        except LaunchFailedError as error:
            self.launch_failure = error

    def communicate(
        self, guid: Guid | str, payload: bytes = b"", *, source: str = "message", v3: bool = False
    ) -> Answer:
        """Send a message on the user channel and return the answer, whose ``data`` begins with the header.

        Args:
            guid: The handler's GUID, or its text or name.
            payload: The message's data; an empty one never reaches a handler.
            source: Who sends, for traces.
            v3: Whether the header is of version 3: 0x38 bytes and not 0x18.

        Raises:
            SystemStopError: the system is dead, from now on or already.
            PhaseError: the user channel is not published.
            GuidSyntaxError: the text is no GUID.
        """
        wanted = Guid.parse(guid) if isinstance(guid, str) else guid
        with self._while_it_lives():
            return self._platform.world.send(wanted, payload, source, v3=v3)

    @contextmanager
    def _while_it_lives(self) -> Iterator[None]:
        """Keep what may reach MM from a dead system, and note the death of one that dies of it."""
        if self.stop is not None:
            raise SystemStopError(self.stop)
        try:
            yield
        except SystemStopError as error:
            self.stop = error.finding
            raise

    def request(self, request: Request | int, parameters: bytes = b"") -> tuple[int, bytes]:
        """Send a request to the supervisor itself, on its channel, as a DXE driver does.

        Args:
            request: Which request.
            parameters: What follows the request header; the answer finds no more room than they take.

        Returns:
            The status, and what follows the request header in the answer.

        Raises:
            SystemStopError: the system is dead, from now on or already.
            PhaseError: DXE does not have the supervisor channel yet.
        """
        with self._while_it_lives():
            return self._platform.world.request(request, parameters, "request")

    @property
    def variables(self) -> Variables:
        """The UEFI variables, by messages to the variable driver in MM."""
        room = self.core.supervisor.user.size - HEADER_SIZE if self.core else sys.maxsize  # then sending fails
        return Variables(lambda guid, payload: self.communicate(guid, payload, source="variables"), room)

    @property
    def lock_box(self) -> LockBox:
        """The lock box, by messages to its driver in MM."""
        if self._lock_box is None:
            self._lock_box = LockBox(
                lambda guid, payload: self.communicate(guid, payload, source="lock box"),
                self.memory,
                lambda pages: self.allocate(pages, owner="lock box client"),
            )
        return self._lock_box

    def allocate(
        self, pages: int, *, memory_type: int = MemoryType.RUNTIME_SERVICES_DATA, owner: str = "caller"
    ) -> int:
        """Allocate pages of normal memory, as a PEI or DXE module does, and return their address."""
        return self._platform.world.memory_map.allocate(pages, memory_type, owner)

    def unblock(self, start: int, pages: int, requester: Guid | str) -> UnblockRecord:
        """Call MmUnblockMemoryRequest by the library of the present phase.

        Args:
            start: First address.
            pages: Number of pages.
            requester: File GUID of the module that asks, or its text or name.

        Raises:
            SystemStopError: the system is dead, from now on (a DEBUG build's ASSERT) or already.
        """
        who = Guid.parse(requester) if isinstance(requester, str) else requester
        with self._while_it_lives():
            return self._platform.world.unblock(start, pages, who)

    def add_relay(self, relay: Relay) -> None:
        """Dispatch a DXE driver that is a relay: it sends its message when its event comes.

        Raises:
            SystemStopError: the system is dead, from now on or already.
        """
        with self._while_it_lives():
            self._platform.world.add_relay(relay)

    def install_dxe_protocol(self, guid: Guid | str) -> None:
        """Install a protocol in DXE's database: relays that wait for it send their message.

        Raises:
            SystemStopError: the system is dead, from now on or already.
        """
        wanted = Guid.parse(guid) if isinstance(guid, str) else guid
        with self._while_it_lives():
            self._platform.world.install_protocol(wanted)

    def signal_event(self, group: Guid | str) -> None:
        """Signal an event group of DXE outside the order of the phases, ``gEfiEventLegacyBootGuid`` for example.

        Raises:
            SystemStopError: the system is dead, from now on or already.
        """
        wanted = Guid.parse(group) if isinstance(group, str) else group
        with self._while_it_lives():
            self._platform.world.signal(wanted)

    @property
    def dxe_protocols(self) -> tuple[Guid, ...]:
        """Protocols in DXE's database, in order of installation."""
        return tuple(self._platform.world.protocols)

    @property
    def unblock_requests(self) -> tuple[UnblockRecord, ...]:
        """Every MmUnblockMemoryRequest so far, with who asked, when and the answer."""
        return tuple(self._platform.world.unblock_requests.records)

    def trigger(self, trap: PortTrap | None = None, *, source: str = "MMI") -> None:
        """Raise an MMI without a message: root handlers run.

        Args:
            trap: The port access that raises it, for example ``PortTrap(0xB2, value=0x42)``; None for another cause.
            source: Who raises it, for traces.

        Raises:
            SystemStopError: the system is dead, from now on or already.
        """
        with self._while_it_lives():
            self._platform.trigger(source, trap)

    def close(self) -> None:
        """Give up all resources. Closing twice is allowed."""
        self._platform.close()


def boot(
    image: str | Path | bytes | None = None,
    *,
    until: Phase | None = None,
    description: PlatformDescription | None = None,
    processor: str = "auto",
    name: str = "",
    prepare: Callable[[Session], None] | None = None,
    symbols: Mapping[Guid, Symbols] | None = None,
    policy: bytes | Policy | None = None,
    relax: Iterable[Relaxation | str] = (),
    observe: bool = False,
    policy_witness: PolicyWitness | None = None,
    path: Path | None = None,
) -> Session:
    """Boot a firmware image.

    An image of OVMF's code gets its flash, unless ``description`` has one: the store in the file that lies beside it
    under the name that belongs to it, else an empty one (:mod:`mmsupervisor.platform.known_flash`).

    Args:
        image: Path or bytes of the image; None boots the sample platform.
        until: The phase to go to; None is the description's.
        description: The platform; None is the Q35-like default.
        processor: Which ring-3 processor.
        name: What to call an image that is given as bytes.
        prepare: Called before the launch, as PEI code that runs before it: may allocate and ask to unblock.
        symbols: Names in drivers by file GUID, beside those of the shipped drivers.
        policy: An isolation policy to put in place of the image's. Given as a ``Policy`` and not as bytes,
            findings name rules by the file and line they were read from.
        relax: Relaxations, or their names: what would end the system is permitted and counted.
        observe: All relaxations.
        policy_witness: Is told of every question to the policy.
        path: Where an image that is given as bytes comes from.

    Returns:
        The session, also if the system died or the launch failed: see ``stop`` and ``launch_failure``.

    Raises:
        FormatError: the image is malformed.
        LimitError: it is larger than an input may be.
        InputError: it cannot be read.
        UnknownRelaxationError: a name is no relaxation's.
    """
    names = [item.value if isinstance(item, Relaxation) else item for item in relax]
    relaxed = frozenset(Relaxation) if observe else relaxations_by_name(names)
    description = description or PlatformDescription()
    if until is not None:
        description = replace(description, until=until)
    if image is None:
        data, title = sample_volume(description.profile), SAMPLE_NAME
    elif isinstance(image, bytes):
        data, title = image, name or "image"
    else:
        path = Path(image)
        data, title = read_input_file(path, DEFAULT_LIMITS.input_bytes), str(image)
    blob = write_blob(policy) if isinstance(policy, Policy) else policy
    tree = read_image(Reader(data, title))
    traditional = Relaxation.TRADITIONAL_ENTRY in relaxed
    firmware = read_firmware(tree, data, title, blob, traditional=traditional, profile=description.profile)
    known = {**shipped_symbols(tree), **(symbols or {})}
    platform = Platform(
        with_known_flash(description, firmware, path),
        firmware,
        processor=processor,
        symbols_of=lambda guid: known.get(guid) or Symbols(),
        relaxed=relaxed,
        policy_watch=PolicyWatch(policy if isinstance(policy, Policy) else None, policy_witness),
    )
    session = Session(platform)
    try:
        if prepare is not None:
            prepare(session)
        session.advance(description.until)
    except BaseException:  # the caller gets no session that he could close
        session.close()
        raise
    return session


def boot_driver(
    image: bytes,
    name: str,
    guid: Guid,
    *,
    depex: bytes | None = None,
    policy: bytes | Policy | None = None,
    until: Phase | None = None,
    description: PlatformDescription | None = None,
    processor: str = "auto",
    prepare: Callable[[Session], None] | None = None,
    symbols: Symbols | None = None,
    relax: Iterable[Relaxation | str] = (),
    observe: bool = False,
    traditional: bool = False,
) -> Session:
    """Boot one driver: our core, our broker and it, in a volume of their own.

    Args:
        image: The driver's PE32+ image.
        name: Its name.
        guid: Its file GUID.
        depex: Its dependency section; None asks for the broker and nothing else, of a traditional one for nothing.
        policy: The policy, or its blob, as for :func:`boot`; None is the built-in default.
        until: The phase to go to; None is the description's.
        description: The platform; None is the Q35-like default.
        processor: Which ring-3 processor.
        prepare: Called before the launch, as for :func:`boot`.
        symbols: Names in the driver; None looks whether it is a shipped one.
        relax: Relaxations, or their names.
        observe: All relaxations.
        traditional: Whether it is a traditional SMM driver (DXE_SMM_DRIVER), which a relaxation alone lets in.
    """
    description = description or PlatformDescription()
    if traditional:
        driver = DriverFile(name, guid, image, depex, FileType.MM)
    else:
        driver = DriverFile(name, guid, image, ready_depex() if depex is None else depex)
    volume = mm_volume([driver], profile=description.profile)
    known = None if symbols is None else {guid: symbols}
    return boot(
        volume,
        until=until,
        description=description,
        processor=processor,
        name=name,
        prepare=prepare,
        symbols=known,
        policy=policy,
        relax=relax,
        observe=observe,
    )


__all__ = [
    "SAMPLE_NAME",
    "Answer",
    "DriverReport",
    "PhaseError",
    "PortTrap",
    "Relay",
    "Request",
    "Session",
    "boot",
    "boot_driver",
]
