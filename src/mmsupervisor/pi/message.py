"""MM communication messages: the two headers and the status block of a communication buffer.

Sources: PI 1.8 vol. 4 §5.7 (EFI_MM_COMMUNICATE_HEADER), vol. 3 (version 3 header); docs/reference/communicate.md
§1 and §2.

API: :class:`Message`, :class:`MessageV3`, :func:`parse_message`, :class:`CommBufferStatus`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.reader import Reader

HEADER_SIZE = 0x18
"""Bytes before the data of a plain message."""

HEADER_V3_SIZE = 0x38
"""Bytes before the data of a version 3 message."""

V3_HEADER_GUID = known_guid("gEfiMmCommunicateHeaderV3Guid")
"""HeaderGuid that announces a version 3 header."""

_SOURCE = "docs/reference/communicate.md §1"
_V3 = struct.Struct("<16sQQ16sQ")


@dataclass(frozen=True, slots=True)
class Message:
    """EFI_MM_COMMUNICATE_HEADER and its data.

    ======  ====  =============
    offset  size  field
    ======  ====  =============
    0x00    16    HeaderGuid
    0x10    8     MessageLength
    0x18    n     Data
    ======  ====  =============

    Attributes:
        header_guid: Selects the handler.
        data: MessageLength bytes.
    """

    header_guid: Guid
    data: bytes

    @property
    def handler_guid(self) -> Guid:
        """The GUID that selects the handler."""
        return self.header_guid

    @property
    def size(self) -> int:
        """Header and data, in bytes."""
        return HEADER_SIZE + len(self.data)

    def pack(self) -> bytes:
        """Header and data."""
        return self.header_guid.raw + struct.pack("<Q", len(self.data)) + self.data


@dataclass(frozen=True, slots=True)
class MessageV3:
    """EFI_MM_COMMUNICATE_HEADER_V3 and its data.

    ======  ====  ===========================================
    offset  size  field
    ======  ====  ===========================================
    0x00    16    HeaderGuid = gEfiMmCommunicateHeaderV3Guid
    0x10    8     BufferSize, whole buffer with this header
    0x18    8     Reserved
    0x20    16    MessageGuid
    0x30    8     MessageSize
    0x38    n     MessageData
    ======  ====  ===========================================

    Attributes:
        message_guid: Selects the handler.
        data: MessageSize bytes.
        room: Bytes of the buffer after the data: BufferSize counts them, MessageSize does not. MM hands the handler
            all of BufferSize after the header.
        reserved: The reserved field as found.
    """

    message_guid: Guid
    data: bytes
    room: int = 0
    reserved: int = 0

    @property
    def handler_guid(self) -> Guid:
        """The GUID that selects the handler."""
        return self.message_guid

    @property
    def size(self) -> int:
        """BufferSize: header, data and room, in bytes."""
        return HEADER_V3_SIZE + len(self.data) + self.room

    def pack(self) -> bytes:
        """Header, data, and the room as zeros."""
        header = _V3.pack(V3_HEADER_GUID.raw, self.size, self.reserved, self.message_guid.raw, len(self.data))
        return header + self.data + bytes(self.room)


def parse_message(reader: Reader) -> Message | MessageV3:
    """Read a message of either form from the start of a communication buffer.

    Bytes of the buffer after the message are not looked at.

    Raises:
        FormatError: the header is cut, or the size it gives does not fit the buffer.
    """
    header_guid = reader.guid(0, "HeaderGuid")
    if header_guid != V3_HEADER_GUID:
        length = reader.u64(0x10, "MessageLength")
        return Message(header_guid, reader.copy(HEADER_SIZE, length, "message data"))
    _, buffer_size, reserved, message_guid, length = reader.unpack(_V3, 0, "version 3 header")
    if buffer_size < HEADER_V3_SIZE + length:
        raise _too_small(reader, buffer_size, length)
    reader.view(0, buffer_size, "version 3 message")
    data = reader.copy(HEADER_V3_SIZE, length, "message data")
    return MessageV3(Guid(message_guid), data, buffer_size - HEADER_V3_SIZE - length, reserved)


def _too_small(reader: Reader, buffer_size: int, length: int) -> FormatError:
    rule = f"BufferSize {buffer_size:#x} is smaller than the header and {length:#x} bytes of message"
    return reader.error(0x10, rule, _SOURCE)


_STATUS = struct.Struct("<B7sQQ")


@dataclass(frozen=True, slots=True)
class CommBufferStatus:
    """MM_COMM_BUFFER_STATUS, the mailbox beside a communication buffer, 24 bytes.

    ======  ====  ====================================
    offset  size  field
    ======  ====  ====================================
    0x00    1     IsCommBufferValid
    0x01    7     reserved
    0x08    8     ReturnStatus (EFI_STATUS)
    0x10    8     ReturnBufferSize, with the header
    ======  ====  ====================================

    Attributes:
        is_valid: The raw byte; anything but 0 counts as true.
        return_status: EFI_STATUS as a number.
        return_buffer_size: Bytes that the answer takes in the buffer.
        reserved: The seven reserved bytes; the supervisor writes back what it read.
    """

    SIZE = _STATUS.size

    is_valid: int = 0
    return_status: int = 0
    return_buffer_size: int = 0
    reserved: bytes = bytes(7)

    def pack(self) -> bytes:
        """The 24 bytes."""
        return _STATUS.pack(self.is_valid, self.reserved, self.return_status, self.return_buffer_size)

    @classmethod
    def unpack(cls, data: bytes) -> CommBufferStatus:
        """Read the 24 bytes that :meth:`pack` makes; for memory that is known to have them."""
        is_valid, reserved, status, size = _STATUS.unpack(data)
        return cls(is_valid, status, size, reserved)

    @classmethod
    def parse(cls, reader: Reader, offset: int = 0) -> CommBufferStatus:
        """Read a status block.

        Raises:
            FormatError: fewer than 24 bytes are left.
        """
        is_valid, reserved, status, size = reader.unpack(_STATUS, offset, "MM_COMM_BUFFER_STATUS")
        return cls(is_valid, status, size, reserved)
