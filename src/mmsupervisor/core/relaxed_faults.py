"""Exceptions of ring 3 that a relaxation permits: what they tried is carried out, and counted.

Facts: docs/reference/syscall-abi.md §2, §3.3, §9; memory.md §7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.errors import CoreError, PolicyDeniedError
from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.core.interfaces import OutsideCall, OutsideServices
from mmsupervisor.core.policy_gate import require_instruction, require_io, require_msr
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.events import EventLog
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Access, Attribute, BusError, PhysicalMemory
from mmsupervisor.machine.routing import UnknownMsrError
from mmsupervisor.policy.model import Attribute as PolicyAttribute
from mmsupervisor.policy.model import Instruction
from mmsupervisor.processor.decoder import AddressFault, MemoryFault, Touch
from mmsupervisor.processor.instructions import decode
from mmsupervisor.processor.interface import Exit, Fault, GateReturn, MmioAccess, Registers
from mmsupervisor.processor.port_instructions import PortOperation, PortTouch, begin_port_operation
from mmsupervisor.processor.privileged import Privileged, PrivilegedGroup, perform, privileged

RETURN_TRAP = 0xFE0
"""The return address that a relaxed entry finds on its stack: in page 0, which is never present."""

_PROTECTION, _PAGE = 13, 14
_OUTSIDE_RULE = "architecture.md, Traditional drivers"
_MASK64 = (1 << 64) - 1
_CR0, _CR4 = 0x8001_0031, 0x0010_0E68
_CONTROL_REGISTERS = {0: _CR0, 4: _CR4, 8: 0}
_WIDTH_CODES = {1: 0, 2: 1, 4: 2}
_POLICED = {"cli": Instruction.CLI, "hlt": Instruction.HLT, "wbinvd": Instruction.WBINVD}
_WITHOUT_EFFECT = (PrivilegedGroup.INTERRUPT_FLAG, PrivilegedGroup.HALT, PrivilegedGroup.CACHE)
_VERBS = {Access.READ: "read", Access.WRITE: "write"}


@dataclass(frozen=True, slots=True)
class Ring3Hooks:
    """What the loop over exits lends to this module.

    Attributes:
        locate: Lets events belong to the code at (rip, rsp).
        device: Carries out an access to a device.
        call_below: Runs a routine on the stack below an address: (routine, arguments, rsp) to RAX.
    """

    locate: Callable[[int, int], None]
    device: Callable[[MmioAccess], int]
    call_below: Callable[[int, tuple[int, ...], int], int]


@dataclass(frozen=True, slots=True)
class Frame:
    """How the routine under way was entered.

    Attributes:
        routine: Address of its first instruction.
        rsp: Stack pointer there.
        target: Address of what it is a jump to, or its own.
        returns_by_ret: Whether it is a function that the supervisor called as one, and not an entry.
    """

    routine: int
    rsp: int
    target: int
    returns_by_ret: bool = False


class RelaxedFaults:
    """Answers exceptions that a relaxation permits."""

    def __init__(self, supervisor: Supervisor, hooks: Ring3Hooks) -> None:
        """Serve a supervisor."""
        self._supervisor = supervisor
        self._hooks = hooks

    def answer(self, fault: Fault, frame: Frame) -> Exit | None:
        """Carry out what an exception tried, and go on.

        Args:
            fault: The exception.
            frame: How the routine under way was entered.

        Returns:
            The next exit, or None if no relaxation permits it.

        Raises:
            SystemStopError: a service outside MM was called wrongly.
        """
        if not self._supervisor.relaxations.active:
            return None
        registers = self._supervisor.processor.registers()
        if fault.vector == _PAGE and fault.address is not None:
            if fault.access is Access.EXECUTE and fault.address == fault.rip:
                return self._fetch(fault, registers, frame)
            return self._touch(fault, registers, fault.address)
        if fault.vector == _PROTECTION and fault.instruction:
            return self._port(fault, registers) or self._privileged(fault, registers)
        return None

    def _note(self, relaxation: Relaxation, detail: str, denial: str = "") -> None:
        supervisor = self._supervisor
        supervisor.relaxations.note(supervisor.log, relaxation, supervisor.place, detail, denial=denial)

    def _go_on(self, registers: Registers) -> Exit:
        processor = self._supervisor.processor
        processor.set_registers(registers)
        return processor.resume()

    # Fetches: returns and services outside MM

    def _fetch(self, fault: Fault, registers: Registers, frame: Frame) -> Exit | None:
        supervisor = self._supervisor
        relaxations = supervisor.relaxations
        if fault.rip == RETURN_TRAP and registers.rsp == frame.rsp + 8:
            if frame.returns_by_ret:
                return GateReturn(registers.rax, fault.rip)
            if not relaxations.permits(Relaxation.RETURN_BY_RET):
                return None
            supervisor.place = supervisor.modules.place(frame.routine)
            self._note(Relaxation.RETURN_BY_RET, f"the routine at {supervisor.place} returned by RET")
            return GateReturn(registers.rax, fault.rip)
        outside = relaxations.outside
        if outside is None or not outside.is_service(fault.rip):
            return None
        return self._serve_outside(outside, fault.rip, registers)

    def _serve_outside(self, outside: OutsideServices, address: int, registers: Registers) -> Exit | None:
        supervisor = self._supervisor
        try:
            site = supervisor.memory.read_u64(registers.rsp)
        except BusError:
            return None
        self._hooks.locate(site, registers.rsp)
        arguments = (registers.rcx, registers.rdx, registers.r8, registers.r9)
        host = Host(supervisor, self._hooks, registers.rsp)
        result = outside.serve(host, OutsideCall(address, arguments, registers.rsp, site))
        return self._go_on(replace(registers, rip=site, rsp=registers.rsp + 8, rax=result & _MASK64))

    # Memory

    def _touch(self, fault: Fault, registers: Registers, address: int) -> Exit | None:
        self._hooks.locate(fault.rip, registers.rsp)
        if not map_outside(self._supervisor, address, fault.access):
            return None
        return self._supervisor.processor.resume()

    # Ports

    def _port(self, fault: Fault, registers: Registers) -> Exit | None:
        supervisor = self._supervisor
        if not supervisor.relaxations.permits(Relaxation.DIRECT_IO):
            return None
        operation = begin_port_operation(fault.instruction, registers, supervisor.memory)
        if operation is None:
            return None
        self._hooks.locate(fault.rip, registers.rsp)
        try:
            after = self._run_port_operation(operation, fault.rip)
        except (MemoryFault, AddressFault):
            return None
        return self._go_on(after)

    def _run_port_operation(self, operation: PortOperation, rip: int) -> Registers:
        value = 0
        while True:
            match operation.step(value):
                case PortTouch() as touch:
                    value = self._access_port(touch)
                case Touch() as touch:
                    value = self._hooks.device(MmioAccess(touch.address, touch.width, touch.write, touch.value, rip))
                case Registers() as after:
                    return after

    def _access_port(self, touch: PortTouch) -> int:
        supervisor = self._supervisor
        access = PolicyAttribute.WRITE if touch.write else PolicyAttribute.READ
        denial = _denial(lambda: require_io(supervisor, touch.port, _WIDTH_CODES[touch.width], access))
        verb = "write" if touch.write else "read"
        self._note(Relaxation.DIRECT_IO, f"{verb} {touch.width} bytes at port {touch.port:#x}", denial)
        if touch.write:
            supervisor.machine.ports.write(touch.port, touch.width, touch.value)
            return 0
        return supervisor.machine.ports.read(touch.port, touch.width)

    # Privileged instructions

    def _privileged(self, fault: Fault, registers: Registers) -> Exit | None:
        if not self._supervisor.relaxations.permits(Relaxation.PRIVILEGED_INSTRUCTIONS):
            return None
        what = privileged(fault.instruction, registers)
        if what is None:
            return None
        self._hooks.locate(fault.rip, registers.rsp)
        value = self._perform(what, fault)
        if value is None:
            return None
        return self._go_on(perform(fault.instruction, registers, value))

    def _perform(self, what: Privileged, fault: Fault) -> int | None:
        """Do it, and return what it read; None if it cannot be done for ring 3."""
        if what.group is PrivilegedGroup.MSR and what.number is not None:
            return self._access_msr(what, what.number)
        if what.group in _WITHOUT_EFFECT:
            word = _POLICED.get(what.name)
            denial = _denial(lambda: require_instruction(self._supervisor, word)) if word is not None else ""
            self._note(Relaxation.PRIVILEGED_INSTRUCTIONS, f"`{what.name}`", denial)
            return 0
        if what.group is PrivilegedGroup.CONTROL_REGISTER and what.name == "mov" and what.number is not None:
            value = _CONTROL_REGISTERS.get(what.number)
            if value is None or (what.write and what.value != value):
                return None  # there are no page tables to name, and no other mode to change to
            text = str(decode(fault.instruction, fault.rip))
            self._note(Relaxation.PRIVILEGED_INSTRUCTIONS, f"`{text}`")
            return value
        return None

    def _access_msr(self, what: Privileged, number: int) -> int | None:
        supervisor = self._supervisor
        access = PolicyAttribute.WRITE if what.write else PolicyAttribute.READ
        denial = _denial(lambda: require_msr(supervisor, number, access))
        msrs = supervisor.machine.msrs
        value = 0
        try:
            if what.write:
                msrs.write(number, supervisor.current_cpu, what.value)
            else:
                value = msrs.read(number, supervisor.current_cpu)
        except UnknownMsrError:
            return None  # the hardware raises #GP at any privilege level
        verb = "write" if what.write else "read"
        self._note(Relaxation.PRIVILEGED_INSTRUCTIONS, f"{verb} MSR {number:#x}", denial)
        return value


def _denial(ask: Callable[[], object]) -> str:
    """Return the rule by which the policy denies something, or an empty string."""
    try:
        ask()
    except PolicyDeniedError as error:
        return error.rule
    except CoreError as error:
        return error.detail
    return ""


def map_outside(supervisor: Supervisor, address: int, access: Access) -> bool:
    """Map a page outside MMRAM for ring 3 if that is relaxed, and count it; return whether it was done."""
    if not supervisor.relaxations.permits(Relaxation.OUTSIDE_MEMORY):
        return False
    page = address & ~PAGE_MASK
    state = supervisor.memory.state(page)
    outside = page and not supervisor.mmram.touches(page, PAGE_SIZE)
    hidden = bool(state.attributes & Attribute.RP) and state.bank is not None
    if not outside or not hidden or access & Access.EXECUTE:
        return False
    use = f", {state.use}" if state.use else ""
    detail = f"{_VERBS.get(access, 'touch')} at {address:#x}{use}"
    supervisor.relaxations.note(supervisor.log, Relaxation.OUTSIDE_MEMORY, supervisor.place, detail)
    supervisor.memory.assign(page, PAGE_SIZE, Attribute.XP)
    return True


class Host:
    """What the core offers while a service outside MM is served; see ``core.interfaces.OutsideHost``."""

    def __init__(self, supervisor: Supervisor, hooks: Ring3Hooks, rsp: int) -> None:
        """Serve the driver whose stack pointer is ``rsp``."""
        self._supervisor = supervisor
        self._hooks = hooks
        self._rsp = rsp

    @property
    def memory(self) -> PhysicalMemory:
        """Physical memory."""
        return self._supervisor.memory

    @property
    def log(self) -> EventLog:
        """The run's events."""
        return self._supervisor.log

    @property
    def system_table(self) -> int:
        """Address of ring 3's MM system table, or 0."""
        return self._supervisor.jumps.user_table

    @property
    def cpus(self) -> int:
        """Number of CPUs."""
        return len(self._supervisor.cpus)

    def require(self, address: int, size: int, access: Access) -> None:
        """Make sure that ring 3 itself might touch a range; see ``OutsideHost``."""
        supervisor = self._supervisor
        end = address + size
        position = address
        while position < end:
            allowed = supervisor.memory.state(position).ring3 & access == access
            if not allowed and not map_outside(supervisor, position, access):
                detail = f"passes {position:#x} to a service outside MM, where ring 3 may not {_VERBS[access]}"
                raise self._die("MM-1202" if supervisor.mmram.touches(position, 1) else "MM-1201", detail)
            position = (position & ~PAGE_MASK) + PAGE_SIZE

    def call(self, routine: int, arguments: tuple[int, ...]) -> int:
        """Run a routine of ring 3 below the calling driver's stack; see ``OutsideHost``."""
        return self._hooks.call_below(routine, arguments, self._rsp)

    def refuse(self, detail: str) -> SystemStopError:
        """Record that nobody can serve a call; see ``OutsideHost``."""
        return self._die("MM-2010", detail)

    def _die(self, number: str, detail: str) -> SystemStopError:
        return self._supervisor.die(make_finding(number, detail, place=self._supervisor.place, rule=_OUTSIDE_RULE))
