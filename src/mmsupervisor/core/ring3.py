"""Down into ring 3 and back: demotion, exits, the call gate (docs/reference/syscall-abi.md §3)."""

from __future__ import annotations

import struct

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.faults import explain_fault
from mmsupervisor.core.findings import Finding, Place, SystemStopError, make_finding
from mmsupervisor.core.gate import SystemCallGate
from mmsupervisor.core.modules import BROKER_GUID, Module
from mmsupervisor.core.relaxed_faults import RETURN_TRAP, Frame, RelaxedFaults, Ring3Hooks
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Access, BusError
from mmsupervisor.processor.interface import (
    BudgetSpent,
    Died,
    Entry,
    Exit,
    Fault,
    GateReturn,
    MmioAccess,
    SystemCall,
    TimestampRead,
)

_REGISTER_ARGUMENTS = 4
_SHADOW_SPACE = 0x20
_SYSCALL_SIZE = 2
_SCANNED_SLOTS = 512
_BUDGET_RULE = "architecture.md, How a run flows: the processor's budget"


class ProcessorDiedError(Exception):
    """The processor could not go on: a fault of this program or of the host, never of a driver."""


class Ring3:
    """Runs routines in ring 3, one after the other, nested where a call starts another.

    Attributes:
        depth: Routines under way: more than one while a system call runs a procedure on another CPU.
    """

    def __init__(self, supervisor: Supervisor, gate: SystemCallGate) -> None:
        """Serve exits for a supervisor, system calls through a gate."""
        self._supervisor = supervisor
        self._gate = gate
        self.depth = 0
        self._owner: Module | None = None
        self._relaxed = RelaxedFaults(supervisor, Ring3Hooks(self._locate, self._access_device, self._call_below))

    def call(
        self, routine: int, arguments: tuple[int, ...], cpu: int, *, target: int = 0, below: int | None = None
    ) -> int:
        """Run a routine on a CPU's own ring-3 stack and return RAX.

        Args:
            routine: Address of the first instruction.
            arguments: Any number; those beyond four go on the stack.
            cpu: Index of the CPU.
            target: Address of what the routine is a jump to (a handler, a procedure), 0 for itself: events and
                findings name that driver where the broker acts for it.
            below: Where its stack begins; None for the top. What is called on behalf of a routine under way begins
                below that routine's stack pointer, and returns by RET, as from a call of that routine's.

        Raises:
            SystemStopError: the routine broke a rule; the system is dead.
            ProcessorDiedError: the processor failed.
        """
        supervisor = self._supervisor
        if supervisor.stop is not None and not supervisor.reporting:
            raise SystemStopError(supervisor.stop)
        processor = supervisor.processor
        suspended = processor.suspend() if self.depth else None
        previous_cpu = supervisor.current_cpu
        module = supervisor.modules.find(target or routine)
        owner, self._owner = self._owner, module
        self.depth += 1
        supervisor.current_cpu = cpu
        try:
            with supervisor.log.running(module.name if module else "", cpu):
                rsp = self._stack(cpu, arguments, below)
                entry = Entry(routine, rsp, arguments[:_REGISTER_ARGUMENTS], routine)
                frame = Frame(routine, rsp, target or routine, returns_by_ret=below is not None)
                return self._serve(processor.enter(entry), frame)
        finally:
            self.depth -= 1
            self._owner = owner
            supervisor.current_cpu = previous_cpu
            if suspended is not None and supervisor.stop is None:
                processor.restore(suspended)

    def _call_below(self, routine: int, arguments: tuple[int, ...], rsp: int) -> int:
        return self.call(routine, arguments, self._supervisor.current_cpu, below=rsp)

    def _stack(self, cpu: int, arguments: tuple[int, ...], below: int | None) -> int:
        """Put stack arguments in place and return RSP at the first instruction (§3.2).

        Where a routine may return by RET, its slot holds an address that is recognised, and above it is the space
        that the calling convention gives to a callee; the reference reserves none.
        """
        stacks, memory = self._supervisor.stacks, self._supervisor.memory
        by_ret = below is not None or self._supervisor.relaxations.permits(Relaxation.RETURN_BY_RET)
        top = (stacks.base + stacks.size * (cpu + 1) - 8 if below is None else below) & ~15
        extra = arguments[_REGISTER_ARGUMENTS:]
        if not extra and not by_ret:
            return top - 8
        rsp = ((top - 8 * len(extra) - _SHADOW_SPACE) & ~15) - 8
        memory.write(rsp + 8 + _SHADOW_SPACE, struct.pack(f"<{len(extra)}Q", *extra))
        if by_ret:
            memory.write_u64(rsp, RETURN_TRAP)
        return rsp

    def _serve(self, exit_: Exit, frame: Frame) -> int:
        """Answer exits until the routine returns through the call gate."""
        supervisor = self._supervisor
        processor = supervisor.processor
        while True:
            match exit_:
                case SystemCall():
                    self._locate(exit_.rip - _SYSCALL_SIZE, exit_.rsp)
                    exit_ = processor.resume(self._gate.dispatch(exit_))
                case GateReturn():
                    return exit_.status
                case MmioAccess():
                    exit_ = processor.resume(self._access_device(exit_))
                case TimestampRead():
                    exit_ = processor.resume(supervisor.machine.clock.read())
                case Fault():
                    relaxed = self._relaxed.answer(exit_, frame)
                    if relaxed is None:
                        raise supervisor.die(self._explain(exit_, frame))
                    exit_ = relaxed
                case BudgetSpent():
                    supervisor.log.offset = None
                    raise supervisor.die(self._explain_budget(frame), with_ring3=exit_.is_exact)
                case Died():
                    raise ProcessorDiedError(exit_.reason)

    def _explain_budget(self, frame: Frame) -> Finding:
        """Say what was entered and did not come back; where it was is no part of that: processors differ in it."""
        supervisor = self._supervisor
        entered = supervisor.modules.place(frame.target)
        detail = f"entered at {entered}, it did not come back within its budget of instructions"
        return make_finding("MM-1301", detail, subject=supervisor.log.driver, rule=_BUDGET_RULE)

    def _explain(self, fault: Fault, frame: Frame) -> Finding:
        """Explain a fault; a fetch with the entry's slot popped is a routine that returned by RET."""
        supervisor = self._supervisor
        rsp = supervisor.processor.registers().rsp
        if fault.access is Access.EXECUTE and fault.address == fault.rip and rsp == frame.rsp + 8:
            supervisor.place = Place(supervisor.log.driver, fault.rip)
            supervisor.rip = fault.rip
            return explain_fault(supervisor, fault, returned_from=supervisor.modules.place(frame.target))
        self._locate(fault.rip, rsp)
        return explain_fault(supervisor, fault, caller=self._called_from(fault, rsp))

    def _called_from(self, fault: Fault, rsp: int) -> Place | None:
        """Return what follows the call that led to an address outside all images, or None if it was no call."""
        slot = self._read_if_memory(rsp, 8)
        if fault.rip != fault.address or not slot:
            return None
        address = int.from_bytes(slot, "little")
        module = self._supervisor.modules.find(address)
        return module.place(address) if module and self._follows_call(address) else None

    def _locate(self, rip: int, rsp: int) -> None:
        """Let events and findings belong to the code at an address, or to the driver for which the broker runs it."""
        supervisor = self._supervisor
        supervisor.rip = rip
        owner, module = self._owner, supervisor.modules.find(rip)
        if module is not owner and module is not None and owner is not None and module.guid == BROKER_GUID:
            caller = self._find_caller(rsp)
            if caller:
                module, rip = owner, caller
        place = module.place(rip) if module is not None else Place(owner.name if owner else "", rip)
        supervisor.place = place
        supervisor.log.driver, supervisor.log.offset = place.driver, place.offset

    def _find_caller(self, rsp: int) -> int:
        """Return the first address on the stack that lies in the owner's image and follows a call, or 0.

        It is found by scan, not by unwinding: the broker's stack frames are small and hold no stale addresses
        of the owner between its call and the system call.
        """
        owner, memory = self._owner, self._supervisor.memory
        if owner is None or memory.state(rsp).bank is None:
            return 0
        end = min((rsp | PAGE_MASK) + 1 + PAGE_SIZE, rsp + 8 * _SCANNED_SLOTS)
        if memory.state(end - 1).bank is not memory.state(rsp).bank:
            end = (rsp | PAGE_MASK) + 1
        for (address,) in struct.iter_unpack("<Q", self._read_if_memory(rsp, (end - rsp) & ~7)):
            if owner.base < address < owner.base + owner.size and self._follows_call(address):
                return int(address)
        return 0

    def _read_if_memory(self, address: int, size: int) -> bytes:
        """Return bytes, or none where ring 3 leads us to no memory, as it may: to a device, or over an edge."""
        try:
            return self._supervisor.memory.read(address, size)
        except BusError:
            return b""

    def _follows_call(self, address: int) -> bool:
        code = self._read_if_memory(address - 7, 7)
        if not code:
            return False
        return code[2] == 0xE8 or any(code[7 - n] == 0xFF and code[8 - n] >> 3 & 7 == 2 for n in (2, 3, 6, 7))

    def _access_device(self, access: MmioAccess) -> int:
        bank = self._supervisor.memory.state(access.address).bank
        if bank is None or bank.device is None:
            raise ProcessorDiedError(f"device access at {access.address:#x}, where there is no device")
        offset = access.address - bank.base
        if access.write:
            bank.device.mmio_write(offset, access.width, access.value)
            return 0
        return bank.device.mmio_read(offset, access.width)
