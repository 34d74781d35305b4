"""What a device keeps, as plain values, so that a snapshot can hold it and bring it back."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

State: TypeAlias = dict[str, Any]
"""Plain values by name: numbers, text, bytes, None, and lists and dictionaries of them. No objects."""


class Stateful(Protocol):
    """A device whose state can be saved. What is fixed when it is built is no state."""

    def state(self) -> State:
        """Return a copy of everything that can change."""

    def restore(self, state: State) -> None:
        """Go back to what :meth:`state` returned, of this device or of one built alike."""
