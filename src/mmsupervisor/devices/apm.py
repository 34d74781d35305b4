"""The APM registers: ports 0xB2 and 0xB3, by which software raises an MMI (ICH9 datasheet §13.7).

A write to 0xB2 from outside raises the MMI; drivers read the command and the status byte back. The write
itself is the platform's business (:meth:`post`): inside MM the ports are two latches.
"""

from __future__ import annotations

from mmsupervisor.devices.state import State

COMMAND_PORT = 0xB2
"""APM control: the command of a software MMI."""

STATUS_PORT = 0xB3
"""APM status: a byte of data beside it."""


class ApmRegisters:
    """The two latches.

    Attributes:
        command: What was last written to 0xB2.
        status: What was last written to 0xB3.
    """

    def __init__(self) -> None:
        """Begin with zeros."""
        self.command = 0
        self.status = 0

    def post(self, command: int, status: int = 0) -> None:
        """Latch what software writes as it raises an MMI."""
        self.command, self.status = command & 0xFF, status & 0xFF

    def port_read(self, offset: int, width: int) -> int:
        """Read one or both latches; bytes beyond them are all ones."""
        value = self.command | self.status << 8 | 0xFFFF_0000
        return value >> 8 * offset & ((1 << 8 * width) - 1)

    def port_write(self, offset: int, width: int, value: int) -> None:
        """Write one or both latches. From inside MM this raises nothing: MMIs do not nest."""
        if offset == 0:
            self.command = value & 0xFF
            value >>= 8
            width -= 1
        if width:
            self.status = value & 0xFF

    def state(self) -> State:
        """Return both latches."""
        return {"command": self.command, "status": self.status}

    def restore(self, state: State) -> None:
        """Go back to saved latches."""
        self.command, self.status = state["command"], state["status"]
