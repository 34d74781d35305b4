"""How a client fails."""

from __future__ import annotations

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.status import status_name


class ClientError(MmSupervisorError):
    """A driver in MM answered with an error, or nobody answered.

    Attributes:
        status: The EFI_STATUS.
    """

    def __init__(self, what: str, status: int) -> None:
        """Record what was asked and the status."""
        self.status = status
        super().__init__(f"{what}: {status_name(status)}")


class DroppedMessageError(MmSupervisorError):
    """A handler took the message and left it untouched: to it, the buffer or the sizes were not valid."""

    def __init__(self, what: str) -> None:
        """Record what was asked."""
        super().__init__(f"{what}: the driver left the message untouched")


class NotServedError(ClientError):
    """The message itself failed: no handler took it, or the channel refused it."""
