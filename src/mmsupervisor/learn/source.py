"""A learned policy with its provenance: every rule says who needs it, from where, and when."""

from __future__ import annotations

from collections.abc import Iterable

from mmsupervisor.core.findings import Place
from mmsupervisor.learn.observation import Observation
from mmsupervisor.learn.rules import Lesson
from mmsupervisor.policy.model import RootType
from mmsupervisor.policy.source import Note, PolicySource, RootNotes

_MOST_PLACES = 4
"""Places of one driver that a reason names; the JSON document has all of them."""

_EMPTY = "nothing was observed"


def to_source(lesson: Lesson, title: str) -> PolicySource:
    """A policy source of what was learned.

    Args:
        lesson: What was learned.
        title: What it was learned from, in one line.
    """
    policy = lesson.policy
    notes = []
    for root in policy.roots:
        rules = [rule for rule in lesson.rules if root.type == rule.entry.KIND]
        is_empty = not rules and root.type != RootType.MEM
        notes.append(
            RootNotes(
                Note(reason=_EMPTY) if is_empty else Note(),
                tuple(Note(reason=reason(rule.observations)) for rule in rules),
            )
        )
    return PolicySource(policy, title, lesson.vendor.value, tuple(notes))


def reason(observations: Iterable[Observation]) -> str:
    """Driver by driver: places with their symbols, phases, how often."""
    drivers: dict[str, list[Observation]] = {}
    for one in observations:
        drivers.setdefault(one.place.driver, []).append(one)
    return "; ".join(_of_driver(driver, found) for driver, found in drivers.items())


def _of_driver(driver: str, observations: list[Observation]) -> str:
    places = list(dict.fromkeys(_spot(one.place) for one in observations))
    phases = dict.fromkeys(one.phase for one in observations)
    count = sum(one.count for one in observations)
    named = ", ".join(places[:_MOST_PLACES])
    rest = len(places) - _MOST_PLACES
    more = f" and {rest} more" if rest > 0 else ""
    times = "once" if count == 1 else f"{count} times"
    return f"{driver or 'code in no image'}: {named}{more}: {', '.join(phases)}: {times}"


def _spot(place: Place) -> str:
    """A place within its driver."""
    if place.symbol:
        return place.symbol
    return f"{place.address:#x}" if place.offset is None else f"+{place.offset:#x}"
