"""Ring 3 on Unicorn: the engine's stops as exits of the interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from mmsupervisor.machine.memory import PAGE_MASK, Access, Bank, PhysicalMemory, ProtectionChange
from mmsupervisor.processor import branches, exceptions, page_map, special
from mmsupervisor.processor.alignment import is_misaligned
from mmsupervisor.processor.code_view import CodeView
from mmsupervisor.processor.decoder import AddressFault, DeviceOperation, MemoryFault, Touch, begin_device_operation
from mmsupervisor.processor.engine_stop import Stop
from mmsupervisor.processor.instructions import MASK64, decode, is_canonical, is_undefined, register_values
from mmsupervisor.processor.interface import (
    CALL_GATE_POINTER,
    BudgetSpent,
    Died,
    Entry,
    Exit,
    Fault,
    GateReturn,
    MmioAccess,
    ProcessorOptions,
    Registers,
    Suspended,
    SystemCall,
    TimestampRead,
)
from mmsupervisor.processor.trapped import is_trapped
from mmsupervisor.processor.unicorn_unsafe import (
    R8,
    R9,
    R11,
    R15,
    RAX,
    RCX,
    RDX,
    RFLAGS,
    RIP,
    RSP,
    Engine,
)

_ARGUMENTS = (RCX, RDX, R8, R9)


class _Context:
    """What :meth:`UnicornProcessor.suspend` keeps."""

    __slots__ = ("answer", "budget", "engine_context", "values")

    def __init__(
        self, engine_context: object, answer: Callable[[int], Exit], budget: tuple[int, int], values: list[int]
    ) -> None:
        self.engine_context = engine_context
        self.answer = answer
        self.budget = budget
        self.values = values


class UnicornProcessor:
    """A processor (see :class:`mmsupervisor.processor.interface.Processor`) that emulates with Unicorn.

    Attributes:
        name: ``"unicorn"``.
        memory: The machine's memory.
    """

    name = "unicorn"

    def __init__(self, memory: PhysicalMemory, options: ProcessorOptions) -> None:
        """Open an engine on the machine's memory.

        Raises:
            EngineError: the installed Unicorn cannot be used.
        """
        self.memory = memory
        self._options = options
        self._changes: list[ProtectionChange] = memory.subscribe()
        self._mapped: tuple[Bank, ...] = ()
        self._engine = Engine(lambda page: page_map.access_without_exit(memory.state(page)), CodeView(memory))
        self._write_entry = self._engine.writer(RAX, RCX, RDX, RSP, R8, R9, R15)
        self._write_return = self._engine.writer(RAX, RCX, R11)
        self._answer: Callable[[int], Exit] = self._nothing_to_resume
        self._closed = False
        self._apply_changes()

    # Interface

    def enter(self, entry: Entry) -> Exit:
        """Begin a fresh context and run it to its first exit. Whatever ran before is forgotten."""
        engine = self._engine
        engine.begin()
        values = engine.registers
        for index in _ARGUMENTS:
            values[index] = 0
        for index, argument in zip(_ARGUMENTS, entry.arguments, strict=False):
            values[index] = argument & MASK64
        values[RAX] = entry.rax
        values[RSP] = entry.rsp
        values[R15] = CALL_GATE_POINTER
        self._write_entry()
        engine.set_budget(self._options.budget)
        return self._run(entry.rip)

    def resume(self, value: int = 0) -> Exit:
        """Answer the last exit (a system call's result, a read's value) and run to the next."""
        return self._answer(value)

    def registers(self) -> Registers:
        """Return the registers at the last exit."""
        return Registers(*self._engine.registers)

    def set_registers(self, registers: Registers) -> None:
        """Replace the registers; the next ``resume`` begins with them and ignores its value."""
        self._load(registers)
        self._answer = self._go_on

    def suspend(self) -> Suspended:
        """Put the context aside, x87 and SSE state included, so that another can be entered."""
        engine = self._engine
        context = _Context(engine.save(), self._answer, engine.save_budget(), list(engine.registers))
        self._answer = self._nothing_to_resume
        return Suspended(Registers(*context.values), context)

    def restore(self, suspended: Suspended) -> None:
        """Take a context up again; ``resume`` then answers the exit it was suspended at."""
        context = suspended.state
        if not isinstance(context, _Context):
            raise TypeError("the context was suspended by another kind of processor")
        self._engine.restore(context.engine_context)
        self._engine.registers[:] = context.values
        self._engine.restore_budget(context.budget)
        self._answer = context.answer

    def forget_code(self, start: int, size: int) -> None:
        """Take notice that the supervisor wrote to pages that ring 3 may execute."""
        for piece in self.memory.slice(start, size):
            if page_map.direct_access(piece.value) & page_map.EXECUTE:
                self._engine.forget_code(piece.start, piece.size)

    def cover_edges(self) -> memoryview | None:
        """Count each step from one block of code to the next from now on, whatever is entered.

        Returns:
            The counts, :data:`mmsupervisor.processor.block_counter_unsafe.EDGES` bytes that the caller may clear: one
            for each pair of blocks, as far as their addresses fall on different places. A byte that overflows goes on
            at 1. None where the host allows no hook of machine code.
        """
        return self._engine.counter.cover_edges()

    def close(self) -> None:
        """Give up all resources. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self.memory.unsubscribe(self._changes)
            self._answer = self._nothing_to_resume
            self._engine.close()

    # Memory

    def _direct_access(self, page: int) -> int:
        return page_map.direct_access(self.memory.state(page))

    def _apply_changes(self) -> None:
        """Take over what happened to memory; a bank that ring 3 can reach was announced by a change as well."""
        banks = self.memory.banks
        if banks != self._mapped:
            for bank in banks:
                if bank.backing is not None and bank not in self._mapped:
                    self._engine.map(bank.base, bank.size, bank.backing.host_address)
                    if bank.device is not None:
                        self._engine.map_device(bank.base, bank.size, bank.device)
            self._mapped = banks
            self._engine.flush()
        else:
            self._engine.take_over(self._changes)
        for change in self._changes:
            if int(change.access) & page_map.EXECUTE:
                self.forget_code(change.start, change.size)
        self._changes.clear()

    # Running

    def _run(self, rip: int) -> Exit:
        if self._changes:
            self._apply_changes()
        engine = self._engine
        while True:
            stop = engine.run(rip)
            if stop is Stop.SYSCALL:
                return self._system_call()
            ended = self._HANDLERS[stop](self)
            if ended is not None:
                return ended
            rip = engine.registers[RIP]

    def _system_call(self) -> Exit:
        self._engine.read_registers()
        values = self._engine.registers
        values[RCX] = rip = values[RIP]
        values[R11] = values[RFLAGS]
        self._answer = self._answer_system_call
        return SystemCall(values[RAX], (values[RDX], values[R8], values[R9]), rip, values[RSP])

    def _on_budget(self) -> Exit:
        self._engine.read_registers()
        self._answer = self._answer_budget
        return BudgetSpent(is_exact=True)

    def _on_broken(self) -> Exit:
        self._engine.read_registers()
        self._answer = self._nothing_to_resume
        return Died(self._engine.reason)

    def _on_trapped(self) -> Exit | None:
        registers = self._read()
        code = page_map.fetch(self.memory, registers.rip)
        instruction = decode(code, registers.rip)
        if is_undefined(code, registers.rip):
            return self._fault(exceptions.INVALID_OPCODE, 0, registers, code)
        if instruction is not None and is_misaligned(instruction, registers):
            return self._fault(exceptions.GENERAL_PROTECTION, 0, registers, code)
        if instruction is None or not is_trapped(instruction):
            self._engine.disarm(registers.rip)  # other code is there now
            return None
        if special.is_cpuid(instruction):
            self._load(special.answer_cpuid(self._options.cpuid, registers, instruction.len))
            return None
        if special.is_timestamp(instruction):
            self._answer = self._answer_timestamp
            return TimestampRead(registers.rip, special.is_timestamp_with_cpu(instruction))
        vector, error_code = special.refusal(instruction, self._options.cpuid)
        return self._fault(vector, error_code, registers, code)

    def _on_exception(self) -> Exit | None:
        engine = self._engine
        engine.read_registers()
        values = engine.registers
        rip = values[RIP]
        code = page_map.fetch(self.memory, rip)
        if engine.vector == exceptions.GENERAL_PROTECTION and special.is_gate_call(
            code, rip, values[RSP], self.registers, self.memory
        ):
            self._answer = self._nothing_to_resume
            return GateReturn(values[RAX], rip)
        return self._fault(engine.vector, engine.take_error_code(), self.registers(), code)

    def _on_invalid(self) -> Exit | None:
        registers = self._read()
        code = page_map.fetch(self.memory, registers.rip)
        return self._fault(exceptions.INVALID_OPCODE, 0, registers, code)

    def _on_denied(self) -> Exit | None:
        page, access = self._engine.denied_page, self._engine.denied_access
        registers = self._read()
        if self._changes:  # flash has changed its mode since the run began: what was denied may be right by now
            self._apply_changes()
            return None
        rip = registers.rip
        code = page_map.fetch(self.memory, rip)
        if access & Access.EXECUTE:
            return self._fetch_denied(page, registers, code)
        instruction = decode(code, rip)
        if instruction is None:
            return self._page_fault(page, access, registers, code)
        vector = exceptions.vector_of_bad_address(instruction, registers, page)
        if vector is not None:
            return self._fault(vector, 0, registers, code)
        if page_map.ring3_access(self.memory.state(page)) & access:
            operation = begin_device_operation(code, registers, self._engine, self.memory)
            if operation is not None:
                return self._advance(operation, None)
        address = exceptions.touched_address(instruction, registers, page)
        return self._page_fault(address, exceptions.refused_access(instruction, access), registers, code)

    def _fetch_denied(self, page: int, registers: Registers, code: bytes) -> Exit | None:
        rip = registers.rip
        if not is_canonical(page):
            registers = self._before_branch(registers)
            code = page_map.fetch(self.memory, registers.rip)
            return self._fault(exceptions.GENERAL_PROTECTION, 0, registers, code)
        if page == rip & ~PAGE_MASK:
            return self._page_fault(rip, Access.EXECUTE, registers, code)
        last = self._last_before(rip, page)
        if last == rip:
            return self._page_fault(page, Access.EXECUTE, registers, code)
        # Unicorn translates a block as a whole and found its end missing: what comes before has yet to run.
        stop = self._engine.run_up_to(rip, last)
        return None if stop is Stop.REACHED else self._HANDLERS[stop](self)

    def _before_branch(self, registers: Registers) -> Registers:
        """Undo the branch to an address that is not canonical: the machine refuses the branch, Unicorn its target."""
        block = self._engine.last_block
        branch = branches.find_branch(self.memory, block) if block is not None else None
        if branch is None:
            return registers
        before = branches.undo(branch, registers)
        self._load(before)
        return before

    def _last_before(self, rip: int, page: int) -> int:
        """Return the address of the first instruction from ``rip`` on that reaches into ``page``."""
        while rip < page:
            instruction = decode(page_map.fetch(self.memory, rip), rip)
            if instruction is None or rip + instruction.len > page:
                break
            rip += instruction.len
        return rip

    # Devices

    def _advance(self, operation: DeviceOperation, value: int | None) -> Exit | None:
        """Let an instruction that touches a device go on to its next touch, or None once it is done."""
        try:
            touch = operation.step(value)
        except MemoryFault as fault:
            return self._page_fault(fault.address, fault.access, operation.before, operation.code)
        except AddressFault as fault:
            return self._fault(fault.vector, 0, operation.before, operation.code)
        if isinstance(touch, Touch):
            self._answer = lambda answer: self._answer_device(operation, answer)
            return MmioAccess(touch.address, touch.width, touch.write, touch.value, operation.before.rip)
        self._load(touch)
        return None

    # Answers

    def _answer_system_call(self, value: int) -> Exit:
        values = self._engine.registers
        values[RAX] = value & MASK64
        self._write_return()
        return self._run(values[RIP])

    def _answer_budget(self, _value: int) -> Exit:
        self._engine.set_budget(self._options.budget)
        return self._run(self._engine.registers[RIP])

    def _answer_timestamp(self, value: int) -> Exit:
        registers = self.registers()
        instruction = decode(page_map.fetch(self.memory, registers.rip), registers.rip)
        if instruction is None or not special.is_timestamp(instruction):
            raise RuntimeError("the instruction that read the timestamp has been changed")
        self._load(special.answer_timestamp(registers, instruction, value))
        return self._go_on(0)

    def _answer_device(self, operation: DeviceOperation, value: int) -> Exit:
        return self._advance(operation, value) or self._go_on(0)

    def _go_on(self, _value: int) -> Exit:
        return self._run(self._engine.registers[RIP])

    def _nothing_to_resume(self, _value: int) -> Exit:
        raise RuntimeError("there is no exit to resume from: enter or restore a context first")

    # Helpers

    def _read(self) -> Registers:
        self._engine.read_registers()
        return Registers(*self._engine.registers)

    def _load(self, registers: Registers) -> None:
        self._engine.registers[:] = register_values(registers)
        self._engine.write_registers()

    def _page_fault(self, address: int, access: Access, registers: Registers, code: bytes) -> Fault:
        self._answer = self._go_on
        error_code = page_map.page_fault_code(self.memory, address, access)
        return Fault(page_map.PAGE_FAULT, error_code, address, access, registers.rip, code)

    def _fault(self, vector: int, error_code: int, registers: Registers, code: bytes) -> Fault:
        self._answer = self._go_on
        pushed = error_code if vector in exceptions.WITH_ERROR_CODE else None
        return Fault(vector, pushed, None, Access.NONE, registers.rip, code)

    _HANDLERS: ClassVar[dict[Stop, Callable[[UnicornProcessor], Exit | None]]] = {
        Stop.TRAPPED: _on_trapped,
        Stop.EXCEPTION: _on_exception,
        Stop.INVALID: _on_invalid,
        Stop.DENIED: _on_denied,
        Stop.BUDGET: _on_budget,
        Stop.BROKEN: _on_broken,
    }
