"""Ports, MSRs and instructions, each behind the policy gate (docs/reference/syscall-abi.md §7.1, §8)."""

from __future__ import annotations

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.errors import Ring0FaultError
from mmsupervisor.core.gate import Service
from mmsupervisor.core.policy_gate import require_instruction, require_io, require_msr
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.routing import UnknownMsrError
from mmsupervisor.policy.model import Attribute, Instruction

_MASK32 = (1 << 32) - 1
_PROTECTION_FAULT = 13
_MSR_RULE = "syscall-abi.md §7.1: ring 0 executes the instruction itself"


def _no_such_msr(error: UnknownMsrError) -> Ring0FaultError:
    mend = (
        f"Does the platform's processor have MSR {error.number:#x}? Then list it in the platform file, under "
        "[processor.msrs]. If not, do not touch it, and let the policy deny it."
    )
    return Ring0FaultError(_PROTECTION_FAULT, f"{error}: ring 0 takes a #GP", _MSR_RULE, mend=mend)


def _read_msr(supervisor: Supervisor, number: int, _a2: int, _a3: int) -> int:
    number &= _MASK32
    require_msr(supervisor, number, Attribute.READ)
    try:
        return supervisor.machine.msrs.read(number, supervisor.current_cpu)
    except UnknownMsrError as error:
        raise _no_such_msr(error) from error


def _write_msr(supervisor: Supervisor, number: int, value: int, _a3: int) -> int:
    number &= _MASK32
    require_msr(supervisor, number, Attribute.WRITE)
    try:
        supervisor.machine.msrs.write(number, supervisor.current_cpu, value)
    except UnknownMsrError as error:
        raise _no_such_msr(error) from error
    return 0


def _require_port(supervisor: Supervisor, port: int, width: int, access: Attribute) -> int:
    """Ask for a port; the core's own IoLib ASSERTs that it is aligned, and accesses it all the same."""
    size = require_io(supervisor, port, width, access)
    if port % size:
        supervisor.failed_assert("syscall-abi.md §7.3", f"port {port & _MASK32:#x} is not aligned to {size} bytes")
    return size


def _read_port(supervisor: Supervisor, port: int, width: int, _a3: int) -> int:
    size = _require_port(supervisor, port, width, Attribute.READ)
    return supervisor.machine.ports.read(port & _MASK32, size)


def _write_port(supervisor: Supervisor, port: int, width: int, value: int) -> int:
    size = _require_port(supervisor, port, width, Attribute.WRITE)
    supervisor.machine.ports.write(port & _MASK32, size, value)
    return 0


def _instruction(instruction: Instruction) -> Service:
    def serve(supervisor: Supervisor, _a1: int, _a2: int, _a3: int) -> int:
        require_instruction(supervisor, instruction)
        return 0

    return serve


SERVICES: dict[CallNumber, Service] = {
    CallNumber.SMM_SC_RDMSR: _read_msr,
    CallNumber.SMM_SC_WRMSR: _write_msr,
    CallNumber.SMM_SC_CLI: _instruction(Instruction.CLI),
    CallNumber.SMM_SC_IO_READ: _read_port,
    CallNumber.SMM_SC_IO_WRITE: _write_port,
    CallNumber.SMM_SC_WBINVD: _instruction(Instruction.WBINVD),
    CallNumber.SMM_SC_HLT: _instruction(Instruction.HLT),
}
"""CLI, WBINVD and HLT change nothing that ring 3 can see: SYSRET restores its flags, and ring 0 goes on."""
