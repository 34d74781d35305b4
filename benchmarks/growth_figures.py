"""What grows with what: drivers, message size, CPUs, policy entries."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from random import Random

from benchmarks.figures import Figure, times
from benchmarks.ring3_figures import processor_clock
from benchmarks.supervisor_figures import boot_echo, echo
from benchmarks.timing import Timing, Way, measure, repeat
from mmsupervisor import prebuilt
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.sample import DriverFile, mm_volume
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.model import AccessAttr, MsrEntry, PolicyRoot, RootType
from mmsupervisor.session import Session, boot

DRIVERS = (1, 10, 100, 1000)
SIZES = (16, 256, 4096, 32_768, 65_000)
"""Bytes of a message; the buffer has 64 KiB, its header included."""

CPUS = (1, 4, 16, 64)
ENTRIES = (1, 100, 10_000, 100_000)
_MMRAM = 256 << 20
_ASKED = 64


def drivers(names: Sequence[str], _seconds: float) -> Iterator[Figure]:
    """A boot with so many drivers, all the same small one under names of their own."""
    known = prebuilt.driver("Echo")
    image = prebuilt.image("Echo")
    description = replace(PlatformDescription(), mmram_size=_MMRAM)
    for count in DRIVERS:
        files = [
            DriverFile(f"Driver{number}", Guid(number.to_bytes(16, "big")), image, known.depex)
            for number in range(1, count + 1)
        ]
        volume = mm_volume(files)
        taken = {}
        for name in names:
            begin = time.process_time()
            with boot(volume, processor=name, description=description, name="drivers") as session:
                taken[name] = (time.process_time() - begin) * 1e3
                started = sum(driver.state == "started" for driver in session.drivers)
            if started < count:
                raise RuntimeError(f"{started} of {count} drivers were started")
        yield Figure("growth: drivers", f"boot with {count:,} drivers", "ms", taken, at=count)


def _echoes(sessions: dict[str, Session], size: int) -> dict[str, Way]:
    return {
        name: Way(repeat(echo(session, size)), processor_clock(session._platform.processor))
        for name, session in sessions.items()
    }


def sizes(names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """A message of so many bytes to the Echo driver, which sends it back."""
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(boot_echo(name)) for name in names}
        for size in SIZES:
            taken = measure(_echoes(sessions, size), seconds / 2)
            yield times("growth: message size", f"Echo, {size:,} bytes", taken, at=size)


def cpus(names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """A message on a platform with so many CPUs."""
    for count in CPUS:
        with ExitStack() as stack:
            description = replace(PlatformDescription(), cpus=count)
            sessions = {name: stack.enter_context(boot_echo(name, description)) for name in names}
            taken = measure(_echoes(sessions, 24), seconds / 2)
            yield times("growth: CPUs", f"Echo, {count} CPUs", taken, at=count)


def policy(_names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """A decision about an MSR, under a policy with so many entries; no processor has a part in it."""
    for count in ENTRIES:
        random = Random(count)
        entries = [MsrEntry(number * 16, 1 + number % 15, 3) for number in range(count)]
        random.shuffle(entries)
        blob = assemble([PolicyRoot(RootType.MSR, AccessAttr.DENY, tuple(entries))])
        wanted = [random.randrange(count * 16) for _ in range(_ASKED)]
        begin = time.process_time()
        compiled = CompiledPolicy(blob)
        compiled.msr(0, 1)
        prepared = (time.process_time() - begin) * 1e3

        def decide(wanted: list[int] = wanted, compiled: CompiledPolicy = compiled) -> None:
            for msr in wanted:
                compiled.msr(msr, 1)

        taken = measure({"in-process": Way(repeat(decide))}, seconds / 2)
        each = {way: Timing(one.best / _ASKED, one.middle / _ASKED) for way, one in taken.items()}
        note = f"made ready in {prepared:,.1f} ms"
        yield times("growth: policy entries", f"decision among {count:,} entries", each, at=count, note=note)
