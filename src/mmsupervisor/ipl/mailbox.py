"""The launcher's side of MM_CORE_PRIVATE_DATA (docs/reference/dxe-launch.md §1.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmsupervisor.abi.dxe_launch import CorePrivateData
from mmsupervisor.ipl.interfaces import AddressSpace
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.reader import Reader


class Mailbox:
    """The mailbox in its runtime page.

    Attributes:
        address: Physical address.
        pointer: What the launcher goes by; converted at VirtualAddressChange.
    """

    def __init__(self, memory: PhysicalMemory, space: AddressSpace, address: int) -> None:
        """Write a fresh mailbox at an address."""
        self._memory = memory
        self._space = space
        self.address = address
        self.pointer = address
        memory.write(address, CorePrivateData().pack())

    def read(self) -> CorePrivateData:
        """Return what it says now."""
        raw = self._memory.read(self._space.physical(self.pointer), CorePrivateData.SIZE)
        return CorePrivateData.parse(Reader(raw, "MM_CORE_PRIVATE_DATA"))

    def update(self, **fields: Any) -> None:
        """Change fields."""
        self._memory.write(self._space.physical(self.pointer), replace(self.read(), **fields).pack())
