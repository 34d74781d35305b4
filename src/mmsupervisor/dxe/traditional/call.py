"""One call of a service outside MM: its arguments, and the memory that they name.

All memory is touched as ring 3 itself might touch it: the stand-in lends a driver no rights.
"""

from __future__ import annotations

from mmsupervisor.core.interfaces import OutsideCall, OutsideHost
from mmsupervisor.dxe.traditional.services import Service
from mmsupervisor.machine.memory import Access
from mmsupervisor.pi.guid import GUID_SIZE, Guid

_IN_REGISTERS = 4
_POINTER = 8


class Call:
    """A call being served.

    Attributes:
        service: What was called.
        host: The core.
        driver: Name of the driver that called.
    """

    def __init__(self, service: Service, host: OutsideHost, raw: OutsideCall) -> None:
        """Take a call from the core."""
        self.service = service
        self.host = host
        self.driver = host.log.driver
        self._raw = raw

    def argument(self, index: int) -> int:
        """Return an argument, 64 bits, counted from 0; those beyond four lie on the stack."""
        if index < _IN_REGISTERS:
            return self._raw.registers[index]
        return self.read_u64(self._raw.rsp + _POINTER + _POINTER * index)

    @property
    def arguments(self) -> tuple[int, ...]:
        """All declared arguments."""
        return tuple(self.argument(index) for index in range(len(self.service.arguments)))

    # Memory of the driver's

    def read(self, address: int, size: int) -> bytes:
        """Read memory.

        Raises:
            SystemStopError: ring 3 may not, or it is a device's.
        """
        self._require(address, size, Access.READ)
        return self.host.memory.read(address, size) if size else b""

    def write(self, address: int, content: bytes) -> None:
        """Write memory; raises as :meth:`read` does."""
        self._require(address, len(content), Access.WRITE)
        if content:
            self.host.memory.write(address, content)

    def fill(self, address: int, size: int, byte: int) -> None:
        """Fill memory with a byte; raises as :meth:`read` does."""
        self._require(address, size, Access.WRITE)
        if size:
            self.host.memory.fill(address, size, byte)

    def _require(self, address: int, size: int, access: Access) -> None:
        """Require that ring 3 may touch a range, and that it is memory: no service here talks to a device.

        To a flash a store is a command, where writing to its bank would change the contents.
        """
        self.host.require(address, size, access)
        for piece in self.host.memory.slice(address, size):
            bank = piece.value.bank
            if bank is None or bank.backing is None or (access & Access.WRITE and not bank.writable):
                name = "nothing" if bank is None else bank.name
                raise self.host.refuse(f"{self.service.title}: at {piece.start:#x} is no memory, but {name}")

    def read_u64(self, address: int) -> int:
        """Read a number of 8 bytes; raises as :meth:`read` does."""
        return int.from_bytes(self.read(address, _POINTER), "little")

    def write_u64(self, address: int, value: int) -> None:
        """Write a number of 8 bytes; raises as :meth:`read` does."""
        self.write(address, value.to_bytes(_POINTER, "little"))

    def guid_at(self, address: int) -> Guid:
        """Read a GUID; raises as :meth:`read` does."""
        return Guid(self.read(address, GUID_SIZE))

    def guid_name(self) -> str:
        """Return the name of the GUID that the first such argument points to, or an empty string."""
        for index, name in enumerate(self.service.arguments):
            if name.endswith("Guid") and self.argument(index):
                return self.guid_at(self.argument(index)).label
        return ""
