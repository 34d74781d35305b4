"""Messages and the status block: exact bytes of the fact sheet, round trips, damage."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.message import (
    HEADER_SIZE,
    HEADER_V3_SIZE,
    V3_HEADER_GUID,
    CommBufferStatus,
    Message,
    MessageV3,
    parse_message,
)
from mmsupervisor.pi.reader import Reader

HANDLER = known_guid("gMmSupervisorRequestHandlerGuid")


def parse(data: bytes):
    return parse_message(Reader(data, "buffer"))


def test_plain_header_bytes():
    message = Message(HANDLER, b"payload")
    assert message.pack() == HANDLER.raw + struct.pack("<Q", 7) + b"payload"
    assert message.size == HEADER_SIZE + 7 == 0x18 + 7


def test_version_3_header_bytes():
    message = MessageV3(HANDLER, b"payload", room=9)
    expected = V3_HEADER_GUID.raw + struct.pack("<QQ16sQ", 0x38 + 16, 0, HANDLER.raw, 7) + b"payload" + bytes(9)
    assert message.pack() == expected
    assert message.size == HEADER_V3_SIZE + 16
    assert str(V3_HEADER_GUID) == "68E8C853-2BA9-4DD7-9AC0-91E16155C935"


def test_both_kinds_say_which_handler_they_select():
    assert Message(HANDLER, b"").handler_guid == MessageV3(HANDLER, b"").handler_guid == HANDLER


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "HeaderGuid needs"),
        (HANDLER.raw, "MessageLength needs"),
        (HANDLER.raw + struct.pack("<Q", 1), "message data needs 0x1 bytes"),
        (HANDLER.raw + struct.pack("<Q", 2**64 - 1), "message data needs"),
        (V3_HEADER_GUID.raw + bytes(0x20), "version 3 header needs"),
        (V3_HEADER_GUID.raw + struct.pack("<QQ16sQ", 0x37, 0, HANDLER.raw, 0), "BufferSize 0x37 is smaller"),
        (V3_HEADER_GUID.raw + struct.pack("<QQ16sQ", 0x38, 0, HANDLER.raw, 1) + b"x", "BufferSize 0x38 is smaller"),
        (V3_HEADER_GUID.raw + struct.pack("<QQ16sQ", 0x39, 0, HANDLER.raw, 1), "version 3 message needs"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(data, rule):
    with pytest.raises(FormatError, match=rule):
        parse(data)


def test_status_block_bytes():
    status = CommBufferStatus(1, 0x8000_0000_0000_000E, 0x19)
    assert status.pack() == struct.pack("<B7xQQ", 1, 0x8000_0000_0000_000E, 0x19)
    assert CommBufferStatus.SIZE == 24


guids = st.binary(min_size=16, max_size=16).map(Guid)
payloads = st.binary(max_size=64)
u64 = st.integers(0, 2**64 - 1)


@given(
    st.builds(Message, guids.filter(lambda guid: guid != V3_HEADER_GUID), payloads)
    | st.builds(MessageV3, guids, payloads, st.integers(0, 32), u64),
    st.binary(max_size=8),
)
def test_messages_round_trip_whatever_follows(message, rest):
    assert parse(message.pack() + rest) == message
    assert len(message.pack()) == message.size
    for cut in range(len(message.pack())):
        with pytest.raises(FormatError):
            parse(message.pack()[:cut])


@given(st.integers(0, 255), u64, u64, st.binary(min_size=7, max_size=7))
def test_status_blocks_round_trip(valid, status, size, reserved):
    block = CommBufferStatus(valid, status, size, reserved)
    assert CommBufferStatus.parse(Reader(block.pack(), "x")) == block


@given(st.binary(max_size=64), st.booleans())
def test_random_bytes_give_one_format_error_or_a_message(data, version_3):
    with suppress(FormatError):
        parse(V3_HEADER_GUID.raw + data if version_3 else data)
