"""What the clients make of drivers whose answers do not hold together. The drivers are functions here."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing
from itertools import count

import pytest

from mmsupervisor.clients import variables as module
from mmsupervisor.clients.errors import BadAnswerError, NotServedError
from mmsupervisor.clients.lock_box import LockBox
from mmsupervisor.clients.variables import VariableError, Variables
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status

OWN = Guid.parse("7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20")
MESSAGE = 0x1000
HEADER = struct.Struct("<QQ")
GET, NEXT_NAME, PAYLOAD_SIZE = 1, 2, 11

Serve = Callable[[int, bytes], tuple[int, bytes]]
"""Takes a function's number and data, returns status and data."""


def answered(data: bytes = b"", status: int = Status.SUCCESS) -> Answer:
    return Answer(status, len(data), data)


def variables(serve: Serve, room: int = MESSAGE) -> Variables:
    def send(guid: Guid, payload: bytes) -> Answer:
        function, _ = HEADER.unpack_from(payload)
        status, data = serve(function, payload[HEADER.size :])
        if function == PAYLOAD_SIZE and not data:
            data = struct.pack("<Q", MESSAGE)
        return answered(bytes(24) + HEADER.pack(function, status) + data)

    return Variables(send, room)


def named(name: bytes) -> bytes:
    return OWN.raw + struct.pack("<Q", len(name)) + name


def test_a_list_that_comes_back_to_a_name_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VARIABLES", 10)
    names = (f"Name{number % 3}".encode("utf-16-le") + b"\0\0" for number in count())
    driver = variables(lambda function, _: (0, named(next(names)) if function == NEXT_NAME else b""))
    with pytest.raises(BadAnswerError, match="the list has no end: after 3 names comes 'Name0'"):
        list(driver)


def test_a_list_of_ever_new_names_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VARIABLES", 10)
    names = (f"Name{number}".encode("utf-16-le") + b"\0\0" for number in count())
    driver = variables(lambda function, _: (0, named(next(names)) if function == NEXT_NAME else b""))
    with pytest.raises(BadAnswerError, match="after 10 names"):
        list(driver)


def test_half_of_a_surrogate_pair_is_a_name_like_any_other() -> None:
    stored = [b"\x00\xd8\0\0", b"A\0\0\0"]
    asked: list[bytes] = []

    def serve(function: int, data: bytes) -> tuple[int, bytes]:
        if function != NEXT_NAME:
            return 0, b""
        last = data[24:26] if data[24:26] != b"\0\0" else b""
        asked.append(last)
        following = {b"": stored[0], stored[0][:2]: stored[1]}.get(last)
        return (0, named(following)) if following else (Status.NOT_FOUND, b"")

    assert [name for name, _ in variables(serve)] == ["\ud800", "A"]
    assert asked[1] == b"\x00\xd8", "the driver is asked for what follows its own name"


@pytest.mark.parametrize("size", [0, 7, 15, 16, 35])
def test_an_answer_that_is_too_short_is_said(size: int) -> None:
    answer = bytes(24) + bytes(size)
    cut = Variables(lambda *_: answered(answer), MESSAGE)
    with pytest.raises(BadAnswerError, match="should have"):
        cut.storage()
    with closing(PhysicalMemory(36)) as memory:
        box = LockBox(lambda *_: answered(bytes(24) + bytes(15)), memory, lambda _pages: 0)
        with pytest.raises(BadAnswerError, match="lock box command 3: the answer has 15 bytes and should have 16"):
            box.command(3, b"")


def test_a_value_beyond_its_answer_is_not_cut() -> None:
    value = OWN.raw + struct.pack("<QQI", 1000, 4, 7) + b"A\0\0\0" + b"short"
    driver = variables(lambda function, _: (0, value if function == GET else b""))
    with pytest.raises(BadAnswerError, match="a value of 1000 bytes does not fit into the answer"):
        driver.get("A", OWN)


def test_what_no_message_can_hold_is_not_sent() -> None:
    sent = []

    def serve(function: int, _data: bytes) -> tuple[int, bytes]:
        sent.append(function)
        return 0, b""

    driver = variables(serve)
    long = "x" * MESSAGE
    for refused in (
        lambda: driver.get(long, OWN),
        lambda: driver.set(long, OWN, b"x"),
        lambda: driver.set("x", OWN, bytes(MESSAGE)),
        lambda: driver.lock(long, OWN),
    ):
        with pytest.raises(VariableError, match="where a message takes") as caught:
            refused()
        assert caught.value.status == Status.INVALID_PARAMETER
    assert set(sent) == {PAYLOAD_SIZE}


def test_who_did_not_take_a_message_is_said() -> None:
    nobody = Variables(lambda *_: answered(status=Status.NOT_FOUND), MESSAGE)
    with pytest.raises(NotServedError, match="no driver in MM handles its message: EFI_NOT_FOUND"):
        nobody.storage()
    closed = Variables(lambda *_: answered(status=Status.ACCESS_DENIED), MESSAGE)
    with pytest.raises(NotServedError, match="the channel refuses its message: EFI_ACCESS_DENIED"):
        closed.storage()
