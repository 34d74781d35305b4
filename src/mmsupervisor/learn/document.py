"""The report on learning as a JSON document. ``docs/schemas/learn.schema.json`` describes it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmsupervisor.learn.denials import Denial
from mmsupervisor.learn.observation import Observation
from mmsupervisor.learn.rules import Lesson
from mmsupervisor.learn.run import ObservedRun
from mmsupervisor.policy.document import entry_document
from mmsupervisor.policy.load import LoadedPolicy

SCHEMA = "mmsupervisor.learn/1"
"""Name and version of the document."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """What was run.

    Attributes:
        name: The image as it was named.
        data: Its bytes, or None for the sample platform.
    """

    name: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A given policy, judged by a run.

    Attributes:
        loaded: The policy.
        denials: What it would have denied.
    """

    loaded: LoadedPolicy
    denials: tuple[Denial, ...]

    @property
    def count(self) -> int:
        """How many accesses it would have denied."""
        return sum(one.observation.count for one in self.denials)


def learn_document(
    subject: Subject, run: ObservedRun, lesson: Lesson | None, judged: Judged | None, written: Sequence[str] = ()
) -> Document:
    """The whole report.

    Args:
        subject: What was run.
        run: What was observed.
        lesson: What was learned of it; None where a given policy was judged.
        judged: The given policy and what it would have denied, or None.
        written: Files that the policy was written to.
    """
    numbers = {id(one): number for number, one in enumerate(run.observations)}
    return {
        "schema": SCHEMA,
        "image": {
            "name": subject.name,
            "size": None if subject.data is None else len(subject.data),
            "sha256": None if subject.data is None else hashlib.sha256(subject.data).hexdigest(),
        },
        "run": {
            "phase": run.phase or None,
            "processor": run.processor,
            "end": str(run.stop or run.launch_failure) or None,
            "removed": list(run.removed),
        },
        "accesses": [_access(one) for one in run.observations],
        "learned": None if lesson is None else _lesson(lesson, numbers, written),
        "judged": None if judged is None else _judged(judged, numbers),
    }


def _access(one: Observation) -> Document:
    place = one.place
    return {
        "kind": one.question.KIND.name,
        "access": str(one.question),
        "driver": place.driver or None,
        "offset": None if place.offset is None else f"0x{place.offset:X}",
        "symbol": place.symbol or None,
        "phase": one.phase,
        "count": one.count,
    }


def _numbers(observations: Sequence[Observation], numbers: dict[int, int]) -> list[int]:
    return [numbers[id(one)] for one in observations]


def _lesson(lesson: Lesson, numbers: dict[int, int], written: Sequence[str]) -> Document:
    return {
        "vendor": lesson.vendor.value,
        "level": lesson.level,
        "rules": [
            {
                "list": rule.entry.KIND.name,
                **{key: value for key, value in entry_document(rule.entry).items() if key != "place"},
                "accesses": _numbers(rule.observations, numbers),
                "count": rule.count,
            }
            for rule in lesson.rules
        ],
        "refused": [
            {
                "drivers": list(one.drivers),
                "accesses": _numbers(one.observations, numbers),
                "why": one.why,
            }
            for one in lesson.refusals
        ],
        "written": list(written),
    }


def _judged(judged: Judged, numbers: dict[int, int]) -> Document:
    return {
        "policy": judged.loaded.name,
        "form": judged.loaded.form.value,
        "sha256": judged.loaded.sha256 or None,
        "denied": judged.count,
        "denials": [
            {
                "access": numbers[id(one.observation)],
                "count": one.observation.count,
                "rule": str(one.decision),
            }
            for one in judged.denials
        ],
    }
