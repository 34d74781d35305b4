"""The live memory map as rows: pages of one kind, with all that is known of them.

Rows are what the page tables map, not-present guard pages included, cut wherever anything that is known of them changes
(docs/reference/memory.md §10). They are read from the machine's page map and
the supervisor's lists; nothing is changed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from mmsupervisor.core.entry import Core
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.machine.save_state import SAVE_STATE_OFFSET
from mmsupervisor.pi.hob import CpuHob, ResourceType
from mmsupervisor.pi.memory_types import MemoryDescriptor, MemoryType
from mmsupervisor.session import Session

_ENTRY_OFFSET = 0x8000
_RESOURCE_TYPES = {
    int(ResourceType.MEMORY_RESERVED): MemoryType.RESERVED,
    int(ResourceType.MEMORY_MAPPED_IO): MemoryType.MEMORY_MAPPED_IO,
    int(ResourceType.FIRMWARE_DEVICE): MemoryType.MEMORY_MAPPED_IO,
}
"""The type that UEFI's memory map gives to what a resource descriptor reports, but memory."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """Pages that the page tables map alike.

    Attributes:
        start: First address.
        end: Address after the last one.
        attributes: What the leaf denies.
        use: What the pages are for, in words.
        is_guard: Whether they are guard pages: not present on purpose.
    """

    start: int
    end: int
    attributes: Attribute
    use: str
    is_guard: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A range with a name: a memory type's, a kind of memory, or what lies there.

    Attributes:
        start: First address.
        end: Address after the last one.
        name: The name.
        may_overlap: Whether it may share pages with others.
    """

    start: int
    end: int
    name: str
    may_overlap: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Pages of which everything that is known is the same.

    Attributes:
        start: First address.
        end: Address after the last one.
        present: Whether they are mapped.
        user: Whether they are ring 3's.
        writable: Whether who may touch them may write.
        executable: Whether who may touch them may execute.
        memory_types: UEFI memory types: one, if all is well.
        system: Kinds of memory: one, if all is well.
        contents: What lies there.
        use: What the supervisor's records say of them.
        is_guard: Whether they are guard pages.
    """

    start: int
    end: int
    present: bool
    user: bool
    writable: bool
    executable: bool
    memory_types: tuple[str, ...]
    system: tuple[str, ...]
    contents: tuple[str, ...]
    use: str
    is_guard: bool = False

    @property
    def pages(self) -> int:
        """Number of pages."""
        return (self.end - self.start) // PAGE_SIZE

    @property
    def access(self) -> str:
        """Who may do what: ``user RW-``, ``supervisor R-X``, ``not present``."""
        if not self.present:
            return "not present"
        owner = "user" if self.user else "supervisor"
        return f"{owner} R{'W' if self.writable else '-'}{'X' if self.executable else '-'}"


@dataclass(frozen=True, slots=True)
class PageMap:
    """Everything that the checks look at.

    Attributes:
        leaves: What the page tables map.
        memory_types: UEFI memory types by range; the name of a type that does not exist is its number.
        system: Kinds of memory: MMRAM, normal memory, MMIO, guard page.
        contents: What lies where.
        opened: Ranges outside MMRAM that were asked for, with who asked.
        supervisor_only: Ranges that must be the supervisor's, with what they are.
        read_only: Ranges that nobody may write, with what they are.
        bits: Widths of a physical address, by who says so.
    """

    leaves: tuple[Leaf, ...] = ()
    memory_types: tuple[Named, ...] = ()
    system: tuple[Named, ...] = ()
    contents: tuple[Named, ...] = ()
    opened: tuple[Named, ...] = ()
    supervisor_only: tuple[Named, ...] = ()
    read_only: tuple[Named, ...] = ()
    bits: tuple[tuple[str, int], ...] = ()


def rows_of(page_map: PageMap) -> tuple[Row, ...]:
    """Cut the map into rows, by address."""
    cutters = [*page_map.memory_types, *page_map.system, *page_map.contents]
    cuts = sorted({address for item in cutters for address in (item.start, item.end)})
    return tuple(_rows(page_map, cuts))


def _rows(page_map: PageMap, cuts: list[int]) -> Iterator[Row]:
    for leaf in sorted(page_map.leaves, key=lambda leaf: leaf.start):
        inner = cuts[bisect_right(cuts, leaf.start) : bisect_left(cuts, leaf.end)]
        for start, end in pairwise([leaf.start, *inner, leaf.end]):
            yield _row(page_map, leaf, start, end)


def _row(page_map: PageMap, leaf: Leaf, start: int, end: int) -> Row:
    denied = leaf.attributes
    return Row(
        start,
        end,
        present=not denied & Attribute.RP,
        user=not denied & Attribute.SP,
        writable=not denied & Attribute.RO,
        executable=not denied & Attribute.XP,
        memory_types=_names(page_map.memory_types, start, end),
        system=_names(page_map.system, start, end),
        contents=_names(page_map.contents, start, end),
        use=leaf.use,
        is_guard=leaf.is_guard,
    )


def _names(items: Iterable[Named], start: int, end: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.name for item in items if item.start < end and start < item.end))


# Reading a session


def read_page_map(session: Session) -> PageMap:
    """Read the map of a session; an empty one where no core came up."""
    core = session.core
    if core is None:
        return PageMap()
    return PageMap(
        leaves=tuple(_leaves(core)),
        memory_types=tuple(_memory_types(core, session.memory_map)),
        system=tuple(_system(core)),
        contents=tuple(_contents(core)),
        opened=tuple(_opened(core)),
        supervisor_only=tuple(_supervisor_only(core)),
        read_only=tuple(_read_only(core)),
        bits=(("CPU HOB", _hob_bits(core)), ("page tables", session.memory.address_bits)),
    )


def _leaves(core: Core) -> Iterator[Leaf]:
    supervisor = core.supervisor
    guards = supervisor.pages.guards
    for piece in supervisor.memory.pages:
        attributes, use = piece.value.attributes, piece.value.use
        if not attributes & Attribute.RP:
            yield Leaf(piece.start, piece.end, attributes, use)
            continue
        if piece.start == 0:
            yield Leaf(0, PAGE_SIZE, attributes, "NULL page", is_guard=True)
        for page in sorted(page for page in guards if piece.start <= page < piece.end):
            yield Leaf(page, page + PAGE_SIZE, attributes, "guard page", is_guard=True)


def _memory_types(core: Core, descriptors: Iterable[MemoryDescriptor]) -> Iterator[Named]:
    for item in descriptors:
        yield Named(item.physical_start, item.physical_start + item.number_of_pages * PAGE_SIZE, type_name(item.type))
    for hob in core.inputs.resources():
        kind = _RESOURCE_TYPES.get(hob.resource_type)
        if kind is not None:
            yield Named(hob.start, hob.start + hob.length, type_name(kind))


def type_name(number: int) -> str:
    """Return the name of a UEFI memory type, or its number if there is none."""
    return MemoryType(number).name if number in set(MemoryType) else f"type {number}"


def _system(core: Core) -> Iterator[Named]:
    supervisor = core.supervisor
    for region in supervisor.mmram.ranges:
        yield Named(region.physical_start, region.physical_start + region.physical_size, "MMRAM")
    for bank in supervisor.memory.banks:
        if supervisor.mmram.touches(bank.base, 1):
            continue
        yield Named(bank.base, bank.end, "normal memory" if bank.device is None else "MMIO")
    for page in sorted(supervisor.pages.guards):
        yield Named(page, page + PAGE_SIZE, "guard page", may_overlap=True)


def _contents(core: Core) -> Iterator[Named]:
    supervisor = core.supervisor
    for module in supervisor.modules.modules:
        yield Named(module.base & -PAGE_SIZE, _up(module.base + module.size), f"image {module.name}")
    stacks = supervisor.stacks
    for cpu in range(stacks.count):
        base = stacks.base + cpu * stacks.size
        yield Named(base, base + stacks.size, f"ring-3 stack of CPU {cpu}")
    for channel, name in ((supervisor.user, "user"), (supervisor.supervisor, "supervisor")):
        yield Named(channel.internal, channel.internal + channel.size, f"{name} comm buffer, copy in MMRAM")
    yield from _supervisor_only(core)
    if supervisor.hob_list:
        yield Named(supervisor.hob_list, _up(supervisor.hob_list + len(core.inputs.raw)), "HOB list")
    yield from _opened(core)


def _opened(core: Core) -> Iterator[Named]:
    for region in core.supervisor.unblocked.regions:
        name = f"unblocked for {region.identifier.label}"
        yield Named(region.start, region.start + region.size, name, may_overlap=True)
    for protected in core.inputs.protected_regions():
        end = protected.address + protected.pages * PAGE_SIZE
        yield Named(protected.address, end, "protected region", may_overlap=True)


def _supervisor_only(core: Core) -> Iterator[Named]:
    supervisor = core.supervisor
    image = core.inputs.core_image()
    if image is not None:
        yield Named(image.base & -PAGE_SIZE, _up(image.base + image.length), "supervisor core")
    if supervisor.policy_blob is not None:
        start = supervisor.policy_address
        yield Named(start, _up(start + len(supervisor.policy_blob)), "isolation policy")
    for cpu in supervisor.cpus:
        entry = cpu.smbase + _ENTRY_OFFSET
        if supervisor.mmram.touches(entry, 1):
            yield Named(entry, entry + PAGE_SIZE, f"SMI entry of CPU {cpu.index}")
    for cpu in supervisor.cpus:
        saved = (cpu.smbase + SAVE_STATE_OFFSET) & -PAGE_SIZE
        if supervisor.mmram.touches(saved, 1):
            yield Named(saved, saved + PAGE_SIZE, f"save state of CPU {cpu.index}", may_overlap=True)


def _read_only(core: Core) -> Iterator[Named]:
    supervisor = core.supervisor
    if supervisor.policy_blob is not None:
        start = supervisor.policy_address
        yield Named(start, _up(start + len(supervisor.policy_blob)), "isolation policy")
    if supervisor.hob_list:
        yield Named(supervisor.hob_list, _up(supervisor.hob_list + len(core.inputs.raw)), "HOB list")


def _hob_bits(core: Core) -> int:
    return next((hob.memory_bits for hob in core.inputs.hobs.of(CpuHob)), 0)


def _up(address: int) -> int:
    return -(-address // PAGE_SIZE) * PAGE_SIZE
