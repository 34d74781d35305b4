"""The long forms of tests/core/test_sequences.py: many messages to one platform, many random sequences, what grows.

``scripts/soak`` runs both, 100,000 each (docs/robustness.md).
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.events import EventLog
from mmsupervisor.pi.container import read_image
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.reader import Reader
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.firmware import read_firmware
from mmsupervisor.platform.sample import sample_volume
from mmsupervisor.platform.wiring import Platform, PortTrap
from tests.support.invariants import broken_invariants
from tests.support.sequences import RandomCore

LIMIT = 1 << 20
"""Bytes that 10,000 messages may add."""

STEPS = 25
"""Steps of a random sequence."""

_PER = 10_000
_PAGE = 4096


@dataclass(frozen=True)
class Slope:
    """What 10,000 messages add, once warm.

    Attributes:
        python: Bytes of Python's objects.
        resident: Bytes of resident memory; 0 where the host does not tell.
        handles: Supervisor handles and MMI handlers.
        free_pages: Pages of MMRAM.
    """

    python: float
    resident: float
    handles: int
    free_pages: int


class Soak:
    """A booted sample platform that keeps few events."""

    def __init__(self, seed: int) -> None:
        """Boot it."""
        description = PlatformDescription()
        data = sample_volume(description.profile)
        firmware = read_firmware(read_image(Reader(data, "sample")), data, "sample")
        self._platform = Platform(description, firmware, log=EventLog(keep=1000), symbols_of=lambda _: Symbols())
        self._platform.world.advance(Phase.READY_TO_BOOT)
        self._chance = random.Random(seed)
        core = self._platform.core
        assert core is not None
        self.core = core
        echo = core.supervisor.modules.by_name("Echo")
        assert echo is not None
        self._guids = [Guid(bytes([number]) * 16) for number in range(1, 5)]
        for handler in core.supervisor.handlers.all():
            if handler.guid is not None and echo.base <= handler.routine < echo.base + echo.size:
                self._guids += [handler.guid] * 4
        assert len(self._guids) > 4, "there is no sample to talk to"

    def close(self) -> None:
        """Give up all resources."""
        self._platform.close()

    def step(self) -> None:
        """Send one message, or raise an MMI without one."""
        choice = self._chance.random()
        if choice < 0.1:
            self._platform.trigger("soak", PortTrap(value=self._chance.randrange(256)))
            return
        payload = bytes(self._chance.choice((0, 1, 8, 24, 64)))
        self._platform.world.send(self._chance.choice(self._guids), payload, "soak")

    def _sample(self) -> tuple[int, int, int, int]:
        gc.collect()
        supervisor = self.core.supervisor
        handles = supervisor.protocols.handles + len(supervisor.handlers.all())
        return tracemalloc.get_traced_memory()[0], _resident(), handles, supervisor.pages.free_pages

    def measure(self, count: int, *, every: int, warm_up: int) -> Slope:
        """Send ``count`` messages after ``warm_up`` others and return what 10,000 of them add."""
        tracemalloc.start()
        try:
            for _ in range(warm_up):
                self.step()
            samples = [self._sample()]
            for number in range(1, count + 1):
                self.step()
                if number % every == 0:
                    samples.append(self._sample())
        finally:
            tracemalloc.stop()
        assert broken_invariants(self.core) == []
        first, last = samples[0], samples[-1]
        python, resident = (_per_ten_thousand([one[n] for one in samples], every) for n in (0, 1))
        return Slope(python, resident, last[2] - first[2], last[3] - first[3])


def _resident() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * _PAGE if statm.exists() else 0


def _per_ten_thousand(values: list[int], every: int) -> float:
    """Slope of the line of least squares through equally spaced values."""
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    spread = sum((n - middle) ** 2 for n in range(count))
    return sum((n - middle) * (value - mean) for n, value in enumerate(values)) / spread / every * _PER


@dataclass(frozen=True)
class Sequences:
    """What many random sequences came to.

    Attributes:
        broken: What did not hold, one line for each sequence, with its seed.
        dead: How many ended with a dead system.
        resident: Bytes of resident memory that 10,000 sequences add; 0 where the host does not tell.
    """

    broken: tuple[str, ...]
    dead: int
    resident: float


def run_sequences(seeds: range, steps: int, *, every: int, warm_up: int) -> Sequences:
    """Run one random sequence for each seed; memory is measured after the first ``warm_up``."""
    broken, dead, samples = [], 0, []
    for done, seed in enumerate(seeds):
        if done >= warm_up and (done - warm_up) % every == 0:
            gc.collect()
            samples.append(_resident())
        one = RandomCore(seed)
        one.run(steps)
        wrong = one.wrong() + broken_invariants(one.core)
        if wrong:
            broken.append(f"seed {seed}: {'; '.join(wrong)}")
        dead += one.dead
        one.close()
    return Sequences(tuple(broken), dead, _per_ten_thousand(samples, every) if len(samples) > 1 else 0.0)


def _tell_messages(count: int, seed: int) -> bool:
    """Send many messages and print what they add; whether nothing grows."""
    soak = Soak(seed)
    slope = soak.measure(count, every=max(count // 20, 1), warm_up=max(count // 10, 1000))
    soak.close()
    print(f"{count} messages; each 10,000 of them add")
    print(f"  {slope.python:+,.0f} bytes of Python's objects, {slope.resident:+,.0f} bytes of resident memory")
    print(f"  in all: {slope.handles:+} handles, {slope.free_pages:+} free pages", flush=True)
    return max(slope.python, slope.resident) < LIMIT and not slope.handles and not slope.free_pages


def _tell_sequences(count: int, seed: int) -> bool:
    """Run many random sequences and print what became of them; whether all invariants held and nothing grows."""
    seeds = range(seed, seed + count)
    found = run_sequences(seeds, STEPS, every=max(count // 20, 1), warm_up=count // 10)
    print(f"{count} random sequences of up to {STEPS} steps, seeds {seeds[0]} to {seeds[-1]}: {found.dead} ended dead")
    print(f"  {len(found.broken)} broke an invariant; each 10,000 add {found.resident:+,.0f} bytes of resident memory")
    for line in found.broken[:20]:
        print(f"  {line}")
    return not found.broken and found.resident < LIMIT


def main(arguments: list[str] | None = None) -> int:
    """Run the long forms; 1 if an invariant broke or something grows."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="messages to send after the warm-up, 0 for none")
    parser.add_argument("--sequences", type=int, default=100_000, help="random sequences to run, 0 for none")
    parser.add_argument("--seed", type=int, default=1, help="of the messages; the sequences' seeds begin with it")
    chosen = parser.parse_args(arguments)
    held = chosen.messages == 0 or _tell_messages(chosen.messages, chosen.seed)
    held &= chosen.sequences == 0 or _tell_sequences(chosen.sequences, chosen.seed)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
