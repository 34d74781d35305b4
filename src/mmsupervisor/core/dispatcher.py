"""The dispatcher: who starts when (docs/reference/boot-flow.md §6)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.discovery import Discovery, Driver
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import DriverLoaded, DriverRefused, DriverRemoved, DriverReturned
from mmsupervisor.core.findings import Finding, SystemStopError, make_finding
from mmsupervisor.core.image_loader import LoadedImage, load_driver, refuse, unload
from mmsupervisor.core.modules import BROKER_GUID
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.machine.events import Hex
from mmsupervisor.pi.depex import Order, evaluate
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import ERROR_BIT, Status, status_name

_READY_GUID = known_guid("gMmRing3HandlerReadyProtocol")
_LOADED_IMAGE_GUID = known_guid("gEfiLoadedImageProtocolGuid")


class Dispatcher:
    """Loads and starts drivers.

    Attributes:
        drivers: The discovered list.
        results: What each started driver returned, by name, in order of start.
        removed: The findings by which drivers were removed under a relaxation, by name.
        requested: Whether a driver may still have to run.
    """

    def __init__(self, supervisor: Supervisor, found: Discovery, symbols_of: Callable[[Guid], Symbols]) -> None:
        """Dispatch what was found; ``symbols_of`` gives the names in a driver's image by file GUID."""
        self._supervisor = supervisor
        self._symbols_of = symbols_of
        self.drivers = found.drivers
        self.results: dict[str, int] = {}
        self.removed: dict[str, Finding] = {}
        self.requested = bool(found.drivers)
        self._queue: deque[Driver] = deque()
        self._running = False

    def dispatch(self) -> Status:
        """Run drivers until a pass schedules none.

        Returns:
            SUCCESS, NOT_FOUND without a request, ALREADY_STARTED if entered again.

        Raises:
            SystemStopError: a driver broke a rule; the system is dead.
        """
        if not self.requested:
            return Status.NOT_FOUND
        if self._running:
            return Status.ALREADY_STARTED
        self._running = True
        try:
            while True:
                while self._queue:
                    self._start(self._queue.popleft())
                if not self._schedule_pass():
                    break
        finally:
            self._running = False
        self.requested = any(not driver.initialized for driver in self.drivers)
        return Status.SUCCESS

    def _schedule_pass(self) -> bool:
        """Queue every driver whose dependency expression is true now, before any of them runs."""
        scheduled = False
        for driver in self.drivers:
            if not driver.scheduled and self._is_ready(driver):
                self._queue_with_neighbours(driver)
                scheduled = True
        return scheduled

    def _is_ready(self, driver: Driver) -> bool:
        """Whether a driver's expression is true now; a traditional one's looks into DXE's database too."""
        if driver.traditional:
            outside = self._supervisor.relaxations.outside
            if outside is None or not outside.ready or not self._supervisor.protocols.has(_READY_GUID):
                return False
            if driver.apriori:
                return True
        verdict = evaluate(driver.depex, lambda guid: self.sees(driver, guid))
        if verdict.misplaced:
            detail = "BEFORE or AFTER is not the first opcode of its dependency expression"
            self._supervisor.failed_assert("boot-flow.md §6.2", detail, subject=driver.name)
        return verdict.value

    def sees(self, driver: Driver, guid: Guid) -> bool:
        """Whether a PUSH in a driver's expression is true: of a traditional one by DXE's database too."""
        if self._supervisor.protocols.has(guid):
            return True
        outside = self._supervisor.relaxations.outside
        return driver.traditional and outside is not None and outside.has_protocol(guid)

    def _queue_with_neighbours(self, driver: Driver) -> None:
        """Queue the drivers that want to run before one, then it, then those that want to run after it."""
        pending: list[tuple[Driver, bool]] = [(driver, False)]
        driver.scheduled = True
        while pending:
            current, placed = pending.pop()
            if placed:
                self._queue.append(current)
                continue
            after = self._neighbours(current, before=False)
            before = self._neighbours(current, before=True)
            pending += [(other, False) for other in reversed(after)]
            pending.append((current, True))
            pending += [(other, False) for other in reversed(before)]

    def _neighbours(self, target: Driver, *, before: bool) -> list[Driver]:
        found = [
            driver
            for driver in self.drivers
            if not driver.scheduled
            and driver.traditional == target.traditional
            and driver.depex.order == Order(before, target.guid)
        ]
        for driver in found:
            driver.scheduled = True
        return found

    def _start(self, driver: Driver) -> None:
        supervisor = self._supervisor
        loaded = self._load(driver)
        if loaded is None:
            return
        if driver.guid != BROKER_GUID and not supervisor.protocols.has(_READY_GUID):
            detail = "starts before the broker is ready, with whatever system table there is"
            supervisor.report(make_finding("MM-2005", detail, subject=driver.name, rule="boot-flow.md §6.3"))
        status = self._enter(driver, loaded)
        if status is None:
            return
        self.results[driver.name] = status
        supervisor.log.emit(DriverReturned(driver.name, status_name(status)))
        if status & ERROR_BIT:
            self._undo(driver, loaded, status)

    def _enter(self, driver: Driver, loaded: LoadedImage) -> int | None:
        """Call an entry point and return its status; None if it broke a rule and was removed for that."""
        supervisor = self._supervisor
        module, outside = loaded.module, supervisor.relaxations.outside
        if not driver.traditional or outside is None:
            return supervisor.ring3.call(module.entry, (module.handle, supervisor.jumps.user_table), 0)
        supervisor.removable = supervisor.relaxations.permits(Relaxation.DRIVER_REMOVAL)
        try:
            return supervisor.ring3.call(module.entry, outside.enter(module), 0)
        except SystemStopError as error:
            if not supervisor.removable:
                raise
            self._remove(driver, loaded, error.finding)
            return None
        finally:
            supervisor.removable = False

    def _remove(self, driver: Driver, loaded: LoadedImage, finding: Finding) -> None:
        """Take a driver out, with its handlers. Protocols and notifications that it installed stay."""
        supervisor, module = self._supervisor, loaded.module
        for handler in supervisor.handlers.all():
            if module.holds(handler.routine):
                supervisor.handlers.unregister(handler.handle, user=True)
        self.removed[driver.name] = finding
        supervisor.relaxations.note(
            supervisor.log, Relaxation.DRIVER_REMOVAL, finding.place or module.place(module.entry), str(finding)
        )
        supervisor.log.emit(DriverRemoved(driver.name, finding.kind.number))

    def _load(self, driver: Driver) -> LoadedImage | None:
        """Load a driver; a refused one counts as initialized and is never tried again."""
        supervisor = self._supervisor
        driver.initialized = True
        if driver.image is None:
            detail = "its file has no PE32 section: ring 0 reads the headers at address 0"
            rule = "boot-flow.md §5: added with a NULL image pointer"
            finding = make_finding("MM-1302", detail, subject=driver.name, rule=rule, vector=14, address=0)
            raise supervisor.die(finding)
        try:
            loaded = load_driver(supervisor, driver.name, driver.guid, driver.image, self._symbols_of(driver.guid))
        except CoreError as error:
            supervisor.log.emit(DriverRefused(driver.name, error.detail, status_name(error.status)))
            refuse(supervisor, driver.name, error)
            if error.status is Status.SECURITY_VIOLATION:  # the image was loaded, and its pages cannot be protected
                supervisor.failed_assert("memory.md §5", error.detail, subject=driver.name)
            return None
        module = loaded.module
        module.traditional = driver.traditional
        supervisor.modules.add(module)
        module.handle = supervisor.protocols.install(_LOADED_IMAGE_GUID)
        entry = module.entry - module.base
        supervisor.log.emit(DriverLoaded(driver.name, Hex(module.base), Hex(module.size), Hex(entry)))
        return loaded

    def _undo(self, driver: Driver, loaded: LoadedImage, status: int) -> None:
        """Free a failed driver's pages. What it registered stays, and points into freed pages."""
        supervisor = self._supervisor
        module = loaded.module
        left = [h for h in supervisor.handlers.all() if module.base <= h.routine < module.base + module.size]
        unload(supervisor, loaded)
        supervisor.protocols.uninstall(_LOADED_IMAGE_GUID, module.handle)
        detail = f"its entry point returned {status_name(status)}"
        if left:
            detail += f"; {len(left)} of its MMI handlers stay registered and point into freed pages"
            supervisor.reference_bug("boot-flow.md §12.14", f"{driver.name}: {len(left)} handlers stay registered")
        supervisor.report(make_finding("MM-2004", detail, subject=driver.name, rule="boot-flow.md §6.5", status=status))

    def never_dispatched(self) -> list[Driver]:
        """Return the drivers whose dependency expression never became true."""
        return [driver for driver in self.drivers if not driver.initialized]
