"""Calls other than save state and profile: success, and each failure with its status (syscall-abi.md §7)."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest

from mmsupervisor.abi.system_calls import EARLY_CALLS, SYSTEM_CALLS, CallNumber, Support
from mmsupervisor.core.calls import SERVICES
from mmsupervisor.core.events import SystemCallMade
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.machine.routing import RegisterMsrs
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble, write_blob
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import (
    AccessAttr,
    Instruction,
    InstructionEntry,
    IoEntry,
    MsrEntry,
    PolicyRoot,
    RootType,
)
from mmsupervisor.policy.model import (
    Attribute as Access,
)
from tests.core.files import core_volume, policy_file
from tests.core.small import (
    FREE_RAM,
    MMIO,
    MMRAM,
    OTHER,
    SOMEBODY,
    Small,
    bugs,
    events,
    fatal_call,
    finding_numbers,
    put_guid,
    register_user,
    ring3,
    system_call,
    unblock,
    user_page,
)

C = CallNumber
MAX = (1 << 64) - 1


class Scratch:
    """A device that remembers what was written."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int, int]] = []

    def port_read(self, offset: int, width: int) -> int:
        return 0x8877_6655_4433_2211 >> 8 * offset

    def port_write(self, offset: int, width: int, value: int) -> None:
        self.written.append((offset, width, value))


READ, WRITE, EXECUTE = Access.READ, Access.WRITE, Access.EXECUTE
PORTS = (IoEntry(0x70, 4, READ | WRITE), IoEntry(0xFFF0, 16, READ))
MSRS = (MsrEntry(0x1B, 1, READ), MsrEntry(0x8B, 2, READ | WRITE))
POLICY = assemble(
    (
        PolicyRoot(RootType.IO, AccessAttr.ALLOW, PORTS),
        PolicyRoot(RootType.MSR, AccessAttr.ALLOW, MSRS),
        PolicyRoot(RootType.INSTRUCTION, AccessAttr.ALLOW, (InstructionEntry(Instruction.CLI, EXECUTE),)),
    )
)


@pytest.fixture
def supervisor(supervisor: Supervisor) -> Supervisor:
    supervisor.policy = CompiledPolicy(POLICY)
    supervisor.machine.msrs.claim(0x1B, 1, RegisterMsrs({0x1B: 0xFEE0_0900}))
    supervisor.machine.msrs.claim(0x8B, 1, RegisterMsrs({0x8B: 5}))
    return supervisor


def fails(supervisor: Supervisor, status: Status, number: int, *arguments: int) -> None:
    finding = fatal_call(supervisor, number, *arguments)
    assert finding.status == status, f"{finding}"


def test_every_served_call_has_a_service_and_no_other() -> None:
    served = {number for number, call in SYSTEM_CALLS.items() if call.support is Support.SERVED}
    assert set(SERVICES) == served


@pytest.mark.parametrize("call", [call for call in CallNumber if call in SERVICES and call not in EARLY_CALLS])
def test_calls_before_the_broker_has_registered_itself(supervisor: Supervisor, call: CallNumber) -> None:
    supervisor.jumps.central = 0
    system_call(supervisor, C.SMM_QRY_HOB)
    system_call(supervisor, C.SMM_SC_IO_READ, 0xFFF0, 2)
    assert "MM-2005" not in finding_numbers(supervisor)
    with suppress(SystemStopError):
        system_call(supervisor, call, 0, 0, 0)
    told = [finding for finding in supervisor.findings if finding.kind.number == "MM-2005"]
    assert [call.name in finding.detail for finding in told] == [True]


def test_once_the_broker_has_registered_itself_any_call_may_come(supervisor: Supervisor) -> None:
    supervisor.jumps.central = 0
    page = user_page(supervisor)
    system_call(supervisor, C.SMM_REG_HDL_JMP, page, page)
    system_call(supervisor, C.SMM_ALOC_PAGE, 0, 6, 1)
    assert "MM-2005" not in finding_numbers(supervisor)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (C.SMM_SC_PROC_READ, Status.INVALID_PARAMETER),
        (C.SMM_SC_PROC_WRITE, Status.INVALID_PARAMETER),
        (C.SMM_SC_LEGACY_MAX, Status.INVALID_PARAMETER),
        (C.SMM_ALOC_POOL, Status.UNSUPPORTED),
        (C.SMM_FREE_POOL, Status.UNSUPPORTED),
        *(
            (number, Status.INVALID_PARAMETER)
            for number in (0xA, 0x20, 0xFFFE, 0x10008, 0x10017, 0x10024, 0x1_0000_0003)
        ),
        (MAX, Status.INVALID_PARAMETER),
    ],
)
def test_calls_that_do_not_exist(supervisor: Supervisor, number: int, status: Status) -> None:
    finding = fatal_call(supervisor, number)
    assert (finding.kind.number, finding.status) == ("MM-1003", status)


def test_a_fatal_call_is_an_event_without_a_result(supervisor: Supervisor) -> None:
    fatal_call(supervisor, C.SMM_INST_PROT, 0)
    event = events(supervisor, SystemCallMade)[-1]
    assert isinstance(event, SystemCallMade)
    assert (event.call, event.result) == ("SMM_INST_PROT", None)


# Ports, MSRs, instructions


def test_ports(supervisor: Supervisor) -> None:
    device = Scratch()
    supervisor.machine.ports.claim(0x70, 8, "scratch", device)
    assert system_call(supervisor, C.SMM_SC_IO_READ, 0x70, 0) == 0x11
    assert system_call(supervisor, C.SMM_SC_IO_READ, 0x70, 1) == 0x2211
    assert system_call(supervisor, C.SMM_SC_IO_READ, 0x70, 2) == 0x4433_2211
    assert system_call(supervisor, C.SMM_SC_IO_WRITE, 0x71, 0, 0x1FF) == 0, "the result is 0 and not the value"
    assert system_call(supervisor, C.SMM_SC_IO_WRITE, 0x70, 2, 0xFFFF_1234_5678) == 0
    assert device.written == [(1, 1, 0xFF), (0, 4, 0x1234_5678)]
    assert system_call(supervisor, C.SMM_SC_IO_READ, 1 << 32 | 0x70, 0) == 0x11, "the gate sees the low 32 bits"
    assert system_call(supervisor, C.SMM_SC_IO_READ, 0xFFFF, 0) == 0xFF, "an empty bus"


@pytest.mark.parametrize("call", [C.SMM_SC_IO_READ, C.SMM_SC_IO_WRITE])
@pytest.mark.parametrize(
    ("port", "width", "status"),
    [
        (0x70, 3, Status.INVALID_PARAMETER),
        (0x70, MAX, Status.INVALID_PARAMETER),
        (0x1_0000, 0, Status.INVALID_PARAMETER),
        (0xFFFF, 1, Status.INVALID_PARAMETER),
        (0xFFFD, 2, Status.INVALID_PARAMETER),
        (0xFFFF_FFFF, 0, Status.INVALID_PARAMETER),
        (0x6F, 0, Status.ACCESS_DENIED),
        (0x74, 0, Status.ACCESS_DENIED),
    ],
)
def test_ports_refused(supervisor: Supervisor, call: int, port: int, width: int, status: Status) -> None:
    fails(supervisor, status, call, port, width, 0)


def test_a_port_that_may_only_be_read(supervisor: Supervisor) -> None:
    assert system_call(supervisor, C.SMM_SC_IO_READ, 0xFFF0, 2) == 0xFFFF_FFFF
    finding = fatal_call(supervisor, C.SMM_SC_IO_WRITE, 0xFFF0, 2, 0)
    assert finding.kind.number == "MM-1001"
    assert "write 4 bytes at port 0xfff0" in finding.detail


def test_msrs(supervisor: Supervisor) -> None:
    assert system_call(supervisor, C.SMM_SC_RDMSR, 0x1B) == 0xFEE0_0900
    assert system_call(supervisor, C.SMM_SC_RDMSR, 1 << 32 | 0x1B) == 0xFEE0_0900, "the low 32 bits count"
    assert system_call(supervisor, C.SMM_SC_WRMSR, 0x8B, MAX) == 0
    assert system_call(supervisor, C.SMM_SC_RDMSR, 0x8B) == MAX


def test_msrs_refused(supervisor: Supervisor) -> None:
    fails(supervisor, Status.ACCESS_DENIED, C.SMM_SC_WRMSR, 0x1B, 0)
    fails(supervisor, Status.ACCESS_DENIED, C.SMM_SC_RDMSR, 0xC000_0080)
    assert system_call(supervisor, C.SMM_SC_RDMSR, 0x8B) == 5, "nothing was written"


@pytest.mark.parametrize("call", [C.SMM_SC_RDMSR, C.SMM_SC_WRMSR])
def test_an_msr_that_does_not_exist_faults_in_ring_0(supervisor: Supervisor, call: int) -> None:
    finding = fatal_call(supervisor, call, 0x8C, 0)
    assert (finding.kind.number, finding.vector) == ("MM-1302", 13)
    assert "[processor.msrs]" in finding.mend


def test_instructions(supervisor: Supervisor) -> None:
    assert system_call(supervisor, C.SMM_SC_CLI) == 0
    fails(supervisor, Status.ACCESS_DENIED, C.SMM_SC_WBINVD)
    fails(supervisor, Status.ACCESS_DENIED, C.SMM_SC_HLT)
    supervisor.policy = CompiledPolicy(default_policy())
    assert system_call(supervisor, C.SMM_SC_WBINVD) == system_call(supervisor, C.SMM_SC_HLT) == 0


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (C.SMM_SC_IO_READ, (0x70, 0)),
        (C.SMM_SC_IO_WRITE, (0x70, 0, 0)),
        (C.SMM_SC_RDMSR, (0x1B,)),
        (C.SMM_SC_WRMSR, (0x8B, 0)),
        (C.SMM_SC_CLI, ()),
        (C.SMM_SC_WBINVD, ()),
        (C.SMM_SC_HLT, ()),
    ],
)
def test_without_a_policy_ring_0_faults(supervisor: Supervisor, call: int, arguments: tuple[int, ...]) -> None:
    supervisor.policy = None
    finding = fatal_call(supervisor, call, *arguments)
    assert (finding.kind.number, finding.vector, finding.address) == ("MM-1302", 14, 0)
    assert "boot-flow.md §12.5" in bugs(supervisor)


def test_a_policy_whose_lists_lie_outside_it_is_read_beyond_its_end(small: Small) -> None:
    blob = bytearray(write_blob(default_policy()))
    struct.pack_into("<I", blob, 40 + 12, len(blob))  # the offset of the first root's list
    small.add_volume(core_volume(policy=policy_file(bytes(blob))))
    supervisor = small.start().supervisor
    assert supervisor.policy is not None, "it stays in force"
    finding = fatal_call(supervisor, C.SMM_SC_IO_READ, 0x1234, 0)
    assert (finding.kind.number, finding.vector) == ("MM-1302", 14)


# Pages


def test_allocate_pages(supervisor: Supervisor) -> None:
    first = system_call(supervisor, C.SMM_ALOC_PAGE, 0, 6, 2)
    assert (
        supervisor.memory.state(first).attributes == supervisor.memory.state(first + 0x1000).attributes == Attribute.XP
    )
    supervisor.memory.fill(first, 0x2000, 0xAB)
    assert system_call(supervisor, C.SMM_FREE_PAGE, first, 2) == 0
    again = system_call(supervisor, C.SMM_ALOC_PAGE, 0, 6, 2)
    assert again == first
    assert supervisor.memory.read(again, 8) == b"\xab" * 8, "contents are never cleared"
    assert system_call(supervisor, C.SMM_ALOC_PAGE, 0, 6, 1) == first - 0x1000, "top-down"


def test_zero_pages_are_not_rejected(supervisor: Supervisor) -> None:
    free = supervisor.pages.free_pages
    place = system_call(supervisor, C.SMM_ALOC_PAGE, 0, 6, 0)
    assert supervisor.pages.free_pages == free
    assert system_call(supervisor, C.SMM_ALOC_PAGE, 0, 6, 1) == place - 0x1000


@pytest.mark.parametrize(
    ("kind", "memory_type", "pages", "status"),
    [
        (0, 5, 1, Status.UNSUPPORTED),
        (0, 4, 1, Status.INVALID_PARAMETER),
        (0, 7, 1, Status.INVALID_PARAMETER),
        (0, MAX, 1, Status.INVALID_PARAMETER),
        (1, 6, 1, Status.OUT_OF_RESOURCES),
        (2, 6, 1, Status.NOT_FOUND),
        (3, 6, 1, Status.INVALID_PARAMETER),
        (MAX, 6, 1, Status.INVALID_PARAMETER),
        (0, 6, 0x10000, Status.OUT_OF_RESOURCES),
        (0, 6, 1 << 52, Status.OUT_OF_RESOURCES),
        (0, 6, MAX, Status.OUT_OF_RESOURCES),
    ],
)
def test_pages_refused(supervisor: Supervisor, kind: int, memory_type: int, pages: int, status: Status) -> None:
    free = supervisor.pages.free_pages
    fails(supervisor, status, C.SMM_ALOC_PAGE, kind, memory_type, pages)
    assert supervisor.pages.free_pages == free


def test_address_hints_never_arrive(supervisor: Supervisor) -> None:
    for kind in (1, 2):
        finding = fatal_call(supervisor, C.SMM_ALOC_PAGE, kind, 6, 1)
        assert bugs(supervisor)[-1] == "syscall-abi.md §11.2"
        assert finding.mend.startswith("Allocate with AllocateAnyPages")
    plain = fatal_call(supervisor, C.SMM_ALOC_PAGE, 0, 6, 1 << 40)
    assert plain.mend == plain.kind.mend


def test_pages_only_on_the_bsp(supervisor: Supervisor) -> None:
    supervisor.current_cpu = 1
    fails(supervisor, Status.ACCESS_DENIED, C.SMM_ALOC_PAGE, 0, 6, 1)


def test_free_pages(supervisor: Supervisor) -> None:
    base = user_page(supervisor, 4)
    assert system_call(supervisor, C.SMM_FREE_PAGE, base + 0x1000, 1) == 0, "part of an allocation"
    assert supervisor.memory.state(base + 0x1000).attributes == Attribute.XP | Attribute.SP
    fails(supervisor, Status.SECURITY_VIOLATION, C.SMM_FREE_PAGE, base, 4)
    fails(supervisor, Status.SECURITY_VIOLATION, C.SMM_FREE_PAGE, base + 0x1000, 1)
    fails(supervisor, Status.SECURITY_VIOLATION, C.SMM_FREE_PAGE, base, 0)
    fails(supervisor, Status.SECURITY_VIOLATION, C.SMM_FREE_PAGE, base, 1 << 52)
    fails(supervisor, Status.INVALID_PARAMETER, C.SMM_FREE_PAGE, base + 0x2008, 1)
    assert system_call(supervisor, C.SMM_FREE_PAGE, base + 0x2000, 2) == 0


def test_free_pages_outside_mmram(supervisor: Supervisor) -> None:
    unblock(supervisor, FREE_RAM, 1)
    fails(supervisor, Status.NOT_FOUND, C.SMM_FREE_PAGE, FREE_RAM, 1)
    fails(supervisor, Status.NOT_FOUND, C.SMM_FREE_PAGE, MMIO, 1)


# Registrations

JUMPS = (C.SMM_REG_HDL_JMP, C.SMM_SET_CPL3_TBL, C.SMM_ERR_RPT_JMP)


def test_jumps(supervisor: Supervisor) -> None:
    page = user_page(supervisor)
    assert system_call(supervisor, C.SMM_REG_HDL_JMP, page + 8, page + 16) == 0
    assert (supervisor.jumps.central, supervisor.jumps.ap) == (page + 8, page + 16)
    assert system_call(supervisor, C.SMM_ERR_RPT_JMP, page + 24) == 0
    assert supervisor.jumps.error_report == page + 24


def test_the_system_table_is_filled_in_at_once(supervisor: Supervisor) -> None:
    page = user_page(supervisor)
    supervisor.memory.fill(page, PAGE_SIZE, 0xFF)
    assert system_call(supervisor, C.SMM_SET_CPL3_TBL, page) == 0
    assert struct.unpack("<4Q", supervisor.memory.read(page + 0x78, 0x20)) == (0, 2, 0, 0)
    assert supervisor.memory.read_u64(page + 0x70) == MAX


@pytest.mark.parametrize("call", JUMPS)
def test_each_may_be_registered_once(supervisor: Supervisor, call: int) -> None:
    page = user_page(supervisor)
    fails(supervisor, Status.SECURITY_VIOLATION, call, 0, page)
    assert system_call(supervisor, call, page, page) == 0, "a call that failed does not count"
    fails(supervisor, Status.ALREADY_STARTED, call, page, page)
    owner = "MmSupervisorErrorReport" if call == C.SMM_ERR_RPT_JMP else "MmSupervisorRing3Broker"
    assert owner in fatal_call(supervisor, call, page, page).mend


def test_the_last_bytes_of_a_table_count(supervisor: Supervisor) -> None:
    page = user_page(supervisor)
    fails(supervisor, Status.SECURITY_VIOLATION, C.SMM_SET_CPL3_TBL, page + PAGE_SIZE - 0xEF)
    assert system_call(supervisor, C.SMM_SET_CPL3_TBL, page + PAGE_SIZE - 0xF0) == 0


def test_configuration_tables(supervisor: Supervisor) -> None:
    guid, table = put_guid(supervisor, SOMEBODY), user_page(supervisor)
    assert system_call(supervisor, C.SMM_INST_CONF_T, guid, table, 16) == 0
    assert supervisor.configuration[SOMEBODY] == table
    assert system_call(supervisor, C.SMM_INST_CONF_T, guid, table + 8, 16) == 0
    assert supervisor.configuration[SOMEBODY] == table + 8
    for arguments in ((guid, 0, 16), (guid, table, 0), (0, table, 16), (guid, 0, 0)):
        fails(supervisor, Status.SECURITY_VIOLATION, C.SMM_INST_CONF_T, *arguments)
    assert SOMEBODY in supervisor.configuration, "there is no deletion"


def test_protocols(supervisor: Supervisor) -> None:
    guid = put_guid(supervisor, SOMEBODY)
    for count in (1, 2):
        assert system_call(supervisor, C.SMM_INST_PROT, guid) == 0
        assert supervisor.protocols.instances(SOMEBODY) == count
    assert bugs(supervisor)[-1] == "gmmst.md §13.13"


def test_the_hob_list(supervisor: Supervisor) -> None:
    assert system_call(supervisor, C.SMM_QRY_HOB) == supervisor.hob_list
    supervisor.hob_list = 0
    assert system_call(supervisor, C.SMM_QRY_HOB) == 0


def test_handlers(supervisor: Supervisor) -> None:
    page, guid = user_page(supervisor), put_guid(supervisor, SOMEBODY)
    handle = system_call(supervisor, C.SMM_REG_HNDL, page, guid)
    root = system_call(supervisor, C.SMM_REG_HNDL, page + 8, 0)
    found = {handler.handle: (handler.guid, handler.routine) for handler in supervisor.handlers.all()}
    assert found[handle] == (SOMEBODY, page)
    assert found[root] == (None, page + 8)
    assert system_call(supervisor, C.SMM_UNREG_HNDL, handle) == 0
    fails(supervisor, Status.INVALID_PARAMETER, C.SMM_UNREG_HNDL, handle)
    theirs = next(handler.handle for handler in supervisor.handlers.all() if handler.supervisor)
    fails(supervisor, Status.INVALID_PARAMETER, C.SMM_UNREG_HNDL, theirs)
    fails(supervisor, Status.SECURITY_VIOLATION, C.SMM_REG_HNDL, 0, guid)
    fails(supervisor, Status.SECURITY_VIOLATION, C.SMM_REG_HNDL, page, 8)


def test_a_handle_of_another_driver_may_be_unregistered(supervisor: Supervisor) -> None:
    """Only the owner in the sense of the ring counts."""
    handle = register_user(supervisor, OTHER, 0x5000)
    assert system_call(supervisor, C.SMM_UNREG_HNDL, handle) == 0


def test_registrations_without_pool(supervisor: Supervisor) -> None:
    page, guid = user_page(supervisor), put_guid(supervisor, SOMEBODY)
    user_page(supervisor, supervisor.pages.free_pages)
    with suppress(SystemStopError):
        for _ in range(200):
            system_call(supervisor, C.SMM_INST_PROT, guid)
    supervisor.stop = None
    statuses = [fatal_call(supervisor, C.SMM_REG_HNDL, page, guid).status]
    assert statuses[-1] == Status.OUT_OF_RESOURCES
    assert supervisor.findings[-1].kind.number == "MM-1004"


# Application processors


@pytest.fixture
def ap(supervisor: Supervisor) -> int:
    """Ring-3 pages for a procedure; the AP jump is registered."""
    page = user_page(supervisor)
    supervisor.jumps.ap = page + 0x800
    return page


def test_start_an_ap(supervisor: Supervisor, ap: int) -> None:
    assert system_call(supervisor, C.SMM_START_AP_PROC, ap, 1, ap + 0x100) == 0
    assert ring3(supervisor).calls == [(ap + 0x800, (ap, ap + 0x100), 1)]
    assert not supervisor.cpus[1].busy


def test_the_status_of_the_procedure_is_not_seen(supervisor: Supervisor, ap: int) -> None:
    ring3(supervisor).answers[ap] = Status.ABORTED
    assert system_call(supervisor, C.SMM_START_AP_PROC, ap, 1, ap) == 0


def test_without_an_argument_the_procedure_is_silently_not_run(supervisor: Supervisor, ap: int) -> None:
    assert system_call(supervisor, C.SMM_START_AP_PROC, ap, 1, 0) == 0
    assert ring3(supervisor).calls == []
    assert bugs(supervisor)[-1] == "gmmst.md §13.6"


def test_aps_refused(supervisor: Supervisor, ap: int) -> None:
    def refused(status: Status, *arguments: int) -> None:
        fails(supervisor, status, C.SMM_START_AP_PROC, *arguments)

    refused(Status.SECURITY_VIOLATION, ap, 2, ap)
    refused(Status.SECURITY_VIOLATION, ap, MAX, ap)
    refused(Status.SECURITY_VIOLATION, 0, 1, ap)
    refused(Status.SECURITY_VIOLATION, MMRAM, 1, ap)
    refused(Status.SECURITY_VIOLATION, ap, 1, MMRAM)
    refused(Status.INVALID_PARAMETER, ap, 0, ap)
    supervisor.cpus[1].busy = True
    refused(Status.INVALID_PARAMETER, ap, 1, ap)
    supervisor.cpus[1].busy, supervisor.cpus[1].present = False, False
    refused(Status.INVALID_PARAMETER, ap, 1, ap)
    assert ring3(supervisor).calls == []


def test_an_ap_cannot_start_the_bsp(supervisor: Supervisor, ap: int) -> None:
    """The BSP is in the middle of the call that started the AP; its stack must not be entered again."""
    supervisor.current_cpu = 1
    fails(supervisor, Status.INVALID_PARAMETER, C.SMM_START_AP_PROC, ap, 0, ap)
