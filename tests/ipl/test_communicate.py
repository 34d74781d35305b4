"""The communicate worker of PEI and MmDxeSupport (docs/reference/communicate.md §3, §3.1, §4)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmsupervisor.ipl.communicate import Answer, Channel, communicate
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import ERROR_BIT, Status

GUID = Guid.parse("5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11")
BUFFER, STATUS, PAGES = 0x1000, 0x9000, 2
SIZE = PAGES << 12


class Mm:
    """The other side: what the mailbox says afterwards, and what was in it at the MMI."""

    def __init__(self, *, supervisor: bool = False) -> None:
        self.memory = PhysicalMemory(32)
        self.memory.add_ram(0, 0x10000, "memory")
        self.channel = Channel(BUFFER, PAGES, STATUS, supervisor=supervisor)
        self.answer: CommBufferStatus | None = CommBufferStatus(0, 0, 0x19)
        self.trigger_status = Status.SUCCESS
        self.seen: list[tuple[CommBufferStatus, bytes, str]] = []

    def mailbox(self) -> CommBufferStatus:
        return CommBufferStatus.parse(Reader(self.memory.read(STATUS, 24), "test"))

    def trigger(self, source: str) -> Status:
        self.seen.append((self.mailbox(), self.memory.read(BUFFER, SIZE), source))
        if self.answer is not None:
            self.memory.write(STATUS, self.answer.pack())
        return self.trigger_status

    def send(self, message: bytes | None, size: int | None = None) -> Answer:
        return communicate(self.memory, self.channel, self.trigger, message, size=size, source="test")


def message(payload: bytes, length: int | None = None) -> bytes:
    return GUID.raw + (len(payload) if length is None else length).to_bytes(8, "little") + payload


@pytest.fixture
def mm() -> Iterator[Mm]:
    made = Mm()
    yield made
    made.memory.close()


@pytest.fixture
def supervisor() -> Iterator[Mm]:
    made = Mm(supervisor=True)
    yield made
    made.memory.close()


def test_a_message_and_its_answer(mm: Mm) -> None:
    answer = mm.send(message(b"x"))
    assert (answer.status, answer.size, answer.data) == (0, 0x19, message(b"x"))
    ((box, buffer, source),) = mm.seen
    assert (box.is_valid, source) == (1, "test")
    assert buffer[:0x19] == message(b"x")


@pytest.mark.parametrize("size", [0, 1, 0x17])
def test_shorter_than_a_header(mm: Mm, size: int) -> None:
    assert mm.send(message(b"x"), size).status == Status.INVALID_PARAMETER
    assert mm.seen == []


def test_null(mm: Mm) -> None:
    assert mm.send(None).status == Status.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ((1 << 64) - 0x18, Status.INVALID_PARAMETER),
        ((1 << 64) - 1, Status.INVALID_PARAMETER),
        ((1 << 64) - 0x19, Status.BAD_BUFFER_SIZE),
    ],
)
def test_a_length_that_overflows_without_comm_size(mm: Mm, length: int, status: Status) -> None:
    assert mm.send(message(b"x", length)).status == status
    assert mm.seen == []


def test_with_comm_size_the_length_is_not_looked_at(mm: Mm) -> None:
    assert mm.send(message(b"x", (1 << 64) - 1), 0x19).status == 0


@pytest.mark.parametrize(
    ("size", "status"), [(SIZE, 0), (SIZE + 1, Status.BAD_BUFFER_SIZE), (1 << 63, Status.BAD_BUFFER_SIZE)]
)
def test_larger_than_the_buffer(mm: Mm, size: int, status: int) -> None:
    answer = mm.send(message(b"x"), size)
    assert answer.status == status
    if status:
        assert answer.size == SIZE, "CommSize says what would fit"
        assert mm.seen == []


def test_a_mailbox_that_is_still_valid(mm: Mm) -> None:
    mm.memory.write(STATUS, CommBufferStatus(1).pack())
    assert mm.send(message(b"x")).status == Status.INVALID_PARAMETER
    assert mm.seen == []


def test_a_trigger_that_fails_leaves_the_mailbox_valid(mm: Mm) -> None:
    mm.answer, mm.trigger_status = None, Status.DEVICE_ERROR
    assert mm.send(message(b"x")).status == Status.UNSUPPORTED
    assert mm.mailbox().is_valid == 1
    assert mm.send(message(b"x")).status == Status.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("returned", "status"),
    [(0, 0), (Status.NOT_FOUND, Status.NOT_FOUND), (1, ERROR_BIT | 1), (0x2000_0000_0000_0000, 0xA000_0000_0000_0000)],
)
def test_any_status_but_zero_becomes_an_error(mm: Mm, returned: int, status: int) -> None:
    mm.answer = CommBufferStatus(0, returned, 0x19)
    assert mm.send(message(b"x")).status == status


def test_an_answer_that_is_longer_than_the_buffer(mm: Mm) -> None:
    mm.answer = CommBufferStatus(0, 0, SIZE + 0x18)
    answer = mm.send(message(b"x"))
    assert answer.size == SIZE + 0x18
    assert len(answer.data) == SIZE


def test_the_supervisor_channel_rewrites_the_length(supervisor: Mm) -> None:
    supervisor.send(message(b"x" * 10, 3))
    assert int.from_bytes(supervisor.seen[0][1][0x10:0x18], "little") == 3
    supervisor.send(message(b"x" * 10, 3), 0x18 + 10)
    assert int.from_bytes(supervisor.seen[1][1][0x10:0x18], "little") == 10


def test_the_user_channel_does_not(mm: Mm) -> None:
    mm.send(message(b"x" * 10, 3), 0x18 + 10)
    assert int.from_bytes(mm.seen[0][1][0x10:0x18], "little") == 3


def test_what_the_message_does_not_fill_of_the_buffer_stays(mm: Mm) -> None:
    mm.memory.fill(BUFFER, SIZE, 0xAA)
    mm.send(message(b"x"))
    assert mm.seen[0][1][0x19:] == b"\xaa" * (SIZE - 0x19)
