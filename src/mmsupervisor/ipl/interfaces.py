"""What the launcher needs of the world it runs in. The platform provides it; the core is one of these too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.hob import GuidHob, HobRecord
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.status import Status


@dataclass(frozen=True, slots=True)
class CoreImage:
    """The core as the launcher finds it in a volume.

    Attributes:
        size: SizeOfImage in bytes.
        alignment: SectionAlignment in bytes.
        version: Subsystem version, major in the upper 16 bits; what a version request answers.
        patch_level: Image version, major in the upper 16 bits.
    """

    size: int
    alignment: int
    version: int
    patch_level: int


class MmAccess(Protocol):
    """The MM Access PPI or protocol (PI 1.8 vol. 4 §3)."""

    def capabilities(self) -> tuple[MmramDescriptor, ...]:
        """Return all MMRAM ranges."""

    def open(self, index: int) -> Status:
        """Make a range visible."""

    def close(self, index: int) -> Status:
        """Hide a range."""

    def lock(self, index: int) -> Status:
        """Hide a range until reset."""


class HobStore(Protocol):
    """The HOB list of PEI, in memory."""

    @property
    def address(self) -> int:
        """Address of the list."""

    def guid_hobs(self, name: Guid) -> Iterator[GuidHob]:
        """Iterate over the GUID HOBs of a name, in order."""

    def append(self, record: HobRecord) -> None:
        """Put a HOB at the end."""

    def forget(self, name: Guid) -> None:
        """Zero the name of the first GUID HOB of that name: it is no longer found."""


class CoreEntry(Protocol):
    """The core's entry point."""

    def __call__(self, hob_list: int) -> Status:
        """Run it on a HOB list and return its status."""


class MmiTrigger(Protocol):
    """MM Control: raises a software MMI."""

    def __call__(self, source: str) -> Status:
        """Raise one; ``source`` names the sender in traces. Returns what Trigger returns."""
