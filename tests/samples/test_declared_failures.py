"""Every check and every failure that the system-call table declares: provoked, or unreachable for a stated reason.

The table is ``mmsupervisor.abi.system_calls``; what is declared there and not provoked here fails. Ring 3's side of
the same calls is in ``test_offenders.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.abi.system_calls import SYSTEM_CALLS, CallNumber, Support, SystemCallDeclaration
from mmsupervisor.core.calls import SERVICES
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.gate import SystemCallGate
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.status import Status, status_name
from mmsupervisor.processor.interface import SystemCall
from tests.samples.policies import MSR, PORT, policy
from tests.samples.stage import Stage, staged

Arguments: TypeAlias = tuple[int, ...]
DATA = PageType.RUNTIME_SERVICES_DATA


@dataclass(frozen=True)
class Places:
    """Addresses that a call can be given.

    Attributes:
        user: A page of ring 3's, writable.
        guid: A GUID of the driver's.
        code: A routine of the driver's.
        supervisor: Memory of the supervisor's.

    """

    user: int
    guid: int
    code: int
    supervisor: int


Provocation: TypeAlias = Callable[[Places], Arguments]


def nothing(_: Supervisor, __: Places) -> None:
    """Prepare nothing."""


def forget_calls(supervisor: Supervisor, _: Places) -> None:
    """As before the broker has started."""
    supervisor.calls_made.clear()


def on_ap(supervisor: Supervisor, _: Places) -> None:
    supervisor.current_cpu = 1


def use_up_memory(supervisor: Supervisor, _: Places) -> None:
    """Allocate all pages and all of the pool."""
    for pages in (1024, 32, 1):
        with suppress(CoreError):
            while True:
                supervisor.pages.allocate(pages, DATA, Owner.SUPERVISOR, "test")
    for size in (128, 64):  # what objects gave back is kept by size
        with suppress(CoreError):
            while True:
                supervisor.pool.allocate(size)


def profile_on(supervisor: Supervisor, _: Places) -> None:
    supervisor.profile = replace(supervisor.profile, handler_profile=True)


def registration_begun(supervisor: Supervisor, places: Places) -> None:
    profile_on(supervisor, places)
    call(supervisor, CallNumber.SMM_MM_HDL_REG_1, (places.guid, places.code, places.code))


def removal_begun(supervisor: Supervisor, places: Places) -> None:
    profile_on(supervisor, places)
    call(supervisor, CallNumber.SMM_MM_HDL_UNREG_1, (places.guid, places.code))


def report_registered(supervisor: Supervisor, places: Places) -> None:
    call(supervisor, CallNumber.SMM_ERR_RPT_JMP, (places.code,))


@dataclass(frozen=True)
class Case:
    """How a declared failure comes about.

    Attributes:
        arguments: What the call is given.
        prepare: What happens before.
    """

    arguments: Provocation
    prepare: Callable[[Supervisor, Places], None] = nothing


C = CallNumber
CASES: dict[tuple[CallNumber, str], Case] = {
    (C.SMM_SC_RDMSR, "failure 0"): Case(lambda p: (MSR,)),
    (C.SMM_SC_WRMSR, "failure 0"): Case(lambda p: (MSR, 0)),
    (C.SMM_SC_CLI, "failure 0"): Case(lambda p: ()),
    (C.SMM_SC_IO_READ, "failure 0"): Case(lambda p: (0xFFFF, 1)),
    (C.SMM_SC_IO_READ, "failure 1"): Case(lambda p: (PORT, 0)),
    (C.SMM_SC_IO_WRITE, "failure 0"): Case(lambda p: (0x80, 3, 0)),
    (C.SMM_SC_IO_WRITE, "failure 1"): Case(lambda p: (PORT, 0, 0)),
    (C.SMM_SC_WBINVD, "failure 0"): Case(lambda p: ()),
    (C.SMM_SC_HLT, "failure 0"): Case(lambda p: ()),
    (C.SMM_SC_SVST_READ, "check 0"): Case(lambda p: (0, 514, 0)),
    (C.SMM_SC_SVST_READ, "failure 0"): Case(lambda p: (p.user, 514, 99)),
    (C.SMM_SC_PROC_READ, "failure 0"): Case(lambda p: ()),
    (C.SMM_SC_PROC_WRITE, "failure 0"): Case(lambda p: ()),
    (C.SMM_SC_LEGACY_MAX, "failure 0"): Case(lambda p: ()),
    (C.SMM_REG_HDL_JMP, "check 0"): Case(lambda p: (p.code, p.code)),
    (C.SMM_REG_HDL_JMP, "check 1"): Case(lambda p: (p.supervisor, p.code), forget_calls),
    (C.SMM_REG_HDL_JMP, "check 2"): Case(lambda p: (p.code, p.supervisor), forget_calls),
    (C.SMM_INST_CONF_T, "check 0"): Case(lambda p: (p.supervisor, p.user, 8)),
    (C.SMM_INST_CONF_T, "check 1"): Case(lambda p: (p.guid, p.supervisor, 8)),
    (C.SMM_ALOC_POOL, "failure 0"): Case(lambda p: (6, 64)),
    (C.SMM_FREE_POOL, "failure 0"): Case(lambda p: (p.user,)),
    (C.SMM_ALOC_PAGE, "failure 0"): Case(lambda p: (0, DATA, 1), on_ap),
    (C.SMM_ALOC_PAGE, "failure 1"): Case(lambda p: (0, PageType.RUNTIME_SERVICES_CODE, 1)),
    (C.SMM_ALOC_PAGE, "failure 2"): Case(lambda p: (0, 4, 1)),
    (C.SMM_ALOC_PAGE, "failure 3"): Case(lambda p: (0, DATA, 1), use_up_memory),
    (C.SMM_ALOC_PAGE, "failure 4"): Case(lambda p: (2, DATA, 1)),
    (C.SMM_FREE_PAGE, "failure 0"): Case(lambda p: (p.supervisor & -PAGE_SIZE, 1)),
    (C.SMM_FREE_PAGE, "failure 1"): Case(lambda p: (0x100_0000, 1)),
    (C.SMM_FREE_PAGE, "failure 2"): Case(lambda p: (p.code | 1, 1)),
    (C.SMM_START_AP_PROC, "check 0"): Case(lambda p: (p.supervisor, 1, p.user)),
    (C.SMM_START_AP_PROC, "check 1"): Case(lambda p: (p.code, 1, p.supervisor)),
    (C.SMM_START_AP_PROC, "failure 0"): Case(lambda p: (p.code, 99, p.user)),
    (C.SMM_START_AP_PROC, "failure 1"): Case(lambda p: (p.code, 0, p.user)),
    (C.SMM_REG_HNDL, "check 0"): Case(lambda p: (p.supervisor, p.guid)),
    (C.SMM_REG_HNDL, "check 1"): Case(lambda p: (p.code, p.supervisor)),
    (C.SMM_REG_HNDL, "failure 0"): Case(lambda p: (p.code, p.guid), use_up_memory),
    (C.SMM_UNREG_HNDL, "failure 0"): Case(lambda p: (p.user,)),
    (C.SMM_SET_CPL3_TBL, "check 0"): Case(lambda p: (p.supervisor,)),
    (C.SMM_SET_CPL3_TBL, "check 1"): Case(lambda p: (p.user,)),
    (C.SMM_INST_PROT, "check 0"): Case(lambda p: (p.supervisor,)),
    (C.SMM_INST_PROT, "failure 0"): Case(lambda p: (p.guid,), use_up_memory),
    (C.SMM_ERR_RPT_JMP, "check 0"): Case(lambda p: (p.supervisor,)),
    (C.SMM_ERR_RPT_JMP, "check 1"): Case(
        lambda p: (p.code,),
        report_registered,
    ),
    (C.SMM_MM_HDL_REG_1, "check 0"): Case(lambda p: (p.supervisor, p.code, p.code)),
    (C.SMM_MM_HDL_REG_1, "failure 0"): Case(lambda p: (p.guid, p.code, p.code)),
    (C.SMM_MM_HDL_REG_2, "check 0"): Case(lambda p: (p.supervisor, p.user, 8)),
    (C.SMM_MM_HDL_REG_2, "failure 0"): Case(lambda p: (p.guid, p.user, 8)),
    (C.SMM_MM_HDL_REG_2, "failure 1"): Case(lambda p: (p.guid, p.user, 8), profile_on),
    (C.SMM_MM_HDL_REG_2, "failure 2"): Case(lambda p: (p.guid, p.supervisor, 8), registration_begun),
    (C.SMM_MM_HDL_REG_2, "failure 3"): Case(lambda p: (p.guid, 0, 8), registration_begun),
    (C.SMM_MM_HDL_REG_2, "failure 4"): Case(lambda p: (p.guid, p.code, 0x10_0000), registration_begun),
    (C.SMM_MM_HDL_UNREG_1, "check 0"): Case(lambda p: (p.supervisor, p.code)),
    (C.SMM_MM_HDL_UNREG_1, "failure 0"): Case(lambda p: (p.guid, p.code)),
    (C.SMM_MM_HDL_UNREG_2, "check 0"): Case(lambda p: (p.supervisor, p.user, 8)),
    (C.SMM_MM_HDL_UNREG_2, "failure 0"): Case(lambda p: (p.guid, p.user, 8)),
    (C.SMM_MM_HDL_UNREG_2, "failure 1"): Case(lambda p: (p.guid, p.user, 8), profile_on),
    (C.SMM_MM_HDL_UNREG_2, "failure 2"): Case(lambda p: (p.guid, p.supervisor, 8), removal_begun),
    (C.SMM_MM_HDL_UNREG_2, "failure 3"): Case(lambda p: (p.guid, 0, 8), removal_begun),
    (C.SMM_MM_HDL_UNREG_2, "failure 4"): Case(lambda p: (p.guid, p.code, 0x10_0000), removal_begun),
    (C.SMM_MM_HDL_UNREG_2, "failure 5"): Case(lambda p: (p.guid, p.user, 8), removal_begun),
    (C.SMM_SC_SVST_READ_2, "check 0"): Case(lambda p: (0, 8, p.user)),
    (C.SMM_SC_SVST_READ_2, "check 1"): Case(lambda p: (p.user, 8, p.supervisor)),
}

UNREACHABLE = {
    (C.SMM_INST_CONF_T, "failure 0"): "our configuration tables take no pool: they are the supervisor's own objects",
}
"""Declared because the reference has them, and why this supervisor cannot come there."""


def declared(call_: SystemCallDeclaration) -> Iterator[tuple[str, Status]]:
    for number, check in enumerate(call_.checks):
        yield f"check {number}", check.status
    for number, (status, _) in enumerate(call_.failures):
        yield f"failure {number}", status


DECLARED = {(one.number, where): status for one in SYSTEM_CALLS.values() for where, status in declared(one)}


def call(supervisor: Supervisor, number: CallNumber, arguments: Arguments) -> int:
    """Make a system call as ring 3 would, after its SYSCALL instruction."""
    given = (*arguments, 0, 0, 0)[:3]
    return SystemCallGate(supervisor, SERVICES).dispatch(SystemCall(number, given, 0, 0))


def places(stage: Stage) -> Places:
    base = stage.module.base
    rvas = {one.name: one.rva for one in prebuilt.symbols("Offender")}
    return Places(
        user=stage.core.supervisor.shared_page,
        guid=base + rvas["gSampleOffenderHandlerGuid"],
        code=base + rvas["ReturnStub"],
        supervisor=stage.module.handle,
    )


def test_every_served_call_has_a_service_and_no_other() -> None:
    assert {number for number, one in SYSTEM_CALLS.items() if one.support is Support.SERVED} == set(SERVICES)


def test_every_declared_failure_is_provoked_or_unreachable() -> None:
    assert set(CASES) | set(UNREACHABLE) == set(DECLARED)
    assert set(CASES).isdisjoint(UNREACHABLE)


@pytest.mark.parametrize("key", CASES, ids=lambda key: f"{key[0].name} {key[1]}")
def test_declared_failure_is_fatal_with_its_status(key: tuple[CallNumber, str]) -> None:
    number, _ = key
    case = CASES[key]
    with staged("Offender", policy=policy(denies=True)) as stage:
        supervisor, known = stage.core.supervisor, places(stage)
        case.prepare(supervisor, known)
        with pytest.raises(SystemStopError) as caught:
            call(supervisor, number, case.arguments(known))
        finding = caught.value.finding
        assert finding.status == DECLARED[key], f"{finding}: not {status_name(DECLARED[key])}"
        assert supervisor.stop is finding
        assert finding.detail.startswith(number.name)
