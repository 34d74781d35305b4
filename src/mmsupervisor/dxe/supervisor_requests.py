"""Supervisor requests from DXE, by whatever means the supervisor channel has (docs/reference/communicate.md §6)."""

from __future__ import annotations

from collections.abc import Callable

from mmsupervisor.abi.requests import HEADER_SIZE as REQUEST_HEADER_SIZE
from mmsupervisor.abi.requests import RESULT_OFFSET, pack_request
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.pi.status import ERROR_BIT, Status

_REQUEST_GUID = known_guid("gMmSupervisorRequestHandlerGuid")


def request_result(body: bytes) -> int:
    """Return the Result field of a request's payload, with the top bit forced on for any value but 0."""
    result = int.from_bytes(body[RESULT_OFFSET : RESULT_OFFSET + 8], "little")
    return result | ERROR_BIT if result else Status.SUCCESS


class SupervisorRequestClient:
    """Sends requests."""

    def __init__(self, send: Callable[[Guid, bytes, str], Answer]) -> None:
        """Send by ``send``: GUID, payload, and who sends."""
        self._send = send

    def request(self, request: int, parameters: bytes, source: str) -> tuple[int, bytes]:
        """Send a supervisor request.

        Returns:
            The communicate status if that is an error, else the request's result; and the payload behind the
            request header.
        """
        answer = self._send(_REQUEST_GUID, pack_request(request, parameters), source)
        body = answer.data[HEADER_SIZE:]
        if answer.status or len(body) < REQUEST_HEADER_SIZE:
            return answer.status or Status.ABORTED, b""
        return request_result(body), body[REQUEST_HEADER_SIZE:]
