"""Everything worth knowing is an event, with a position, in one log.

An event is a frozen dataclass; its fields are what a report shows. A field annotated :data:`Hex` is an
address or a bit pattern and is written in hexadecimal; other numbers are counts.

The canonical trace holds the events that every processor must produce alike; an event class may take
itself out of it by ``canonical = False``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NewType

Hex = NewType("Hex", int)
"""A number that is shown in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a run something happened.

    Attributes:
        mmi: Number of the MMI, 0 for the core's own entry.
        step: Running number of the event in the whole run, from 1.
        cpu: CPU index.
        driver: Name of the driver that was running in ring 3, or empty.
        offset: Offset in that driver's image, in bytes, or None.
    """

    mmi: int
    step: int
    cpu: int
    driver: str
    offset: int | None


_POSITION_FIELDS = frozenset(("step", "mmi", "cpu", "driver", "offset", "event"))


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    kind: ClassVar[str] = ""
    canonical: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Refuse a field that would hide a part of the position in a flat record."""
        clash = _POSITION_FIELDS & set(inspect.get_annotations(cls))
        if clash:
            raise TypeError(f"{cls.__name__}: a field may not be called {', '.join(sorted(clash))}")

    def as_fields(self) -> dict[str, Any]:
        """Return the fields as JSON values, in the order of declaration."""
        result: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type in ("Hex", "Hex | None") and value is not None:
                value = f"{value:#x}"
            elif value is not None and not isinstance(value, str | int | bool):
                value = [f"{number:#x}" for number in value] if "Hex" in str(item.type) else list(value)
            result[item.name] = value
        return result


@dataclass(frozen=True, slots=True)
class Record:
    """An event with its position.

    Attributes:
        position: Where it happened.
        event: What happened.
    """

    position: Position
    event: Event

    def as_fields(self) -> dict[str, Any]:
        """Return position and event as one flat dictionary of JSON values."""
        place = self.position
        offset = None if place.offset is None else f"{place.offset:#x}"
        head = {"step": place.step, "mmi": place.mmi, "cpu": place.cpu, "driver": place.driver, "offset": offset}
        return {**head, "event": self.event.kind, **self.event.as_fields()}

    def as_line(self) -> str:
        """Return the line of the canonical trace: compact JSON, fields in order of declaration, ASCII."""
        return json.dumps(self.as_fields(), separators=(",", ":"))


class EventLog:
    """The events of one run.

    Attributes:
        records: All records so far, oldest first, ``keep`` at the most.
        mmi: Number of the MMI being served.
        cpu: CPU being simulated.
        driver: Driver in ring 3, or empty.
        offset: Offset in it, or None.
        dropped: Records that ``records`` no longer holds.
    """

    def __init__(self, keep: int = 1_000_000) -> None:
        """Begin an empty log that keeps ``keep`` records at the most; sinks see all of them."""
        self.records: list[Record] = []
        self.mmi = 0
        self.cpu = 0
        self.driver = ""
        self.offset: int | None = None
        self.dropped = 0
        self._keep = keep
        self._step = 0
        self._sinks: list[Callable[[Record], None]] = []

    @property
    def next_step(self) -> int:
        """Running number of the event that comes next."""
        return self._step + 1

    def add_sink(self, sink: Callable[[Record], None]) -> None:
        """Call ``sink`` with every later record."""
        self._sinks.append(sink)

    def emit(self, event: Event) -> Record:
        """Append an event at the present position."""
        self._step += 1
        record = Record(Position(self.mmi, self._step, self.cpu, self.driver, self.offset), event)
        if len(self.records) >= self._keep:
            half = self._keep // 2
            del self.records[:half]
            self.dropped += half
        self.records.append(record)
        for sink in self._sinks:
            sink(record)
        return record

    @contextmanager
    def running(self, driver: str, cpu: int) -> Iterator[None]:
        """Let events belong to ``driver`` on ``cpu`` for a while."""
        saved = (self.driver, self.offset, self.cpu)
        self.driver, self.offset, self.cpu = driver, None, cpu
        try:
            yield
        finally:
            self.driver, self.offset, self.cpu = saved

    def canonical_lines(self) -> Iterator[str]:
        """Iterate over the canonical trace.

        Steps are counted anew, so that events outside the canonical trace leave no gaps in it.
        """
        number = 0
        for record in self.records:
            if not record.event.canonical:
                continue
            number += 1
            place = record.position
            yield Record(Position(place.mmi, number, place.cpu, place.driver, place.offset), record.event).as_line()
