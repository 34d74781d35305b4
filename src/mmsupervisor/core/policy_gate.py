"""The policy gate of ring 0: a request goes through, or is refused with the rule that refused it.

Without a policy the reference dereferences page 0 in ring 0 (docs/reference/boot-flow.md §4.3 step 6): the
system dies, and the finding says why.
"""

from __future__ import annotations

from mmsupervisor.core.errors import CoreError, PolicyDeniedError, Ring0FaultError
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import Attribute, Instruction, PolicyBoundsError
from mmsupervisor.policy.questions import InstructionQuestion, MsrQuestion, PolicyQuestion, PortQuestion

_PAGE_FAULT = 14
_WIDTHS = {0: 1, 1: 2, 2: 4}
_LAST_PORT = 0xFFFF
_MASK32 = (1 << 32) - 1


def _ask(supervisor: Supervisor, question: PolicyQuestion) -> None:
    """Let the policy decide, and refuse what it denies."""
    if supervisor.policy is None:
        supervisor.reference_bug("boot-flow.md §12.5", f"{question}: there is no policy, and nobody checks")
        detail = f"{question}: there is no policy, so ring 0 dereferences page 0"
        raise Ring0FaultError(_PAGE_FAULT, detail, "boot-flow.md §4.3 step 6", 0)
    decision = decide(supervisor, supervisor.policy, question, question)
    if not decision.allowed:
        mend = f"Allow it in the policy ({question}), or do not do it."
        raise PolicyDeniedError(decision.status, str(question), str(decision), mend, _written(decision))


def _written(decision: Decision) -> str:
    """Where the rule that decided is written: the entry's place, else that of the list without one."""
    place = decision.entry.place if decision.entry is not None else decision.root.place if decision.root else None
    return str(place) if place is not None else ""


def decide(supervisor: Supervisor, policy: CompiledPolicy, question: PolicyQuestion, request: object) -> Decision:
    """Ask the policy in force, and tell whoever watches.

    Args:
        supervisor: The supervisor.
        policy: Its policy.
        question: The access.
        request: The access as reports call it, or what prints as that.

    Raises:
        Ring0FaultError: the policy's lists lie outside it.
    """
    try:
        decision = question.ask(policy)
    except PolicyBoundsError as error:
        detail = f"{request}: ring 0 reads beyond the policy: {error}"
        raise Ring0FaultError(_PAGE_FAULT, detail, "boot-flow.md §4.3 step 6") from error
    for surprise in decision.surprises:
        supervisor.reference_bug(surprise.source, f"{request}: {surprise.text}")
    if supervisor.policy_watch.witness is not None:
        supervisor.policy_watch.witness(question, decision, supervisor)
    return decision


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
    question = PortQuestion(port, width, access)
    if port > _LAST_PORT or port + size > _LAST_PORT + 1:
        raise CoreError(Status.INVALID_PARAMETER, f"{question} runs beyond port 0xffff")
    _ask(supervisor, question)
    return size


def require_msr(supervisor: Supervisor, number: int, access: Attribute) -> None:
    """Ask for an MSR access; raises as :func:`require_io` does."""
    _ask(supervisor, MsrQuestion(number, access))


def require_instruction(supervisor: Supervisor, instruction: Instruction) -> None:
    """Ask for an instruction; raises as :func:`require_io` does."""
    _ask(supervisor, InstructionQuestion(instruction))
