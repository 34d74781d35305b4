"""The benchmark's own parts: turns, table, plot. What it measures is never a test."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command
from benchmarks.drawing import draw
from benchmarks.figures import Figure, Target, rates, times
from benchmarks.programs import branchy
from benchmarks.ring3_bench import Bench
from benchmarks.timing import Timing, Way, measure
from mmsupervisor.processor.select import probe_one


def test_every_way_is_measured_by_its_own_clock() -> None:
    spent = {"fast": 0.0, "slow": 0.0}

    def way(name: str, each: float) -> Way:
        def step(count: int) -> None:
            spent[name] += each * count

        return Way(step, lambda: spent[name])

    taken = measure({"fast": way("fast", 1e-6), "slow": way("slow", 3e-6)}, 0)
    assert taken["fast"].best == pytest.approx(1)
    assert taken["slow"].middle == pytest.approx(3)


def test_rates_are_of_a_second() -> None:
    figure = rates("section", "name", "MB/s", 2, {"native": Timing(4, 8)})
    assert figure.best["native"] == pytest.approx(500_000)
    assert figure.middle["native"] == pytest.approx(250_000)


GROWING = [
    times("growth", f"{at} things", {"native": Timing(at, at), "unicorn": Timing(2 * at, at)}, at=at) for at in (1, 10)
]


def test_the_plot_is_a_drawing_of_what_grows() -> None:
    drawing = ElementTree.fromstring(draw([*GROWING, Figure("memory", "all", "MiB", {"native": 1.0})]))
    assert len(drawing.findall("{*}polyline")) == 2
    assert len(drawing.findall("{*}circle")) == 4
    heights = [float(circle.attrib["cy"]) for circle in drawing.findall("{*}circle")]
    assert heights[1] < heights[0], "more is higher"


def test_a_missed_target_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    missed = times("section", "name", {"native": Timing(9, 9)}, Target("<= 7 us: 9.0", met=False))
    command._print([missed], markdown=True)
    assert "| section | name |  |  |  |  | 9 |  | us | MISSED: <= 7 us: 9.0 |" in capsys.readouterr().out


@pytest.mark.parametrize("processor", ["unicorn", "native"])
def test_what_is_computed_is_checked(processor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe_one(processor)
    if not found.is_available:
        pytest.skip(found.reason)
    bench = Bench(processor)
    bench.compute_branchy(1000)(1)
    bench.reset()(2)
    monkeypatch.setattr("benchmarks.ring3_bench.branchy", lambda rounds: branchy(rounds) + 1)
    with pytest.raises(AssertionError):
        bench.compute_branchy(1000)(1)
    bench.processor.close()
