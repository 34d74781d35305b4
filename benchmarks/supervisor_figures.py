"""The full supervisor: messages to real handlers, start, boot by phase, memory, both cores."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, Target, rates
from benchmarks.firmware_input import ABSENT, ovmf_image, with_variables
from benchmarks.ring3_figures import processor_clock
from benchmarks.timing import Way, measure, repeat
from mmsupervisor import prebuilt
from mmsupervisor.core.events import HandlerReturned, MmiEnded
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.events import Record
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.session import Session, boot, boot_driver

ECHO_GUID = Guid.parse("7E4B9B58-CA13-4595-BFAE-2AD14A77CE3C")
BOX = Guid.parse("5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11")
OWNER = Guid.parse("6F6D6D73-7570-4C61-8E11-0123456789AB")
_TIMES = 5


def boot_echo(processor: str, description: PlatformDescription | None = None) -> Session:
    """Boot the sample with the most trivial handler, alone with the broker."""
    known = prebuilt.driver("Echo")
    return boot_driver(
        prebuilt.image("Echo"), "Echo", known.guid, depex=known.depex, processor=processor, description=description
    )


def echo(session: Session, size: int = 24) -> Callable[[], object]:
    """Return what sends the Echo driver a message."""
    payload = bytes(size)
    session.communicate(ECHO_GUID, payload)
    assert any(isinstance(record.event, HandlerReturned) for record in session.events[-6:])  # if only to refuse it
    return lambda: session.communicate(ECHO_GUID, payload)


def _clock(session: Session) -> Callable[[], float]:
    return processor_clock(session._platform.processor)


def messages(names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """A message in, handlers in ring 3, the answer out."""
    with ExitStack() as stack:
        ways = {}
        for name in names:
            session = stack.enter_context(boot_echo(name))
            ways[name] = Way(repeat(echo(session)), _clock(session))
        yield rates("messages", "trivial handler (Echo)", "1/s", 1, measure(ways, seconds))
    image = ovmf_image()
    if image is None:
        yield Figure("messages", "SmmLockBox and VariableSmm of OVMF", "", {}, note=ABSENT)
        return
    with ExitStack() as stack:
        pages, sessions = {}, {}
        for name in names:
            session, page = _observe(image, name)
            sessions[name], pages[name] = stack.enter_context(session), page
        yield from _ovmf_messages(sessions, pages, seconds)


def _observe(image: Path, processor: str) -> tuple[Session, int]:
    """Boot OVMF with a box and a variable in it; return also a page that the lock box may restore to."""
    session = boot(image, description=with_variables(image), processor=processor, observe=True, until=Phase.DXE)
    session.lock_box.save(BOX, bytes(range(256)))
    page = session.allocate(1)
    session.advance(Phase.READY_TO_BOOT)
    session.variables.set("Benchmark", OWNER, bytes(100))
    return session, page


def _ovmf_messages(sessions: dict[str, Session], pages: dict[str, int], seconds: float) -> Iterator[Figure]:
    def ways(make: Callable[[Session], Callable[[], object]]) -> dict[str, Way]:
        return {name: Way(repeat(make(session)), _clock(session)) for name, session in sessions.items()}

    def restore(session: Session) -> Callable[[], object]:
        box, address = session.lock_box, pages[session.processor]
        return lambda: box.restore_to(BOX, address, 256)

    def setting(session: Session) -> Callable[[], object]:
        state = [0]

        def action() -> None:
            state[0] ^= 1
            session.variables.set("Benchmark", OWNER, struct.pack("<B", state[0]) * 100)

        return action

    taken = measure(ways(restore), seconds)
    targets = [Target(f"{name} >= 20,000/s: {1e6 / one.best:,.0f}", one.best <= 50) for name, one in taken.items()]
    yield rates("messages", "SmmLockBox RESTORE, 256 bytes", "1/s", 1, taken, *targets)
    getting = ways(lambda session: lambda: session.variables.get("Benchmark", OWNER))
    yield rates("messages", "VariableSmm GetVariable, 100 bytes", "1/s", 1, measure(getting, seconds))
    yield rates("messages", "VariableSmm SetVariable, 100 bytes", "1/s", 1, measure(ways(setting), seconds))


def _milliseconds(section: str, name: str, taken: dict[str, list[float]], *targets: Target) -> Figure:
    best = {way: min(one) * 1e3 for way, one in taken.items()}
    return Figure(section, name, "ms", best, {way: median(one) * 1e3 for way, one in taken.items()}, targets)


class _FirstMmi(Exception):  # noqa: N818 - it ends a boot that went well
    """The first MMI has been served."""


def _time_to_first_mmi(processor: str) -> float:
    """Seconds from nothing to the end of the first MMI: the launch of the sample platform, imports excluded."""

    def stop(record: Record) -> None:
        if isinstance(record.event, MmiEnded):
            raise _FirstMmi

    begin = time.process_time()
    try:
        boot(processor=processor, prepare=lambda session: session.log.add_sink(stop))
    except _FirstMmi:
        return time.process_time() - begin
    raise RuntimeError("no MMI was served")


def start(names: Sequence[str], _seconds: float) -> Iterator[Figure]:
    """From nothing to the first MMI, and a whole boot by phase."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(_TIMES):
        for name in names:
            taken[name].append(_time_to_first_mmi(name))
    limits = {"unicorn": 50, "native": 10}
    targets = [
        Target(f"{name} <= {limits[name]} ms: {min(taken[name]) * 1e3:.1f}", min(taken[name]) * 1e3 <= limits[name])
        for name in names
    ]
    yield _milliseconds("start", "cold start to the first MMI", taken, *targets)
    yield from _phases("sample platform", names, lambda name, until: boot(processor=name, until=until))
    image = ovmf_image()
    if image is not None:
        observed = lambda name, until: boot(  # noqa: E731 - as short as the one above
            image, processor=name, until=until, observe=True, description=with_variables(image)
        )
        yield from _phases("OVMF, observed", names, observed)


def _phases(what: str, names: Sequence[str], begin: Callable[[str, Phase], Session]) -> Iterator[Figure]:
    taken: dict[Phase, dict[str, list[float]]] = {phase: {name: [] for name in names} for phase in Phase}
    for _ in range(2):
        for name in names:
            started = time.perf_counter()
            with begin(name, Phase.LAUNCHED) as session:
                for phase in Phase:
                    if phase is not Phase.LAUNCHED:
                        started = time.perf_counter()
                        session.advance(phase)
                    taken[phase][name].append(time.perf_counter() - started)
    for phase, ways in taken.items():
        yield _milliseconds("boot by phase", f"{what}: {phase.value}", ways)


# Whole processes


def _child(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.child", *words], stdout=subprocess.PIPE, text=True)


def _answer(process: subprocess.Popen[str]) -> dict[str, float]:
    out, _ = process.communicate(timeout=120)
    answer: dict[str, float] = json.loads(out)
    return answer


def memory(names: Sequence[str], _seconds: float) -> Iterator[Figure]:
    """What a process takes that has booted the sample platform, and what the stub takes beside it."""
    answers = {name: _answer(_child("memory", name)) for name in names}
    for key, what in (("imported", "imported, nothing booted"), ("booted", "after a boot"), ("stub", "native stub")):
        yield Figure("memory", what, "MiB", {name: one[key] / 1024 for name, one in answers.items() if one[key]})


def cores(names: Sequence[str], seconds: float) -> Iterator[Figure]:
    """Messages a second of one process, and of two at once together."""
    best: dict[str, dict[str, float]] = {"one process": {}, "two at once": {}}
    for name in names:
        for what, count in (("one process", 1), ("two at once", 2)):
            running = [_child("messages", name, str(max(seconds, 0.5))) for _ in range(count)]
            best[what][name] = sum(_answer(one)["rate"] for one in running)
    for what, values in best.items():
        yield Figure("both cores", f"Echo, {what}", "1/s", values, note="by the clock: other programs take their share")
