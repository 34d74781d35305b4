"""What lies outside MMRAM, from the resource descriptor HOBs (docs/reference/memory.md §7).

Every range gives two points. Sorted by address, then by kind, they must nest as the table of the fact sheet
says; otherwise the reference resets the machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.mmram import Mmram, range_end
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import ResourceHob, ResourceType
from mmsupervisor.pi.status import Status

_SKIPPED_TYPES = (ResourceType.IO, ResourceType.IO_RESERVED)
_SPECIAL_TYPES = (ResourceType.MEMORY_MAPPED_IO, ResourceType.FIRMWARE_DEVICE)
_SKIPPED_OWNER = known_guid("gEfiMemoryTypeInformationGuid")


class _Point(IntEnum):
    """Kinds of points, in the order in which they sort at one address."""

    SMM_END = 0
    DXE_END = 1
    SPECIAL_END = 2
    SPECIAL_START = 3
    DXE_START = 4
    SMM_START = 5


_ENDS = (_Point.SMM_END, _Point.DXE_END, _Point.SPECIAL_END)


@dataclass(frozen=True, slots=True)
class OutsideRange:
    """A range outside MMRAM that a driver may touch without asking.

    Attributes:
        start: First address.
        size: Bytes.
    """

    start: int
    size: int


def special_ranges(resources: Iterable[ResourceHob], mmram: Mmram) -> list[OutsideRange]:
    """Check the resource descriptors against MMRAM and return the MMIO and firmware-device ranges, by address.

    Raises:
        CoreError: SECURITY_VIOLATION: they do not nest; the reference resets the machine.
    """
    kept = [hob for hob in resources if hob.resource_type not in _SKIPPED_TYPES and hob.owner != _SKIPPED_OWNER]
    points: list[tuple[int, _Point]] = []
    special: list[OutsideRange] = []
    for hob in kept:
        if hob.resource_type in _SPECIAL_TYPES:
            kinds = (_Point.SPECIAL_START, _Point.SPECIAL_END)
            special.append(OutsideRange(hob.start, hob.length))
        else:
            kinds = (_Point.DXE_START, _Point.DXE_END)
        points += [(hob.start, kinds[0]), (hob.start + hob.length, kinds[1])]
    for region in mmram.ranges:
        points += [(region.physical_start, _Point.SMM_START), (range_end(region), _Point.SMM_END)]
    points.sort()
    _check_nesting(points)
    return sorted(special, key=lambda item: item.start)


def _reject(address: int, rule: str) -> CoreError:
    return CoreError(Status.SECURITY_VIOLATION, f"memory map at {address:#x}: {rule}")


def _check_nesting(points: list[tuple[int, _Point]]) -> None:
    if not points:
        raise _reject(0, "there is no resource descriptor and no MMRAM range")
    if points[0][1] in _ENDS:
        raise _reject(points[0][0], "the first point is the end of a range")
    for left, right in pairwise(points):
        if left == right:
            raise _reject(left[0], f"two ranges have the same point {left[1].name}")
    open_: set[_Point] = set()
    for number, (address, kind) in enumerate(points):
        if kind in _ENDS:
            start = _Point(_Point.SMM_START - kind)
            if start not in open_:
                raise _reject(address, f"{kind.name} of a range that is not open")
            if kind is _Point.DXE_END and _Point.SMM_START in open_:
                raise _reject(address, "an MMRAM range runs out of its resource descriptor")
            open_.remove(start)
        else:
            _check_start(kind, address, open_, first=number == 0)
            open_.add(kind)


def _check_start(kind: _Point, address: int, open_: set[_Point], *, first: bool) -> None:
    if kind is _Point.SMM_START:
        if _Point.SMM_START in open_:
            raise _reject(address, "two MMRAM ranges overlap")
        if not first and open_ != {_Point.DXE_START}:
            raise _reject(address, "an MMRAM range lies in no memory resource descriptor")
    elif open_:
        name = "MMIO or firmware-device" if kind is _Point.SPECIAL_START else "memory"
        raise _reject(address, f"a {name} resource descriptor begins inside another range")
