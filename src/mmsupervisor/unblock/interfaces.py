"""What the unblock service needs of the world it runs in."""

from __future__ import annotations

from typing import Protocol

from mmsupervisor.pi.hob import HobRecord
from mmsupervisor.pi.memory_types import MemoryDescriptor


class HobBuilder(Protocol):
    """The HOB list while PEI builds it."""

    def append(self, record: HobRecord) -> None:
        """Put a HOB at the end.

        Raises:
            ValueError: it does not fit.
        """


class MemoryMap(Protocol):
    """The UEFI memory map."""

    def descriptors(self) -> tuple[MemoryDescriptor, ...]:
        """Return all descriptors, by address."""


class SupervisorRequests(Protocol):
    """The supervisor channel of DXE."""

    def request(self, request: int, parameters: bytes, source: str) -> tuple[int, bytes]:
        """Send a supervisor request; return its status and the payload behind the request header."""
