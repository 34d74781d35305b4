"""Where a driver was that did not come back: told where the processor counts, the same in every run, never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.processor.select import probe_one
from tests.cli.sessions import run, write_driver

BUDGET = 100_000


def told(folder: Path, *words: str, budget: int = BUDGET) -> dict[str, object]:
    driver = write_driver(folder, "LoopsForever")
    document = run("run", driver, "--budget", str(budget), *words, "--json").document
    (finding,) = document["findings"]
    assert finding["number"] == "MM-1301"
    return dict(finding)


def test_the_loop_is_told_with_callers_code_and_registers(tmp_path: Path) -> None:
    finding = told(tmp_path, "--processor", "unicorn")
    symbols = {symbol.name: symbol for symbol in prebuilt.symbols("LoopsForever")}
    loop = symbols["MmDriverEntryPoint"]
    stack, code, registers = finding["stack"], finding["code"], finding["registers"]
    assert isinstance(stack, list)
    assert isinstance(code, list)
    assert isinstance(registers, list)
    assert loop.rva <= int(stack[0]["offset"], 16) < loop.rva + loop.size
    assert [frame["driver"] for frame in stack] == ["LoopsForever"] * 3
    assert [line["offset"] for line in code if line["here"]] == [stack[0]["offset"]]
    assert len(registers) == 18
    assert (finding["driver"], finding["offset"], finding["subject"]) == ("", None, "LoopsForever")


def test_it_is_the_same_in_every_run_and_the_trace_tells_no_place(tmp_path: Path) -> None:
    traces = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    first, second = (told(tmp_path, "--processor", "unicorn", "--trace", str(trace)) for trace in traces)
    assert first == second
    other = told(tmp_path, "--processor", "unicorn", budget=BUDGET + 1000)
    assert other["registers"] != first["registers"]
    assert traces[0].read_bytes() == traces[1].read_bytes()
    (event,) = (
        line for line in map(json.loads, traces[0].read_text("ascii").splitlines()) if line["event"] == "finding"
    )
    assert event["offset"] is None


def test_a_processor_that_counts_time_does_not_tell(tmp_path: Path) -> None:
    found = probe_one("native")
    if not found.is_available:
        pytest.skip(f"native processor: {found.reason}")
    finding = told(tmp_path, "--processor", "native")
    assert (finding["stack"], finding["code"], finding["registers"]) == ([], [], [])


def test_redacted_it_says_no_values(tmp_path: Path) -> None:
    plain, redacted = told(tmp_path, "--processor", "unicorn"), told(tmp_path, "--processor", "unicorn", "--redact")
    assert redacted["registers"] == []
    assert {**plain, "registers": []} == redacted
