"""What all clients share: a message whose answer carries a status of its own."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from mmsupervisor.clients.errors import BadAnswerError, NotServedError
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.message import HEADER_SIZE

UNTOUCHED = (1 << 64) - 1
"""What a message's status field holds before a driver writes it; no driver answers with it."""

Send: TypeAlias = Callable[[Guid, bytes], Answer]
"""Sends a message's payload to a handler's GUID on the user channel."""


def exchange(send: Send, guid: Guid, payload: bytes, what: str) -> bytes:
    """Send a message and return the answer's payload.

    Raises:
        NotServedError: the channel reports an error.
    """
    answer = send(guid, payload)
    if answer.status:
        raise NotServedError(what, answer.status)
    return answer.data[HEADER_SIZE:]


def read_fields(layout: struct.Struct, data: bytes, what: str) -> tuple[Any, ...]:
    """Return the fields at the start of an answer's data.

    Raises:
        BadAnswerError: the data ends before them.
    """
    if len(data) < layout.size:
        raise BadAnswerError(what, f"the answer has {len(data)} bytes and should have {layout.size}")
    return layout.unpack_from(data)
