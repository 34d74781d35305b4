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

from mmsupervisor.clients.errors import BadAnswerError, ClientError, DroppedMessageError
from mmsupervisor.clients.messages import UNTOUCHED, Send, exchange, read_fields
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import Status

_MESSAGE_GUID = known_guid("gEfiSmmVariableProtocolGuid")
_HEADER = struct.Struct("<QQ")
_ACCESS = struct.Struct("<16sQQI")
_NAME = struct.Struct("<16sQ")
_INFORMATION = struct.Struct("<QQQI4x")
_PAYLOAD_SIZE = struct.Struct("<Q")
_TERMINATOR = "\0"
_ENCODING, _LENIENT = "utf-16-le", "surrogatepass"
"""Names are numbers of 16 bits to a driver: half of a surrogate pair is a name like any other."""

MOST_VARIABLES = 1 << 16
"""A driver that lists more than this does not come to an end: a store of 1 MiB holds at most some 16,000."""


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
        self._largest_data = largest_message - _HEADER.size
        self._payload_size = 0

    def _ask(self, function: _Function, data: bytes, what: str) -> tuple[int, bytes]:
        """Send a message and return the driver's status and the data of its answer."""
        body = exchange(self._send, _MESSAGE_GUID, _HEADER.pack(function, UNTOUCHED) + data, what)
        _, status = read_fields(_HEADER, body, what)
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
            what = "variables: size of the largest message"
            answer = self._require(_Function.PAYLOAD_SIZE, bytes(_PAYLOAD_SIZE.size), what)
            (told,) = read_fields(_PAYLOAD_SIZE, answer, what)
            self._payload_size = min(told, self._largest_data)
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
            BadAnswerError: the answer does not hold together.
        """
        what = f"GetVariable {name}"
        vendor, encoded = _guid(guid), _encode(name)
        room = self._require_room(self.payload_size, _ACCESS.size + len(encoded), what)
        request = _ACCESS.pack(vendor.raw, room, len(encoded), 0) + encoded + bytes(room)
        answer = self._require(_Function.GET, request, what)
        _, size, name_size, attributes = read_fields(_ACCESS, answer, what)
        start = _ACCESS.size + name_size
        if start + size > len(answer):
            raise BadAnswerError(what, f"a value of {size} bytes does not fit into the answer")
        return Variable(name, vendor, VariableAttribute(attributes), answer[start : start + size])

    def set(self, name: str, guid: Guid | str, data: bytes, attributes: VariableAttribute = DEFAULT_ATTRIBUTES) -> None:
        """Create or change a variable; raises as :meth:`get` does."""
        what = f"SetVariable {name}"
        encoded = _encode(name)
        self._require_room(self._largest_data, _ACCESS.size + len(encoded) + len(data), what)
        request = _ACCESS.pack(_guid(guid).raw, len(data), len(encoded), attributes) + encoded + data
        self._require(_Function.SET, request, what)

    @staticmethod
    def _require_room(room: int, size: int, what: str) -> int:
        """Return what is left of ``room`` bytes beside ``size``.

        Raises:
            VariableError: those alone are too much. The driver's DXE half does not send such a message either, and
                answers with this status.
        """
        if size > room:
            detail = f"{what}: {size:,} bytes where a message takes {room:,}"
            raise VariableError(detail, Status.INVALID_PARAMETER)
        return room - size

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
        what = "GetNextVariableName"
        found: tuple[str, Guid] | None = None
        seen: set[tuple[str, Guid]] = set()
        while (found := self._next_name(found, what)) is not None:
            if found in seen or len(seen) == MOST_VARIABLES:
                raise BadAnswerError(what, f"the list has no end: after {len(seen):,} names comes {found[0]!r}")
            seen.add(found)
            yield found

    def _next_name(self, last: tuple[str, Guid] | None, what: str) -> tuple[str, Guid] | None:
        """Return the variable that follows one, or the first; None after the last."""
        name, vendor = last or ("", Guid(bytes(GUID_SIZE)))
        encoded = _encode(name)
        room = self._require_room(self.payload_size, _NAME.size, what)
        self._require_room(room, len(encoded), what)
        request = _NAME.pack(vendor.raw, room) + encoded.ljust(room, b"\0")
        status, answer = self._ask(_Function.NEXT_NAME, request, what)
        if status == Status.NOT_FOUND:
            return None
        if status:
            raise VariableError(what, status)
        raw, size = read_fields(_NAME, answer, what)
        text = answer[_NAME.size : _NAME.size + size]
        return text[: len(text) & ~1].decode(_ENCODING, _LENIENT).split(_TERMINATOR)[0], Guid(raw)

    def all(self) -> tuple[Variable, ...]:
        """Return all variables; raises as :meth:`get` does."""
        return tuple(self.get(name, guid) for name, guid in list(self))

    def storage(self, attributes: VariableAttribute = DEFAULT_ATTRIBUTES) -> VariableStorage:
        """Call QueryVariableInfo; raises as :meth:`get` does."""
        request = _INFORMATION.pack(0, 0, 0, attributes)
        what = "QueryVariableInfo"
        answer = self._require(_Function.INFORMATION, request, what)
        return VariableStorage(*read_fields(_INFORMATION, answer, what)[:3])

    def lock(self, name: str, guid: Guid | str) -> None:
        """Make a variable read-only until the next boot; raises as :meth:`get` does."""
        what = f"lock variable {name}"
        encoded = _encode(name)
        self._require_room(self._largest_data, _NAME.size + len(encoded), what)
        self._require(_Function.LOCK, _NAME.pack(_guid(guid).raw, len(encoded)) + encoded, what)

    def ready_to_boot(self) -> None:
        """Tell the driver ReadyToBoot, as its DXE half does; raises as :meth:`get` does."""
        self._require(_Function.READY_TO_BOOT, bytes(8), "variables: ReadyToBoot")

    def exit_boot_services(self) -> None:
        """Tell the driver ExitBootServices, as its DXE half does; raises as :meth:`get` does."""
        self._require(_Function.EXIT_BOOT_SERVICES, bytes(8), "variables: ExitBootServices")


def _guid(guid: Guid | str) -> Guid:
    return Guid.parse(guid) if isinstance(guid, str) else guid


def _encode(name: str) -> bytes:
    return (name + _TERMINATOR).encode(_ENCODING, _LENIENT)
