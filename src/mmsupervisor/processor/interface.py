"""What every ring-3 processor offers: enter ring 3, and come back with one precise exit.

A processor runs one ring-3 context at a time in the machine's memory. It never decides: what a driver
wanted is an exit, the supervisor answers, the processor goes on. Nothing of the supervisor runs inside a
processor's own callbacks.

Preconditions that every implementation keeps (docs/reference/syscall-abi.md §1 to §3, §9):

* Code runs at CPL 3 with IOPL 0: IN, OUT, CLI, HLT, RDMSR and their like end in a #GP exit.
* At entry every register is as :class:`Entry` says; all others are zero, the x87 and SSE state is the
  architectural initial one, MXCSR is 0x1F80, RFLAGS is 0x2 (interrupts off: an MMI masks them).
* After a system call RCX holds the return address and R11 the flags; everything else but RAX is unchanged.
* A far call through selector 0x63 is the way back to ring 0 and ends in a :class:`GateReturn`.
* No host time and no randomness reach the code: RDTSC and RDTSCP are exits, RDRAND and RDSEED are absent
  (#UD), CPUID answers come from the description given at construction.
* Page-fault error codes are those of the machine's page map, not of the host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from mmsupervisor.machine.memory import Access, PhysicalMemory

CALL_GATE_SELECTOR = 0x63
"""Selector of the call gate by which ring 3 returns (docs/reference/syscall-abi.md §2)."""

CALL_GATE_POINTER = CALL_GATE_SELECTOR << 32
"""What R15 holds at entry: the far pointer of the call gate."""


@dataclass(frozen=True, slots=True)
class Registers:
    """The general registers of a ring-3 context, 64 bits each."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rbp: int = 0
    rsp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    rflags: int = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """How ring 3 begins (docs/reference/syscall-abi.md §3.2).

    Attributes:
        rip: First instruction.
        rsp: Stack pointer; stack arguments are already in memory.
        arguments: Up to four, for RCX, RDX, R8 and R9.
        rax: The routine's address, as the reference leaves it there.
    """

    rip: int
    rsp: int
    arguments: tuple[int, ...] = ()
    rax: int = 0


@dataclass(frozen=True, slots=True)
class SystemCall:
    """SYSCALL was executed. Answer with ``resume(result)``.

    Attributes:
        number: RAX.
        arguments: RDX, R8, R9.
        rip: Address after the instruction (what RCX holds).
        rsp: Stack pointer.
    """

    number: int
    arguments: tuple[int, int, int]
    rip: int
    rsp: int


@dataclass(frozen=True, slots=True)
class GateReturn:
    """Ring 3 came back through the call gate; this entry is over.

    Attributes:
        status: RAX, all 64 bits.
        rip: Address of the far call.
    """

    status: int
    rip: int


@dataclass(frozen=True, slots=True)
class MmioAccess:
    """A device's page was touched with the right to do so.

    Answer with ``resume(value)``; for a write the value is ignored. An instruction that touches the device
    more than once (``rep movs``, ``or [mem], reg``) gives one exit for each touch, in program order. Where a bank says
    that its device answers within, a processor may let it, and there is no exit.

    Attributes:
        address: First byte.
        width: Bytes: 1, 2, 4 or 8.
        write: Direction.
        value: What is written; 0 for a read.
        rip: Address of the instruction.
    """

    address: int
    width: int
    write: bool
    value: int
    rip: int


@dataclass(frozen=True, slots=True)
class TimestampRead:
    """RDTSC or RDTSCP was executed. Answer with ``resume(ticks)``.

    Attributes:
        rip: Address of the instruction.
        with_cpu: Whether it was RDTSCP, which also yields the CPU number (taken as zero).
    """

    rip: int
    with_cpu: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception. The instruction has had no effect; the registers are those before it.

    Attributes:
        vector: Exception vector, 0 to 31.
        error_code: What the processor would push, or None for vectors without one.
        address: CR2 for a page fault, else None.
        access: For a page fault, what was tried; else ``Access.NONE``.
        rip: Address of the instruction.
        instruction: The bytes there, as far as they can be fetched, 15 at the most.
    """

    vector: int
    error_code: int | None
    address: int | None
    access: Access
    rip: int
    instruction: bytes = b""


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """The budget of this entry is used up. Where exactly differs between processors.

    ``resume()`` goes on with the whole budget anew, so that contexts can take turns.

    Attributes:
        is_exact: Whether every run spends it at the same instruction, which is then worth telling.
    """

    is_exact: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Died:
    """The processor cannot go on, through no rule of the machine: a fault of this program or of the host.

    Attributes:
        reason: What happened, in words.
    """

    reason: str


Exit: TypeAlias = SystemCall | GateReturn | MmioAccess | TimestampRead | Fault | BudgetSpent | Died
"""All ways out of ring 3."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """A context put aside while another runs; opaque to all but the processor that made it.

    Attributes:
        registers: General registers, for reports.
        state: The rest.
    """

    registers: Registers
    state: object


@dataclass(frozen=True, slots=True)
class CpuIdLeaf:
    """One answer of CPUID.

    Attributes:
        eax: And so on: the four registers.
    """

    eax: int
    ebx: int
    ecx: int
    edx: int


CpuIdTable: TypeAlias = dict[tuple[int, int], CpuIdLeaf]
"""Answers by (leaf, subleaf); a leaf without its subleaf falls back to subleaf 0, an absent one is all zero."""


@dataclass(frozen=True, slots=True)
class ProcessorOptions:
    """What a processor is told at construction.

    Attributes:
        cpuid: The CPU that drivers see.
        budget: Instructions that one entry may execute, in all its resumptions; 0 for no bound. A processor
            may estimate them from the bytes of code that ran, or use time at a stated rate.
    """

    cpuid: CpuIdTable
    budget: int = 200_000_000


class Processor(Protocol):
    """One ring-3 context at a time in the machine's memory."""

    name: str
    memory: PhysicalMemory

    def enter(self, entry: Entry) -> Exit:
        """Begin a fresh context and run it to its first exit. Whatever ran before is forgotten."""

    def resume(self, value: int = 0) -> Exit:
        """Answer the last exit (a system call's result, a read's value) and run to the next.

        After a :class:`Fault` the faulting instruction is executed again: change the cause or the registers first.
        """

    def registers(self) -> Registers:
        """Return the registers at the last exit; after a system call RCX and R11 as the instruction left them."""

    def set_registers(self, registers: Registers) -> None:
        """Replace the registers; the next ``resume`` begins with them and ignores its value."""

    def suspend(self) -> Suspended:
        """Put the context aside, x87 and SSE state included, so that another can be entered."""

    def restore(self, suspended: Suspended) -> None:
        """Take a context up again; ``resume`` then answers the exit it was suspended at."""

    def forget_code(self, start: int, size: int) -> None:
        """Take notice that the supervisor wrote to pages that ring 3 may execute.

        Needed only when the pages stayed executable in between: a page that becomes executable is always read anew,
        and what ring 3 writes to its own code takes effect by itself.

        Args:
            start: First address, page aligned.
            size: Bytes, whole pages, within one bank.
        """

    def close(self) -> None:
        """Give up all resources. Closing twice is allowed."""
