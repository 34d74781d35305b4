"""The flash that OVMF expects, for boots where nothing else describes one.

OVMF's SMM drivers look for their variable store right below the code. Where there is none, VariableSmm takes what an
empty bus answers for one and clears it byte by byte, up to 4 GiB. So an image of OVMF's code gets a store: the file
beside it that belongs to it, else an empty one that is kept nowhere.

Layout of the store, as OVMF's build lays it out (sizes in bytes):

=========  =========  =========  =========  =========  =========
code       store      variables  event log  work area  spare
=========  =========  =========  =========  =========  =========
0x37C000   0x84000    0x40000    0x1000     0x1000     0x42000
0x1E0000   0x20000    0xE000     0x1000     0x1000     0x10000
=========  =========  =========  =========  =========  =========

An empty one is a volume header (PI 1.8 volume 3 §3.2.1), behind it the header of a store of authenticated variables,
and in the work area the header of edk2's fault-tolerant write; all else is erased.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from mmsupervisor.devices.flash import SECTOR
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.firmware import Firmware

FLASH_DRIVER = Guid.parse("2E7DB7A7-608E-4041-B45F-00359E0766C6")
"""File GUID of FvbServicesSmm, OVMF's flash driver."""

_STORE_GUID = known_guid("gEfiSystemNvDataFvGuid")
_VARIABLES_GUID = known_guid("gEfiAuthenticatedVariableGuid")
_WORK_AREA_GUID = Guid.parse("9E58292B-7C68-497D-A0CE-6500FD9F1B95")

_VOLUME_HEADER = struct.Struct("<16x16sQ4sIHHHxBIIII")
_VOLUME_ATTRIBUTES = 0x4_FEFF
_VARIABLES_HEADER = struct.Struct("<16sIBB6x")
_WORK_AREA_HEADER = struct.Struct("<16sIIQ")
_FORMATTED, _HEALTHY, _REVISION = 0x5A, 0xFE, 2
_ERASED, _VALID = 0xFFFF_FFFF, 0xFFFF_FFFE
"""States of a work area: bit 0, active low, says that its header is valid."""

_MOST_NAME_PARTS = 8


class KnownFlashError(MmSupervisorError):
    """A variable store does not belong to the image of OVMF."""


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


LAYOUTS = {0x37_C000: StoreLayout(0x8_4000, 0x4_0000), 0x1E_0000: StoreLayout(0x2_0000, 0xE000)}
"""The store of each size of code."""


def with_known_flash(description: PlatformDescription, firmware: Firmware, path: Path | None) -> PlatformDescription:
    """Describe the flash of an image of OVMF's code; a description that has one, or another image, stays as it is.

    Args:
        description: The platform.
        firmware: What is booted.
        path: The image's file, beside which its store may lie; None if that is not known.

    Raises:
        KnownFlashError: the store that is described is of another size than OVMF's drivers look for.
        OSError: it cannot be read.
    """
    facts = description.devices
    layout = LAYOUTS.get(len(firmware.image))
    if layout is None or all(item.guid != FLASH_DRIVER for item in firmware.traditional):
        return description
    if facts.flash_variables is not None and facts.flash_code is None:
        _require_size(facts.flash_variables, layout)
    if facts.flash_code or facts.flash_variables or facts.flash_erased or facts.flash_content:
        return description
    beside = None if path is None else find_companion(path, layout)
    if beside is not None:
        return replace(description, devices=replace(facts, flash_variables=beside))
    return replace(description, devices=replace(facts, flash_content=empty_store(layout)))


def _require_size(path: Path, layout: StoreLayout) -> None:
    size = path.stat().st_size
    if size != layout.size:
        raise KnownFlashError(f"{path}: {size:,} bytes; the store of this image of OVMF has {layout.size:,}")


def find_companion(path: Path, layout: StoreLayout) -> Path | None:
    """Return the store that belongs to an image, or None: a file with a name like the image's and a store in it."""
    return next((one for one in map(path.with_name, companion_names(path.name)) if _is_store(one, layout)), None)


def companion_names(name: str) -> Iterator[str]:
    """Yield the names that a store may have, the likeliest first.

    Distributions call it as the code, ``VARS`` for ``CODE``, and leave out what does not matter to a store:
    ``OVMF_CODE_4M.secboot.fd`` goes with ``OVMF_VARS_4M.fd``.
    """
    if "CODE" not in name:
        return
    first, *rest = name.replace("CODE", "VARS").split(".")[:_MOST_NAME_PARTS]
    if not rest:
        yield first
        return
    *words, ending = rest
    for count in range(len(words), -1, -1):
        for kept in combinations(words, count):
            yield ".".join((first, *kept, ending))


def _is_store(path: Path, layout: StoreLayout) -> bool:
    try:
        if path.stat().st_size != layout.size:
            return False
        with path.open("rb") as stream:
            return stream.read(0x20)[0x10:] == _STORE_GUID.raw
    except OSError:
        return False


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
        start = (_STORE_GUID.raw, size, b"_FVH", _VOLUME_ATTRIBUTES, _VOLUME_HEADER.size, checksum)
        return _VOLUME_HEADER.pack(*start, 0, _REVISION, size // SECTOR, SECTOR, 0, 0)

    return pack(-sum(struct.unpack(f"<{_VOLUME_HEADER.size // 2}H", pack(0))) & 0xFFFF)


def _work_area_header() -> bytes:
    """Return a work area's header; its checksum is that of the header with checksum and state still erased."""
    queue = SECTOR - _WORK_AREA_HEADER.size
    erased = _WORK_AREA_HEADER.pack(_WORK_AREA_GUID.raw, _ERASED, _ERASED, queue)
    return _WORK_AREA_HEADER.pack(_WORK_AREA_GUID.raw, zlib.crc32(erased), _VALID, queue)
