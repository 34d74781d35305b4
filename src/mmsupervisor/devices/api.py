"""Devices of one's own: a Python file, named in the platform description, with decorators of this module.

>>> from mmsupervisor.devices.api import Access, device
>>> @device.io(0x80)
... def post_code(access: Access) -> None:
...     if access.is_write:
...         print(f"POST code {access.value:#x}")

A function answers every access; what it returns is what a read gives, and None is all ones, as of an empty bus. A
class keeps state: one object of it is made for each boot, without arguments, and its methods are those of the
device protocols (``port_read(offset, width)``, ``port_write(offset, width, value)``, the same with ``mmio_``, and
``msr_read(number, cpu)``, ``msr_write(number, cpu, value)``). Decorators add up: one device may have several ranges.

Guide: docs/devices.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from mmsupervisor.machine.memory import PAGE_MASK
from mmsupervisor.machine.routing import PORTS

T = TypeVar("T", bound=Callable[..., Any])

CLAIMS = "__mmsupervisor_claims__"
"""Attribute in which decorators leave what they were told."""

_MSR_NUMBERS = 1 << 32


class Space(Enum):
    """Where a device answers. The value is the beginning of its methods' names."""

    PORT = "port"
    MMIO = "mmio"
    MSR = "msr"


@dataclass(frozen=True, slots=True)
class Claim:
    """A range that a device answers.

    Attributes:
        space: Of which kind.
        first: First port, physical address or MSR number.
        count: Number of ports, bytes or MSRs.
    """

    space: Space
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Access:
    """One access, as a function is told of it.

    Attributes:
        address: Port, physical address or MSR number.
        offset: The same from the start of the range.
        width: Bytes: 1, 2, 4 or 8.
        value: What is written, or None for a read.
        cpu: Which CPU; known for MSRs only, else 0.
    """

    address: int
    offset: int
    width: int
    value: int | None
    cpu: int = 0

    @property
    def is_write(self) -> bool:
        """Whether it is a write."""
        return self.value is not None


class DeviceDecorators:
    """What :data:`device` offers."""

    def io(self, first: int, count: int = 1) -> Callable[[T], T]:
        """Answer ``count`` I/O ports from ``first`` on.

        Raises:
            ValueError: the range is empty or beyond port 0xFFFF.
        """
        if not (0 <= first < PORTS and 0 < count <= PORTS - first):
            raise ValueError(f"ports {first:#x} + {count:#x} are not within {PORTS:#x} ports")
        return _leave(Claim(Space.PORT, first, count))

    def mmio(self, first: int, size: int) -> Callable[[T], T]:
        """Answer ``size`` bytes of physical addresses from ``first`` on: whole pages.

        Raises:
            ValueError: the range is empty or not whole pages.
        """
        if first < 0 or size <= 0 or (first | size) & PAGE_MASK:
            raise ValueError(f"address range {first:#x} + {size:#x} is not whole pages of 0x1000 bytes")
        return _leave(Claim(Space.MMIO, first, size))

    def msr(self, first: int, count: int = 1) -> Callable[[T], T]:
        """Answer ``count`` model-specific registers from ``first`` on, in the place of those that were there.

        Raises:
            ValueError: the range is empty or beyond 32 bits.
        """
        if not (0 <= first < _MSR_NUMBERS and 0 < count <= _MSR_NUMBERS - first):
            raise ValueError(f"MSRs {first:#x} + {count:#x} are not numbers of 32 bits")
        return _leave(Claim(Space.MSR, first, count))


device = DeviceDecorators()
"""The decorators: ``@device.io(0x80)``, ``@device.mmio(0xFED40000, 0x1000)``, ``@device.msr(0x1A0)``."""


def _leave(claim: Claim) -> Callable[[T], T]:
    def decorate(target: T) -> T:
        setattr(target, CLAIMS, (claim, *claims_of(target)))
        return target

    return decorate


def claims_of(target: object) -> tuple[Claim, ...]:
    """What the decorators of a function or class said, from top to bottom; nothing is inherited."""
    found = getattr(target, "__dict__", {}).get(CLAIMS, ())
    return tuple(found)
