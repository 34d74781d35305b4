"""Resource descriptors against MMRAM (docs/reference/memory.md §7): each refusal beside a benign twin."""

from __future__ import annotations

import pytest

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.mmram import Mmram
from mmsupervisor.core.outside_map import OutsideRange, special_ranges
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import ResourceHob, ResourceType
from mmsupervisor.pi.status import Status
from tests.core.small import free_range

RAM, RESERVED = ResourceType.SYSTEM_MEMORY, ResourceType.MEMORY_RESERVED
MMIO, FLASH = ResourceType.MEMORY_MAPPED_IO, ResourceType.FIRMWARE_DEVICE
Resource = tuple[ResourceType, int, int]
MEMORY: tuple[Resource, ...] = ((RAM, 0x1000, 0x5000), (RESERVED, 0x5000, 0x9000))
MMRAM = ((0x6000, 0x8000),)


def judge(resources: tuple[Resource, ...], mmram: tuple[tuple[int, int], ...]) -> list[OutsideRange]:
    hobs = [ResourceHob(kind, start, end - start, 0) for kind, start, end in resources]
    return special_ranges(hobs, Mmram(tuple(free_range(start, end - start) for start, end in mmram)))


def spans(*pairs: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return pairs


CASES = {
    "a memory range starts inside a memory range": (
        ((RAM, 0x1000, 0x3000), (RAM, 0x2000, 0x4000)), (), ((RAM, 0x1000, 0x3000), (RAM, 0x3000, 0x4000)), ()
    ),
    "a memory range inside a memory range": (
        ((RAM, 0x1000, 0x4000), (RAM, 0x2000, 0x3000)), (), ((RAM, 0x1000, 0x2000), (RAM, 0x2000, 0x3000)), ()
    ),
    "a memory range starts inside MMIO": (
        ((MMIO, 0x1000, 0x3000), (RAM, 0x2000, 0x4000)), (), ((MMIO, 0x1000, 0x2000), (RAM, 0x2000, 0x4000)), ()
    ),
    "MMIO starts inside memory": (
        ((RAM, 0x1000, 0x3000), (MMIO, 0x2000, 0x4000)), (), ((RAM, 0x1000, 0x3000), (MMIO, 0x3000, 0x4000)), ()
    ),
    "MMIO overlaps MMIO": (
        ((MMIO, 0x1000, 0x3000), (FLASH, 0x2000, 0x4000)), (), ((MMIO, 0x1000, 0x2000), (FLASH, 0x2000, 0x4000)), ()
    ),
    "MMIO contains memory": (
        ((MMIO, 0x1000, 0x5000), (RAM, 0x2000, 0x3000)), (), ((MMIO, 0x3000, 0x5000), (RAM, 0x2000, 0x3000)), ()
    ),
    "MMIO contains MMRAM": (
        ((RAM, 0, 0x1000), (MMIO, 0x1000, 0x5000)), spans((0x2000, 0x3000)),
        ((RAM, 0, 0x1000), (RESERVED, 0x1000, 0x5000)), spans((0x2000, 0x3000)),
    ),
    "MMRAM in no descriptor": (
        ((RAM, 0x1000, 0x2000),), spans((0x3000, 0x4000)),
        ((RAM, 0x1000, 0x2000), (RESERVED, 0x3000, 0x4000)), spans((0x3000, 0x4000)),
    ),
    "MMRAM runs out of its descriptor": (
        ((RAM, 0x1000, 0x3000),), spans((0x2000, 0x4000)), ((RAM, 0x1000, 0x3000),), spans((0x2000, 0x3000))
    ),
    "MMRAM across two descriptors": (
        ((RAM, 0x1000, 0x3000), (RESERVED, 0x3000, 0x5000)), spans((0x2000, 0x4000)),
        ((RAM, 0x1000, 0x3000), (RESERVED, 0x3000, 0x5000)), spans((0x2000, 0x3000), (0x3000, 0x4000)),
    ),
    "MMRAM runs into its descriptor from below": (
        ((RAM, 0, 0x1000), (RESERVED, 0x3000, 0x5000)), spans((0x2000, 0x4000)),
        ((RAM, 0, 0x1000), (RESERVED, 0x2000, 0x5000)), spans((0x2000, 0x4000)),
    ),
    "MMRAM overlaps MMRAM": (
        ((RAM, 0, 0x9000),), spans((0x2000, 0x4000), (0x3000, 0x5000)),
        ((RAM, 0, 0x9000),), spans((0x2000, 0x4000), (0x4000, 0x5000)),
    ),
    "two equal points": (
        ((RAM, 0x1000, 0x2000), (RAM, 0x1000, 0x2000)), (), ((RAM, 0x1000, 0x2000), (RAM, 0x2000, 0x3000)), ()
    ),
    "the first point is an end": (((RAM, 0x1000, 0x1000),), (), ((RAM, 0x1000, 0x1001),), ()),
    "a descriptor of zero bytes": (
        ((RAM, 0, 0x1000), (MMIO, 0x2000, 0x2000)), (), ((RAM, 0, 0x1000), (MMIO, 0x2000, 0x2001)), ()
    ),
    "nothing at all": ((), (), ((RAM, 0, 0x1000),), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_and_its_twin(name: str) -> None:
    resources, mmram, good_resources, good_mmram = CASES[name]
    with pytest.raises(CoreError) as caught:
        judge(resources, mmram)
    assert caught.value.status is Status.SECURITY_VIOLATION
    judge(good_resources, good_mmram)


def test_descriptors_may_come_in_any_order() -> None:
    resources = (*MEMORY, (MMIO, 0xA000, 0xB000), (FLASH, 0x9000, 0x9800))
    wanted = [OutsideRange(0x9000, 0x800), OutsideRange(0xA000, 0x1000)]
    assert judge(resources, MMRAM) == judge(resources[::-1], MMRAM) == wanted


def test_mmram_may_be_as_large_as_its_descriptor() -> None:
    assert judge(((RESERVED, 0x1000, 0x2000), (RAM, 0x3000, 0x4000)), ((0x1000, 0x2000),)) == []


def test_the_very_first_point_is_only_checked_not_to_be_an_end() -> None:
    """MMRAM below every descriptor lies in none of them, and the reference does not see it."""
    assert judge(((RAM, 0x3000, 0x4000),), ((0x1000, 0x2000),)) == []
    with pytest.raises(CoreError, match="begins inside another range"):
        judge(((RAM, 0x1800, 0x4000),), ((0x1000, 0x2000),))


@pytest.mark.parametrize("kind", [ResourceType.IO, ResourceType.IO_RESERVED])
def test_io_descriptors_are_skipped(kind: ResourceType) -> None:
    assert judge((*MEMORY, (kind, 0x1000, 0x9000)), MMRAM) == []


def test_the_memory_type_information_owner_is_skipped() -> None:
    owner = known_guid("gEfiMemoryTypeInformationGuid")
    hobs = [ResourceHob(RAM, 0, 0x8000, 0), ResourceHob(RAM, 0x1000, 0x1000, 0, owner=owner)]
    assert special_ranges(hobs, Mmram(())) == []


@pytest.mark.parametrize("kind", [RAM, RESERVED, ResourceType.MEMORY_MAPPED_IO_PORT, ResourceType.MEMORY_UNACCEPTED])
def test_all_other_types_are_memory(kind: ResourceType) -> None:
    assert judge(((kind, 0x1000, 0x9000),), MMRAM) == []
