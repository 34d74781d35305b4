"""The reference's own request tests, run through a booted platform (docs/reference/reference-tests.md §3).

They are what the reference's shell application does after ready to lock: requests by the supervisor channel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

import mmsupervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.isolation import level_vendor, memory_facts
from mmsupervisor.policy.blob import read_blob_as_runtime
from mmsupervisor.policy.levels import judge
from mmsupervisor.policy.model import RootType
from mmsupervisor.session import Request, Session
from tests.core.small import unblock_bytes


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with mmsupervisor.boot(until=Phase.READY_TO_BOOT) as booted:
        yield booted


def test_version_request(session: Session) -> None:
    status, body = session.request(Request.VERSION_INFO, bytes(16))
    assert status == 0
    assert struct.unpack_from("<IIQ", body)[2] == 4


def test_unblock_memory_request(session: Session) -> None:
    page = session.allocate(1)
    parameters = unblock_bytes(page, 1)[:40] + bytes(16)
    assert session.request(Request.UNBLOCK_MEM, parameters)[0] == Status.ACCESS_DENIED


def test_policy_request(session: Session) -> None:
    status, body = session.request(Request.FETCH_POLICY, bytes(0x2000))
    assert status == 0
    policy = read_blob_as_runtime(body)
    assert policy.version_major == 1
    assert policy.first_root(RootType.MEM) is not None


def test_update_comm_buffer_request(session: Session) -> None:
    places = ((0xFEED_F00D, 1), (0xDEAD_BEEF, 1), (0x1234_5678, 16), (0x1234_5678, 16))
    parameters = b"".join(unblock_bytes(start, pages, attribute=0x44000) for start, pages in places)
    assert session.request(Request.COMM_UPDATE, parameters)[0] == Status.ACCESS_DENIED
    assert session.request(Request.VERSION_INFO, bytes(16))[0] == 0, "nothing moved"


def test_policy_inspection(session: Session) -> None:
    """The fetched policy is measured without an error. Without an IOMMU table 10 is the most (levels.md surprise 8)."""
    _, body = session.request(Request.FETCH_POLICY, bytes(0x2000))
    policy = read_blob_as_runtime(body)
    report = judge(policy, level_vendor(session.description), memory_facts(session.description))
    assert policy.version_major == 1
    assert (report.reference.error, report.reference.level) == ("", 10)
