"""How a client fails."""

from __future__ import annotations

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.status import Status, status_name


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
    """A handler took the message and left it untouched: to it, the buffer or the sizes were not valid.

    Traditional drivers want the buffer in runtime memory outside MMRAM.
    """

    def __init__(self, what: str) -> None:
        """Record what was asked."""
        why = "its size, or where the comm buffer lies, is not valid to it"
        super().__init__(f"{what}: the driver left the message untouched: {why}")


class NotServedError(ClientError):
    """The message itself failed: no handler took it, or the channel refused it."""

    def __init__(self, what: str, status: int) -> None:
        """Record what was asked and the channel's status."""
        why = "no driver in MM handles its message" if status == Status.NOT_FOUND else "the channel refuses its message"
        super().__init__(f"{what}: {why}", status)


class BadAnswerError(MmSupervisorError):
    """A driver's answer does not hold together: too short, or a list without an end."""

    def __init__(self, what: str, detail: str) -> None:
        """Record what was asked and what is wrong."""
        super().__init__(f"{what}: {detail}")
