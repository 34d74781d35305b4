"""The Intel flash descriptor: which parts of a flash chip belong to whom.

Source: Intel's SPI programming guides, as far as public. Offsets from the descriptor's start:

======  ====  =======================================================================================
offset  size  field
======  ====  =======================================================================================
0x10    4     signature 0x0FF0A55A (at 0x00 in the oldest chip sets)
0x14    4     map 0, after the signature: bits 23:16 region table / 16, bits 9:8 number of chips - 1
0x18    4     map 1: bits 7:0 master table / 16; the region table ends there at the latest
======  ====  =======================================================================================

An entry of the region table is a u32: first 4 KiB block in bits 14:0, last one in bits 30:16; the region is not in
use if the last is below the first.
"""

from __future__ import annotations

from itertools import pairwise

from mmsupervisor.pi.container.model import FlashDescriptor, FlashRegion
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at

_SIGNATURE = bytes.fromhex("5AA5F00F")
_SIGNATURE_OFFSETS = (0x10, 0x00)
_BLOCK = 0x1000
_MAX_REGIONS = 16
_NAMES = (
    "descriptor",
    "BIOS",
    "management engine",
    "gigabit Ethernet",
    "platform data",
    "device expansion",
    "secondary BIOS",
    "microcode",
    "embedded controller",
    "device expansion 2",
    "innovation engine",
    "10 gigabit Ethernet A",
    "10 gigabit Ethernet B",
)
_BIOS_REGIONS = (1, 6)


def has_flash_descriptor(reader: Reader) -> bool:
    """Whether a descriptor's signature stands where it must."""
    return _signature_offset(reader) is not None


def _signature_offset(reader: Reader) -> int | None:
    return next((o for o in _SIGNATURE_OFFSETS if reader.data[o : o + 4] == _SIGNATURE), None)


def read_flash_descriptor(reader: Reader) -> tuple[FlashDescriptor, tuple[Problem, ...]]:
    """Read the descriptor of a flash dump.

    Returns:
        The descriptor with the regions in use, cut to the dump's size, and what was found wrong.

    Raises:
        FormatError: there is no signature, or the descriptor is cut.
    """
    offset = _signature_offset(reader)
    if offset is None:
        raise reader.error(0, "there is no flash descriptor")
    map0 = reader.u32(offset + 4, "flash map 0")
    map1 = reader.u32(offset + 8, "flash map 1")
    table = (map0 >> 16 & 0xFF) << 4
    masters = (map1 & 0xFF) << 4
    count = (masters - table) // 4 if masters > table else 0
    problems: list[Problem] = []
    if count <= 0:
        rule = f"flash descriptor's region table at {table:#x} is not before its master table at {masters:#x}"
        problems.append(problem_at(ProblemKind.FLASH_DESCRIPTOR, reader, offset + 4, rule))
    regions = []
    for number in range(min(count, _MAX_REGIONS)):
        entry = reader.u32(table + 4 * number, "flash region")
        region = _region(reader, number, entry, table + 4 * number, problems)
        if region is not None:
            regions.append(region)
    problems += _overlaps(reader, table, regions)
    return FlashDescriptor(reader.base + offset, (map0 >> 8 & 3) + 1, tuple(regions)), tuple(problems)


def _region(reader: Reader, number: int, entry: int, where: int, problems: list[Problem]) -> FlashRegion | None:
    first = (entry & 0x7FFF) * _BLOCK
    end = ((entry >> 16 & 0x7FFF) + 1) * _BLOCK
    if end <= first or (entry == 0 and number > 0):
        return None
    name = _NAMES[number] if number < len(_NAMES) else f"region {number}"
    if end > len(reader):
        rule = f"{name} region ends at {end:#x}, the dump at {len(reader):#x}"
        problems.append(problem_at(ProblemKind.FLASH_REGION, reader, where, rule))
        end = len(reader)
    if first >= end:
        return None
    return FlashRegion(number, name, reader.base + first, end - first, number in _BIOS_REGIONS)


def _overlaps(reader: Reader, table: int, regions: list[FlashRegion]) -> list[Problem]:
    problems = []
    ordered = sorted(regions, key=lambda region: (region.offset, region.number))
    for low, high in pairwise(ordered):
        if low.offset + low.size > high.offset:
            rule = f"{low.name} region and {high.name} region overlap"
            problems.append(problem_at(ProblemKind.FLASH_REGION, reader, table + 4 * high.number, rule))
    return problems
