"""The policy gate of ring 0: a request goes through, or is refused with the rule that refused it.

Without a policy the reference dereferences page 0 in ring 0 (docs/reference/boot-flow.md §4.3 step 6); here
that is a refusal that says so.
"""

from __future__ import annotations

from mmsupervisor.core.errors import CoreError, PolicyDeniedError
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import Attribute, Instruction

_WIDTHS = {0: 1, 1: 2, 2: 4}
_LAST_PORT = 0xFFFF
_MASK32 = (1 << 32) - 1


def _policy(supervisor: Supervisor, request: str) -> CompiledPolicy:
    if supervisor.policy is None:
        raise CoreError(Status.NOT_FOUND, f"{request}: there is no policy, so ring 0 dereferences page 0")
    return supervisor.policy


def _settle(supervisor: Supervisor, decision: Decision, request: str) -> None:
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
        CoreError: malformed, or no policy.
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
    _settle(supervisor, _policy(supervisor, request).io(port, width, access), request)
    return size


def require_msr(supervisor: Supervisor, number: int, access: Attribute) -> None:
    """Ask for an MSR access; raises as :func:`require_io` does."""
    request = f"{'read' if access is Attribute.READ else 'write'} MSR {number:#x}"
    _settle(supervisor, _policy(supervisor, request).msr(number, access), request)


def require_instruction(supervisor: Supervisor, instruction: Instruction) -> None:
    """Ask for an instruction; raises as :func:`require_io` does."""
    request = f"execute {instruction.name}"
    _settle(supervisor, _policy(supervisor, request).instruction(instruction), request)
