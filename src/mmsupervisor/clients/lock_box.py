"""The lock box, over the messages that its DXE library sends to SmmLockBox.

A box holds a copy of some memory in MMRAM. The messages carry addresses; this client keeps a buffer of runtime data
for them, which is what the driver accepts after ready to lock. Payload, little-endian (edk2's SmmLockBox.h):

======  ====  ======================================================================
offset  size  field
======  ====  ======================================================================
0x00    4     command: 1 save, 2 update, 3 restore, 4 set attributes, 5 restore all
0x04    4     size of the parameters, header included
0x08    8     EFI_STATUS, written by the driver
0x10    16    GUID of the box
0x20    8     save, restore: address; update: offset; set attributes: attributes
0x28    8     save, restore: length; update: address
0x30    8     update: length
======  ====  ======================================================================
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum, IntFlag

from mmsupervisor.clients.errors import ClientError, DroppedMessageError
from mmsupervisor.clients.messages import UNTOUCHED, Send, exchange, read_fields
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.memory_types import PAGE_SIZE, pages_for
from mmsupervisor.pi.status import ERROR_BIT

_MESSAGE_GUID = known_guid("gEfiSmmLockBoxCommunicationGuid")
_HEADER = struct.Struct("<IIQ")


class _Command(IntEnum):
    SAVE = 1
    UPDATE = 2
    RESTORE = 3
    SET_ATTRIBUTES = 4
    RESTORE_ALL_IN_PLACE = 5


class LockBoxAttribute(IntFlag):
    """Attributes of a box."""

    RESTORE_IN_PLACE = 1
    RESTORE_IN_S3_ONLY = 2


class LockBoxError(ClientError):
    """The lock box driver answered with an error."""


class LockBox:
    """The boxes of a booted platform."""

    def __init__(self, send: Send, memory: PhysicalMemory, allocate: Callable[[int], int]) -> None:
        """Talk to the driver through ``send``; ``allocate`` gives pages of runtime data outside MMRAM."""
        self._send = send
        self._memory = memory
        self._allocate = allocate
        self._buffer = 0
        self._pages = 0

    def command(self, command: int, parameters: bytes) -> int:
        """Send any command and return the driver's status; all ones if the driver wrote none.

        Raises:
            NotServedError: there is no lock box driver.
            BadAnswerError: the answer is too short.
        """
        what = f"lock box command {command}"
        header = _HEADER.pack(command, _HEADER.size + len(parameters), UNTOUCHED)
        body = exchange(self._send, _MESSAGE_GUID, header + parameters, what)
        return int(read_fields(_HEADER, body, what)[2])

    def _require(self, command: _Command, what: str, parameters: bytes) -> None:
        status = self.command(command, parameters)
        if status == UNTOUCHED:
            raise DroppedMessageError(what)
        if status & ERROR_BIT:
            raise LockBoxError(what, status)

    def _room(self, size: int) -> int:
        """Return the address of a buffer of so many bytes."""
        pages = max(1, pages_for(size))
        if pages > self._pages:
            self._buffer, self._pages = self._allocate(pages), pages
        return self._buffer

    def save(self, guid: Guid | str, data: bytes) -> None:
        """Put data into a new box.

        Args:
            guid: The box, or the GUID's text or name.
            data: What to keep.

        Raises:
            LockBoxError: the driver refuses.
            NotServedError: there is no lock box driver.
            DroppedMessageError: the driver does not look at the message.
        """
        self._memory.write(address := self._room(len(data)), data)
        self.save_from(guid, address, len(data))

    def save_from(self, guid: Guid | str, address: int, length: int) -> None:
        """Put a range of memory into a new box; raises as :meth:`save` does."""
        self._require(_Command.SAVE, "lock box: save", _raw(guid) + struct.pack("<QQ", address, length))

    def update(self, guid: Guid | str, offset: int, data: bytes) -> None:
        """Change a part of a box; raises as :meth:`save` does."""
        self._memory.write(address := self._room(len(data)), data)
        parameters = _raw(guid) + struct.pack("<QQQ", offset, address, len(data))
        self._require(_Command.UPDATE, "lock box: update", parameters)

    def restore(self, guid: Guid | str, length: int) -> bytes:
        """Return what a box holds.

        Args:
            guid: The box.
            length: Bytes of the buffer that the driver may fill; a smaller one than the box is an error.

        Raises:
            LockBoxError: the driver refuses.
            NotServedError: there is no lock box driver.
        """
        address = self._room(length)
        self._memory.fill(address, self._pages * PAGE_SIZE)
        self.restore_to(guid, address, length)
        return self._memory.read(address, length)

    def restore_to(self, guid: Guid | str, address: int, length: int) -> None:
        """Let the driver write what a box holds to memory; raises as :meth:`save` does."""
        self._require(_Command.RESTORE, "lock box: restore", _raw(guid) + struct.pack("<QQ", address, length))

    def set_attributes(self, guid: Guid | str, attributes: LockBoxAttribute) -> None:
        """Say how a box is restored; raises as :meth:`save` does."""
        self._require(_Command.SET_ATTRIBUTES, "lock box: attributes", _raw(guid) + struct.pack("<Q", attributes))

    def restore_all_in_place(self) -> None:
        """Restore every box with that attribute to where it came from; raises as :meth:`save` does."""
        self._require(_Command.RESTORE_ALL_IN_PLACE, "lock box: restore all", b"")


def _raw(guid: Guid | str) -> bytes:
    return (Guid.parse(guid) if isinstance(guid, str) else guid).raw
