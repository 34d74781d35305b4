"""The log: positions, canonical traces, bounds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from mmsupervisor.machine.events import Event, EventLog, Hex, Record


@dataclass(frozen=True, slots=True)
class Touched(Event):
    kind: ClassVar[str] = "touched"
    address: Hex
    count: int
    others: tuple[Hex, ...] = ()
    maybe: Hex | None = None


@dataclass(frozen=True, slots=True)
class Private(Event):
    kind: ClassVar[str] = "private"
    canonical: ClassVar[bool] = False


def test_a_record_is_flat_json_with_addresses_in_hexadecimal() -> None:
    log = EventLog()
    log.mmi = 3
    record = log.emit(Touched(Hex(0x1000), 2, (Hex(1), Hex(0xFF))))
    assert json.loads(record.as_line()) == {
        "step": 1, "mmi": 3, "cpu": 0, "driver": "", "offset": None, "event": "touched",
        "address": "0x1000", "count": 2, "others": ["0x1", "0xff"], "maybe": None,
    }  # fmt: skip


def test_positions_belong_to_who_runs_and_come_back() -> None:
    log = EventLog()
    with log.running("Driver", 2):
        log.offset = 0x40
        inner = log.emit(Touched(Hex(0), 0)).position
    outer = log.emit(Touched(Hex(0), 0)).position
    assert (inner.driver, inner.offset, inner.cpu) == ("Driver", 0x40, 2)
    assert (outer.driver, outer.offset, outer.cpu) == ("", None, 0)


def test_the_canonical_trace_has_no_gaps_where_private_events_were() -> None:
    log = EventLog()
    log.emit(Touched(Hex(1), 1))
    log.emit(Private())
    log.emit(Touched(Hex(2), 2))
    lines = [json.loads(line) for line in log.canonical_lines()]
    assert [(line["step"], line["address"]) for line in lines] == [(1, "0x1"), (2, "0x2")]


def test_the_log_is_bounded_and_sinks_see_everything() -> None:
    log = EventLog(keep=10)
    seen: list[Record] = []
    log.add_sink(seen.append)
    for number in range(35):
        log.emit(Touched(Hex(number), number))
    assert len(seen) == 35
    assert len(log.records) <= 10
    assert len(log.records) + log.dropped == 35
    assert log.records[-1].position.step == 35


def test_a_field_must_not_hide_the_position() -> None:
    with pytest.raises(TypeError, match="step"):

        class Hides(Event):
            step: int
