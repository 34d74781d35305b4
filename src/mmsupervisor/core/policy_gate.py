"""The policy gate of ring 0: a request goes through, or is refused with the rule that refused it.

Without a policy the reference dereferences page 0 in ring 0 (docs/reference/boot-flow.md §4.3 step 6): the
system dies, and the finding says why.
"""

from __future__ import annotations

from collections.abc import Callable

from mmsupervisor.core.errors import CoreError, PolicyDeniedError, Ring0FaultError
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import Attribute, Instruction, PolicyBoundsError

_PAGE_FAULT = 14
_WIDTHS = {0: 1, 1: 2, 2: 4}
_LAST_PORT = 0xFFFF
_MASK32 = (1 << 32) - 1


def _ask(supervisor: Supervisor, request: str, decide: Callable[[CompiledPolicy], Decision]) -> None:
    """Let the policy decide, and refuse what it denies."""
    if supervisor.policy is None:
        supervisor.reference_bug("boot-flow.md §12.5", f"{request}: there is no policy, and nobody checks")
        detail = f"{request}: there is no policy, so ring 0 dereferences page 0"
        raise Ring0FaultError(_PAGE_FAULT, detail, "boot-flow.md §4.3 step 6", 0)
    try:
        decision = decide(supervisor.policy)
    except PolicyBoundsError as error:
        detail = f"{request}: ring 0 reads beyond the policy: {error}"
        raise Ring0FaultError(_PAGE_FAULT, detail, "boot-flow.md §4.3 step 6") from error
    for surprise in decision.surprises:
        supervisor.reference_bug(surprise.source, f"{request}: {surprise.text}")
    if not decision.allowed:
        mend = f"Allow it in the policy ({request}), or do not do it."
        raise PolicyDeniedError(decision.status, request, str(decision), mend)


def require_io(supervisor: Supervisor, port: int, width: int, access: Attribute) -> int:
    """Ask for a port access.

    Returns:
        Its width in bytes.

    Raises:
        CoreError: malformed.
        Ring0FaultError: there is no policy, or its lists lie outside it.
        PolicyDeniedError: refused.
    """
    verb = "read" if access is Attribute.READ else "write"
    if width not in _WIDTHS:
        raise CoreError(Status.INVALID_PARAMETER, f"{verb} of port {port:#x} with width code {width:#x}")
    port &= _MASK32
    size = _WIDTHS[width]
    request = f"{verb} {size} byte{'s' if size > 1 else ''} at port {port:#x}"
    if port > _LAST_PORT or port + size > _LAST_PORT + 1:
        raise CoreError(Status.INVALID_PARAMETER, f"{request} runs beyond port 0xffff")
    _ask(supervisor, request, lambda policy: policy.io(port, width, access))
    return size


def require_msr(supervisor: Supervisor, number: int, access: Attribute) -> None:
    """Ask for an MSR access; raises as :func:`require_io` does."""
    request = f"{'read' if access is Attribute.READ else 'write'} MSR {number:#x}"
    _ask(supervisor, request, lambda policy: policy.msr(number, access))


def require_instruction(supervisor: Supervisor, instruction: Instruction) -> None:
    """Ask for an instruction; raises as :func:`require_io` does."""
    request = f"execute {instruction.name}"
    _ask(supervisor, request, lambda policy: policy.instruction(instruction))
