"""How the core fails: typed, and with everything a report needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.status import Status, status_name

if TYPE_CHECKING:
    from mmsupervisor.core.supervisor import Supervisor


class CoreError(MmSupervisorError):
    """A supervisor service could not do what was asked.

    Attributes:
        status: The EFI_STATUS that the reference's routine would return.
        detail: What was wrong, in words.
        mend: What to change, where that is more exact than the finding's kind has it; else empty.
    """

    def __init__(self, status: Status, detail: str, *, mend: str = "") -> None:
        """Record status, cause and mend."""
        self.status = status
        self.detail = detail
        self.mend = mend
        super().__init__(f"{detail} ({status_name(status)})")


class PolicyDeniedError(CoreError):
    """The isolation policy says no.

    Attributes:
        rule: The rule that decided, with its place in the policy.
        written: That place alone, or empty where no rule decided.
    """

    def __init__(self, status: Status, detail: str, rule: str, mend: str, written: str = "") -> None:
        """Record status, request, rule, mend and place."""
        self.rule = rule
        self.written = written
        super().__init__(status, detail, mend=mend)


class Ring0FaultError(CoreError):
    """The reference's own ring 0 would take an exception here; on the device that is a reset.

    Attributes:
        vector: Exception vector.
        address: The address touched, or None where it is no page fault.
        rule: Where the fact sheets say so.
    """

    def __init__(self, vector: int, detail: str, rule: str, address: int | None = None, *, mend: str = "") -> None:
        """Record the exception, its cause and mend."""
        self.vector = vector
        self.address = address
        self.rule = rule
        super().__init__(Status.ABORTED, detail, mend=mend)


class LaunchError(CoreError):
    """The core's entry point returned an error: it has not become operational.

    Attributes:
        half_made: What was made of it where its SMI handlers were in place by then, so that MMIs reach it; else None.
    """

    def __init__(self, status: Status, detail: str, *, half_made: Supervisor | None = None) -> None:
        """Record status, cause and what was made."""
        self.half_made = half_made
        super().__init__(status, detail)
