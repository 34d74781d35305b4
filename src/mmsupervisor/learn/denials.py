"""What a policy would have denied of an observed run, access by access, and by which rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmsupervisor.learn.observation import Observation
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import Policy
from mmsupervisor.policy.questions import PolicyQuestion, SaveStateQuestion
from mmsupervisor.policy.save_state import SaveStateRegister


@dataclass(frozen=True, slots=True)
class Denial:
    """Accesses that a policy denies.

    Attributes:
        observation: The accesses.
        decision: The answer, with the rule.
    """

    observation: Observation
    decision: Decision

    def __str__(self) -> str:
        """One line."""
        return f"{self.observation}: {self.decision}"


def would_be_denied(observations: Iterable[Observation], policy: Policy) -> tuple[Denial, ...]:
    """Say what a policy denies of what was observed, in its order.

    Raises:
        PolicyBoundsError: the policy's lists run out of its blob.
    """
    gate = CompiledPolicy(policy)
    asked = [(one, one.question.ask(gate)) for one in observations]
    return tuple(Denial(one, decision) for one, decision in asked if not is_let(one.question, decision))


def is_let(question: PolicyQuestion, decision: Decision) -> bool:
    """Whether an access comes to what it would come to if nothing were denied.

    The port access that interrupted a CPU can be asked for when there was none. The answer is then EFI_NOT_FOUND, from
    the policy gate as well as from the read itself (``isolation-policy.md`` §9 step 6), and nothing was denied.
    """
    if decision.allowed:
        return True
    is_io = isinstance(question, SaveStateQuestion) and question.register == SaveStateRegister.IO
    return is_io and isinstance(question, SaveStateQuestion) and decision.status is question.io
