"""The checks of the page audit, declared once: those of the reference's paging audit and of the map's own rules.

E and H are the reference's (docs/reference/memory.md §10): inconsistencies that its report generator collects, and
rows that its page counts. S are what the supervisor promises of its map (memory.md §4, §6, §7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from mmsupervisor.audit.page_map import Leaf, Named, PageMap, Row, rows_of
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.memory_types import MemoryType


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that a check does not accept.

    Attributes:
        start: First address, or None where it is about no pages.
        end: Address after the last one, or None.
        text: What is wrong.
    """

    start: int | None
    end: int | None
    text: str


Judge = Callable[[PageMap, tuple[Row, ...]], Iterator[Issue]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        number: Stable identifier.
        title: What must hold, a few words.
        meaning: Why, one sentence.
        judge: Finds what does not.
    """

    number: str
    title: str
    meaning: str
    judge: Judge


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        check: The check.
        issues: By address.
    """

    check: Check
    issues: tuple[Issue, ...]


@dataclass(frozen=True, slots=True)
class PageAudit:
    """The audit of a map.

    Attributes:
        rows: The map, by address.
        results: All checks, in the order of their declaration.
    """

    rows: tuple[Row, ...]
    results: tuple[CheckResult, ...]

    @property
    def failed(self) -> int:
        """Number of checks that found something."""
        return sum(bool(result.issues) for result in self.results)


def audit_pages(page_map: PageMap) -> PageAudit:
    """Run all checks."""
    rows = rows_of(page_map)
    return PageAudit(rows, tuple(CheckResult(check, tuple(check.judge(page_map, rows))) for check in CHECKS))


# Judges of consistency


def _overlapping(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    for first, second in pairwise(sorted(page_map.leaves, key=lambda leaf: (leaf.start, leaf.end))):
        if second.start < first.end:
            yield Issue(second.start, first.end, "two page-table leaves map these pages")


def _no_pages(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    if not any(not leaf.attributes & Attribute.RP for leaf in page_map.leaves):
        yield Issue(None, None, "the page tables map nothing: no core came up")


def _no_information(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    if not page_map.memory_types or not page_map.system:
        yield Issue(None, None, "there is no memory map to compare the pages with")


def _no_bits(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    for who, bits in page_map.bits:
        if not bits:
            yield Issue(None, None, f"the {who} does not say how wide a physical address is")
    if not page_map.bits:
        yield Issue(None, None, "nobody says how wide a physical address is")


def _different_bits(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    known = [(who, bits) for who, bits in page_map.bits if bits]
    if len({bits for _, bits in known}) > 1:
        yield Issue(None, None, ", ".join(f"the {who} says {bits} bits" for who, bits in known))


def _two_types(_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    yield from _several(rows, lambda row: row.memory_types, "memory types")


def _two_systems(page_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    yield from _several(rows, lambda row: _exclusive(page_map.system, row.system), "kinds of memory")


def _two_contents(page_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    yield from _several(rows, lambda row: _exclusive(page_map.contents, row.contents), "contents")


def _several(rows: Iterable[Row], names: Callable[[Row], tuple[str, ...]], what: str) -> Iterator[Issue]:
    for row in rows:
        if len(names(row)) > 1:
            yield Issue(row.start, row.end, f"several {what}: {', '.join(names(row))}")


def _exclusive(items: Iterable[Named], names: tuple[str, ...]) -> tuple[str, ...]:
    shared = {item.name for item in items if item.may_overlap}
    return tuple(name for name in names if name not in shared)


def _unknown_types(_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    known = {kind.name for kind in MemoryType}
    for row in rows:
        for name in row.memory_types:
            if name not in known:
                yield Issue(row.start, row.end, f"the memory map says {name}, which UEFI does not know")


# Judges of rows


def _present(rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if row.present)


def _issue(row: Row, text: str) -> Issue:
    what = row.contents or ((row.use,) if row.use else ())
    return Issue(row.start, row.end, f"{text}: {row.access}" + (f", {', '.join(what)}" if what else ""))


def _writable_and_executable(_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    return (_issue(row, "writable and executable") for row in _present(rows) if row.writable and row.executable)


def _mmram_reserved(_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    for row in _present(rows):
        if "MMRAM" in row.system and row.memory_types != (MemoryType.RESERVED.name,):
            types = ", ".join(row.memory_types) or "nothing"
            yield _issue(row, f"MMRAM that the memory map gives as {types}")


def _conventional_mapped(_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    name = MemoryType.CONVENTIONAL.name
    return (_issue(row, "free memory is mapped") for row in _present(rows) if name in row.memory_types)


def _executable_outside(_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    outside = (row for row in _present(rows) if "MMRAM" not in row.system)
    return (_issue(row, "executable outside MMRAM") for row in outside if row.executable)


def _runtime_code(_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    name = MemoryType.RUNTIME_SERVICES_CODE.name
    mapped = (row for row in _present(rows) if name in row.memory_types)
    return (_issue(row, "runtime code is writable") for row in mapped if row.writable)


# Judges of what the supervisor promises


def _null_page(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    for leaf in page_map.leaves:
        if leaf.start < PAGE_SIZE and not leaf.attributes & Attribute.RP:
            yield Issue(leaf.start, min(leaf.end, PAGE_SIZE), "page 0 is present: a NULL pointer would not fault")


def _guards(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    present = [leaf for leaf in page_map.leaves if not leaf.attributes & Attribute.RP]
    guards = [item for item in page_map.system if item.name == "guard page"]
    yield from _covered(present, guards, lambda _: True, "a guard page is present")


def _supervisors_own(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    leaves = [leaf for leaf in page_map.leaves if not leaf.attributes & Attribute.RP]
    yield from _covered(leaves, page_map.supervisor_only, lambda leaf: not leaf.attributes & Attribute.SP, "ring 3's")


def _never_written(page_map: PageMap, _rows: tuple[Row, ...]) -> Iterator[Issue]:
    leaves = [leaf for leaf in page_map.leaves if not leaf.attributes & Attribute.RP]
    yield from _covered(leaves, page_map.read_only, lambda leaf: not leaf.attributes & Attribute.RO, "writable")


def _covered(
    leaves: Iterable[Leaf], ranges: Iterable[Named], is_bad: Callable[[Leaf], bool], what: str
) -> Iterator[Issue]:
    """Find leaves that are bad, within ranges."""
    bad = [leaf for leaf in leaves if is_bad(leaf)]
    for item in ranges:
        for leaf in bad:
            start, end = max(item.start, leaf.start), min(item.end, leaf.end)
            if start < end:
                yield Issue(start, end, f"{what}: {item.name}")


def _asked_for(page_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    for row in _present(rows):
        if "MMRAM" in row.system or any(item.start <= row.start and row.end <= item.end for item in page_map.opened):
            continue
        yield _issue(row, "outside MMRAM, and nobody asked to unblock it")


def _ring3_code(_map: PageMap, rows: tuple[Row, ...]) -> Iterator[Issue]:
    for row in _present(rows):
        if row.user and row.executable and not any(name.startswith("image ") for name in row.contents):
            yield _issue(row, "ring 3 may execute what is no driver's image")


CHECKS: tuple[Check, ...] = (
    Check("E1", "no two leaves for one page", "The page tables would say two things of a page.", _overlapping),
    Check("E2", "there are page records", "Without pages there is nothing to judge.", _no_pages),
    Check("E3", "there is a memory map", "Without one, pages cannot be told from one another.", _no_information),
    Check("E4", "the address width is known", "Addresses beyond it cannot be mapped.", _no_bits),
    Check("E5", "one address width", "Page tables and processor must agree.", _different_bits),
    Check("E6", "one memory type a page", "UEFI's memory map must say one thing of each page.", _two_types),
    Check("E7", "one content a page", "What shares a page shares its access.", _two_contents),
    Check("E8", "one kind of memory a page", "MMRAM, normal memory and MMIO exclude one another.", _two_systems),
    Check("E10", "known memory types only", "Nobody knows what an unknown type allows.", _unknown_types),
    Check("H1", "RW+X", "Who can write what is executed can execute what they like.", _writable_and_executable),
    Check("H2", "TSEG is Reserved", "The operating system must leave MMRAM alone.", _mmram_reserved),
    Check("H3", "Conventional Memory Mapped", "Free memory is the operating system's.", _conventional_mapped),
    Check("H4", "Only TSEG is executable", "Code outside MMRAM can be changed by the outside.", _executable_outside),
    Check("H5", "Runtime Code RO", "The operating system executes runtime code with its own rights.", _runtime_code),
    Check("S1", "page 0 is not present", "A NULL pointer must fault.", _null_page),
    Check("S2", "guard pages are not present", "An overflow must fault.", _guards),
    Check("S3", "the supervisor's own is its own", "Ring 3 must not read or write it.", _supervisors_own),
    Check("S4", "policy and HOB list are read-only", "What is judged by must not change.", _never_written),
    Check("S5", "outside MMRAM only what was asked for", "Everything else is not present.", _asked_for),
    Check("S6", "ring 3 executes images only", "Nothing else was loaded by the rules.", _ring3_code),
)
"""All checks. E9 of the reference judges UEFI's memory attributes table, which this project's DXE does not make."""
