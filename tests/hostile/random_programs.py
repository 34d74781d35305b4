"""Runs random ring-3 programs under the supervisor and looks whether it holds.

    python -m tests.hostile.random_programs --count 1000000 --processor unicorn

Each program runs as a handler would, on a core of its own making: a real processor, the real gate, no broker. It must
end: by the call gate, by a finding, or by its budget. Afterwards the invariants hold, no byte that is not ring 3's to
write has changed, and an MMI is served or refused as it must be. Anything else that is raised is an error of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.calls import SERVICES
from mmsupervisor.core.entry import Core, start_core
from mmsupervisor.core.events import SystemCallMade
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.gate import SystemCallGate
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.ring3 import Ring3
from mmsupervisor.core.supervisor import Machine, Supervisor
from mmsupervisor.machine.events import EventLog
from mmsupervisor.machine.memory import PAGE_SIZE, Access, Attribute
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import ProcessorOptions
from mmsupervisor.processor.select import make_processor
from tests.core import small
from tests.core.files import core_volume
from tests.core.small import Small
from tests.hostile.programs import LEAVE, SIZE, Kind, Places, make_program
from tests.support.invariants import broken_invariants

BUDGET = 2_000
"""Instructions that a program may take."""

EVERY = 250
"""Programs between two looks at all of memory, where none changed anything by a system call."""

PROGRESS = 50_000
"""Programs after which the long form says how far it is."""

_CENTRAL = bytes.fromhex("488b442428 4883ec28 ffd0 4883c428") + LEAVE
_AP = bytes.fromhex("4889c8 4889d1 4883ec28 ffd0 4883c428") + LEAVE
_AP_OFFSET = 0x40
_FILLER = b"\xc3"
"""RET: whoever surveys code before it runs has nothing to follow behind a program."""

_HARMLESS = frozenset(
    number.name
    for number in (
        CallNumber.SMM_QRY_HOB, CallNumber.SMM_MM_UNBLOCKED, CallNumber.SMM_MM_IS_COMM_BUFF, CallNumber.SMM_SC_CLI,
        CallNumber.SMM_SC_HLT, CallNumber.SMM_SC_WBINVD, CallNumber.SMM_SC_RDMSR, CallNumber.SMM_SC_IO_READ,
    )
)  # fmt: skip
"""Calls that change nothing of the supervisor's."""

_CHANNEL = ((small.USER_BUFFER, small.COMM_PAGES * PAGE_SIZE), (small.USER_STATUS, PAGE_SIZE))
"""What an MMI writes outside MMRAM."""

_MODIFIABLE = Attribute.NONE
_CODE = Attribute.RO


class HostileError(Exception):
    """A program did what none may do."""


@dataclass
class Tally:
    """What became of the programs.

    Attributes:
        ends: How many ended which way: ``returned``, or the number of the finding.
        kinds: How many there were of each kind.
        restarts: How often the core was started anew, because a program changed it.
    """

    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[Kind] = field(default_factory=Counter)
    restarts: int = 0


class Arena:
    """A machine on which programs run, one after the other, each as if it were the first.

    Attributes:
        core: The core.
        tally: What became of the programs so far.
    """

    def __init__(self, processor: str) -> None:
        """Make the machine with a processor."""
        self._small = Small()
        self._small.add_volume(core_volume())
        self._memory = self._small.machine.memory
        self._processor = make_processor(processor, self._memory, ProcessorOptions(amd_cpuid(36), BUDGET))
        self._hobs = self._small.hob_list()
        self.tally = Tally()
        self._pristine: dict[str, bytes] = {}
        self._since = 0
        self._guarded: list[tuple[str, int, int]] = []
        self._read_only: list[tuple[str, int, int]] = []
        self.core: Core
        self._start()
        for bank in self._memory.banks:
            if bank.backing is not None:
                self._pristine[bank.name] = bytes(bank.backing.buffer)

    def close(self) -> None:
        """Give up all resources."""
        self._processor.close()
        self._memory.close()

    @property
    def is_inspected(self) -> bool:
        """Whether all of memory was looked at after the last program."""
        return self._since == 0

    @property
    def _supervisor(self) -> Supervisor:
        return self.core.supervisor

    def _start(self) -> None:
        """Start the core, with the same machine as before, and what a broker and a driver would have."""
        machine = Machine(self._memory, log=EventLog(keep=2000))
        self.core = start_core(machine, self._processor, self._hobs, profile=self._small.profile)
        supervisor = self._supervisor
        supervisor.ring3 = Ring3(supervisor, SystemCallGate(supervisor, SERVICES))
        small.unblock(supervisor, small.FREE_RAM, 2)

        def page(use: str, kind: PageType = PageType.RUNTIME_SERVICES_DATA) -> int:
            return supervisor.pages.allocate(1, kind, Owner.USER, use)

        self._jumps = page("jumps", PageType.RUNTIME_SERVICES_CODE)
        self._program = page("program", PageType.RUNTIME_SERVICES_CODE)
        self._data, self._constants = page("data"), page("constants")
        memory = self._memory
        memory.write(self._jumps, _CENTRAL.ljust(_AP_OFFSET, b"\xcc") + _AP)
        memory.assign(self._jumps, PAGE_SIZE, _CODE)
        memory.assign(self._program, PAGE_SIZE, _CODE)
        memory.assign(self._constants, PAGE_SIZE, Attribute.RO | Attribute.XP)
        supervisor.jumps.central, supervisor.jumps.ap = self._jumps, self._jumps + _AP_OFFSET
        self._places = self._find_places()
        self._find_foreign()
        self._writable = [
            (piece.start, piece.size)
            for piece in memory.pages
            if piece.value.ring3 & Access.WRITE
            and piece.value.bank is not None
            and piece.value.bank.backing is not None
        ]

    def _find_places(self) -> Places:
        supervisor = self._supervisor
        stack = supervisor.stacks
        return Places(
            self._program,
            (self._data, self._data, self._data + 0x700, supervisor.user.internal, small.FREE_RAM, stack.base + 0x400),
            (
                self._program, self._data, self._data, self._data + 0x800, self._data + 0xFFC, self._constants,
                self._jumps, stack.base + 0x100, stack.base + stack.size - 0x40, stack.base + stack.size * 2 - 8,
                supervisor.user.internal, supervisor.shared_page, supervisor.hob_list, small.FREE_RAM,
                small.FREE_RAM + 0x1FFC, small.HOLE, small.MMIO, small.MMIO + 0x3FFC, small.USER_BUFFER, small.MMRAM,
                supervisor.core_base, supervisor.supervisor.internal, 0, 0x1000, 1 << 36, 1 << 47, (1 << 47) - 4,
                1 << 63, (1 << 64) - 0x1000, self._program + SIZE // 2,
            ),
        )  # fmt: skip

    # One program

    def run(self, seed: int) -> str:
        """Run the program of a seed and judge; return how it ended. Raises as :meth:`run_code` does."""
        kind, code = make_program(seed, self._places)
        return self.run_code(code, kind, seed)

    def run_code(self, code: bytes, kind: Kind = Kind.BYTES, seed: int = 0) -> str:
        """Run a program and judge; return how it ended.

        Raises:
            HostileError: it did what none may do.
            Exception: an error of ours.
        """
        memory = self._memory
        memory.write(self._program, code.ljust(PAGE_SIZE, _FILLER))
        if kind is Kind.MODIFYING:
            memory.assign(self._program, PAGE_SIZE, _MODIFIABLE)
        self._processor.forget_code(self._program, PAGE_SIZE)
        end = self._end_of(lambda: self._enter(seed))
        self.tally.ends[end] += 1
        self.tally.kinds[kind] += 1
        self._settle(kind)
        return end

    def _enter(self, seed: int) -> None:
        data = self._data + (seed & 0xFF8)
        self._supervisor.ring3.call(self._program, (data, seed, self._constants, self._supervisor.user.internal), 0)

    def _end_of(self, act: Callable[[], object]) -> str:
        try:
            act()
        except SystemStopError as error:
            if self._supervisor.stop is not error.finding:
                raise HostileError("the system died without saying why") from error
            return error.finding.kind.number
        if self._supervisor.stop is not None:
            raise HostileError("the system died and went on")
        return "returned"

    def _settle(self, kind: Kind) -> None:
        """Look whether everything is in order, and make it as it was."""
        supervisor = self._supervisor
        if kind is Kind.MODIFYING and supervisor.memory.state(self._program).attributes == _MODIFIABLE:
            supervisor.memory.assign(self._program, PAGE_SIZE, _CODE)
        changed = any(
            isinstance(record.event, SystemCallMade) and record.event.result is not None
            and record.event.call not in _HARMLESS
            for record in supervisor.log.records
        )  # fmt: skip
        self._since += 1
        if changed or self._since >= EVERY:
            self.inspect(own_pages_may_change=changed)
        if changed:
            self._serve()
            self.inspect(own_pages_may_change=True)
            self._restart()
            return
        supervisor.stop = None
        supervisor.findings.clear()
        supervisor.log.records.clear()
        self._restore(self._writable)

    def _serve(self) -> None:
        """What a program registered comes into play with the next MMI; a dead system refuses it."""
        supervisor = self._supervisor
        dead = supervisor.stop is not None
        end = self._end_of_message()
        if dead and end == "returned":
            raise HostileError("a dead system served an MMI")

    def _end_of_message(self) -> str:
        try:
            small.send_user(self.core, small.message(small.SOMEBODY, bytes(16)))
        except SystemStopError as error:
            return error.finding.kind.number
        return "returned"

    # All of memory

    def inspect(self, *, own_pages_may_change: bool = False) -> None:
        """Check the invariants, and that nothing that ring 3 may not write has changed.

        Args:
            own_pages_may_change: Whether a system call may have given or taken pages. Then only the supervisor's own
                pages are compared, and what drivers may give up is not asked for.
        """
        self._since = 0
        broken = [one for one in broken_invariants(self.core) if not self._is_allowed(one, own_pages_may_change)]
        if broken:
            raise HostileError(f"invariants: {broken}")
        for name, start, size in self._guarded if own_pages_may_change else (*self._guarded, *self._read_only):
            bank = next(bank for bank in self._memory.banks if bank.name == name)
            at = start - bank.base
            if self._memory.read(start, size) != self._pristine[name][at : at + size]:
                raise HostileError(f"{start:#x} + {size:#x} ({name}) has changed")

    def _is_allowed(self, complaint: str, own_pages_may_change: bool) -> bool:
        """The harness's own pages are no driver's image; and ring 3 may free its own pages and its copy of the HOBs."""
        check = complaint.partition(":")[0]
        if check == "ring3_executes_drivers_only":
            return "(jumps)" in complaint or "(program)" in complaint
        return own_pages_may_change and check in ("hob_list_is_a_read_only_copy", "buffers_are_owned_right")

    def _find_foreign(self) -> None:
        """Find what ring 3 may not write: the supervisor's own pages, and what system calls may give to ring 3."""
        supervisor = self._supervisor
        self._guarded, self._read_only = [], []
        for piece in self._memory.pages:
            bank = piece.value.bank
            if bank is None or bank.backing is None or piece.value.ring3 & Access.WRITE or piece.start == self._program:
                continue
            for record in supervisor.pages.records.slice(piece.start, piece.end):
                ours = record.value is not None and record.value.owner is Owner.SUPERVISOR and not record.value.free
                (self._guarded if ours else self._read_only).append((bank.name, record.start, record.size))

    def _restart(self) -> None:
        self.tally.restarts += 1
        for bank in self._memory.banks:
            if bank.name == "MMRAM" and bank.backing is not None:
                bank.backing.buffer[:] = self._pristine[bank.name]
        self._start()
        self._restore((*self._writable, *_CHANNEL))

    def _restore(self, ranges: Iterable[tuple[int, int]]) -> None:
        for start, size in ranges:
            bank = self._memory.state(start).bank
            if bank is not None:
                at = start - bank.base
                self._memory.write(start, self._pristine[bank.name][at : at + size])


# The host


@dataclass(frozen=True)
class Host:
    """What of the host a program might reach.

    Attributes:
        files: What the working directory's folder holds, with sizes and times.
        descriptors: Open files of this process.
        children: Processes below this one.
    """

    files: tuple[tuple[str, int, int], ...]
    descriptors: int
    children: int

    @classmethod
    def look(cls, folder: Path) -> Host:
        """Look at it now. What others have left to the garbage collector is given back before, and not in between."""
        gc.collect()
        found = sorted(folder.iterdir())
        files = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found)
        return cls(files, _count("/proc/self/fd"), _children())


def _count(folder: str) -> int:
    return len(list(Path(folder).iterdir())) if Path(folder).exists() else 0


def _children() -> int:
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    return len(listing.read_text().split()) if listing.exists() else 0


def run_programs(processor: str, seeds: Iterable[int], report: Callable[[int, Tally], None] | None = None) -> Tally:
    """Run the programs of some seeds on one machine.

    Raises:
        HostileError: one did what none may do; its text names the seed, and the seeds that may also be to blame.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        here = Path(folder)
        (here / "untouched").write_bytes(bytes(16))
        before = Host.look(here)
        tally = _run_all(Arena(processor), seeds, report)
        after = Host.look(here)
    if after != before:
        raise HostileError(f"the host changed from {before} to {after}")
    return tally


def _run_all(arena: Arena, seeds: Iterable[int], report: Callable[[int, Tally], None] | None) -> Tally:
    clean = seed = 0
    try:
        for seed in seeds:
            arena.run(seed)
            if arena.is_inspected:
                clean = seed
                if report is not None:
                    report(seed, arena.tally)
        arena.inspect()
    except Exception as error:
        raise HostileError(f"seed {seed} (or one since {clean}): {error!r}") from error
    finally:
        arena.close()
    return arena.tally


def main(arguments: list[str] | None = None) -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(prog="random_programs", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--processor", choices=("unicorn", "native"), default="unicorn")
    chosen = parser.parse_args(arguments)
    said = 0

    def say(seed: int, tally: Tally) -> None:
        nonlocal said
        done = seed - chosen.start + 1
        if done // PROGRESS > said:
            said = done // PROGRESS
            print(f"{done} programs, up to seed {seed}: {dict(tally.ends)}", file=sys.stderr, flush=True)

    tally = run_programs(chosen.processor, range(chosen.start, chosen.start + chosen.count), say)
    print(f"{chosen.count} programs on {chosen.processor}: the supervisor held; {tally.restarts} restarts")
    for end, count in sorted(tally.ends.items(), key=lambda item: -item[1]):
        print(f"  {end:10} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
