"""Ring 3 on the host's own processor: the stub's signals as exits of the interface."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from iced_x86 import Instruction

from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Access, PhysicalMemory
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor import exceptions, page_map, special
from mmsupervisor.processor.decoder import AddressFault, DeviceOperation, MemoryFault, Touch, begin_device_operation
from mmsupervisor.processor.instructions import MASK64, decode, memory_uses
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
from mmsupervisor.processor.native import instruction_rules, segments
from mmsupervisor.processor.native.budget import Budget
from mmsupervisor.processor.native.crossing import cross, settle_flags
from mmsupervisor.processor.native.frame import Frame
from mmsupervisor.processor.native.host import lowest_address
from mmsupervisor.processor.native.layout import (
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    CALL_ADDRESS,
    CALL_NUMBER,
    CR2,
    ERROR_CODE,
    FLAGS,
    PAGE_BITS,
    R8,
    RAX,
    RCX,
    RDX,
    RIP,
    RSP,
    SIGNAL_NUMBER,
    STUB,
    STUB_END,
    VECTOR,
    VSYSCALL,
)
from mmsupervisor.processor.native.segments import SegmentFault, Selectors
from mmsupervisor.processor.native.stub_memory import StubMemory
from mmsupervisor.processor.native.stub_unsafe import Stub, StubDiedError, StubError
from mmsupervisor.processor.trapped import is_trapped

_SIGSYS = 31
_TIMERS = frozenset((14, 26))  # SIGALRM, SIGVTALRM
_R9, _R11 = R8 + 1, R8 + 3
_ALIGNMENT_CHECK = 17
_ALIGNMENT_FLAG = 0x4_0000
_TRAP_FLAG = 0x100
_HOST_WRITE, _HOST_FETCH = 2, 0x10
_NUMBER_MASK = 0xFFFF_FFFF
_USUAL_RETURN = bytes.fromhex("ff1c24")  # call far [rsp]
_POINTER_SIZE = 6


@dataclass(frozen=True, slots=True)
class _Context:
    """What :meth:`NativeProcessor.suspend` keeps."""

    frame: bytes
    answer: Callable[[int], Exit]
    budget: tuple[int, int]
    selectors: Selectors


class NativeProcessor:
    """A processor (see :class:`mmsupervisor.processor.interface.Processor`) that executes on the host's.

    Attributes:
        name: ``"native"``.
        memory: The machine's memory.
    """

    name = "native"

    def __init__(self, memory: PhysicalMemory, options: ProcessorOptions) -> None:
        """Start a stub process on the machine's memory.

        Raises:
            StubError: the host refuses something that the processor needs.
        """
        self.memory = memory
        self._options = options
        self._budget = Budget(options.budget)
        self._selectors = segments.INITIAL
        self._answer: Callable[[int], Exit] = self._nothing_to_resume
        self._closed = False
        self._stub_memory = StubMemory(memory, lowest_address())
        self._stub: Stub | None = None
        self._frame = Frame.of_nobody()
        self._words = self._frame.words
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> Stub:
        """Start a stub; what interrupts that, Ctrl-C too, leaves none.

        Raises:
            StubError: it cannot be started, or died before it was ready.
        """
        stub = self._stub = Stub(trap_timestamps=self._stub_memory.may_read_timestamp)
        try:
            stub.start()
            self._frame = Frame(stub.frames, stub.frame_offset)
            self._words = self._frame.words
            self._stub_memory.attach(stub)
            self._budget.start_clock(stub.cpu_time())
        except BaseException as failure:
            self._drop_stub()
            if isinstance(failure, StubDiedError):
                raise StubError(f"native processor: {failure}") from failure
            raise
        return stub

    # Interface

    def enter(self, entry: Entry) -> Exit:
        """Begin a fresh context and run it to its first exit. Whatever ran before is forgotten."""
        self._make_ready()
        arguments = entry.arguments
        rcx, rdx, r8, r9 = arguments if len(arguments) == 4 else (*arguments, 0, 0, 0, 0)[:4]
        self._frame.begin(
            entry.rip, entry.rsp, entry.rax, CALL_GATE_POINTER, (rcx & MASK64, rdx & MASK64, r8 & MASK64, r9 & MASK64)
        )
        self._selectors = segments.INITIAL
        self._budget.renew()
        return self._run()

    def resume(self, value: int = 0) -> Exit:
        """Answer the last exit (a system call's result, a read's value) and run to the next."""
        return self._answer(value)

    def registers(self) -> Registers:
        """Return the registers at the last exit."""
        return self._frame.registers()

    def set_registers(self, registers: Registers) -> None:
        """Replace the registers; the next ``resume`` begins with them and ignores its value."""
        self._check_open()
        self._frame.load(registers)
        self._answer = self._go_on

    def suspend(self) -> Suspended:
        """Put the context aside, x87 and SSE state included, so that another can be entered."""
        self._check_open()
        context = _Context(self._frame.save(), self._answer, self._budget.save(), self._selectors)
        self._answer = self._nothing_to_resume
        return Suspended(self._frame.registers(), context)

    def restore(self, suspended: Suspended) -> None:
        """Take a context up again; ``resume`` then answers the exit it was suspended at."""
        context = suspended.state
        if not isinstance(context, _Context):
            raise TypeError("the context was suspended by another kind of processor")
        self._make_ready()
        self._frame.restore(context.frame)
        self._answer = context.answer
        self._budget.restore(context.budget)
        self._selectors = context.selectors

    def forget_code(self, start: int, size: int) -> None:
        """Take notice that the supervisor wrote to pages that ring 3 may execute."""
        if self._stub is None:
            return
        try:
            self._stub_memory.forget_code(start, size)
        except BaseException as failure:
            self._drop_stub()  # the next resumption says so, the next entry starts another one
            if not isinstance(failure, StubDiedError):
                raise

    def close(self) -> None:
        """Give up all resources. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._answer = self._nothing_to_resume
            self._drop_stub()
            self._stub_memory.close()

    def _check_open(self) -> None:
        if self._closed:
            raise MmSupervisorError("native processor: it is closed")

    def _make_ready(self) -> None:
        """Start a stub again if the last one died."""
        self._check_open()
        if self._stub is None:
            self._start()

    def _drop_stub(self) -> None:
        if self._stub is None:
            return
        self._stub_memory.detach()
        self._frame.detach()
        self._words = self._frame.words
        self._stub.close()
        self._stub = None

    # Running

    def _run(self) -> Exit:
        stub = self._stub
        if stub is None:
            return self._died("the stub process is gone")
        try:
            if self._stub_memory.has_changed:
                self._stub_memory.apply()
            self._open_code(self._words[RIP])
            if self._budget.is_new:
                self._budget.begin(stub.cpu_time)
            while True:
                if self._stub_memory.may_read_timestamp and not stub.traps_timestamps:
                    stub = self._start_again()
                if self._frame.flags_left is not None:
                    settle_flags(stub, self._frame)
                if not cross(stub, self._budget):
                    self._answer = self._answer_budget
                    return BudgetSpent()
                ended = self._judge(stub)
                if ended is not None:
                    return ended
        except (StubDiedError, StubError) as failure:
            self._drop_stub()
            return self._died(str(failure))
        except BaseException:
            # Ctrl-C, perhaps, while ring 3 was running: nobody knows where it is now.
            self._drop_stub()
            raise

    def _start_again(self) -> Stub:
        """Move ring 3 into a stub whose processor keeps the timestamp from it."""
        frame = self._frame.save()
        self._drop_stub()
        stub = self._start()
        self._frame.restore(frame)
        return stub

    def _open_code(self, rip: int) -> None:
        memory = self._stub_memory
        if not memory.knows_code(rip) and memory.can_execute(rip):
            memory.open_code(rip, rip)

    def _died(self, reason: str) -> Died:
        self._answer = self._nothing_to_resume
        return Died(reason)

    # What a signal means

    def _judge(self, stub: Stub) -> Exit | None:
        """Return the exit that the last report stands for, or None if ring 3 can go on."""
        words = self._words
        if not (stub.is_frame_in_place and self._frame.is_sound):
            raise StubDiedError("ring 3 has left 64-bit mode or forged a report")
        rip = words[RIP]
        if STUB <= rip < STUB_END:
            return self._page_fault(rip, Access.EXECUTE, self._frame.registers(), b"")
        signal = words[SIGNAL_NUMBER] & _NUMBER_MASK
        if signal in _TIMERS:
            return self._on_timer(stub)
        self._budget.count_exit()
        if self._budget.is_look_due:
            self._budget.look_at(stub.cpu_time())
        if signal == _SIGSYS:
            return self._on_refused_call(rip)
        vector = words[VECTOR]
        if vector == page_map.PAGE_FAULT:
            return self._on_page_fault(stub, words[CR2], words[ERROR_CODE])
        return self._on_exception(vector, words[ERROR_CODE])

    def _on_timer(self, stub: Stub) -> Exit | None:
        self._budget.look_at(stub.cpu_time())
        if not self._budget.is_spent:
            return None
        self._answer = self._answer_budget
        return BudgetSpent()

    def _on_refused_call(self, rip: int) -> Exit | None:
        words = self._words
        architecture = words[CALL_NUMBER] >> 32
        if architecture == AUDIT_ARCH_I386:
            words[RIP] = rip - 2 & MASK64
            return self._on_exception(exceptions.GENERAL_PROTECTION, 0)
        if architecture != AUDIT_ARCH_X86_64:
            raise StubDiedError(f"a system call of architecture {architecture:#x}")
        called_from = words[CALL_ADDRESS]
        if called_from >> PAGE_BITS == VSYSCALL >> PAGE_BITS:
            # The kernel took the call for one of its own, and has popped the return address.
            words[RIP] = called_from
            words[RSP] = words[RSP] - 8 & MASK64
            return self._on_vsyscall_page(called_from)
        words[RCX] = rip
        words[_R11] = self._frame.flags
        self._answer = self._answer_system_call
        return SystemCall(words[RAX], (words[RDX], words[R8], words[_R9]), rip, words[RSP])

    def _on_vsyscall_page(self, rip: int) -> Exit:
        """No process can do without that page; the machine has nothing there."""
        return self._page_fault(rip, Access.EXECUTE, self._frame.registers(), b"")

    def _on_exception(self, vector: int, error_code: int) -> Exit | None:
        words = self._words
        rip = words[RIP]
        if rip >> PAGE_BITS == VSYSCALL >> PAGE_BITS:
            return self._on_vsyscall_page(rip)
        if vector == _ALIGNMENT_CHECK and words[FLAGS] & _ALIGNMENT_FLAG:
            words[FLAGS] &= ~_ALIGNMENT_FLAG  # CR0.AM is off in the machine: the flag means nothing
            return None
        back = instruction_rules.software_interrupt_size(vector, self._bytes_before(rip))
        if back:
            rip = words[RIP] = rip - back
        code = page_map.fetch(self.memory, rip)
        if vector == exceptions.GENERAL_PROTECTION and self._is_usual_return(code, rip):
            self._answer = self._nothing_to_resume
            return GateReturn(words[RAX], rip)
        registers = self._frame.registers()
        if vector == exceptions.DEBUG and not back:
            return self._fault(vector, 0, registers, code)
        instruction = decode(code, rip)
        if instruction is None:
            return self._fault(vector, error_code, registers, code)
        return self._on_instruction(instruction, vector, error_code, registers, code)

    def _on_instruction(
        self, instruction: Instruction, vector: int, error_code: int, registers: Registers, code: bytes
    ) -> Exit | None:
        """Return what the machine makes of an instruction for which the host raised an exception."""
        if instruction_rules.is_absent(instruction):
            return self._fault(exceptions.INVALID_OPCODE, 0, registers, code)
        if special.is_cpuid(instruction):
            self._frame.load(special.answer_cpuid(self._options.cpuid, registers, instruction.len))
            return None
        if special.is_timestamp(instruction):
            self._answer = self._answer_timestamp
            return TimestampRead(registers.rip, special.is_timestamp_with_cpu(instruction))
        if is_trapped(instruction):
            vector, error_code = special.refusal(instruction, self._options.cpuid)
            return self._fault(vector, error_code, registers, code)
        if segments.concerns(instruction):
            return self._on_segment_instruction(instruction, registers, code)
        return self._fault(vector, error_code, registers, code)

    def _is_usual_return(self, code: bytes, rip: int) -> bool:
        """Return whether it is the way back that every entry stub takes, with a stack that can be read."""
        if not code.startswith(_USUAL_RETURN):
            return False
        rsp = self._words[RSP]
        if rsp & PAGE_MASK > PAGE_SIZE - _POINTER_SIZE or not self._stub_memory.can_read(rsp):
            return False
        return special.is_gate_call(code, rip, rsp, self._frame.registers, self.memory)

    def _bytes_before(self, rip: int) -> bytes:
        with suppress(MmSupervisorError):
            return self.memory.read(rip - 2, 2)
        return b""

    def _on_segment_instruction(self, instruction: Instruction, registers: Registers, code: bytes) -> Exit | None:
        try:
            outcome = segments.execute(instruction, registers, self._selectors, self.memory)
        except SegmentFault as fault:
            return self._fault(fault.vector, fault.error_code, registers, code)
        except MemoryFault as fault:
            return self._page_fault(fault.address, fault.access, registers, code)
        except AddressFault as fault:
            return self._fault(fault.vector, 0, registers, code)
        if outcome is None:
            self._answer = self._nothing_to_resume
            return GateReturn(registers.rax, registers.rip)
        after, self._selectors = outcome
        self._frame.load(after)
        return None

    # Page faults

    def _on_page_fault(self, stub: Stub, address: int, host_code: int) -> Exit | None:
        registers = self._frame.registers()
        rip = registers.rip
        if host_code & _HOST_FETCH:
            if page_map.direct_access(self.memory.state(address)) & page_map.EXECUTE:
                if self._stub_memory.can_execute(address) and self._stub_memory.open_code(rip, address):
                    return None
                raise StubDiedError(f"this host cannot execute the machine's memory at {address:#x}")
            return self._page_fault(address, Access.EXECUTE, registers, page_map.fetch(self.memory, rip))
        access = Access.WRITE if host_code & _HOST_WRITE else Access.READ
        code = page_map.fetch(self.memory, rip)
        instruction = decode(code, rip)
        if page_map.ring3_access(self.memory.state(address)) & access and instruction is not None:
            operation = begin_device_operation(code, registers, self._frame, self.memory)
            if operation is not None:
                return self._advance(operation, None)
        if instruction is not None:
            address = _first_touched(instruction, registers, address)
        return self._page_fault(address, access, registers, code)

    # Devices

    def _advance(self, operation: DeviceOperation, value: int | None) -> Exit | None:
        """Let an instruction that touches a device go on to its next touch, or None once it is done.

        A repeated instruction is kept here for as long as its elements touch the device: that saves a crossing each.
        """
        try:
            touch = operation.step(value)
            while not isinstance(touch, Touch):
                self._frame.load(touch)
                following = None if value is None else self._next_element(operation, touch)
                if following is None:
                    return None
                operation, value = following, None
                touch = operation.step(None)
        except MemoryFault as fault:
            return self._page_fault(fault.address, fault.access, operation.before, operation.code)
        except AddressFault as fault:
            return self._fault(fault.vector, 0, operation.before, operation.code)
        self._answer = lambda answer: self._answer_device(operation, answer)
        return MmioAccess(touch.address, touch.width, touch.write, touch.value, operation.before.rip)

    def _next_element(self, done: DeviceOperation, after: Registers) -> DeviceOperation | None:
        """Return a repeated instruction's next element, if it has one: most likely it touches the device too."""
        if after.rip != done.before.rip or after.rflags & _TRAP_FLAG:
            return None
        self._budget.count_exit()
        if self._budget.is_spent:
            return None
        code = page_map.fetch(self.memory, after.rip)
        return begin_device_operation(code, after, self._frame, self.memory)

    # Answers

    def _answer_system_call(self, value: int) -> Exit:
        self._words[RAX] = value & MASK64
        return self._run()

    def _answer_budget(self, _value: int) -> Exit:
        self._budget.renew()
        return self._run()

    def _answer_timestamp(self, value: int) -> Exit:
        registers = self._frame.registers()
        instruction = decode(page_map.fetch(self.memory, registers.rip), registers.rip)
        if instruction is None or not special.is_timestamp(instruction):
            raise RuntimeError("the instruction that read the timestamp has been changed")
        self._frame.load(special.answer_timestamp(registers, instruction, value))
        return self._run()

    def _answer_device(self, operation: DeviceOperation, value: int) -> Exit:
        return self._advance(operation, value) or self._run()

    def _go_on(self, _value: int) -> Exit:
        return self._run()

    def _nothing_to_resume(self, _value: int) -> Exit:
        raise RuntimeError("there is no exit to resume from: enter or restore a context first")

    # Helpers

    def _page_fault(self, address: int, access: Access, registers: Registers, code: bytes) -> Fault:
        self._answer = self._go_on
        error_code = page_map.page_fault_code(self.memory, address, access)
        return Fault(page_map.PAGE_FAULT, error_code, address, access, registers.rip, code)

    def _fault(self, vector: int, error_code: int, registers: Registers, code: bytes) -> Fault:
        self._answer = self._go_on
        pushed = error_code if vector in exceptions.WITH_ERROR_CODE else None
        return Fault(vector, pushed, None, Access.NONE, registers.rip, code)


def _first_touched(instruction: Instruction, registers: Registers, address: int) -> int:
    """Return CR2 as the machine has it: the first refused byte, where processors differ for large operands."""
    page = address & ~PAGE_MASK
    uses = memory_uses(instruction, registers)
    if any(address == max(use.address, page) for use in uses):
        return address
    return exceptions.touched_address(instruction, registers, page)
