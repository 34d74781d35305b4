"""Random ring-3 programs: 20,000 here, a million by ``python -m tests.hostile.random_programs --count 1000000``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmsupervisor.core.calls import SERVICES
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.processor.interface import Entry, Exit
from mmsupervisor.processor.select import probe_one
from mmsupervisor.processor.unicorn_processor import UnicornProcessor
from tests.core import small
from tests.hostile import random_programs
from tests.hostile.programs import KINDS
from tests.hostile.random_programs import Arena, HostileError, run_programs

COUNT, BATCH = 20_000, 5_000
NATIVE_COUNT = 20_000
ROOT = Path(__file__).resolve().parents[2]
ENDS = {
    "returned", "MM-1001", "MM-1002", "MM-1003", "MM-1004", "MM-1101", "MM-1102", "MM-1103", "MM-1104", "MM-1105",
    "MM-1106", "MM-1201", "MM-1202", "MM-1203", "MM-1204", "MM-1205", "MM-1207", "MM-1208", "MM-1301", "MM-1302",
}  # fmt: skip
"""How programs end, among other ways."""


def run_apart(processor: str, first: int, count: int) -> dict[str, int]:
    """Run programs in a process of their own, where nobody measures coverage; how many ended which way."""
    command = [sys.executable, "-m", "tests.hostile.random_programs", "--processor", processor]
    done = subprocess.run(
        [*command, "--start", str(first), "--count", str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {end: int(number) for end, number in re.findall(r"^  (\S+) +(\d+)$", done.stdout, re.MULTILINE)}


@pytest.mark.parametrize("first", range(0, COUNT, BATCH))
def test_the_supervisor_holds(first: int) -> None:
    ends_of = run_apart("unicorn", first, BATCH)
    assert sum(ends_of.values()) == BATCH
    assert set(ends_of) >= ENDS
    assert min(ends_of["returned"], ends_of["MM-1301"]) > BATCH // 50


def test_the_supervisor_holds_natively() -> None:
    found = probe_one("native")
    if not found.is_available:
        pytest.skip(f"native processor: {found.reason}")
    ends_of = run_apart("native", 0, NATIVE_COUNT)
    assert sum(ends_of.values()) == NATIVE_COUNT
    assert ends_of["returned"] > NATIVE_COUNT // 20
    assert ends_of["MM-1301"] > 10


def test_all_kinds_take_turns() -> None:
    tally = run_programs("unicorn", range(400))
    assert set(tally.kinds) == set(KINDS)
    assert tally.restarts > 10


def test_an_error_ends_the_long_form(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> int:
        raise KeyError("planted")

    monkeypatch.setitem(SERVICES, next(iter(SERVICES)), broken)
    with pytest.raises(HostileError, match="planted"):
        random_programs.main(["--count", "400"])


def ends(seeds: range) -> list[str]:
    arena = Arena("unicorn")
    found = [arena.run(seed) for seed in seeds]
    arena.close()
    return found


def test_a_seed_is_a_program_whatever_ran_before() -> None:
    seeds = range(700, 800)
    assert ends(seeds) == ends(range(600, 800))[100:]


@pytest.mark.parametrize(
    "rsp", [small.MMIO + 8, small.MMIO + 0x3FFC, 0x9FFFC, small.MMRAM_END - 4, small.HOLE, 1 << 63]
)
@pytest.mark.parametrize(("target", "end"), [(0, "MM-1205"), (small.FREE_RAM, "MM-1204"), (small.MMRAM, "MM-1202")])
def test_a_jump_with_the_stack_anywhere(rsp: int, target: int, end: str) -> None:
    """Who called is looked up on the stack, which ring 3 may point at a device or at the last bytes of memory."""
    arena = Arena("unicorn")
    code = b"\x48\xbc" + rsp.to_bytes(8, "little") + b"\x48\xb8" + target.to_bytes(8, "little") + b"\xff\xe0"
    assert arena.run_code(code) == end
    arena.close()


# Each judgement must be able to fail


def expect_failure(what: str, count: int = 400) -> None:
    with pytest.raises(HostileError, match=what):
        run_programs("unicorn", range(count))


def plant(monkeypatch: pytest.MonkeyPatch, harm: Callable[[UnicornProcessor], object]) -> None:
    """Let the processor do something after the hundredth program."""
    original, entered = UnicornProcessor.enter, 0

    def enter(self: UnicornProcessor, entry: Entry) -> Exit:
        nonlocal entered
        entered += 1
        if entered == 100:
            harm(self)
        return original(self, entry)

    monkeypatch.setattr(UnicornProcessor, "enter", enter)


def test_a_byte_of_the_policy_that_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena("unicorn")
    place = arena.core.supervisor.policy_address
    arena.close()
    plant(monkeypatch, lambda processor: processor.memory.write(place + 8, b"\xee"))
    expect_failure("has changed|content changed")


def test_a_byte_of_normal_memory_that_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda processor: processor.memory.write(0x90_0000, b"\xee"))
    expect_failure("has changed")


def test_a_page_that_opens_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda processor: processor.memory.assign(0x90_0000, 0x1000, Attribute.XP))
    expect_failure("was never unblocked")


def test_an_error_of_ours_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> int:
        raise KeyError("planted")

    monkeypatch.setitem(SERVICES, next(iter(SERVICES)), broken)
    expect_failure("planted")


def test_a_death_that_is_not_recorded_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Supervisor.die

    def die(self: Supervisor, *arguments: Any) -> Any:
        error = original(self, *arguments)
        self.stop = None
        return error

    monkeypatch.setattr(Supervisor, "die", die)
    expect_failure("died without saying why")


def test_a_dead_system_that_serves_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arena, "_end_of_message", lambda _self: "returned")
    expect_failure("a dead system served")


def test_a_file_that_appears_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda _: Path("stray").write_bytes(b""))
    expect_failure("the host changed")


def test_a_file_that_stays_open_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    plant(monkeypatch, lambda _: held.append(os.open("untouched", os.O_RDONLY)))
    expect_failure("the host changed")
    os.close(held[0])
