"""Rules that no key of a platform file can keep alone: what must not overlap, what must fit into what.

A rule is a function that yields the problems of a description, each with the key that has to change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mmsupervisor.devices.acpi_pm import PORTS as PM_PORTS
from mmsupervisor.devices.apm import COMMAND_PORT
from mmsupervisor.devices.cmos import PORT as CMOS_PORT
from mmsupervisor.devices.cmos import PORTS as CMOS_PORTS
from mmsupervisor.devices.flash import SECTOR
from mmsupervisor.devices.pci import ECAM_SIZE
from mmsupervisor.devices.pci import PORT as PCI_PORT
from mmsupervisor.devices.pci import PORTS as PCI_PORTS
from mmsupervisor.devices.serial import PORTS as SERIAL_PORTS
from mmsupervisor.pi.pcd_database import DatumType
from mmsupervisor.platform.description import AddressRange, PcdValue, PlatformDescription
from mmsupervisor.platform.memory_layout import GIB_4, PEI_END, tiles_size

KeyPath = tuple[str | int, ...]
"""The way to a key: names, and indices into arrays."""

_WIDTHS = {DatumType.BOOLEAN: 1, DatumType.UINT8: 8, DatumType.UINT16: 16, DatumType.UINT32: 32, DatumType.UINT64: 64}


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that is broken.

    Attributes:
        path: The key that has to change.
        rule: The rule, as a clause.
    """

    path: KeyPath
    rule: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A range that somebody wants for himself."""

    start: int
    end: int
    name: str
    path: KeyPath


def check_description(description: PlatformDescription) -> list[Problem]:
    """Return every rule that a description breaks, in the order of the rules."""
    return [problem for rule in _RULES for problem in rule(description)]


def _mmram_fits(description: PlatformDescription) -> Iterator[Problem]:
    base, top = description.mmram_base, description.memory_top
    if base < PEI_END:
        yield Problem(
            ("mmram", "size"), f"MMRAM would begin at {base:#x}; memory below {PEI_END:#x} is for PEI (`memory.top`)"
        )
    taken = tiles_size(description.cpus)
    if description.mmram_size <= taken:
        yield Problem(("mmram", "size"), f"{description.cpus} CPUs take {taken:#x} bytes of it, and nothing is left")
    for index, item in enumerate(description.more_mmram):
        if item.start < PEI_END or item.end > top:
            yield Problem(("mmram", "more", index), f"must lie within memory from {PEI_END:#x} to {top:#x}")


def _addresses_fit(description: PlatformDescription) -> Iterator[Problem]:
    limit = 1 << description.address_bits
    if description.above_4g and GIB_4 + description.above_4g > limit:
        yield Problem(("memory", "above_4g"), f"goes beyond the address width of {description.address_bits} bits")
    for place in _ranges(description):
        if place.end > limit:
            yield Problem(place.path, f"{place.name} goes beyond the address width of {description.address_bits} bits")


def _ranges(description: PlatformDescription) -> Iterator[_Place]:
    for index, item in enumerate(description.ranges):
        yield _Place(item.start, item.end, f'"{item.name}"', ("range", index))
    for index, region in enumerate(description.protected):
        yield _Place(region.start, region.end, "the protected region", ("protected", index))


def _memory(description: PlatformDescription) -> Iterator[_Place]:
    yield _Place(0, description.low_memory, "low memory", ("memory", "low"))
    yield _Place(1 << 20, description.memory_top, "memory below 4 GiB", ("memory", "top"))
    if description.above_4g:
        yield _Place(GIB_4, GIB_4 + description.above_4g, "memory above 4 GiB", ("memory", "above_4g"))


def _reported_ranges_are_apart(description: PlatformDescription) -> Iterator[Problem]:
    reported = [place for place in _ranges(description) if place.path[0] == "range"]
    yield from _overlaps([*_memory(description), *reported])


def _protected_regions_are_apart(description: PlatformDescription) -> Iterator[Problem]:
    protected = [place for place in _ranges(description) if place.path[0] == "protected"]
    yield from _overlaps([*_memory(description), *protected])


def _mmram_ranges_are_apart(description: PlatformDescription) -> Iterator[Problem]:
    main = AddressRange(description.mmram_base, description.mmram_size)
    places = [_Place(main.start, main.end, "MMRAM at the top of memory", ("mmram", "size"))]
    for index, item in enumerate(description.more_mmram):
        places.append(_Place(item.start, item.end, "the range", ("mmram", "more", index)))
    yield from _overlaps(places)


def _devices_are_apart(description: PlatformDescription) -> Iterator[Problem]:
    facts = description.devices
    ports = [
        _Place(CMOS_PORT, CMOS_PORT + CMOS_PORTS, "CMOS", ("devices",)),
        _Place(COMMAND_PORT, COMMAND_PORT + 2, "APM", ("devices",)),
        _Place(PCI_PORT, PCI_PORT + PCI_PORTS, "PCI configuration", ("devices",)),
    ]
    movable = (
        ("debug_port", 1, "the debug port"),
        ("serial_port", SERIAL_PORTS, "the serial port"),
        ("pm_base", PM_PORTS, "power management"),
    )
    for key, count, name in movable:
        first = getattr(facts, key)
        if first:
            ports.append(_Place(first, first + count, name, ("devices", key)))
    yield from _overlaps(ports)
    mapped = list(_memory(description))
    if facts.ecam:
        mapped.append(_Place(facts.ecam, facts.ecam + ECAM_SIZE, "ECAM", ("devices", "ecam")))
    yield from _overlaps([*mapped, *_flash(description)])


def _flash(description: PlatformDescription) -> Iterator[_Place]:
    """The flash, as far as its size is known: without a file of its own, its code is the image that is booted."""
    facts = description.devices
    end = GIB_4
    for key, file in (("code", facts.flash_code), ("variables", facts.flash_variables)):
        if file is not None and file.is_file():
            start = end - file.stat().st_size
            yield _Place(start, end, "the flash", ("flash", key))
            end = start
    if facts.flash_variables is None and facts.flash_erased:
        yield _Place(end - facts.flash_erased, end, "the flash", ("flash", "erased"))


def _overlaps(places: list[_Place]) -> Iterator[Problem]:
    """Problems of places that overlap an earlier one."""
    for index, place in enumerate(places):
        for other in places[:index]:
            if place.start < other.end and other.start < place.end:
                yield Problem(
                    place.path, f"{place.name} overlaps {other.name} ({other.start:#x} to {other.end - 1:#x})"
                )
                break


def _pcd_values_fit(description: PlatformDescription) -> Iterator[Problem]:
    seen = set()
    for index, pcd in enumerate(description.pcds):
        if (pcd.token, pcd.space) in seen:
            yield Problem(("pcd", index, "token"), f"token {pcd.token:#x} has a value already")
        seen.add((pcd.token, pcd.space))
        if not _value_fits(pcd):
            yield Problem(("pcd", index, "value"), f"does not fit into {pcd.type.value}")


def _value_fits(pcd: PcdValue) -> bool:
    width = _WIDTHS.get(pcd.type)
    if width is None:
        return isinstance(pcd.value, bytes)
    return isinstance(pcd.value, int) and pcd.value < 1 << width


def _files_are_there(description: PlatformDescription) -> Iterator[Problem]:
    facts = description.devices
    for index, path in enumerate(facts.files):
        if not path.is_file():
            yield Problem(("devices", "files", index), f"there is no file {path}")
    for key, file in (("code", facts.flash_code), ("variables", facts.flash_variables)):
        if file is None:
            continue
        if not file.is_file():
            yield Problem(("flash", key), f"there is no file {file}")
        elif not file.stat().st_size or file.stat().st_size % SECTOR:
            yield Problem(("flash", key), f"{file} has {file.stat().st_size} bytes, not whole sectors of {SECTOR}")


_RULES: tuple[Callable[[PlatformDescription], Iterator[Problem]], ...] = (
    _mmram_fits,
    _addresses_fit,
    _mmram_ranges_are_apart,
    _reported_ranges_are_apart,
    _protected_regions_are_apart,
    _devices_are_apart,
    _pcd_values_fit,
    _files_are_there,
)
