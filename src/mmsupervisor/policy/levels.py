"""Levels 10, 20 and 30 of a policy: two verdicts side by side.

``reference`` is what the reference's checker computes (:mod:`mmsupervisor.policy.level_reference`), ``real`` what the
policy gate would really let ring 3 do (:mod:`mmsupervisor.policy.level_real`). Facts: ``docs/reference/levels.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.policy.check import objection
from mmsupervisor.policy.level_facts import Area, LevelFinding, MatEntry, MemoryFacts, Region, Verdict
from mmsupervisor.policy.level_real import real_verdict
from mmsupervisor.policy.level_reference import reference_verdict
from mmsupervisor.policy.level_tables import MOST, Vendor
from mmsupervisor.policy.model import Policy


@dataclass(frozen=True, slots=True)
class LevelReport:
    """Both verdicts.

    Attributes:
        vendor: Whose lists were applied.
        has_memory: Whether memory was judged; without, the levels are those of IO, MSRs and save state.
        reference: What the reference's checker computes.
        real: What is really so.
        refusal: Why nobody could fetch the policy, and so measure it: the supervisor's own check refuses it. Empty for
            a policy that passes.
    """

    vendor: Vendor
    has_memory: bool
    reference: Verdict
    real: Verdict
    refusal: str = ""

    @property
    def level(self) -> int | None:
        """The level by both verdicts: the lower one; None if either ends with an error or the policy is refused."""
        if self.refusal or self.reference.level is None or self.real.level is None:
            return None
        return min(self.reference.level, self.real.level)

    def reaches(self, level: int) -> bool:
        """Whether both verdicts reach a level."""
        return self.level is not None and self.level >= level


def judge(policy: Policy, vendor: Vendor, facts: MemoryFacts | None = None) -> LevelReport:
    """Judge a policy by both ways.

    Args:
        policy: The policy; the fetched one, with its memory entries, if memory is to be judged.
        vendor: Whose lists apply.
        facts: The platform's memory; without, memory is not judged.
    """
    return LevelReport(
        vendor,
        facts is not None,
        reference_verdict(policy, vendor, facts),
        real_verdict(policy, vendor, facts),
        objection(policy),
    )


__all__ = [
    "MOST",
    "Area",
    "LevelFinding",
    "LevelReport",
    "MatEntry",
    "MemoryFacts",
    "Region",
    "Vendor",
    "Verdict",
    "judge",
    "real_verdict",
    "reference_verdict",
]
