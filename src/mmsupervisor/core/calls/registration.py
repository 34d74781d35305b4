"""What ring 3 registers with ring 0: jumps, tables, handlers, protocols (docs/reference/syscall-abi.md §7.2)."""

from __future__ import annotations

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.configuration_tables import publish_configuration_tables
from mmsupervisor.core.entry_context import write_entry_context
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.gate import Service
from mmsupervisor.core.ring0 import read_as_ring0
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.status import Status

_BSP = 0


def _guid(supervisor: Supervisor, address: int) -> Guid:
    return Guid(read_as_ring0(supervisor.memory, address, GUID_SIZE))


def _register_jumps(supervisor: Supervisor, central: int, ap: int, _a3: int) -> int:
    supervisor.jumps.central = central
    supervisor.jumps.ap = ap
    return 0


def _set_table(supervisor: Supervisor, table: int, _a2: int, _a3: int) -> int:
    supervisor.jumps.user_table = table
    write_entry_context(supervisor)
    publish_configuration_tables(supervisor)
    return 0


def _register_error_report(supervisor: Supervisor, function: int, _a2: int, _a3: int) -> int:
    supervisor.jumps.error_report = function
    return 0


def _install_configuration_table(supervisor: Supervisor, guid: int, table: int, _size: int) -> int:
    name = _guid(supervisor, guid)
    supervisor.configuration[name] = table
    if supervisor.relaxations.permits(Relaxation.CONFIGURATION_TABLES):
        publish_configuration_tables(supervisor)
        detail = f"table {name.label} is visible in ring 3's system table"
        supervisor.relaxations.note(supervisor.log, Relaxation.CONFIGURATION_TABLES, supervisor.place, detail)
    return 0


def _install_protocol(supervisor: Supervisor, guid: int, _a2: int, _a3: int) -> int:
    name = _guid(supervisor, guid)
    supervisor.protocols.install(name)
    count = supervisor.protocols.instances(name)
    if count > 1:
        supervisor.reference_bug("gmmst.md §13.13", f"{name.label}: instance {count}, each on a new handle for ever")
    return 0


def _query_hob(supervisor: Supervisor, _a1: int, _a2: int, _a3: int) -> int:
    return supervisor.hob_list


def _register_handler(supervisor: Supervisor, handler: int, guid: int, _a3: int) -> int:
    wanted = _guid(supervisor, guid) if guid else None
    return supervisor.handlers.register(wanted, routine=handler).handle


def _unregister_handler(supervisor: Supervisor, handle: int, _a2: int, _a3: int) -> int:
    supervisor.handlers.unregister(handle, user=True)
    return 0


def _start_ap(supervisor: Supervisor, procedure: int, cpu: int, argument: int) -> int:
    if cpu >= len(supervisor.cpus):
        raise CoreError(Status.SECURITY_VIOLATION, f"there is no CPU {cpu}; there are {len(supervisor.cpus)}")
    target = supervisor.cpus[cpu]
    if cpu in (_BSP, supervisor.current_cpu):
        whose = "the BSP" if cpu == _BSP else "the calling one"
        raise CoreError(Status.INVALID_PARAMETER, f"CPU {cpu} is {whose}")
    if not target.present:
        raise CoreError(Status.INVALID_PARAMETER, f"CPU {cpu} is not in this MMI")
    if target.busy:
        raise CoreError(Status.INVALID_PARAMETER, f"CPU {cpu} is busy")
    if argument == 0:
        supervisor.reference_bug("gmmst.md §13.6", f"CPU {cpu}: an argument of 0 means the procedure is not run")
        return 0
    target.busy = True
    try:
        supervisor.ring3.call(supervisor.jumps.ap, (procedure, argument), cpu, target=procedure)
    finally:
        target.busy = False
    return 0


SERVICES: dict[CallNumber, Service] = {
    CallNumber.SMM_REG_HDL_JMP: _register_jumps,
    CallNumber.SMM_SET_CPL3_TBL: _set_table,
    CallNumber.SMM_ERR_RPT_JMP: _register_error_report,
    CallNumber.SMM_INST_CONF_T: _install_configuration_table,
    CallNumber.SMM_INST_PROT: _install_protocol,
    CallNumber.SMM_QRY_HOB: _query_hob,
    CallNumber.SMM_REG_HNDL: _register_handler,
    CallNumber.SMM_UNREG_HNDL: _unregister_handler,
    CallNumber.SMM_START_AP_PROC: _start_ap,
}
"""Registrations, and the AP procedure."""
