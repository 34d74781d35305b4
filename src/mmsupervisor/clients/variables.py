"""UEFI variables, over the messages that VariableSmmRuntimeDxe sends to VariableSmm and VariableStandaloneMm.

Payload of every message, little-endian:

======  ====  =====================================================================
offset  size  field
======  ====  =====================================================================
0x00    8     function: 1 get, 2 next name, 3 set, 4 information, 5 ReadyToBoot,
              6 ExitBootServices, 8 lock, 11 size of the largest payload
0x08    8     EFI_STATUS, written by the driver
0x10    n     data of the function, below
======  ====  =====================================================================

=====================  ====================================================================================
get, set               GUID 16, data size u64, name size u64, attributes u32, name at 0x24, data after it
next name              GUID 16, name size u64, name at 0x18
information            maximum storage u64, remaining storage u64, maximum variable u64, attributes u32
lock                   GUID 16, name size u64, name at 0x18
largest payload        u64
=====================  ====================================================================================

Names are UTF-16 with a terminating zero, which counts. Source: edk2's SmmVariableCommon.h; UEFI 2.10 §8.2 for meaning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from mmsupervisor.clients.errors import ClientError, DroppedMessageError
from mmsupervisor.clients.messages import UNTOUCHED, Send, exchange
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import Status

_MESSAGE_GUID = known_guid("gEfiSmmVariableProtocolGuid")
_HEADER = struct.Struct("<QQ")
_ACCESS = struct.Struct("<16sQQI")
_NAME = struct.Struct("<16sQ")
_INFORMATION = struct.Struct("<QQQI4x")
_TERMINATOR = "\0"


class _Function(IntEnum):
    GET = 1
    NEXT_NAME = 2
    SET = 3
    INFORMATION = 4
    READY_TO_BOOT = 5
    EXIT_BOOT_SERVICES = 6
    LOCK = 8
    PAYLOAD_SIZE = 11


class VariableAttribute(IntFlag):
    """Attributes of a variable (UEFI 2.10 §8.2)."""

    NON_VOLATILE = 0x01
    BOOT_SERVICE = 0x02
    RUNTIME = 0x04
    HARDWARE_ERROR = 0x08
    AUTHENTICATED_WRITE = 0x10
    TIME_BASED_AUTHENTICATED_WRITE = 0x20
    APPEND = 0x40


ATTRIBUTE_WORDS = {
    VariableAttribute.NON_VOLATILE: "NV",
    VariableAttribute.BOOT_SERVICE: "BS",
    VariableAttribute.RUNTIME: "RT",
    VariableAttribute.HARDWARE_ERROR: "HR",
    VariableAttribute.AUTHENTICATED_WRITE: "AW",
    VariableAttribute.TIME_BASED_AUTHENTICATED_WRITE: "AT",
    VariableAttribute.APPEND: "AP",
}
"""What attributes are called in short, as other tools do."""

DEFAULT_ATTRIBUTES = VariableAttribute.NON_VOLATILE | VariableAttribute.BOOT_SERVICE | VariableAttribute.RUNTIME


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable.

    Attributes:
        name: Its name.
        guid: Its vendor GUID.
        attributes: Its attributes.
        data: Its value.
    """

    name: str
    guid: Guid
    attributes: VariableAttribute
    data: bytes

    @property
    def text(self) -> str | None:
        """The value as text, where it is nothing but printable ASCII or UTF-16, ended by a zero or not."""
        for encoding, zero in (("ascii", b"\0"), ("utf-16-le", b"\0\0")):
            raw = self.data.removesuffix(zero)
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError:
                continue
            if text and text.isprintable() and (encoding == "ascii" or text.isascii()):
                return text
        return None


@dataclass(frozen=True, slots=True)
class VariableStorage:
    """What QueryVariableInfo tells, in bytes.

    Attributes:
        maximum_storage: Storage for variables with the attributes asked for.
        remaining_storage: What is left of it.
        maximum_variable: Size of the largest variable.
    """

    maximum_storage: int
    remaining_storage: int
    maximum_variable: int


class VariableError(ClientError):
    """The variable driver answered with an error."""


class AmbiguousNameError(MmSupervisorError):
    """Several variables have the name that was asked for."""

    def __init__(self, name: str, guids: list[Guid]) -> None:
        """Name them."""
        super().__init__(f"variable {name}: there are several; say which by GUID: {', '.join(g.label for g in guids)}")


class Variables:
    """The variables of a booted platform. Iterating gives (name, GUID), in the driver's own order."""

    def __init__(self, send: Send, largest_message: int) -> None:
        """Talk to the driver through ``send``, which takes payloads of ``largest_message`` bytes at the most."""
        self._send = send
        self._largest_message = largest_message
        self._payload_size = 0

    def _ask(self, function: _Function, data: bytes, what: str) -> tuple[int, bytes]:
        """Send a message and return the driver's status and the data of its answer."""
        body = exchange(self._send, _MESSAGE_GUID, _HEADER.pack(function, UNTOUCHED) + data, what)
        _, status = _HEADER.unpack_from(body)
        if status == UNTOUCHED:
            raise DroppedMessageError(what)
        return status, body[_HEADER.size :]

    def _require(self, function: _Function, data: bytes, what: str) -> bytes:
        status, answer = self._ask(function, data, what)
        if status:
            raise VariableError(what, status)
        return answer

    @property
    def payload_size(self) -> int:
        """Bytes of the largest function data that the driver and the communication buffer take.

        Raises:
            VariableError: the driver does not tell.
            NotServedError: there is no variable driver.
        """
        if not self._payload_size:
            answer = self._require(_Function.PAYLOAD_SIZE, bytes(8), "size of the largest variable message")
            told = int.from_bytes(answer[:8], "little")
            self._payload_size = min(told, self._largest_message - _HEADER.size)
        return self._payload_size

    def get(self, name: str, guid: Guid | str) -> Variable:
        """Return a variable.

        Args:
            name: Its name.
            guid: Its vendor GUID, or the GUID's text or name.

        Raises:
            VariableError: NOT_FOUND, or what else the driver answers.
            NotServedError: there is no variable driver.
            DroppedMessageError: the driver does not look at the message.
        """
        vendor, encoded = _guid(guid), _encode(name)
        room = self.payload_size - _ACCESS.size - len(encoded)
        request = _ACCESS.pack(vendor.raw, room, len(encoded), 0) + encoded + bytes(room)
        answer = self._require(_Function.GET, request, f"GetVariable {name}")
        _, size, name_size, attributes = _ACCESS.unpack_from(answer)
        start = _ACCESS.size + name_size
        return Variable(name, vendor, VariableAttribute(attributes), answer[start : start + size])

    def set(self, name: str, guid: Guid | str, data: bytes, attributes: VariableAttribute = DEFAULT_ATTRIBUTES) -> None:
        """Create or change a variable; raises as :meth:`get` does."""
        encoded = _encode(name)
        request = _ACCESS.pack(_guid(guid).raw, len(data), len(encoded), attributes) + encoded + data
        self._require(_Function.SET, request, f"SetVariable {name}")

    def find(self, name: str, guid: Guid | str | None = None) -> Variable:
        """Return a variable whose GUID need not be known if no other has its name; raises as :meth:`get` does.

        Raises:
            AmbiguousNameError: several variables have that name.
        """
        if guid is not None:
            return self.get(name, guid)
        owners = [vendor for found, vendor in self if found == name]
        if len(owners) > 1:
            raise AmbiguousNameError(name, owners)
        if not owners:
            raise VariableError(f"GetVariable {name}", Status.NOT_FOUND)
        return self.get(name, owners[0])

    def delete(self, name: str, guid: Guid | str) -> None:
        """Delete a variable; raises as :meth:`get` does."""
        self.set(name, guid, b"", self.get(name, guid).attributes)

    def __iter__(self) -> Iterator[tuple[str, Guid]]:
        """Iterate over the names; raises as :meth:`get` does."""
        name, vendor = "", Guid(bytes(GUID_SIZE))
        while True:
            encoded = _encode(name)
            room = self.payload_size - _NAME.size
            request = _NAME.pack(vendor.raw, room) + encoded.ljust(room, b"\0")
            status, answer = self._ask(_Function.NEXT_NAME, request, "GetNextVariableName")
            if status == Status.NOT_FOUND:
                return
            if status:
                raise VariableError("GetNextVariableName", status)
            raw, size = _NAME.unpack_from(answer)
            vendor = Guid(raw)
            name = answer[_NAME.size : _NAME.size + size].decode("utf-16-le", "replace").split(_TERMINATOR)[0]
            yield name, vendor

    def all(self) -> tuple[Variable, ...]:
        """Return all variables; raises as :meth:`get` does."""
        return tuple(self.get(name, guid) for name, guid in list(self))

    def storage(self, attributes: VariableAttribute = DEFAULT_ATTRIBUTES) -> VariableStorage:
        """Call QueryVariableInfo; raises as :meth:`get` does."""
        request = _INFORMATION.pack(0, 0, 0, attributes)
        answer = self._require(_Function.INFORMATION, request, "QueryVariableInfo")
        return VariableStorage(*_INFORMATION.unpack_from(answer)[:3])

    def lock(self, name: str, guid: Guid | str) -> None:
        """Make a variable read-only until the next boot; raises as :meth:`get` does."""
        encoded = _encode(name)
        self._require(_Function.LOCK, _NAME.pack(_guid(guid).raw, len(encoded)) + encoded, f"lock variable {name}")

    def ready_to_boot(self) -> None:
        """Tell the driver ReadyToBoot, as its DXE half does; raises as :meth:`get` does."""
        self._require(_Function.READY_TO_BOOT, bytes(8), "variables: ReadyToBoot")

    def exit_boot_services(self) -> None:
        """Tell the driver ExitBootServices, as its DXE half does; raises as :meth:`get` does."""
        self._require(_Function.EXIT_BOOT_SERVICES, bytes(8), "variables: ExitBootServices")


def _guid(guid: Guid | str) -> Guid:
    return Guid.parse(guid) if isinstance(guid, str) else guid


def _encode(name: str) -> bytes:
    return (name + _TERMINATOR).encode("utf-16-le")
