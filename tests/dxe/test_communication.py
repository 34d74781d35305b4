"""MmCommunicationDxe: the user channel of DXE (docs/reference/communicate.md §3.1)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmsupervisor.dxe.communication import MmCommunication
from mmsupervisor.ipl.communicate import Channel
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.status import Status
from tests.core.small import SOMEBODY, message, message_v3
from tests.ipl.test_communicate import BUFFER, PAGES, SIZE, STATUS, Mm

BAD = Status.INVALID_PARAMETER


@pytest.fixture
def mm() -> Iterator[Mm]:
    made = Mm()
    yield made
    made.memory.close()


@pytest.fixture
def dxe(mm: Mm) -> MmCommunication:
    return MmCommunication(mm.memory, Channel(BUFFER, PAGES, STATUS, supervisor=False), mm.trigger)


def test_a_message(dxe: MmCommunication, mm: Mm) -> None:
    answer = dxe.communicate(message(SOMEBODY, b"x"), source="test")
    assert (answer.status, answer.size, answer.data) == (0, 0x19, message(SOMEBODY, b"x"))
    assert mm.seen[0][0].is_valid == 1


@pytest.mark.parametrize(
    ("data", "size", "status"),
    [
        (None, None, BAD),
        (message(SOMEBODY, b"x"), 0x19, 0),
        (message(SOMEBODY, b"x"), 0x1A, BAD),
        (message(SOMEBODY, b"x"), 0x18, BAD),
        (message(SOMEBODY, b"", SIZE - 0x18), None, 0),
        (message(SOMEBODY, b"", SIZE - 0x17), None, BAD),
        (message(SOMEBODY, b"", (1 << 64) - 0x18), None, BAD),
        (message(SOMEBODY, b"", (1 << 64) - 1), None, BAD),
        (message_v3(SOMEBODY, b"data"), None, 0),
        (message_v3(SOMEBODY, b"data", 0x38 + 100), 0x38 + 100, 0),
        (message_v3(SOMEBODY, b"data", 0x38 + 3), None, BAD),
        (message_v3(SOMEBODY, b"", 0), None, BAD),
        (message_v3(SOMEBODY, b"data", SIZE + 1), None, BAD),
        (b"short", None, BAD),
    ],
)
def test_sizes(dxe: MmCommunication, mm: Mm, data: bytes | None, size: int | None, status: int) -> None:
    assert dxe.communicate(data, size).status == status
    assert bool(mm.seen) is (status == 0)


@pytest.mark.parametrize("status", [0, 1, int(Status.NOT_FOUND), 0x2000_0000_0000_0000])
def test_the_status_comes_back_as_it_is(dxe: MmCommunication, mm: Mm, status: int) -> None:
    mm.answer = CommBufferStatus(0, status, 0x19)
    assert dxe.communicate(message(SOMEBODY, b"x")).status == status


def test_it_clears_the_valid_flag_itself(dxe: MmCommunication, mm: Mm) -> None:
    mm.answer = None
    dxe.communicate(message(SOMEBODY, b"x"))
    assert mm.mailbox().is_valid == 0
    dxe.communicate(message(SOMEBODY, b"x"))
    assert len(mm.seen) == 2


def test_an_answer_longer_than_the_buffer_is_read_to_its_end(dxe: MmCommunication, mm: Mm) -> None:
    mm.answer = CommBufferStatus(0, 0, SIZE * 2)
    answer = dxe.communicate(message(SOMEBODY, b"x"))
    assert (answer.size, len(answer.data)) == (SIZE * 2, SIZE)
