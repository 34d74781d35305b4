"""What the core and the world outside MM know of each other where a traditional driver needs both.

A traditional driver calls services of DXE while ring 0 serves it. The stand-in for these services lives above the
core (:mod:`mmsupervisor.dxe.traditional`); the core reaches it through :class:`OutsideServices`, and it reaches back
through :class:`OutsideHost`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.modules import Module
from mmsupervisor.machine.events import EventLog
from mmsupervisor.machine.memory import Access, PhysicalMemory
from mmsupervisor.pi.guid import Guid


@dataclass(frozen=True, slots=True)
class OutsideCall:
    """A call to a service outside MM, as the instruction after it finds the registers.

    Attributes:
        address: Address of the service that was called.
        registers: RCX, RDX, R8, R9.
        rsp: Stack pointer; the return address lies there, further arguments from 0x28 bytes above it on.
        site: The return address.
    """

    address: int
    registers: tuple[int, int, int, int]
    rsp: int
    site: int


class OutsideHost(Protocol):
    """What the core offers while a service outside MM is served."""

    @property
    def memory(self) -> PhysicalMemory:
        """Physical memory."""

    @property
    def log(self) -> EventLog:
        """The run's events."""

    @property
    def system_table(self) -> int:
        """Address of ring 3's MM system table, or 0."""

    @property
    def cpus(self) -> int:
        """Number of CPUs."""

    def require(self, address: int, size: int, access: Access) -> None:
        """Make sure that ring 3 itself might touch memory which it names in a call.

        Raises:
            SystemStopError: it may not, and no relaxation permits it.
        """

    def call(self, routine: int, arguments: tuple[int, ...]) -> int:
        """Run a routine of ring 3, which returns by RET, and return RAX.

        Raises:
            SystemStopError: it broke a rule.
        """

    def refuse(self, detail: str) -> SystemStopError:
        """Record that a service was called which nobody can serve honestly, and return the error to raise."""


class OutsideServices(Protocol):
    """What stands for DXE where a traditional driver looks for it."""

    @property
    def ready(self) -> bool:
        """Whether DXE has begun: before, no traditional driver is dispatched."""

    def has_protocol(self, guid: Guid) -> bool:
        """Whether a dependency expression's PUSH of ``guid`` is true by DXE's database."""

    def enter(self, module: Module) -> tuple[int, int]:
        """Return ImageHandle and the address of the EFI system table for an image that is about to be entered."""

    def is_service(self, address: int) -> bool:
        """Whether an address stands for a service."""

    def serve(self, host: OutsideHost, call: OutsideCall) -> int:
        """Serve a call and return RAX.

        Raises:
            SystemStopError: the driver named memory that it may not touch, or asked for what nobody can answer.
        """
