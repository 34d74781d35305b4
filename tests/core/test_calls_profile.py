"""The system calls of the handler profile (syscall-abi.md §7.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsupervisor.abi.profile import NEWEST_RELEASE
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.pi.status import Status
from tests.core.small import MMRAM, OTHER, SOMEBODY, fatal_call, put_guid, system_call, user_page

C = CallNumber
REG, REG2, UNREG, UNREG2 = C.SMM_MM_HDL_REG_1, C.SMM_MM_HDL_REG_2, C.SMM_MM_HDL_UNREG_1, C.SMM_MM_HDL_UNREG_2


@pytest.fixture
def profiled(supervisor: Supervisor) -> Supervisor:
    supervisor.profile = replace(NEWEST_RELEASE, handler_profile=True)
    return supervisor


def fails(supervisor: Supervisor, status: Status, number: int, *arguments: int) -> None:
    finding = fatal_call(supervisor, number, *arguments)
    assert finding.status == status, f"{finding}"


@pytest.mark.parametrize("call", [REG, REG2, UNREG, UNREG2])
def test_the_profile_is_off_by_default(supervisor: Supervisor, call: int) -> None:
    fails(supervisor, Status.UNSUPPORTED, call, put_guid(supervisor, SOMEBODY), 0, 0)
    fails(supervisor, Status.SECURITY_VIOLATION, call, 0, 0, 0)


def test_profile_records(profiled: Supervisor) -> None:
    guid, context = put_guid(profiled, SOMEBODY), user_page(profiled)
    profiled.memory.write(context, b"context!")
    assert system_call(profiled, REG, guid, 0x1111, 0x2222) == 0
    assert system_call(profiled, REG2, guid, context, 8) == 0
    (record,) = profiled.profile_records
    assert (record.guid, record.handler, record.caller, record.context) == (SOMEBODY, 0x1111, 0x2222, b"context!")
    assert system_call(profiled, UNREG, guid, 0x1111) == 0
    assert system_call(profiled, UNREG2, guid, context, 8) == 0
    assert profiled.profile_records == []
    assert system_call(profiled, UNREG, guid, 0x1111) == 0
    fails(profiled, Status.NOT_FOUND, UNREG2, guid, context, 8)


def test_profile_without_a_context(profiled: Supervisor) -> None:
    guid = put_guid(profiled, SOMEBODY)
    assert system_call(profiled, REG, guid, 1, 2) == 0
    assert system_call(profiled, REG2, guid, 0, 0) == 0
    assert profiled.profile_records[0].context == b""


def test_profile_order(profiled: Supervisor) -> None:
    guid, other = put_guid(profiled, SOMEBODY), put_guid(profiled, OTHER)
    fails(profiled, Status.NOT_STARTED, REG2, guid, 0, 0)
    system_call(profiled, REG, guid, 1, 2)
    fails(profiled, Status.NOT_STARTED, REG2, other, 0, 0)
    fails(profiled, Status.NOT_STARTED, UNREG2, guid, 0, 0)
    assert system_call(profiled, REG2, guid, 0, 0) == 0, "the holder waited"
    fails(profiled, Status.NOT_STARTED, REG2, guid, 0, 0)


def test_profile_contexts(profiled: Supervisor) -> None:
    """A context and its size come together; a removal without a context takes whatever there is first."""
    guid, context = put_guid(profiled, SOMEBODY), user_page(profiled)
    for size, data in ((8, b"context1"), (7, b"context"), (8, b"context2")):
        profiled.memory.write(context, data)
        system_call(profiled, REG, guid, 1, 2)
        system_call(profiled, REG2, guid, context, size)
    for begin, end in ((REG, REG2), (UNREG, UNREG2)):
        for arguments, status in (
            ((context, 0), Status.INVALID_PARAMETER),
            ((0, 8), Status.INVALID_PARAMETER),
            ((MMRAM, 8), Status.SECURITY_VIOLATION),
        ):
            system_call(profiled, begin, guid, 1, 2)
            fails(profiled, status, end, guid, *arguments)
    assert [record.context for record in profiled.profile_records] == [b"context1", b"context", b"context2"]
    system_call(profiled, UNREG, guid, 1)
    assert system_call(profiled, UNREG2, guid, context, 8) == 0
    assert [record.context for record in profiled.profile_records] == [b"context1", b"context"]
    system_call(profiled, UNREG, guid, 1)
    assert system_call(profiled, UNREG2, guid, 0, 0) == 0
    assert [record.context for record in profiled.profile_records] == [b"context"]
    system_call(profiled, UNREG, guid, 2)
    fails(profiled, Status.NOT_FOUND, UNREG2, guid, 0, 0)
