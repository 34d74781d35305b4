"""What a run can be given beside its policy: the policy's source, and somebody who sees every question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import Policy
from mmsupervisor.policy.questions import PolicyQuestion

if TYPE_CHECKING:
    from mmsupervisor.core.supervisor import Supervisor

PolicyWitness: TypeAlias = "Callable[[PolicyQuestion, Decision, Supervisor], None]"
"""Is told of a question and of the answer of the policy in force, with ring 3 as it stands where it asked."""


@dataclass(frozen=True, slots=True)
class PolicyWatch:
    """What the supervisor keeps beside the policy's bytes; it changes no decision.

    Attributes:
        origin: The policy as it was written: findings name its files and lines where the blob in force is its blob.
        witness: Who is told of every question, or None.
    """

    origin: Policy | None = None
    witness: PolicyWitness | None = None

    def named(self, policy: Policy) -> Policy:
        """Give a policy that was read from memory the places of its source, if it is the source's."""
        if self.origin is None or self.origin.roots != policy.roots:
            return policy
        return replace(policy, roots=self.origin.roots, file=self.origin.file)
