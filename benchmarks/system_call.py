"""What a system call costs through the whole supervisor, and where the time goes: microseconds a call.

    python benchmarks/system_call.py [seconds per figure]

The same loop of ring-3 code is run three ways in one process: with a supervisor that answers (gate, checks, policy,
event), with a bare processor that is resumed with 0 at once, and, for the parts, without any processor. Figures are
the best of several runs; only ratios travel between computers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from mmsupervisor.abi.system_calls import SYSTEM_CALLS, CallNumber
from mmsupervisor.core.calls import SERVICES
from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import SystemCallMade
from mmsupervisor.core.gate import SystemCallGate
from mmsupervisor.core.modules import Module
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.machine.events import Hex
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.guid import Guid
from mmsupervisor.processor.interface import Entry, GateReturn, SystemCall
from mmsupervisor.session import Session, boot

RUNS = 5
CALLS = {
    CallNumber.SMM_QRY_HOB: (0, 0, 0),
    CallNumber.SMM_SC_IO_READ: (0x80, 0, 0),
    CallNumber.SMM_SC_RDMSR: (0x1B, 0, 0),
    CallNumber.SMM_MM_UNBLOCKED: (0xFEC0_0000, 4, 0),
    CallNumber.SMM_MM_IS_COMM_BUFF: (0, 1, 0),
}


def loop(number: int, arguments: tuple[int, int, int]) -> bytes:
    """Code that makes a call RCX times and returns through the gate; the call keeps RBX and the arguments."""
    rdx, r8, r9 = (value.to_bytes(8, "little").hex() for value in arguments)
    return bytes.fromhex(
        f"48ba{rdx} 49b8{r8} 49b9{r9}"  # mov rdx, r8, r9
        "4889cb"  # mov rbx, rcx
        f"b8{number.to_bytes(4, 'little').hex()}"  # next: mov eax, number
        "0f05 48ffcb 75f4"  # syscall; dec rbx; jnz next
        "4157 ff1c24"  # push r15; call far [rsp]
    )


@dataclass
class Bench:
    """A booted platform and a page of ring-3 code in it."""

    session: Session
    page: int

    def put(self, code: bytes) -> None:
        memory = self.session.memory
        memory.assign(self.page, PAGE_SIZE, Attribute.XP | Attribute.RO)  # as data for a moment: the code is new
        memory.write(self.page, code)
        memory.assign(self.page, PAGE_SIZE, Attribute.RO)

    @property
    def core(self) -> Core:
        assert self.session.core is not None
        return self.session.core

    def whole(self, count: int) -> None:
        assert self.core.ring3.call(self.page, (count,), 0) is not None

    def bare(self, count: int) -> None:
        stacks = self.core.supervisor.stacks
        processor = self.core.supervisor.processor
        exit_ = processor.enter(Entry(self.page, stacks.base + stacks.size - 0x18, (count,), self.page))
        while not isinstance(exit_, GateReturn):
            exit_ = processor.resume(0)


def prepare() -> Bench:
    """Boot the sample platform and add a driver with one page of code."""
    session = boot()
    assert session.core is not None
    supervisor = session.core.supervisor
    page = supervisor.pages.allocate(1, PageType.RUNTIME_SERVICES_CODE, Owner.USER, "benchmark")
    supervisor.modules.add(Module("Benchmark", Guid(bytes(16)), page, PAGE_SIZE, page))
    return Bench(session, page)


def best(action: Callable[[int], None], seconds: float) -> float:
    """Microseconds of one step: the best of some runs of about ``seconds`` in all."""
    count = 64
    while True:
        begin = time.perf_counter()
        action(count)
        took = time.perf_counter() - begin
        if took > seconds / RUNS:
            break
        count *= 2
    fastest = took
    for _ in range(RUNS - 1):
        begin = time.perf_counter()
        action(count)
        fastest = min(fastest, time.perf_counter() - begin)
    return fastest / count * 1e6


def repeat(step: Callable[[], object]) -> Callable[[int], None]:
    def action(count: int) -> None:
        for _ in range(count):
            step()

    return action


def main(seconds: float) -> None:
    bench = prepare()
    supervisor = bench.core.supervisor
    gate = SystemCallGate(supervisor, SERVICES)
    ring3 = bench.core.ring3
    print(f"{'call':22}{'whole':>8}{'bare':>8}{'ratio':>7}   without a processor:{'gate':>7}{'service':>9}")
    for number, arguments in CALLS.items():
        bench.put(loop(number, arguments))
        whole, bare = best(bench.whole, seconds), best(bench.bare, seconds)
        call = SystemCall(number, arguments, bench.page + 40, supervisor.stacks.base + 0x1000)
        gated = best(repeat(lambda call=call: gate.dispatch(call)), seconds)
        serve = SERVICES[number]
        served = best(repeat(lambda serve=serve, args=arguments: serve(supervisor, *args)), seconds)
        ratio, name = whole / bare, SYSTEM_CALLS[number].name
        print(f"{name:22}{whole:8.2f}{bare:8.2f}{ratio:7.2f}{'':23}{gated:7.2f}{served:9.2f}")
    event = SystemCallMade("SMM_QRY_HOB", (), "", Hex(0))
    print(f"an event logged: {best(repeat(lambda: supervisor.log.emit(event)), seconds):.2f}")
    rip, rsp = bench.page + 40, supervisor.stacks.base + 0x1000
    print(f"the place in the driver found: {best(repeat(lambda: ring3._locate(rip, rsp)), seconds):.2f}")
    bench.session.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.5)
