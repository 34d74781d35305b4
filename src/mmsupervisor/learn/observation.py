"""What a run asked of its policy: which access, from which place in which driver, on the way to which phase."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mmsupervisor.core.events import PhaseReached
from mmsupervisor.core.findings import Place
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.learn.call_site import CallSites
from mmsupervisor.machine.events import EventLog, Record
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.questions import PolicyQuestion


@dataclass(frozen=True, slots=True)
class Observation:
    """Accesses that were alike.

    Attributes:
        question: The access, as the policy gate was asked about it.
        place: Where in which driver.
        phase: The phase on the way to which it happened, ``launched``; or the last one: ``after ready-to-boot``.
        count: How often.
    """

    question: PolicyQuestion
    place: Place
    phase: str
    count: int

    def __str__(self) -> str:
        """``IoMsr+0x1b10 (Act+0x20): read 1 byte at port 0x70, after ready-to-boot, 2 times``."""
        times = "once" if self.count == 1 else f"{self.count} times"
        return f"{self.place}: {self.question}, {self.phase}, {times}"


class Recorder:
    """Counts what a run asks of its policy: its ``policy_witness``."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._since: Counter[tuple[PolicyQuestion, Place]] = Counter()
        self._before: list[Observation] = []
        self._reached = "nothing"
        self._sites = CallSites()

    def __call__(self, question: PolicyQuestion, decision: Decision, supervisor: Supervisor) -> None:
        """Count one access; the answer of the policy in force plays no part."""
        self._since[question, self._sites.place(supervisor)] += 1

    def follow(self, log: EventLog) -> None:
        """Learn from a run's events which phase it has come to."""
        log.add_sink(self._take)

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Everything so far, in order of the phases and within one of the first time."""
        return (*self._before, *self._labelled(f"after {self._reached}"))

    def _take(self, record: Record) -> None:
        if isinstance(record.event, PhaseReached):
            self._before += self._labelled(record.event.phase)
            self._since.clear()
            self._reached = record.event.phase

    def _labelled(self, phase: str) -> list[Observation]:
        return [Observation(question, place, phase, count) for (question, place), count in self._since.items()]
