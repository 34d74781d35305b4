"""The events of the stand-in for DXE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmsupervisor.machine.events import Event, Hex


@dataclass(frozen=True, slots=True)
class ServiceCalled(Event):
    """A traditional driver called a service outside MM; the position is the call site.

    Attributes:
        service: Its table and name.
        arguments: Its arguments, as many as are declared.
        guid: Name of the GUID that an argument points to, or empty.
        support: How far the service is served.
        result: RAX afterwards.
    """

    kind: ClassVar[str] = "outside-call"
    service: str
    arguments: tuple[Hex, ...]
    guid: str
    support: str
    result: Hex
