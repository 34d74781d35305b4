"""The relay pattern: what DXE knows reaches MM as a message (docs/reference/developer-considerations.md §7).

An MM driver sees no DXE protocol and no event. A DXE driver that waits for one and sends a GUIDed message
stands in between; the data travel by value:

>>> from mmsupervisor.dxe.phases import Phase
>>> from mmsupervisor.pi.guid import Guid
>>> boot_mode = Relay("boot mode", Phase.END_OF_DXE, Guid.parse("7E4B9B58-CA13-4595-BFAE-2AD14A77CE3C"), lambda: b"S3")
>>> boot_mode.payload()
b'S3'

``Session.add_relay(boot_mode)`` dispatches it; ``boot_mode.answers`` holds what MM answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mmsupervisor.dxe.phases import Phase
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.pi.guid import Guid


@dataclass(slots=True, eq=False)
class Relay:
    """A DXE driver that waits for an event or a protocol and sends one message.

    Attributes:
        name: What traces call it.
        event: The phase whose event it waits for, or the GUID of a protocol.
        message: GUID of the message it sends.
        payload: Gives the message's data when it is sent; at least one byte, or no handler is called.
        once: Whether it sends only the first time.
        answers: What MM answered, in order.
    """

    name: str
    event: Phase | Guid
    message: Guid
    payload: Callable[[], bytes]
    once: bool = True
    answers: list[Answer] = field(default_factory=list)
