"""Supervisor requests: messages of the supervisor channel's request handler (docs/reference/communicate.md §6).

Header, 24 bytes:

======  ====  =====================================
offset  size  field
======  ====  =====================================
0x00    4     signature 'MSUP'
0x04    4     revision, 1
0x08    4     request
0x0C    4     reserved
0x10    8     result (EFI_STATUS), written in reply
======  ====  =====================================
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

SIGNATURE = 0x5055_534D
"""'MSUP', little-endian."""

REVISION = 1
"""The only revision there is."""

HEADER = struct.Struct("<IIIIQ")
HEADER_SIZE = HEADER.size
RESULT_OFFSET = 0x10

VERSION_INFO = struct.Struct("<IIQ")
"""Answer of the version request: Version, PatchLevel, MaxSupervisorRequestLevel."""


class Request(IntEnum):
    """The requests."""

    UNBLOCK_MEM = 1
    FETCH_POLICY = 2
    VERSION_INFO = 3
    COMM_UPDATE = 4


@dataclass(frozen=True, slots=True)
class RequestDeclaration:
    """One request.

    Attributes:
        request: Its number.
        parameters: Bytes of parameters behind the header; fewer leave the result at EFI_ABORTED.
        reply: Bytes of the reply behind the header, or None where they vary.
        purpose: What it does, one clause.
        until: When it is last served.
        source: Where the facts stand.
    """

    request: Request
    parameters: int
    reply: int | None
    purpose: str
    until: str
    source: str


REQUESTS: dict[int, RequestDeclaration] = {
    int(declaration.request): declaration
    for declaration in (
        RequestDeclaration(
            Request.UNBLOCK_MEM, 56, 0, "open pages outside MMRAM", "ready to lock", "communicate.md §6.1"
        ),
        RequestDeclaration(
            Request.FETCH_POLICY, 0, None, "lock, and return the policy in force", "ExitBootServices",
            "communicate.md §6.2",
        ),
        RequestDeclaration(
            Request.VERSION_INFO, VERSION_INFO.size, VERSION_INFO.size, "tell the supervisor's version",
            "ExitBootServices", "communicate.md §6.3",
        ),
        RequestDeclaration(
            Request.COMM_UPDATE, 224, 0, "move the comm buffers and mailboxes", "ready to lock, once",
            "communicate.md §6.4",
        ),
    )
}  # fmt: skip
"""All requests by number."""


def pack_request(request: int, parameters: bytes = b"") -> bytes:
    """Build the payload of a request: header with a zero result, then parameters."""
    return HEADER.pack(SIGNATURE, REVISION, request, 0, 0) + parameters
