"""A processor alone: computing, round trips, resets, coverage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks import in_process_unsafe as in_process
from benchmarks.exchange import exchange_in_c
from benchmarks.figures import Figure, Target, rates, times
from benchmarks.ring3_bench import CODE, CONTENT, SHA_BLOCKS, Bench
from benchmarks.timing import Step, Timing, Way, measure
from mmsupervisor.processor.interface import Processor
from mmsupervisor.processor.native.native_processor import NativeProcessor
from mmsupervisor.processor.unicorn_processor import UnicornProcessor

_WAIT = 1000
_ROUNDS = 3_000_000


def processor_clock(processor: Processor) -> Callable[[], float]:
    """Return a clock of what this process and a processor's own take together."""
    if not isinstance(processor, NativeProcessor):
        return time.process_time

    def read() -> float:
        stub = processor._stub
        return time.process_time() + (stub.cpu_time() / 1e9 if stub else 0.0)

    return read


def ways(names: Sequence[str], prepare: Callable[[Bench], Step]) -> dict[str, Way]:
    """The same on each processor."""
    made = {}
    for name in names:
        bench = Bench(name)
        made[name] = Way(prepare(bench), processor_clock(bench.processor))
    return made


def _ratio(taken: dict[str, Timing], way: str, other: str) -> float:
    """How many times as fast as another a way is."""
    return taken[other].best / taken[way].best if way in taken and other in taken else 0.0


def computing(names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """Code that computes, in megabytes or rounds a second."""
    sha_bytes = SHA_BLOCKS * 64
    programs: tuple[tuple[str, str, float, Step, Callable[[Bench], Step], float], ...] = (
        ("CRC32 by table", "MB/s", len(CONTENT) / 1e6, in_process.crc32(CONTENT), Bench.compute_crc32, 2),
        ("SHA-256", "MB/s", sha_bytes / 1e6, in_process.sha256(CONTENT[:sha_bytes]), Bench.compute_sha256, 12),
        (
            "branches",
            "M rounds/s",
            _ROUNDS / 1e6,
            in_process.branches(_ROUNDS),
            partial(Bench.compute_branchy, rounds=_ROUNDS),
            12,
        ),
    )
    for name, unit, per_step, here, prepare, factor in programs:
        taken = measure({"in-process": Way(here), **ways(names, prepare)}, seconds)
        targets = []
        if "native" in names:
            share = _ratio(taken, "native", "in-process")
            targets.append(Target(f"native >= 0.9 of in-process: {share:.3f}", share >= 0.9))
        if {"native", "unicorn"} <= set(names):
            gain = _ratio(taken, "native", "unicorn")
            targets.append(Target(f"native >= {factor:g} times Unicorn: {gain:.1f}", gain >= factor))
        yield rates("computing", name, unit, per_step, taken, *targets)


def bare(code: str) -> Way:
    """A loop of exits of a stub with nothing behind it; ``code`` is executed again and again."""
    from mmsupervisor.machine.memory import PhysicalMemory
    from mmsupervisor.processor.native.layout import CLOSE, FRAME_WORDS, MMAP, RIP, RSP
    from mmsupervisor.processor.native.stub_unsafe import Stub

    memory = PhysicalMemory()
    bank = memory.add_ram(CODE, 0x10000, "code")
    memory.write(CODE, bytes.fromhex(code))
    assert bank.backing is not None
    assert bank.backing.descriptor is not None
    stub = Stub(trap_timestamps=False)
    stub.start()
    number = stub.give_descriptor(bank.backing.descriptor)
    stub.order([(MMAP, CODE, 0x10000, 5, 0x11, number, 0), (CLOSE, number)])
    offset = stub.frame_offset
    words = stub.frames[offset : offset + 8 * FRAME_WORDS].cast("Q")

    def step(count: int) -> None:
        words[RIP], words[RSP] = CODE, CODE + 0x8000
        for _ in range(count):
            assert stub.go(_WAIT)

    return Way(step, lambda: time.process_time() + stub.cpu_time() / 1e9)


def round_trips(names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """Exits of each kind and the way back."""
    compiled = exchange_in_c() if "native" in names else None
    for name, code, prepare in (
        ("system call", "0f05ebfc", Bench.system_call),
        ("#GP (hlt)", "f4", partial(Bench.fault, code="f4")),
        ("#PF", "8b042500000010", partial(Bench.fault, code="8b042500000010")),
        ("enter, return by the call gate", "", Bench.enter_and_return),
        ("device read", "", Bench.device),
        ("protection changed, then a call", "", Bench.protection),
        ("context put aside and restored", "", Bench.suspend),
    ):
        bared = {"bare": bare(code)} if code and "native" in names else {}
        taken = measure({**bared, **ways(names, prepare)}, seconds)
        note = ""
        targets = []
        if name == "system call":
            limits = {"unicorn": 4.0, "native": 7.0}
            targets = [
                Target(f"{way} <= {limits[way]:g} us: {taken[way].best:.1f}", taken[way].best <= limits[way])
                for way in names
            ]
            if compiled:
                note = f"in C {compiled.notified:.1f} us for a notification alone, without a signal and its registers"
        in_c = {"system call": "trapped", "#GP (hlt)": "protection", "#PF": "page"}.get(name)
        if compiled and in_c:
            best = getattr(compiled, in_c)
            taken["C"] = Timing(best, best)
        yield times("round trips", name, taken, *targets, note=note)


def resets(names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """A handler of some 300 instructions, five dirty pages put back after each run."""
    taken = measure(ways(names, Bench.reset), seconds)
    targets = [
        Target(f"{way} >= 80,000/s: {1e6 / one.best:,.0f}", one.best <= 1e6 / 80_000) for way, one in taken.items()
    ]
    yield rates("round trips", "small handler with reset", "1/s", 1, taken, *targets)


def coverage(names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """Unicorn counting every edge, beside itself without."""
    if "unicorn" not in names:
        return
    prepare = partial(Bench.compute_branchy, rounds=_ROUNDS)
    counting = Bench("unicorn")
    if not isinstance(counting.processor, UnicornProcessor) or counting.processor.cover_edges() is None:
        yield Figure("computing", "branches, edges counted", "", {}, note="this host allows no hook of machine code")
        return
    both = {"without": Way(prepare(Bench("unicorn"))), "unicorn": Way(prepare(counting))}
    taken = measure(both, seconds)
    share = taken["without"].best / taken["unicorn"].best
    target = Target(f">= 0.6 of Unicorn without: {share:.2f}", share >= 0.6)
    yield rates(
        "computing", "branches, edges counted", "M rounds/s", _ROUNDS / 1e6, {"unicorn": taken["unicorn"]}, target
    )
