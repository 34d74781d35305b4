"""Which relaxations are in force in a run, and every use of one, with its driver and offset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.events import PolicyDenialPassed, RelaxationUsed
from mmsupervisor.core.findings import Place
from mmsupervisor.core.interfaces import OutsideServices
from mmsupervisor.machine.events import EventLog


@dataclass(slots=True)
class RelaxedUse:
    """The uses of one relaxation at one place.

    Attributes:
        relaxation: Which.
        place: Where: driver and offset.
        detail: What the first use did.
        count: How often.
        denied: How often the policy would have denied it.
        denial: The rule of the first denial, or empty.
    """

    relaxation: Relaxation
    place: Place
    detail: str
    count: int = 0
    denied: int = 0
    denial: str = ""


class Relaxations:
    """The relaxations of a run.

    Attributes:
        active: Those in force.
        outside: The stand-in for DXE, or None.
    """

    def __init__(self, active: Iterable[Relaxation] = (), outside: OutsideServices | None = None) -> None:
        """Begin with no use."""
        self.active = frozenset(active)
        self.outside = outside if Relaxation.TRADITIONAL_ENTRY in self.active else None
        self._uses: dict[tuple[Relaxation, str, int], RelaxedUse] = {}

    @property
    def uses(self) -> tuple[RelaxedUse, ...]:
        """All uses, in order of the first at each place."""
        return tuple(self._uses.values())

    def permits(self, relaxation: Relaxation) -> bool:
        """Whether a relaxation is in force."""
        return relaxation in self.active

    def note(self, log: EventLog, relaxation: Relaxation, place: Place, detail: str, *, denial: str = "") -> None:
        """Count a use. Its first at a place is an event, and so is the first that the policy would have denied.

        Args:
            log: The run's events.
            relaxation: Which.
            place: Where.
            detail: What was done.
            denial: The rule by which the policy would have denied it, or empty.
        """
        key = (relaxation, place.driver, place.address if place.offset is None else place.offset)
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = RelaxedUse(relaxation, place, detail)
            log.emit(RelaxationUsed(relaxation.value, detail))
        use.count += 1
        if denial:
            use.denied += 1
            if not use.denial:
                use.denial = denial
                log.emit(PolicyDenialPassed(detail, denial))
