"""Who answers a port or an MSR.

Device models register ranges; what nobody answers has the value of an empty bus (all ones for a port)
or is an error that names the number (an MSR).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Protocol

from mmsupervisor.pi.errors import MmSupervisorError

PORTS = 0x10000
"""Number of I/O ports."""


class PortDevice(Protocol):
    """A device behind ports. Offsets count from the first port of its range; widths are 1, 2 or 4 bytes."""

    def port_read(self, offset: int, width: int) -> int:
        """Return the value read."""

    def port_write(self, offset: int, width: int, value: int) -> None:
        """Take the value written."""


class MsrDevice(Protocol):
    """A model of some MSRs; numbers are absolute."""

    def msr_read(self, number: int, cpu: int) -> int:
        """Return the 64-bit value."""

    def msr_write(self, number: int, cpu: int, value: int) -> None:
        """Take the 64-bit value."""


class UnknownMsrError(MmSupervisorError):
    """An MSR that no model answers.

    Attributes:
        number: The MSR.
    """

    def __init__(self, number: int) -> None:
        """Record the number."""
        self.number = number
        super().__init__(f"MSR {number:#x} is not modelled")


@dataclass(frozen=True, slots=True)
class _Range:
    start: int
    end: int
    name: str


class PortRouter:
    """All ports of the machine. An unclaimed port reads as all ones and swallows writes, as an empty bus does."""

    def __init__(self) -> None:
        """Begin with an empty bus."""
        self._ranges: list[tuple[_Range, PortDevice]] = []

    def claim(self, first: int, count: int, name: str, device: PortDevice) -> None:
        """Give ``count`` ports from ``first`` on to a device.

        Raises:
            ValueError: the range is empty, beyond port 0xFFFF or taken.
        """
        if count <= 0 or first < 0 or first + count > PORTS:
            raise ValueError(f"ports {first:#x} + {count:#x} of {name!r} are not within {PORTS:#x} ports")
        new = _Range(first, first + count, name)
        for other, _ in self._ranges:
            if other.start < new.end and new.start < other.end:
                raise ValueError(f"ports {first:#x} + {count:#x} of {name!r} overlap {other.name!r}")
        self._ranges.append((new, device))
        self._ranges.sort(key=lambda item: item[0].start)

    def owner(self, port: int) -> str:
        """Return the name of the device that answers a port, or an empty string."""
        found = self._find(port)
        return found[0].name if found else ""

    def read(self, port: int, width: int) -> int:
        """Read 1, 2 or 4 bytes at a port."""
        found = self._find(port)
        if found is None or port + width > found[0].end:
            return (1 << (8 * width)) - 1
        return found[1].port_read(port - found[0].start, width) & ((1 << (8 * width)) - 1)

    def write(self, port: int, width: int, value: int) -> None:
        """Write 1, 2 or 4 bytes at a port."""
        found = self._find(port)
        if found is not None and port + width <= found[0].end:
            found[1].port_write(port - found[0].start, width, value & ((1 << (8 * width)) - 1))

    def _find(self, port: int) -> tuple[_Range, PortDevice] | None:
        index = bisect_right(self._ranges, port, key=lambda item: item[0].start) - 1
        if index < 0 or port >= self._ranges[index][0].end:
            return None
        return self._ranges[index]


class MsrRouter:
    """All MSRs of the machine."""

    def __init__(self) -> None:
        """Begin with no MSR at all."""
        self._devices: dict[int, MsrDevice] = {}

    def claim(self, first: int, count: int, device: MsrDevice) -> None:
        """Give ``count`` MSRs from ``first`` on to a model; a later claim replaces an earlier one."""
        for number in range(first, first + count):
            self._devices[number] = device

    def read(self, number: int, cpu: int) -> int:
        """Read an MSR.

        Raises:
            UnknownMsrError: nothing answers it.
        """
        device = self._devices.get(number)
        if device is None:
            raise UnknownMsrError(number)
        return device.msr_read(number, cpu) & ((1 << 64) - 1)

    def write(self, number: int, cpu: int, value: int) -> None:
        """Write an MSR; raises as :meth:`read` does."""
        device = self._devices.get(number)
        if device is None:
            raise UnknownMsrError(number)
        device.msr_write(number, cpu, value)


class RegisterMsrs:
    """MSRs that keep what is written, each CPU its own."""

    def __init__(self, initial: dict[int, int]) -> None:
        """Begin with ``initial`` values by MSR number, on every CPU."""
        self._initial = dict(initial)
        self._values: dict[tuple[int, int], int] = {}

    @property
    def numbers(self) -> tuple[int, ...]:
        """The MSRs modelled here, ascending."""
        return tuple(sorted(self._initial))

    def msr_read(self, number: int, cpu: int) -> int:
        """Return what was written last, else the initial value."""
        return self._values.get((number, cpu), self._initial.get(number, 0))

    def msr_write(self, number: int, cpu: int, value: int) -> None:
        """Keep the value."""
        self._values[(number, cpu)] = value

    def state(self) -> dict[str, Any]:
        """Return what was written: number, CPU and value of each, sorted."""
        return {"values": [[number, cpu, value] for (number, cpu), value in sorted(self._values.items())]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state` returned."""
        self._values = {(number, cpu): value for number, cpu, value in state["values"]}
