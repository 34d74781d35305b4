"""The page audit: every check holds on what boots, and each is shown to notice what it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mmsupervisor.audit.page_checks import CHECKS, Issue, audit_pages
from mmsupervisor.audit.page_map import Leaf, Named, PageMap, read_page_map, rows_of, type_name
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.supervisor_hobs import MemoryProtectionSettings
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.session import Session, boot
from tests.audit.stage import memory_hash

RP, XP, RO, SP = Attribute.RP, Attribute.XP, Attribute.RO, Attribute.SP
MMRAM, NORMAL = 0x7E00_0000, 0x1000_0000

SOUND = PageMap(
    leaves=(
        Leaf(0, PAGE_SIZE, RP | XP, "NULL page", is_guard=True),
        Leaf(NORMAL, NORMAL + 0x2000, XP, "unblocked for somebody"),
        Leaf(MMRAM, MMRAM + 0x1000, RO, "driver .text"),
        Leaf(MMRAM + 0x1000, MMRAM + 0x3000, XP | SP | RO, "isolation policy"),
    ),
    memory_types=(
        Named(0, NORMAL, type_name(7)),
        Named(NORMAL, NORMAL + 0x2000, type_name(6)),
        Named(MMRAM, MMRAM + 0x10_0000, type_name(0)),
    ),
    system=(Named(0, NORMAL + 0x10_0000, "normal memory"), Named(MMRAM, MMRAM + 0x10_0000, "MMRAM")),
    contents=(Named(MMRAM, MMRAM + 0x1000, "image driver"), Named(MMRAM + 0x1000, MMRAM + 0x3000, "isolation policy")),
    opened=(Named(NORMAL, NORMAL + 0x2000, "unblocked for somebody"),),
    supervisor_only=(Named(MMRAM + 0x1000, MMRAM + 0x3000, "isolation policy"),),
    read_only=(Named(MMRAM + 0x1000, MMRAM + 0x3000, "isolation policy"),),
    bits=(("CPU HOB", 36), ("page tables", 36)),
)


def leaf(start: int, attributes: Attribute, size: int = PAGE_SIZE) -> Callable[[PageMap], PageMap]:
    """Add a leaf."""
    return lambda sound: replace(sound, leaves=(*sound.leaves, Leaf(start, start + size, attributes, "planted")))


def instead(number: int, attributes: Attribute) -> Callable[[PageMap], PageMap]:
    """Give a leaf other attributes."""

    def change(sound: PageMap) -> PageMap:
        leaves = list(sound.leaves)
        leaves[number] = replace(leaves[number], attributes=attributes)
        return replace(sound, leaves=tuple(leaves))

    return change


def more(field: str, *items: object) -> Callable[[PageMap], PageMap]:
    """Add to one of the lists."""
    return lambda sound: replace(sound, **{field: (*getattr(sound, field), *items)})


def without(**fields: object) -> Callable[[PageMap], PageMap]:
    return lambda sound: replace(sound, **fields)  # type: ignore[arg-type]


PLANTED: dict[str, tuple[Callable[[PageMap], PageMap], tuple[int, int] | None]] = {
    "E1": (leaf(NORMAL + 0x1000, XP, 0x2000), (NORMAL + 0x1000, NORMAL + 0x2000)),
    "E2": (without(leaves=()), None),
    "E3": (without(memory_types=()), None),
    "E4": (without(bits=(("CPU HOB", 0), ("page tables", 36))), None),
    "E5": (without(bits=(("CPU HOB", 39), ("page tables", 36))), None),
    "E6": (more("memory_types", Named(MMRAM, MMRAM + 0x1000, "ACPI_NVS")), (MMRAM, MMRAM + 0x1000)),
    "E7": (more("contents", Named(MMRAM, MMRAM + 0x800, "ring-3 stack of CPU 0")), (MMRAM, MMRAM + 0x800)),
    "E8": (more("system", Named(MMRAM, MMRAM + 0x1000, "MMIO")), (MMRAM, MMRAM + 0x1000)),
    "E10": (more("memory_types", Named(NORMAL, NORMAL + 0x1000, type_name(99))), (NORMAL, NORMAL + 0x1000)),
    "H1": (instead(2, Attribute.NONE), (MMRAM, MMRAM + 0x1000)),
    "H2": (without(memory_types=SOUND.memory_types[:2]), (MMRAM, MMRAM + 0x1000)),
    "H3": (leaf(0x100_0000, XP), (0x100_0000, 0x100_1000)),
    "H4": (instead(1, RO), (NORMAL, NORMAL + 0x2000)),
    "H5": (
        without(memory_types=(*SOUND.memory_types[::2], Named(NORMAL, NORMAL + 0x2000, type_name(5)))),
        (NORMAL, NORMAL + 0x2000),
    ),
    "S1": (instead(0, XP), (0, PAGE_SIZE)),
    "S2": (
        more("system", Named(MMRAM + 0x2000, MMRAM + 0x3000, "guard page", may_overlap=True)),
        (MMRAM + 0x2000, MMRAM + 0x3000),
    ),
    "S3": (instead(3, XP | RO), (MMRAM + 0x1000, MMRAM + 0x3000)),
    "S4": (instead(3, XP | SP), (MMRAM + 0x1000, MMRAM + 0x3000)),
    "S5": (without(opened=()), (NORMAL, NORMAL + 0x2000)),
    "S6": (without(contents=SOUND.contents[1:]), (MMRAM, MMRAM + 0x1000)),
}


def issues_of(page_map: PageMap, number: str) -> tuple[Issue, ...]:
    return next(result.issues for result in audit_pages(page_map).results if result.check.number == number)


def test_a_sound_map_passes() -> None:
    assert audit_pages(SOUND).failed == 0


def test_no_check_is_without_a_planted_fault() -> None:
    assert list(PLANTED) == [check.number for check in CHECKS]


@pytest.mark.parametrize("number", PLANTED)
def test_planted_fault_is_found_at_its_place(number: str) -> None:
    plant, place = PLANTED[number]
    issues = issues_of(plant(SOUND), number)
    assert issues
    assert (issues[0].start, issues[0].end) == (place or (None, None))
    assert issues[0].text


@pytest.mark.parametrize(
    ("number", "plant", "place"),
    [
        ("H2", more("memory_types", Named(MMRAM, MMRAM + 0x1000, type_name(7))), (MMRAM, MMRAM + 0x1000)),
        ("S5", without(opened=(Named(NORMAL, NORMAL + 0x1000, "somebody"),)), (NORMAL, NORMAL + 0x2000)),
        ("S5", without(opened=(Named(NORMAL + 0x1000, NORMAL + 0x3000, "somebody"),)), (NORMAL, NORMAL + 0x2000)),
    ],
    ids=["reserved and something else", "its end was not asked for", "its beginning was not asked for"],
)
def test_what_holds_in_part_does_not_hold(
    number: str, plant: Callable[[PageMap], PageMap], place: tuple[int, int]
) -> None:
    assert [(issue.start, issue.end) for issue in issues_of(plant(SOUND), number)] == [place]


def test_regions_may_lie_in_what_they_were_asked_for() -> None:
    """Unblocked regions share their pages with what lies there (E7), guard pages theirs with MMRAM (E8)."""
    shared = more("contents", Named(MMRAM, MMRAM + 0x1000, "unblocked for somebody", may_overlap=True))
    assert audit_pages(shared(SOUND)).failed == 0


def test_rows_are_cut_where_something_changes() -> None:
    rows = rows_of(more("contents", Named(MMRAM + 0x2000, MMRAM + 0x3000, "tail"))(SOUND))
    assert [(row.start, row.end) for row in rows][-2:] == [
        (MMRAM + 0x1000, MMRAM + 0x2000),
        (MMRAM + 0x2000, MMRAM + 0x3000),
    ]
    assert sum(row.pages for row in rows) == 6
    assert [row.access for row in rows] == [
        "not present",
        "user RW-",
        "user R-X",
        "supervisor R--",
        "supervisor R--",
    ]


# The live map


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
def test_every_check_holds_in_every_phase(phase: Phase) -> None:
    with boot(until=phase) as session:
        audit = audit_pages(read_page_map(session))
        assert [(result.check.number, result.issues) for result in audit.results if result.issues] == []
        assert len(audit.rows) > 100


def test_guard_pages_are_rows() -> None:
    settings = MemoryProtectionSettings(guards=3, page_types=1 << 6, pool_types=1 << 6)
    with boot(description=PlatformDescription(protection=settings)) as session:
        assert session.core is not None
        guards = session.core.supervisor.pages.guards
        rows = {row.start for row in read_rows(session) if row.is_guard}
        assert guards
        assert rows == {0, *guards}
        assert audit_pages(read_page_map(session)).failed == 0


def read_rows(session: Session) -> tuple[object, ...]:
    return rows_of(read_page_map(session))


HARM: dict[str, Callable[[Session], None]] = {
    "H1": lambda session: session.memory.assign(image(session) + PAGE_SIZE, PAGE_SIZE, Attribute.NONE),
    "H3": lambda session: session.memory.assign(0x400_0000, PAGE_SIZE, XP),
    "H4": lambda session: session.memory.assign(0x400_0000, PAGE_SIZE, RO),
    "S1": lambda session: session.memory.assign(0, PAGE_SIZE, XP),
    "S3": lambda session: session.memory.clear_attributes(policy(session), PAGE_SIZE, SP),
    "S4": lambda session: session.memory.clear_attributes(policy(session), PAGE_SIZE, RO),
    "S5": lambda session: session.memory.assign(0x400_0000, PAGE_SIZE, XP),
    "S6": lambda session: session.memory.clear_attributes(stack(session), PAGE_SIZE, XP),
}


def image(session: Session) -> int:
    assert session.core is not None
    return session.core.supervisor.modules.modules[0].base


def policy(session: Session) -> int:
    assert session.core is not None
    return session.core.supervisor.policy_address


def stack(session: Session) -> int:
    assert session.core is not None
    return session.core.supervisor.stacks.base


@pytest.mark.parametrize("number", HARM)
def test_harm_to_the_live_map_is_found(number: str) -> None:
    with boot() as session:
        HARM[number](session)
        found = {result.check.number for result in audit_pages(read_page_map(session)).results if result.issues}
        assert number in found


def test_without_a_core_there_is_nothing() -> None:
    with boot() as session:
        session._platform.core = None
        assert issues_of(read_page_map(session), "E2")


def test_trace_and_memory_are_those_of_a_run_without_it() -> None:
    found = []
    for audited in (False, True):
        with boot() as session:
            if audited:
                audit_pages(read_page_map(session))
            session.trigger()
            found.append((list(session.log.canonical_lines()), memory_hash(session)))
    assert found[0] == found[1]
