"""A processor that tells an observer of each touch of a watched page, and carries it out as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mmsupervisor.audit.watched_memory import WatchedMemory
from mmsupervisor.machine.memory import PAGE_MASK, Access, PhysicalMemory
from mmsupervisor.processor.interface import (
    Entry,
    Exit,
    Fault,
    MmioAccess,
    Processor,
    ProcessorOptions,
    Registers,
    Suspended,
)

_PAGE_FAULT = 14


@dataclass(frozen=True, slots=True)
class MemoryTouch:
    """One touch of a watched page by ring 3.

    Attributes:
        address: First byte.
        width: Bytes: 1, 2, 4 or 8.
        write: Direction.
        value: What was read or is written.
        rip: The instruction.
        registers: The registers in front of it.
    """

    address: int
    width: int
    write: bool
    value: int
    rip: int
    registers: Registers


class Observer(Protocol):
    """Who is told."""

    def touched(self, touch: MemoryTouch) -> None:
        """Ring 3 touches a watched page."""

    def unseen(self, fault: Fault, registers: Registers) -> None:
        """An instruction that cannot be taken apart touches a watched page: the page is open until the next exit."""

    def faulted(self, fault: Fault, registers: Registers) -> None:
        """Ring 3 takes an exception, which the supervisor will judge."""


class WatchingProcessor:
    """A processor (see :class:`mmsupervisor.processor.interface.Processor`) around another one.

    Its exits are those of the other, but touches of watched pages.

    Attributes:
        name: The other's.
        memory: The machine's memory, as the supervisor sees it.
        watched: The same as the other processor sees it.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        options: ProcessorOptions,
        observer: Observer,
        make: Callable[[PhysicalMemory, ProcessorOptions], Processor],
    ) -> None:
        """Make the other processor on a memory of which pages can be watched."""
        self.memory = memory
        self.watched = WatchedMemory(memory)
        self._inner = make(self.watched, options)
        self._observer = observer
        self._lifted: list[int] = []
        self.name = self._inner.name

    def enter(self, entry: Entry) -> Exit:
        """Begin a fresh context and run it to its first exit."""
        return self._sift(self._inner.enter(entry))

    def resume(self, value: int = 0) -> Exit:
        """Answer the last exit and run to the next."""
        return self._sift(self._inner.resume(value))

    def registers(self) -> Registers:
        """Return the registers at the last exit."""
        return self._inner.registers()

    def set_registers(self, registers: Registers) -> None:
        """Replace the registers."""
        self._inner.set_registers(registers)

    def suspend(self) -> Suspended:
        """Put the context aside."""
        return self._inner.suspend()

    def restore(self, suspended: Suspended) -> None:
        """Take a context up again."""
        self._inner.restore(suspended)

    def forget_code(self, start: int, size: int) -> None:
        """Take notice that the supervisor wrote to pages that ring 3 may execute."""
        self._inner.forget_code(start, size)

    def close(self) -> None:
        """Give up all resources; the machine's memory stays."""
        self._inner.close()

    def _sift(self, exit_: Exit) -> Exit:
        """Carry out touches of watched pages until there is an exit for the supervisor."""
        while True:
            if isinstance(exit_, MmioAccess) and self.watched.is_watched(exit_.address):
                exit_ = self._inner.resume(self._carry_out(exit_))
            elif isinstance(exit_, Fault) and self._is_ours(exit_):
                exit_ = self._let_pass(exit_)
            else:
                break
        while self._lifted:
            self.watched.watch_again(self._lifted.pop())
        if isinstance(exit_, Fault):
            self._observer.faulted(exit_, self._inner.registers())
        return exit_

    def _carry_out(self, access: MmioAccess) -> int:
        value = access.value
        if not access.write:
            value = int.from_bytes(self.memory.read(access.address, access.width), "little")
        registers = self._inner.registers()
        touch = MemoryTouch(access.address, access.width, access.write, value, access.rip, registers)
        self._observer.touched(touch)
        if access.write:
            self.memory.write(access.address, value.to_bytes(access.width, "little"))
        return value

    def _is_ours(self, fault: Fault) -> bool:
        """Whether a page fault comes from watching only: the page lets ring 3 do what it tried."""
        if fault.vector != _PAGE_FAULT or fault.address is None or not self.watched.is_watched(fault.address):
            return False
        access = fault.access & ~Access.EXECUTE
        return bool(access) and self.memory.state(fault.address).ring3 & access == access

    def _let_pass(self, fault: Fault) -> Exit:
        """Open the page for an instruction that nobody takes apart, and have it executed again."""
        self._observer.unseen(fault, self._inner.registers())
        page = (fault.address or 0) & ~PAGE_MASK
        self.watched.lift(page)
        self._lifted.append(page)
        return self._inner.resume()
