"""What both launchers report of their steps, and the rule by which both choose an MMRAM range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmsupervisor.machine.events import Event, Hex
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.status import status_name

PEI_RULE = "boot-flow.md §2"
"""Where the steps of the PEI launcher are numbered."""

DXE_RULE = "dxe-launch.md §2"
"""Where the steps of the DXE launcher are numbered."""

_LOWEST_START = 1 << 20
_SMALLEST_SIZE = 0x3F000
_FOUR_GIB = 1 << 32


@dataclass(frozen=True, slots=True)
class LaunchStep(Event):
    """A step of the launcher is done, or has failed.

    Attributes:
        number: Its number in :data:`PEI_RULE` or :data:`DXE_RULE`, whichever launcher it is.
        what: What was done.
        status: Its status.
    """

    kind: ClassVar[str] = "launch-step"
    number: int
    what: str
    status: str


@dataclass(frozen=True, slots=True)
class CorePlaced(Event):
    """The core's pages were carved from MMRAM.

    Attributes:
        base: Address of the image.
        size: Bytes carved.
    """

    kind: ClassVar[str] = "core-placed"
    base: Hex
    size: Hex


class LaunchFailedError(MmSupervisorError):
    """The launcher gives up: MM is not available to the platform.

    Attributes:
        step: The step that failed; 0 if the launcher was never dispatched.
        status: What the launcher returns.
        rule: Where its steps are numbered.
    """

    def __init__(self, step: int, status: int, detail: str, *, rule: str = PEI_RULE) -> None:
        """Record step, status and cause."""
        self.step = step
        self.status = status
        self.rule = rule
        super().__init__(f"launch step {step}: {detail} ({status_name(status)})")


def choose_range(ranges: tuple[MmramDescriptor, ...], *, below_4_gib: bool = False) -> int | None:
    """Return the index of the largest usable range, the later one of equals, or None."""
    best: int | None = None
    size = _SMALLEST_SIZE
    for index, item in enumerate(ranges):
        end = item.cpu_start + item.physical_size
        if item.cpu_start < _LOWEST_START or not item.is_free or (below_4_gib and end > _FOUR_GIB):
            continue
        if item.physical_size >= size:
            best, size = index, item.physical_size
    return best
