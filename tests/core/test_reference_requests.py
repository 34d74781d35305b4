"""The reference's own request tests, run through a booted platform (docs/reference/reference-tests.md §3).

They are what the reference's shell application does after ready to lock: requests by the supervisor channel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

import mmsupervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.dxe.support import MmDxeSupport
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.isolation import level_vendor, memory_facts
from mmsupervisor.policy.blob import read_blob_as_runtime
from mmsupervisor.policy.levels import judge
from mmsupervisor.policy.model import RootType
from mmsupervisor.session import Session
from tests.core.small import unblock_bytes


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with mmsupervisor.boot(until=Phase.READY_TO_BOOT) as booted:
        yield booted


@pytest.fixture
def support(session: Session) -> MmDxeSupport:
    support = session._platform.world.supervisor_requests
    assert isinstance(support, MmDxeSupport)
    return support


def test_version_request(support: MmDxeSupport) -> None:
    status, body = support.request(3, bytes(16), "test")
    assert status == 0
    assert struct.unpack_from("<IIQ", body)[2] == 4


def test_unblock_memory_request(support: MmDxeSupport, session: Session) -> None:
    page = session.allocate(1)
    parameters = unblock_bytes(page, 1)[:40] + bytes(16)
    assert support.request(1, parameters, "test")[0] == Status.ACCESS_DENIED


def test_policy_request(support: MmDxeSupport) -> None:
    status, body = support.request(2, bytes(0x2000), "test")
    assert status == 0
    policy = read_blob_as_runtime(body)
    assert policy.version_major == 1
    assert policy.first_root(RootType.MEM) is not None


def test_update_comm_buffer_request(support: MmDxeSupport) -> None:
    places = ((0xFEED_F00D, 1), (0xDEAD_BEEF, 1), (0x1234_5678, 16), (0x1234_5678, 16))
    parameters = b"".join(unblock_bytes(start, pages, attribute=0x44000) for start, pages in places)
    assert support.request(4, parameters, "test")[0] == Status.ACCESS_DENIED
    assert support.query_version() == 0, "nothing moved"


def test_policy_inspection(support: MmDxeSupport, session: Session) -> None:
    """The fetched policy is measured without an error. Without an IOMMU table 10 is the most (levels.md surprise 8)."""
    _, body = support.request(2, bytes(0x2000), "test")
    policy = read_blob_as_runtime(body)
    report = judge(policy, level_vendor(session.description), memory_facts(session.description))
    assert policy.version_major == 1
    assert (report.reference.error, report.reference.level) == ("", 10)
