"""Down into ring 3 and back: demotion, exits, the call gate (docs/reference/syscall-abi.md §3)."""

from __future__ import annotations

import struct

from mmsupervisor.core.faults import explain_fault
from mmsupervisor.core.findings import Finding, SystemStopError, make_finding
from mmsupervisor.core.gate import SystemCallGate
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import Access
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

    def call(self, routine: int, arguments: tuple[int, ...], cpu: int) -> int:
        """Run a routine on a CPU's own ring-3 stack and return RAX.

        Args:
            routine: Address of the first instruction.
            arguments: Any number; those beyond four go on the stack.
            cpu: Index of the CPU.

        Raises:
            SystemStopError: the routine broke a rule; the system is dead.
            ProcessorDiedError: the processor failed.
        """
        supervisor = self._supervisor
        if supervisor.stop is not None:
            raise SystemStopError(supervisor.stop)
        processor = supervisor.processor
        suspended = processor.suspend() if self.depth else None
        previous_cpu = supervisor.current_cpu
        module = supervisor.modules.find(routine)
        self.depth += 1
        supervisor.current_cpu = cpu
        try:
            with supervisor.log.running(module.name if module else "", cpu):
                rsp = self._stack(cpu, arguments)
                entry = Entry(routine, rsp, arguments[:_REGISTER_ARGUMENTS], routine)
                return self._serve(processor.enter(entry), rsp)
        finally:
            self.depth -= 1
            supervisor.current_cpu = previous_cpu
            if suspended is not None and supervisor.stop is None:
                processor.restore(suspended)

    def _stack(self, cpu: int, arguments: tuple[int, ...]) -> int:
        """Put stack arguments in place and return RSP at the first instruction (§3.2)."""
        stacks = self._supervisor.stacks
        top = (stacks.base + stacks.size * (cpu + 1) - 8) & ~15
        extra = arguments[_REGISTER_ARGUMENTS:]
        if not extra:
            return top - 8
        rsp = ((top - 8 * len(extra) - _SHADOW_SPACE) & ~15) - 8
        packed = struct.pack(f"<{len(extra)}Q", *extra)
        self._supervisor.memory.write(rsp + 8 + _SHADOW_SPACE, packed)
        return rsp

    def _serve(self, exit_: Exit, entry_rsp: int) -> int:
        """Answer exits until the routine returns through the call gate."""
        supervisor = self._supervisor
        processor = supervisor.processor
        while True:
            match exit_:
                case SystemCall():
                    self._locate(exit_.rip - 2)
                    exit_ = processor.resume(self._gate.dispatch(exit_))
                case GateReturn():
                    return exit_.status
                case MmioAccess():
                    exit_ = processor.resume(self._access_device(exit_))
                case TimestampRead():
                    exit_ = processor.resume(supervisor.machine.clock.read())
                case Fault():
                    raise supervisor.die(self._explain(exit_, entry_rsp))
                case BudgetSpent():
                    supervisor.log.offset = None
                    driver = supervisor.log.driver
                    detail = "did not return to ring 0 within its budget of instructions"
                    raise supervisor.die(make_finding("MM-1301", detail, subject=driver))
                case Died():
                    raise ProcessorDiedError(exit_.reason)

    def _explain(self, fault: Fault, entry_rsp: int) -> Finding:
        """Explain a fault; a fetch with the entry's slot popped is a routine that returned by RET."""
        by_ret = fault.access is Access.EXECUTE and fault.address == fault.rip
        by_ret = by_ret and self._supervisor.processor.registers().rsp == entry_rsp + 8
        if not by_ret:
            self._locate(fault.rip)
        return explain_fault(self._supervisor, fault, returned_by_ret=by_ret)

    def _locate(self, rip: int) -> None:
        """Let events belong to the driver and offset at an address."""
        log = self._supervisor.log
        module = self._supervisor.modules.find(rip)
        if module is None:
            log.driver, log.offset = "", None
        else:
            log.driver, log.offset = module.name, rip - module.base

    def _access_device(self, access: MmioAccess) -> int:
        bank = self._supervisor.memory.state(access.address).bank
        if bank is None or bank.device is None:
            raise ProcessorDiedError(f"device access at {access.address:#x}, where there is no device")
        offset = access.address - bank.base
        if access.write:
            bank.device.mmio_write(offset, access.width, access.value)
            return 0
        return bank.device.mmio_read(offset, access.width)
