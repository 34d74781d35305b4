"""UEFI capsules, and the items of firmware management (FMP) capsules.

Capsule header (UEFI 2.10 §8.5.3): GUID, u32 header size, u32 flags, u32 size with header.

FMP capsule header (UEFI 2.10 §23.3.1): u32 version 1, u16 embedded drivers, u16 payloads, then a u64 offset for
each item, from this header's start; drivers come first.

Header of a payload (UEFI 2.10 §23.3.2):

======  ====  ======================================================
offset  size  field
======  ====  ======================================================
0x00    4     version, u32: 1, 2 or 3
0x04    16    image type GUID
0x14    1     image index
0x15    3     reserved
0x18    4     size of the image, u32
0x1C    4     size of the vendor code after it, u32
0x20    8     hardware instance, u64, from version 2 on
0x28    8     capsule support flags, u64, from version 3 on
======  ====  ======================================================

A signed image begins with a u64 counter and a certificate (u32 size, u16 revision 0x0200, u16 type 0x0EF1); then
edk2's devices put a header of their own: ``MSS1``, u32 header size, u32 version, u32 lowest supported version.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from mmsupervisor.pi.container.model import Capsule, CapsuleItem, Image
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at

_HEADER = struct.Struct("<16sIII")
_FMP_HEADER = struct.Struct("<IHH")
_ITEM_OFFSET = struct.Struct("<Q")
_PAYLOAD_HEADER = struct.Struct("<I16sB3xII")
_CERTIFICATE = struct.Struct("<QIHH")
_CERTIFICATE_REVISION = 0x0200
_CERTIFICATE_TYPE_GUID = 0x0EF1
_COUNTER_SIZE = 8
_FMP_PAYLOAD_SIGNATURE = b"MSS1"
_FMP_PAYLOAD_HEADER = struct.Struct("<4sIII")
_FMP_GUID = known_guid("gEfiFmpCapsuleGuid")
_KNOWN_GUIDS = frozenset(
    {
        _FMP_GUID,
        known_guid("gEfiCapsuleGuid"),
        # Capsules of firmware vendors, from before the FMP form.
        Guid.parse("4A3CA68B-7723-48FB-803D-578CC1FEC44D"),
        Guid.parse("14EEBB90-890A-43DB-AED1-5D3C4588A418"),
        Guid.parse("539182B9-ABB5-4391-B69A-E3A943F72FCC"),
    }
)
_MAX_HEADER_SIZE = 0x10000

ReadImage = Callable[[Reader, Allowance, int], Image]
"""Reads a payload as an input of its own, given its depth of nesting."""


def looks_like_capsule(reader: Reader) -> bool:
    """Whether the bytes begin with a capsule: a known GUID, or a header whose sizes fit the input exactly."""
    if len(reader) < _HEADER.size:
        return False
    guid, header_size, _, image_size = reader.unpack(_HEADER, 0, "capsule header")
    if not _HEADER.size <= header_size <= min(_MAX_HEADER_SIZE, len(reader)):
        return False
    return Guid(guid) in _KNOWN_GUIDS or image_size == len(reader)


def read_capsule(reader: Reader, allowance: Allowance, depth: int, read_image: ReadImage) -> Capsule:
    """Read a capsule and what is in it.

    Args:
        reader: The capsule; bytes after its end are ignored.
        allowance: Bounds of the parse.
        depth: Levels of nesting around the capsule.
        read_image: Reads a payload; given by the caller, which knows all kinds of input.

    Raises:
        FormatError: the header does not lie within the input.
        LimitError: more items or levels than allowed.
    """
    allowance.take_items(1, reader.file, reader.base)
    allowance.check_depth(depth, reader.file, reader.base)
    guid, header_size, flags, image_size = reader.unpack(_HEADER, 0, "capsule header")
    problems: list[Problem] = []
    size = image_size
    if not header_size <= image_size <= len(reader):
        rule = f"capsule of {image_size:#x} bytes with a header of {header_size:#x} in an input of {len(reader):#x}"
        problems.append(problem_at(ProblemKind.CAPSULE, reader, 0x18, rule))
        size = len(reader)
    body = reader.window(header_size, size - header_size, "capsule body")
    capsule = Capsule(reader.file, reader.base, reader.data[:size], Guid(guid), header_size, flags, image_size)
    if capsule.guid == _FMP_GUID:

        def read_payload(payload: Reader) -> Image:
            return read_image(payload, allowance, depth + 1)

        items = _read_items(body, allowance, read_payload, problems)
        return replace(capsule, items=items, problems=tuple(problems))
    return replace(capsule, image=read_image(body, allowance, depth + 1), problems=tuple(problems))


def _read_items(
    body: Reader, allowance: Allowance, read_payload: Callable[[Reader], Image], problems: list[Problem]
) -> tuple[CapsuleItem, ...]:
    items: list[CapsuleItem] = []
    try:
        version, drivers, payloads = body.unpack(_FMP_HEADER, 0, "FMP capsule header")
        count = drivers + payloads
        table = body.view(_FMP_HEADER.size, count * _ITEM_OFFSET.size, "FMP item list")
    except FormatError as error:
        problems.append(problem_at(ProblemKind.FMP_CAPSULE, body, 0, error.rule))
        return ()
    if version != 1:
        problems.append(problem_at(ProblemKind.FMP_CAPSULE, body, 0, f"FMP capsule header version {version}, not 1"))
    offsets = [offset for (offset,) in _ITEM_OFFSET.iter_unpack(table)]
    lowest = _FMP_HEADER.size + len(table)
    for number, offset in enumerate(offsets):
        end = offsets[number + 1] if number + 1 < count else len(body)
        if not lowest <= offset < end <= len(body):
            rule = f"FMP item {number} from {offset:#x} to {end:#x} is out of order or outside the capsule"
            problems.append(problem_at(ProblemKind.FMP_CAPSULE, body, _FMP_HEADER.size + 8 * number, rule))
            continue
        allowance.take_items(1, body.file, body.base + offset)
        window = body.window(offset, end - offset, "FMP item")
        items.append(_read_item(window, number, number < drivers, read_payload))
    return tuple(items)


@dataclass(slots=True)
class _Payload:
    reader: Reader
    image_type: Guid | None = None
    hardware_instance: int | None = None
    is_authenticated: bool = False
    firmware_version: int | None = None


def _read_item(window: Reader, number: int, is_driver: bool, read_payload: Callable[[Reader], Image]) -> CapsuleItem:
    payload = _Payload(window)
    problems: tuple[Problem, ...] = ()
    if not is_driver:
        try:
            _open_payload(payload)
        except FormatError as error:
            problems = (Problem(ProblemKind.FMP_CAPSULE, error.file, error.offset, error.rule),)
    return CapsuleItem(
        window.file,
        window.base,
        window.data,
        number,
        payload.image_type,
        payload.hardware_instance,
        payload.is_authenticated,
        payload.firmware_version,
        read_payload(payload.reader),
        problems,
    )


def _open_payload(payload: _Payload) -> None:
    """Take the headers off a payload, one after the other, leaving in ``payload`` what was reached."""
    window = payload.reader
    version, image_type, _, image_size, _ = window.unpack(_PAYLOAD_HEADER, 0, "FMP payload header")
    payload.image_type = Guid(image_type)
    position = _PAYLOAD_HEADER.size
    if version >= 2:
        payload.hardware_instance = window.u64(position, "FMP hardware instance")
        position += 8
    if version >= 3:
        position += 8
    payload.reader = image = window.window(position, image_size, "FMP image")
    if len(image) >= _CERTIFICATE.size:
        _, size, revision, kind = image.unpack(_CERTIFICATE, 0, "certificate")
        if (revision, kind) == (_CERTIFICATE_REVISION, _CERTIFICATE_TYPE_GUID):
            payload.is_authenticated = True
            signed = _COUNTER_SIZE + size
            payload.reader = image = image.window(signed, len(image) - signed, "signed FMP image")
    if bytes(image.data[:4]) == _FMP_PAYLOAD_SIGNATURE:
        _, size, payload.firmware_version, _ = image.unpack(_FMP_PAYLOAD_HEADER, 0, "payload header")
        payload.reader = image.window(size, len(image) - size, "payload")
