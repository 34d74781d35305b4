"""What firmware prints, collected from every device that takes text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from mmsupervisor.devices.state import State
from mmsupervisor.machine.events import Event

LONGEST_LINE = 4096
"""A line of more bytes is told in pieces."""


@dataclass(frozen=True, slots=True)
class ConsoleLine(Event):
    """Firmware printed a line.

    Attributes:
        source: The device that took it.
        text: The line without its end; bytes that are not UTF-8 are escaped.
    """

    kind: ClassVar[str] = "console"
    canonical: ClassVar[bool] = False
    source: str
    text: str


class Console:
    """Text from all devices, in the order in which it was printed.

    A line belongs to one device: two devices that print at the same time do not mix their lines.
    """

    def __init__(self, emit: Callable[[Event], object] | None = None) -> None:
        """Begin empty.

        Args:
            emit: Is given a :class:`ConsoleLine` for every line once it is complete.
        """
        self._emit = emit
        self._lines: list[tuple[str, str]] = []
        self._open: dict[str, bytearray] = {}

    def put(self, source: str, byte: int) -> None:
        """Take one byte from a device. Carriage returns are left out."""
        if byte == 0x0D:
            return
        line = self._open.setdefault(source, bytearray())
        if byte != 0x0A:
            line.append(byte)
        if byte == 0x0A or len(line) == LONGEST_LINE:
            self._close(source)

    def _close(self, source: str) -> None:
        text = _decode(self._open.pop(source))
        self._lines.append((source, text))
        if self._emit is not None:
            self._emit(ConsoleLine(source, text))

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """Device and text of each line; those that have not ended come last."""
        return (*self._lines, *((source, _decode(line)) for source, line in self._open.items() if line))

    @property
    def text(self) -> str:
        """Everything printed, a line feed after each line that has ended."""
        ended = "".join(f"{text}\n" for _, text in self._lines)
        return ended + "\n".join(_decode(line) for line in self._open.values() if line)

    def state(self) -> State:
        """Return the lines."""
        return {
            "lines": [list(line) for line in self._lines],
            "open": {source: bytes(line) for source, line in self._open.items()},
        }

    def restore(self, state: State) -> None:
        """Go back to saved lines; nothing is told anew."""
        self._lines = [(source, text) for source, text in state["lines"]]
        self._open = {source: bytearray(line) for source, line in state["open"].items()}


def _decode(line: bytes | bytearray) -> str:
    return line.decode("utf-8", "backslashreplace")
