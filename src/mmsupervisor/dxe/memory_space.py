"""The global coherency domain's memory space, as far as MMRAM goes (PI 1.8 vol. 2 §7.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmsupervisor.machine.interval_map import IntervalMap
from mmsupervisor.pi.memory_types import MemoryAttribute
from mmsupervisor.pi.status import Status


@dataclass(frozen=True, slots=True)
class SpaceState:
    """What gDS knows of a range.

    Attributes:
        capabilities: Bits of MemoryAttribute that may be set.
        attributes: Bits that are set.
    """

    capabilities: int
    attributes: int


class DxeMemorySpace:
    """Descriptors by address.

    Attributes:
        calls: What was asked, in order, for tests and reports.
    """

    def __init__(self, size: int, capabilities: int = int(MemoryAttribute.UC)) -> None:
        """Begin with one descriptor of uncached memory.

        Args:
            size: Bytes of the address space.
            capabilities: What memory can do before anybody says more.
        """
        self._map = IntervalMap(size, SpaceState(capabilities, int(MemoryAttribute.UC)))
        self.calls: list[str] = []

    def capabilities(self, address: int) -> int:
        """Return what the descriptor at an address can do."""
        return self._map.at(address).value.capabilities

    def attributes(self, address: int) -> int:
        """Return the attributes of the descriptor at an address."""
        return self._map.at(address).value.attributes

    def set_capabilities(self, start: int, size: int, capabilities: int) -> Status:
        """Set what a range can do; UNSUPPORTED if an attribute that is set would be lost."""
        self.calls.append(f"capabilities {capabilities:#x}")
        if any(piece.value.attributes & ~capabilities for piece in self._map.slice(start, start + size)):
            return Status.UNSUPPORTED
        self._map.update(start, start + size, lambda state: replace(state, capabilities=capabilities))
        return Status.SUCCESS

    def set_attributes(self, start: int, size: int, attributes: int) -> Status:
        """Set the attributes of a range; UNSUPPORTED where it cannot have them."""
        self.calls.append(f"attributes {attributes:#x}")
        if any(attributes & ~piece.value.capabilities for piece in self._map.slice(start, start + size)):
            return Status.UNSUPPORTED
        self._map.update(start, start + size, lambda state: replace(state, attributes=attributes))
        return Status.SUCCESS
