"""A store of UEFI variables as bytes: recognising one by its headers, and making an empty one as OVMF's build does.

It is a volume header (PI 1.8 volume 3 §3.2.1), and behind it the header of a store of variables. In an empty one there
is further, in the work area, the header of edk2's fault-tolerant write; all else is erased.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from mmsupervisor.devices.flash import SECTOR
from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import NVRAM_GUID, read_volume

_VARIABLES_GUID = known_guid("gEfiAuthenticatedVariableGuid")
_WORK_AREA_GUID = Guid.parse("9E58292B-7C68-497D-A0CE-6500FD9F1B95")

_VOLUME_HEADER = struct.Struct("<16x16sQ4sIHHHxBIIII")
_VOLUME_ATTRIBUTES = 0x4_FEFF
_VARIABLES_HEADER = struct.Struct("<16sIBB6x")
_WORK_AREA_HEADER = struct.Struct("<16sIIQ")
_FORMATTED, _HEALTHY, _REVISION = 0x5A, 0xFE, 2
_ERASED, _VALID = 0xFFFF_FFFF, 0xFFFF_FFFE
"""States of a work area: bit 0, active low, says that its header is valid."""


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """Where the parts of a store are.

    Attributes:
        size: Bytes of the store.
        variables: Bytes of its part for variables, which comes first.
    """

    size: int
    variables: int

    @property
    def work_area(self) -> int:
        """Offset of the fault-tolerant write's work area: behind the event log."""
        return self.variables + SECTOR


def store_size(data: bytes) -> int:
    """Return the bytes of the store that ``data`` begins with; 0 if that is none, or none that a driver would take."""
    if data[0x10:0x20] != NVRAM_GUID.raw:  # nothing else is read for this question
        return 0
    try:
        volume = read_volume(Reader(data, "variable store"), Allowance())
    except (FormatError, LimitError):
        return 0
    store = volume.variable_store
    is_usable = store is not None and store.kind != "unknown" and store.is_formatted and store.is_healthy
    return volume.length if is_usable and volume.length <= len(data) and not volume.length % SECTOR else 0


def empty_store(layout: StoreLayout) -> bytes:
    """Return a store without variables, as OVMF's build makes it."""
    variables_size = layout.variables - _VOLUME_HEADER.size
    variables = _VARIABLES_HEADER.pack(_VARIABLES_GUID.raw, variables_size, _FORMATTED, _HEALTHY)
    store = bytearray(b"\xff" * layout.size)
    for offset, header in ((0, _volume_header(layout.size) + variables), (layout.work_area, _work_area_header())):
        store[offset : offset + len(header)] = header
    return bytes(store)


def _volume_header(size: int) -> bytes:
    """Return a volume's header, whose 16-bit words add up to 0."""

    def pack(checksum: int) -> bytes:
        start = (NVRAM_GUID.raw, size, b"_FVH", _VOLUME_ATTRIBUTES, _VOLUME_HEADER.size, checksum)
        return _VOLUME_HEADER.pack(*start, 0, _REVISION, size // SECTOR, SECTOR, 0, 0)

    return pack(-sum(struct.unpack(f"<{_VOLUME_HEADER.size // 2}H", pack(0))) & 0xFFFF)


def _work_area_header() -> bytes:
    """Return a work area's header; its checksum is that of the header with checksum and state still erased."""
    queue = SECTOR - _WORK_AREA_HEADER.size
    erased = _WORK_AREA_HEADER.pack(_WORK_AREA_GUID.raw, _ERASED, _ERASED, queue)
    return _WORK_AREA_HEADER.pack(_WORK_AREA_GUID.raw, zlib.crc32(erased), _VALID, queue)
