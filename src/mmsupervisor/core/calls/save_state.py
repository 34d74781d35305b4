"""Reading the save state in two calls (docs/reference/save-state.md §6, isolation-policy.md §9)."""

from __future__ import annotations

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.gate import Service
from mmsupervisor.core.policy_gate import decide
from mmsupervisor.core.ring0 import read_as_ring0, write_as_ring0
from mmsupervisor.core.supervisor import SaveStateRequest, Supervisor
from mmsupervisor.machine.save_state import FIELDS, SAVE_STATE_OFFSET, SAVE_STATE_SIZE, IoInfo, Vendor, io_info
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.questions import SaveStateQuestion
from mmsupervisor.policy.save_state import IO_INFO_SIZE, IoTrap, SaveStateRegister

_LAST_REGISTER = SaveStateRegister.PROCESSOR_ID
_LONG_MODE = 64


def _name(supervisor: Supervisor, cookie: int, register: int, cpu: int) -> int:
    if register > _LAST_REGISTER:
        raise CoreError(Status.INVALID_PARAMETER, f"register {register} is above {int(_LAST_REGISTER)}")
    if cpu >= len(supervisor.cpus):
        raise CoreError(Status.INVALID_PARAMETER, f"there is no CPU {cpu}; there are {len(supervisor.cpus)}")
    supervisor.save_state_request = SaveStateRequest(cookie, register, cpu)
    return 0


def _area(supervisor: Supervisor, cpu: int) -> bytes:
    return read_as_ring0(supervisor.memory, supervisor.cpus[cpu].smbase + SAVE_STATE_OFFSET, SAVE_STATE_SIZE)


def _read(supervisor: Supervisor, cookie: int, width: int, buffer: int) -> int:
    request = supervisor.save_state_request
    if request.cookie != cookie:
        return Status.NOT_STARTED
    if request.used:
        what = f"register {request.register} of CPU {request.cpu} is read again without being named again"
        supervisor.reference_bug("save-state.md surprise 2", what)
    request.used = True
    trap = io_info(_area(supervisor, request.cpu), supervisor.vendor)
    denied = _ask_policy(supervisor, request, width, trap)
    if denied:
        return denied
    if request.register == SaveStateRegister.PROCESSOR_ID:
        return _read_processor_id(supervisor, request.cpu, width, buffer)
    if not supervisor.cpus[request.cpu].present:
        return Status.INVALID_PARAMETER
    if request.register == SaveStateRegister.IO:
        return _read_io(supervisor, trap, width, buffer)
    if request.register == SaveStateRegister.LMA:
        if width != 1:
            return Status.INVALID_PARAMETER
        write_as_ring0(supervisor.memory, buffer, bytes([_LONG_MODE]))
        return Status.SUCCESS
    return _read_field(supervisor, request, width, buffer)


def _ask_policy(supervisor: Supervisor, request: SaveStateRequest, width: int, trap: IoInfo | None) -> int:
    if supervisor.policy is None:
        return Status.INVALID_PARAMETER
    io = IoTrap(trap.type, trap.width) if trap else Status.NOT_FOUND
    what = f"read save-state register {request.register} of CPU {request.cpu}, {width} bytes"
    return int(decide(supervisor, supervisor.policy, SaveStateQuestion(request.register, width, io), what).status)


def _read_processor_id(supervisor: Supervisor, cpu: int, width: int, buffer: int) -> int:
    if width != 8:
        return Status.INVALID_PARAMETER
    if not supervisor.cpus[cpu].present:
        return Status.NOT_FOUND
    write_as_ring0(supervisor.memory, buffer, supervisor.cpus[cpu].apic_id.to_bytes(8, "little"))
    return Status.SUCCESS


def _read_io(supervisor: Supervisor, trap: IoInfo | None, width: int, buffer: int) -> int:
    if trap is None:
        return Status.NOT_FOUND
    if width < IO_INFO_SIZE:
        if supervisor.vendor is Vendor.INTEL:
            return Status.INVALID_PARAMETER
        # The reference writes 24 bytes whatever the width; the bytes beyond it are nobody's to overwrite.
        supervisor.reference_bug("save-state.md surprise 1", f"I/O information read with a width of {width} bytes")
        write_as_ring0(supervisor.memory, buffer, trap.pack()[:width])
        return Status.SUCCESS
    write_as_ring0(supervisor.memory, buffer, trap.pack())
    return Status.SUCCESS


def _read_field(supervisor: Supervisor, request: SaveStateRequest, width: int, buffer: int) -> int:
    field = FIELDS[supervisor.vendor].get(request.register)
    if field is None:
        return Status.NOT_FOUND
    if width > field.width:
        return Status.INVALID_PARAMETER
    area = _area(supervisor, request.cpu)
    value = area[field.low : field.low + min(width, 4)]
    if width > 4 and field.high == field.low:
        supervisor.reference_bug("save-state.md surprise 3", f"register {request.register}: its low half comes twice")
    if width > 4 and field.high is not None:
        value += area[field.high : field.high + width - 4]
    write_as_ring0(supervisor.memory, buffer, value)
    return Status.SUCCESS


SERVICES: dict[CallNumber, Service] = {
    CallNumber.SMM_SC_SVST_READ: _name,
    CallNumber.SMM_SC_SVST_READ_2: _read,
}
"""Name a register, then read it."""
