"""MM Access: the chipset's view of MMRAM (PI 1.8 vol. 4 §3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.status import Status

_VISIBILITY = MmramState.OPEN | MmramState.CLOSED | MmramState.LOCKED


class ChipsetMmAccess:
    """MMRAM ranges that can be opened, closed and locked.

    Attributes:
        calls: What was asked, in order, for tests and reports.
    """

    def __init__(self, ranges: tuple[MmramDescriptor, ...]) -> None:
        """Begin with closed ranges."""
        self._ranges = list(ranges)
        self.calls: list[str] = []

    def capabilities(self) -> tuple[MmramDescriptor, ...]:
        """Return all ranges with their present state."""
        self.calls.append("capabilities")
        return tuple(self._ranges)

    def open(self, index: int) -> Status:
        """Make a range visible; DEVICE_ERROR once it is locked."""
        return self._change(index, "open", MmramState.OPEN)

    def close(self, index: int) -> Status:
        """Hide a range; DEVICE_ERROR once it is locked."""
        return self._change(index, "close", MmramState.CLOSED)

    def lock(self, index: int) -> Status:
        """Hide a range until reset; DEVICE_ERROR while it is open."""
        return self._change(index, "lock", MmramState.CLOSED | MmramState.LOCKED)

    def _change(self, index: int, what: str, state: MmramState) -> Status:
        self.calls.append(f"{what} {index}")
        if not 0 <= index < len(self._ranges):
            return Status.INVALID_PARAMETER
        present = self._ranges[index].region_state
        if present & MmramState.LOCKED or (state & MmramState.LOCKED and present & MmramState.OPEN):
            return Status.DEVICE_ERROR
        self._ranges[index] = replace(self._ranges[index], region_state=present & ~_VISIBILITY | state)
        return Status.SUCCESS


class ChipsetSmmAccess2:
    """The same of DXE's protocol, by whose interface every call is for all ranges.

    Attributes:
        calls: What was asked, in order, for tests and reports.
    """

    def __init__(self, ranges: tuple[MmramDescriptor, ...]) -> None:
        """Begin with closed ranges."""
        self._ranges = ChipsetMmAccess(ranges)
        self._count = len(ranges)
        self.calls: list[str] = []

    def capabilities(self) -> tuple[MmramDescriptor, ...]:
        """Return all ranges with their present state."""
        self.calls.append("capabilities")
        return self._ranges.capabilities()

    def open(self) -> Status:
        """Make all ranges visible; DEVICE_ERROR once they are locked."""
        return self._all("open", self._ranges.open)

    def close(self) -> Status:
        """Hide all ranges; DEVICE_ERROR once they are locked."""
        return self._all("close", self._ranges.close)

    def lock(self) -> Status:
        """Hide all ranges until reset; DEVICE_ERROR while one is open."""
        return self._all("lock", self._ranges.lock)

    def _all(self, what: str, change: Callable[[int], Status]) -> Status:
        self.calls.append(what)
        statuses = [change(index) for index in range(self._count)]
        return next((status for status in statuses if status is not Status.SUCCESS), Status.SUCCESS)
