"""The level as the reference's checker computes it, surprises included.

Facts: ``docs/reference/levels.md`` §1 to §5. What is true of the device is in :mod:`mmsupervisor.policy.level_real`.
The checker stops at the first failure of each list; the findings here are complete, which does not change the level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.level_facts import (
    CONVENTIONAL_MEMORY,
    RUNTIME_SERVICES_CODE,
    Area,
    LevelFinding,
    MemoryFacts,
    Region,
    Verdict,
)
from mmsupervisor.policy.level_mends import add_port_rule, add_rule, msr_rule, name_access, narrow
from mmsupervisor.policy.level_tables import MOST, MSR_TARGETS, PORT_TARGETS, PortTarget, Vendor
from mmsupervisor.policy.model import (
    AccessAttr,
    AccessCondition,
    Attribute,
    IoEntry,
    MemEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    SaveStateField,
    entry_text,
)

_READ_WRITE = Attribute.READ | Attribute.WRITE


class _MeasureError(Exception):
    """The checker fails: no level."""


def reference_verdict(policy: Policy, vendor: Vendor, facts: MemoryFacts | None = None) -> Verdict:
    """What the reference's test application says of a policy.

    Args:
        policy: The policy, with its memory entries if memory is to be judged.
        vendor: Whose lists apply.
        facts: The platform's memory; without, the MEM root is not judged.
    """
    try:
        parts, findings = _measure(policy, vendor, facts)
    except _MeasureError as error:
        return Verdict(None, str(error), {}, ())
    has_memory = any(root.has_legal_attr for root in policy.roots_of(RootType.MEM))
    findings += _structure(parts, has_memory)
    level = min([MOST, *(one.limit for one in findings if one.limit is not None)])
    order = (Area.MEMORY, Area.IO, Area.MSR, Area.SAVE_STATE)
    return Verdict(
        level,
        "",
        {area: parts[area] for area in order if area in parts},
        tuple(sorted(findings, key=lambda one: (one.limit is None, one.limit))),
    )


def _measure(policy: Policy, vendor: Vendor, facts: MemoryFacts | None) -> tuple[dict[Area, int], list[LevelFinding]]:
    if policy.version_major != 1:
        raise _MeasureError(f"VersionMajor is {policy.version_major}, not 1")
    checks: dict[int, tuple[Area, int, Callable[[PolicyRoot], Iterator[LevelFinding]]]] = {
        RootType.IO: (Area.IO, MOST, _io),
        RootType.MSR: (Area.MSR, MOST, lambda root: _msr(root, vendor)),
        RootType.SAVE_STATE: (Area.SAVE_STATE, MOST, _save_state),
    }
    if facts is not None:
        checks[RootType.MEM] = (Area.MEMORY, MOST, lambda root: _memory(root, vendor, facts))
    parts: dict[Area, int] = {}
    findings: list[LevelFinding] = []
    for root in policy.roots:
        if not root.has_legal_attr or root.type not in checks:
            continue
        area, most, check = checks[root.type]
        if area in parts:
            raise _MeasureError(f"{Status.ALREADY_STARTED.name}: a second {root.type_name} root")
        found = list(check(root))
        parts[area] = min([most, *(one.limit for one in found if one.limit is not None)])
        findings += found
    return parts, findings


def _structure(parts: dict[Area, int], has_memory: bool) -> Iterator[LevelFinding]:
    """§1 step 4: roots that are missing, or that were skipped for their access attribute."""
    if not has_memory:
        yield LevelFinding(Area.STRUCTURE, 0, "there is no MEM root", "levels.md §1 step 4", 'a root of type "MEM"')
    for area in (Area.IO, Area.MSR):
        if area not in parts:
            yield LevelFinding(
                Area.STRUCTURE,
                10,
                f"there is no {area.value} root",
                "levels.md §1 step 4; at run time that denies everything",
                f'a root of type "{area.value}"',
            )
    if Area.SAVE_STATE not in parts:
        yield LevelFinding(
            Area.STRUCTURE,
            20,
            "there is no SAVE_STATE root",
            "levels.md §1 step 4; at run time every register can be read",
            'a root of type "SAVE_STATE", an allow list, even an empty one',
        )


# ------------------------------------------------------------------------------------------------------ ports, MSRs


def _io_covers(entry: IoEntry, target: PortTarget) -> bool:
    if entry.is_strict:
        return (entry.io_address, entry.length_or_width) == (target.port, target.width)
    return entry.io_address <= target.port and entry.end >= target.port + target.width


def _io(root: PolicyRoot) -> Iterator[LevelFinding]:
    for target in PORT_TARGETS:
        index, entry = next(
            ((i, e) for i, e in enumerate(root.entries) if isinstance(e, IoEntry) and _io_covers(e, target)),
            (None, None),
        )
        what = f"port {target.port:#x} ({target.name})"
        why = "levels.md §2: writing 4 bytes must be denied"
        if root.access_attr == AccessAttr.ALLOW:
            if entry is not None:
                mend = narrow(index)
                yield LevelFinding(Area.IO, 10, f"{what}: allow entry {index} covers it", why, mend, entry.place)
        elif entry is None:
            mend = add_port_rule(root.entries, target)
            yield LevelFinding(Area.IO, 10, f"{what}: no deny entry covers all 4 bytes", why, mend)
        elif not entry.attributes & Attribute.WRITE:
            mend = name_access(index, "WRITE")
            yield LevelFinding(Area.IO, 10, f"{what}: deny entry {index} lacks write", why, mend, entry.place)


def _msr(root: PolicyRoot, vendor: Vendor) -> Iterator[LevelFinding]:
    for target in MSR_TARGETS[vendor]:
        index, entry = next(
            (
                (i, e)
                for i, e in enumerate(root.entries)
                if isinstance(e, MsrEntry) and e.msr_address <= target.msr < e.end
            ),
            (None, None),
        )
        what, limit = f"MSR {target.msr:#x} ({target.name})", target.level - 10
        why = f"levels.md §3, level {target.level}: reading and writing must be denied"
        if root.access_attr == AccessAttr.ALLOW:
            if entry is not None:
                mend = narrow(index)
                yield LevelFinding(Area.MSR, limit, f"{what}: allow entry {index} covers it", why, mend, entry.place)
        elif entry is None:
            yield LevelFinding(Area.MSR, limit, f"{what}: not listed", why, add_rule(msr_rule(target)))
        elif entry.attributes & _READ_WRITE != _READ_WRITE:
            mend = name_access(index, "READ and WRITE")
            yield LevelFinding(
                Area.MSR, limit, f"{what}: deny entry {index} lacks read or write", why, mend, entry.place
            )


# ------------------------------------------------------------------------------------------------------- save state

_ACCEPTED = (
    (SaveStateField.IO_TRAP, Attribute.READ, None),
    (SaveStateField.RAX, Attribute.COND_READ, AccessCondition.IO_WR),
    (SaveStateField.RAX, Attribute.COND_WRITE, AccessCondition.IO_RD),
)
"""Field, attributes, condition (None: not looked at) of the entries that level 30 takes."""


def is_accepted_save_state(entry: SaveStateEntry) -> bool:
    """Whether level 30 takes an entry (§4)."""
    return any(
        (entry.map_field, entry.attributes) == (field, attributes) and condition in (None, entry.access_condition)
        for field, attributes, condition in _ACCEPTED
    )


def _save_state(root: PolicyRoot) -> Iterator[LevelFinding]:
    if root.access_attr == AccessAttr.DENY:
        raise _MeasureError(f"{Status.INVALID_PARAMETER.name}: the SAVE_STATE root is a deny list")
    for index, entry in enumerate(root.entries):
        if isinstance(entry, SaveStateEntry) and not is_accepted_save_state(entry):
            yield LevelFinding(
                Area.SAVE_STATE,
                20,
                f"entry {index}, {entry_text(entry)}",
                "levels.md §4: level 30 takes IO_TRAP with READ and RAX with COND_READ on IO_WR only",
                f"remove entry {index} or make it one of these",
                entry.place,
            )


# ----------------------------------------------------------------------------------------------------------- memory


def reference_overlap(region: Region, entry: MemEntry) -> bool:
    """The reference's idea of an overlap: a region strictly inside a larger entry is none (§5)."""
    start, end = entry.base_address, entry.base_address + entry.size
    return (region.start <= start < region.end) or (region.start < end <= region.end)


def _memory(root: PolicyRoot, vendor: Vendor, facts: MemoryFacts) -> Iterator[LevelFinding]:
    if root.access_attr == AccessAttr.DENY:
        raise _MeasureError(f"{Status.INVALID_PARAMETER.name}: the MEM root is a deny list, as before it is fetched")
    if facts.mat is None:
        raise _MeasureError(f"{Status.NOT_FOUND.name}: there is no memory attributes table")
    entries = [entry for entry in root.entries if isinstance(entry, MemEntry)]
    yield from memory_findings(entries, vendor, facts, reference_overlap)


def memory_findings(
    entries: Sequence[MemEntry],
    vendor: Vendor,
    facts: MemoryFacts,
    overlaps: Callable[[Region, MemEntry], bool],
) -> Iterator[LevelFinding]:
    """The requirements on memory (§5), by one idea of overlap or another.

    Args:
        entries: The memory entries of the fetched policy.
        vendor: Whose lists apply.
        facts: The platform's memory, with a memory attributes table.
        overlaps: Whether a region and an entry meet.
    """
    for mat in facts.mat or ():
        if mat.type not in (CONVENTIONAL_MEMORY, RUNTIME_SERVICES_CODE) or mat.is_execute_protected:
            continue
        kind = "conventional memory" if mat.type == CONVENTIONAL_MEMORY else "runtime services code"
        yield from _met(entries, mat.region, 0, f"{kind} is mapped", "no page of it may be", overlaps=overlaps)
    for index, entry in enumerate(entries):
        if entry.attributes & Attribute.WRITE and entry.attributes & Attribute.EXECUTE:
            yield LevelFinding(
                Area.MEMORY,
                0,
                f"entry {index}, {entry_text(entry)}",
                "levels.md §5, level 10: no page may be writable and executable",
                "map it without one of the two",
                entry.place,
            )
    beyond_read = [entry for entry in entries if entry.attributes & ~int(Attribute.READ)]
    if facts.iommu is None:
        yield LevelFinding(
            Area.MEMORY,
            10,
            "no ACPI table describes an IOMMU",
            "levels.md §5, level 20: the failed lookup counts as a failure",
            "describe the IOMMU's registers, and protect them by a protected-region HOB",
        )
    for region in facts.iommu or ():
        yield from _met(beyond_read, region, 10, "IOMMU registers can be written", "level 20", overlaps=overlaps)
    if vendor is Vendor.INTEL:
        for region in facts.txt:
            if region.start:
                yield from _met(beyond_read, region, 20, "a TXT region can be written", "level 30", overlaps=overlaps)


def _met(
    entries: Sequence[MemEntry],
    region: Region,
    limit: int,
    what: str,
    why: str,
    *,
    overlaps: Callable[[Region, MemEntry], bool],
) -> Iterator[LevelFinding]:
    for entry in entries:
        if overlaps(region, entry):
            yield LevelFinding(
                Area.MEMORY,
                limit,
                f"{what}: {region} meets {entry_text(entry)}",
                f"levels.md §5: {why}",
                "unblock it no more, or read-only",
                entry.place,
            )
