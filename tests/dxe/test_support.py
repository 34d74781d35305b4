"""MmDxeSupport against the core: version, buffer update, ready to lock (boot-flow.md §7.1, communicate.md §6.4)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import RequestServed
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.dxe.support import MmDxeSupport, NewBuffers
from mmsupervisor.ipl.communicate import Channel
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.status import ERROR_BIT, Status
from tests.core.small import (
    EXIT,
    LOCK,
    SUPERVISOR_BUFFER,
    SUPERVISOR_STATUS,
    USER_BUFFER,
    USER_STATUS,
    Small,
    events,
    mailbox,
)

NEW = NewBuffers(0x90_0000, 0x92_0000, 0x94_0000, 0x94_1000)


class Dxe:
    """The driver before a core that came up."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.sources: list[str] = []
        self.user = Channel(USER_BUFFER, 16, USER_STATUS, supervisor=False)
        channel = Channel(SUPERVISOR_BUFFER, 16, SUPERVISOR_STATUS, supervisor=True)
        self.support = MmDxeSupport(core.supervisor.memory, channel, self.trigger)

    def trigger(self, source: str) -> Status:
        self.sources.append(source)
        serve_mmi(self.core.supervisor, source)
        return Status.SUCCESS


@pytest.fixture
def dxe() -> Iterator[Dxe]:
    small = Small()
    yield Dxe(small.start())
    small.machine.memory.close()


def test_version(dxe: Dxe) -> None:
    assert dxe.support.query_version() == 0
    assert (dxe.support.version, dxe.support.max_request_level) == (0x0001_0000, 4)


def test_the_update_and_the_version_by_the_new_buffer(dxe: Dxe) -> None:
    supervisor = dxe.core.supervisor
    dxe.support.query_version()
    assert dxe.support.move_buffers(dxe.user, NEW) == 0
    assert (dxe.support.channel.buffer, dxe.support.channel.status) == (NEW.supervisor, NEW.supervisor_status)
    assert (supervisor.user.external, supervisor.user.status) == (NEW.user, NEW.user_status)
    assert [event.request for event in events(supervisor, RequestServed) if isinstance(event, RequestServed)] == [
        "VERSION_INFO",
        "COMM_UPDATE",
        "VERSION_INFO",
    ]
    regions = {region.start: region for region in supervisor.unblocked.regions}
    for start, pages in ((NEW.supervisor, 16), (NEW.user, 16), (NEW.supervisor_status, 1), (NEW.user_status, 1)):
        memory = regions[start].region.memory
        assert (memory.type, memory.virtual_start, memory.attribute) == (6, start, 0x44000)
        assert regions[start].pages == pages
        assert regions[start].identifier.label == "MmDxeSupport"


def test_the_old_mailbox_stays_valid(dxe: Dxe) -> None:
    dxe.support.query_version()
    dxe.support.move_buffers(dxe.user, NEW)
    assert dxe.core.supervisor.memory.read(SUPERVISOR_STATUS, 1) == b"\x01"


def test_without_the_request_nothing_moves(dxe: Dxe) -> None:
    assert dxe.support.move_buffers(dxe.user, NEW) == Status.UNSUPPORTED
    assert dxe.sources == []


def test_a_pending_mailbox_is_an_error_and_not_a_success(dxe: Dxe) -> None:
    dxe.support.query_version()
    dxe.core.supervisor.memory.write(SUPERVISOR_STATUS, CommBufferStatus(1).pack())
    assert dxe.support.move_buffers(dxe.user, NEW) == Status.INVALID_PARAMETER
    assert dxe.support.channel.buffer == SUPERVISOR_BUFFER


def test_a_refused_update_leaves_the_channel(dxe: Dxe) -> None:
    dxe.support.query_version()
    dxe.support.send(LOCK, bytes(1), "test")
    assert dxe.support.move_buffers(dxe.user, NEW) & ERROR_BIT, "seen by the version query alone"
    assert dxe.core.supervisor.supervisor.external == SUPERVISOR_BUFFER
    assert dxe.support.channel.buffer == SUPERVISOR_BUFFER


def test_lock_and_exit(dxe: Dxe) -> None:
    supervisor = dxe.core.supervisor
    assert dxe.support.send(LOCK, bytes(1), "test").status == 0
    assert supervisor.lifecycle.ready_to_lock
    assert supervisor.memory.read(SUPERVISOR_BUFFER, 16) == LOCK.raw
    assert dxe.support.send(EXIT, bytes(1), "test").status == 0
    assert supervisor.memory.read(SUPERVISOR_BUFFER, 16) == EXIT.raw
    assert supervisor.lifecycle.runtime
    dxe.support.query_version()
    assert mailbox(supervisor, supervisor.supervisor).is_valid == 1
    assert dxe.support.query_version() == Status.INVALID_PARAMETER


def test_a_request_refused_by_its_result(dxe: Dxe) -> None:
    dxe.support.query_version()
    status, _ = dxe.support.request(1, bytes(56), "test")
    assert status == Status.INVALID_PARAMETER
    assert dxe.support.request(9, b"", "test")[0] == Status.UNSUPPORTED
