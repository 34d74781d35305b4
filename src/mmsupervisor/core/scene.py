"""Where and how a finding was made: the message under way, ring 3's registers and its stack.

It is taken before anything else happens, since the error report runs on the same stack. What it means (who called
whom, which source line) is worked out where reports are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmsupervisor.core.events import MmiBegan, SystemCallMade
from mmsupervisor.machine.events import EventLog
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.processor.interface import Registers

if TYPE_CHECKING:
    from mmsupervisor.core.modules import Module
    from mmsupervisor.core.supervisor import Ring3Stacks, Supervisor

_MOST_STACK = 0x4000
_FOREIGN_STACK = 0x1000


@dataclass(frozen=True, slots=True)
class Ring3Scene:
    """Ring 3 at its last exit.

    Attributes:
        registers: Its general registers.
        stack: What lies at RSP and above, as far as it is that stack's; empty where there is no memory.
        modules: The images that were loaded.
    """

    registers: Registers
    stack: bytes = field(repr=False)
    modules: tuple[Module, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where and how a finding was made.

    Attributes:
        mmi: Number of the MMI, 0 for the core's own entry.
        step: Running number of the finding's event.
        cpu: On which CPU.
        message: The beginning of that MMI, with its message, or None outside of one.
        request: The system call that was refused, or None.
        ring3: Ring 3, or None for what is not about its code.
    """

    mmi: int
    step: int
    cpu: int
    message: MmiBegan | None
    request: SystemCallMade | None
    ring3: Ring3Scene | None


def take_scene(supervisor: Supervisor, *, with_ring3: bool) -> Scene:
    """Take the scene of a finding whose event comes next.

    Args:
        supervisor: The supervisor.
        with_ring3: Whether it is about what ring 3 just did.
    """
    log = supervisor.log
    last = log.records[-1].event if log.records else None
    request = last if isinstance(last, SystemCallMade) and last.result is None else None
    ring3 = _take_ring3(supervisor) if with_ring3 else None
    return Scene(log.mmi, log.next_step, supervisor.current_cpu, _message(log), request, ring3)


def _message(log: EventLog) -> MmiBegan | None:
    for record in reversed(log.records):
        if record.position.mmi != log.mmi:
            return None
        if isinstance(record.event, MmiBegan):
            return record.event
    return None


def _take_ring3(supervisor: Supervisor) -> Ring3Scene:
    registers = supervisor.processor.registers()
    stack = read_stack(supervisor.memory, supervisor.stacks, registers.rsp)
    return Ring3Scene(registers, stack, tuple(supervisor.modules.modules))


def read_stack(memory: PhysicalMemory, stacks: Ring3Stacks, rsp: int) -> bytes:
    """Read what lies at a stack pointer and above: to the end of a ring-3 stack, or a page of any other memory."""
    if rsp >= memory.pages.limit:
        return b""
    bank = memory.state(rsp).bank
    if bank is None or bank.backing is None:
        return b""
    size = _FOREIGN_STACK
    if stacks.size and stacks.base <= rsp < stacks.base + stacks.size * stacks.count:
        size = min(stacks.size - (rsp - stacks.base) % stacks.size, _MOST_STACK)
    return memory.read(rsp, min(size, bank.end - rsp))
