"""Levels by both verdicts: the sheet's rules and surprises, and the shipped policies need each of their rules."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mmsupervisor.policy import shipped
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.level_facts import CONVENTIONAL_MEMORY, RUNTIME_SERVICES_CODE, Area
from mmsupervisor.policy.level_tables import MSR_TARGETS
from mmsupervisor.policy.levels import MatEntry, MemoryFacts, Region, Vendor, Verdict, judge
from mmsupervisor.policy.model import (
    Attribute,
    IoEntry,
    MemEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)
from mmsupervisor.policy.toml_names import default_layout
from mmsupervisor.policy.toml_source import read_toml_policy

ALLOW, DENY = 0, 1
ALL_MSRS = MsrEntry(0, 0xFFFF, 3), MsrEntry(0xC000_0000, 0xFFFF, 3), MsrEntry(0xC001_0000, 0xFFFF, 3)
PCI = IoEntry(0xCF8, 4, 0xA), IoEntry(0xCFC, 4, 2)
RAX, TRAP = SaveStateEntry(0, 0x10, 2), SaveStateEntry(1, 1, 0)
PORTS, MSRS = PolicyRoot(RootType.IO, DENY, PCI), PolicyRoot(RootType.MSR, DENY, ALL_MSRS)
SAVE_STATE = PolicyRoot(RootType.SAVE_STATE, ALLOW, (RAX, TRAP))


def policy(
    io: PolicyRoot | None = PORTS,
    msr: PolicyRoot | None = MSRS,
    save_state: PolicyRoot | None = SAVE_STATE,
    *more: PolicyRoot,
) -> Policy:
    return assemble(root for root in (io, msr, save_state, *more) if root is not None)


def levels(one: Policy, vendor: Vendor = Vendor.AMD, facts: MemoryFacts | None = None) -> tuple[int | None, int | None]:
    report = judge(one, vendor, facts)
    return report.reference.level, report.real.level


def io(attr: int, *entries: IoEntry) -> Policy:
    return policy(PolicyRoot(RootType.IO, attr, entries))


def msr(attr: int, *entries: MsrEntry) -> Policy:
    return policy(msr=PolicyRoot(RootType.MSR, attr, entries))


def save_state(attr: int, *entries: SaveStateEntry) -> Policy:
    return policy(save_state=PolicyRoot(RootType.SAVE_STATE, attr, entries))


@pytest.mark.parametrize("vendor", Vendor)
def test_shipped_policies_reach_30_and_pass_the_check(vendor: Vendor) -> None:
    one = shipped.policy(vendor.value)
    report = judge(one.policy, vendor)
    assert (report.level, report.reaches(30), one.vendor) == (30, True, vendor.value)
    assert report.reference.parts == report.real.parts == {Area.IO: 30, Area.MSR: 30, Area.SAVE_STATE: 30}
    assert security_policy_check(one.policy) is None
    assert all(one.note_of(r, e).reason for r, root in enumerate(one.policy.roots) for e in range(len(root.entries)))


@pytest.mark.parametrize("vendor", Vendor)
def test_each_requirement_is_missed_when_its_rule_is_gone(vendor: Vendor) -> None:
    """A planted fault for every target: without its rule, both verdicts say so and how to mend it."""
    whole = shipped.policy(vendor.value).policy
    ports, msrs = whole.roots[0], whole.roots[1]
    for index in range(len(ports.entries)):
        cut = replace(ports, entries=ports.entries[:index] + ports.entries[index + 1 :])
        report = judge(assemble([cut, *whole.roots[1:]]), vendor)
        assert (report.reference.level, report.real.level) == (10, 10)
    for target in MSR_TARGETS[vendor]:
        cut = replace(msrs, entries=tuple(e for e in msrs.entries if not e.msr_address <= target.msr < e.end))
        report = judge(assemble([whole.roots[0], cut, *whole.roots[2:]]), vendor)
        assert report.level == target.level - 10
        for verdict in (report.reference, report.real):
            mends = [one.mend for one in verdict.findings if f"{target.msr:#x} ({target.name})" in one.what]
            assert len(mends) == 1
            assert f'msr = {target.msr:#x}, access = ["read", "write"]' in mends[0]


def test_the_lists_have_their_length() -> None:
    by_level = {vendor: [target.level for target in MSR_TARGETS[vendor]] for vendor in Vendor}
    assert [by_level[Vendor.INTEL].count(level) for level in (20, 30)] == [23, 1]
    assert [by_level[Vendor.AMD].count(level) for level in (20, 30)] == [16, 3]
    assert len({target.msr for vendor in Vendor for target in MSR_TARGETS[vendor]}) == 43


def test_the_references_example() -> None:
    assert levels(default_policy()) == (30, 30)
    assert levels(default_policy(), Vendor.INTEL) == (10, 10)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (policy(), (30, 30)),
        (io(DENY, IoEntry(0xCF8, 8, 2)), (30, 30)),
        (io(DENY, IoEntry(0xCF8, 8, 1)), (10, 10)),
        (io(DENY, IoEntry(0xCF8, 8, 1), IoEntry(0xCF8, 8, 2)), (10, 10)),  # surprise 5: the first one counts
        (io(DENY, IoEntry(0xCF8, 2, 2), IoEntry(0xCFA, 2, 2), IoEntry(0xCFC, 4, 2)), (10, 30)),  # surprise 2
        (io(DENY, IoEntry(0xCF8, 4, 0xA), IoEntry(0xCFC, 4, 0xA)), (30, 10)),  # bytes and words stay open
        (io(DENY, IoEntry(0xCF8, 4, 0xA), IoEntry(0xCFC, 4, 0xA), IoEntry(0xCF9, 7, 2)), (30, 30)),
        (io(DENY), (10, 10)),
        (io(ALLOW), (30, 30)),
        (io(ALLOW, IoEntry(0x70, 2, 3)), (30, 30)),
        (io(ALLOW, IoEntry(0xCF8, 8, 1)), (10, 30)),  # surprise 1: attributes are not looked at
        (io(ALLOW, IoEntry(0xCF8, 1, 2)), (30, 10)),  # surprise 1: one byte lets a wider access pass
        (io(ALLOW, IoEntry(0xCFC, 2, 0xA)), (30, 10)),
        (io(ALLOW, IoEntry(0xCF9, 1, 0xA)), (30, 30)),  # the reset port
        (io(ALLOW, IoEntry(0xCF0, 9, 2)), (30, 10)),
        (io(7), (10, 10)),  # skipped by one, open by the other
        (io(7, *PCI), (10, 10)),
        (msr(7, *ALL_MSRS), (10, 10)),
        (save_state(7, RAX), (20, 20)),
        (policy(PORTS, MSRS, SAVE_STATE, PolicyRoot(RootType.IO, 7)), (30, 30)),  # no second root: it is skipped
        (msr(ALLOW), (30, 30)),
        (msr(ALLOW, MsrEntry(0x10, 1, 1)), (30, 30)),
        (msr(ALLOW, MsrEntry(0xC000_0080, 1, 0)), (10, 30)),
        (msr(ALLOW, MsrEntry(0xC001_1018, 1, 1)), (20, 20)),
        (msr(DENY, *ALL_MSRS[:2]), (10, 10)),
        (msr(DENY, MsrEntry(0xC000_0080, 1, 2), *ALL_MSRS), (10, 10)),
        (msr(DENY, MsrEntry(0xC001_1018, 1, 1), *ALL_MSRS), (20, 20)),
        (policy(io=None), (10, 30)),  # surprise 4
        (policy(msr=None), (10, 30)),
        (policy(save_state=None), (20, 20)),  # surprise 10
        (save_state(ALLOW), (30, 30)),
        (save_state(ALLOW, RAX), (30, 30)),
        (save_state(ALLOW, SaveStateEntry(1, 1, 2)), (30, 30)),
        (save_state(ALLOW, SaveStateEntry(0, 1, 0)), (20, 20)),
        (save_state(ALLOW, SaveStateEntry(0, 0x20, 1)), (30, 30)),
        (save_state(ALLOW, SaveStateEntry(0, 0x10, 1)), (20, 30)),  # never satisfied, but not in the list
        (save_state(ALLOW, SaveStateEntry(9, 0, 0)), (20, 30)),
        (save_state(DENY, SaveStateEntry(0, 1, 0)), (None, 20)),
        (save_state(DENY), (None, 20)),
        (policy(PolicyRoot(RootType.IO, ALLOW), None, None, PolicyRoot(RootType.IO, ALLOW)), (None, 20)),
        (replace(policy(), version_major=2), (None, 30)),
        (replace(policy(), roots=policy().roots[:-1], root_count=3), (0, 0)),
        (replace(policy(), roots=(), root_count=1), (0, None)),
    ],
)
def test_levels(one: Policy, expected: tuple[int | None, int | None]) -> None:
    assert levels(one) == expected


def test_what_the_supervisor_refuses_to_hand_out_has_no_level() -> None:
    """The checker judges what it fetched, and a fetch ends with the supervisor's own check."""
    twice = io(DENY, *PCI, IoEntry(0xCFC, 1, 2))
    report = judge(twice, Vendor.AMD)
    assert (report.reference.level, report.real.level, report.level, report.reaches(0)) == (30, 30, None, False)
    assert "rule 5: IO entries 1 and 2 clash" in report.refusal
    outside = replace(policy(), root_count=9)
    assert "only 4 are inside" in judge(outside, Vendor.AMD).refusal
    assert judge(policy(), Vendor.AMD).refusal == ""


def test_errors_are_named() -> None:
    def error(one: Policy, facts: MemoryFacts | None = None) -> str:
        return judge(one, Vendor.AMD, facts).reference.error

    assert error(save_state(DENY)) == "INVALID_PARAMETER: the SAVE_STATE root is a deny list"
    assert error(policy(None, None, None, *[PolicyRoot(RootType.MSR, ALLOW)] * 2)) == (
        "ALREADY_STARTED: a second MSR root"
    )
    assert error(replace(policy(), version_major=2)) == "VersionMajor is 2, not 1"
    assert error(policy(), MemoryFacts()).startswith("INVALID_PARAMETER: the MEM root is a deny list")
    assert error(mapped(), MemoryFacts(mat=None)).startswith("NOT_FOUND")


def test_findings_name_the_entry_to_blame() -> None:
    deny = PolicyRoot(RootType.IO, DENY, (IoEntry(0xCF8, 8, 1),))
    report = judge(policy(deny), Vendor.AMD)
    for verdict in (report.real, report.reference):
        mends = [one.mend for one in verdict.findings if one.limit is not None]
        assert mends == ["add WRITE to entry 0"] * 2
    spelt = judge(io(DENY, PCI[0], IoEntry(0xCFC, 4, 0xA)), Vendor.AMD).real.findings[0]
    assert "1 byte at 0xcfc..0xcff; 2 bytes at 0xcfb..0xcff; 4 bytes at 0xcf9..0xcfb, 0xcfd..0xcff" in str(spelt)


def follow(mend: str, root: PolicyRoot) -> PolicyRoot:
    """Do to a deny list what a mend asks for, word by word."""
    entries = list(root.entries)
    named = re.fullmatch(r"add ([A-Z and]+) to entry (\d+)", mend)
    if named:
        bits = sum(Attribute[word] for word in named[1].split(" and "))
        entries[int(named[2])] = replace(entries[int(named[2])], attributes=entries[int(named[2])].attributes | bits)
        return replace(root, entries=tuple(entries))
    take, rule = re.fullmatch(r"(?:take ports (.+) and )?add { (.+) } to the deny list", mend, re.DOTALL).groups()
    if take:
        first, last, listed = re.fullmatch(r"(0x\w+)\.\.(0x\w+) out of entr(?:y|ies) ([\d, ]+)", take).groups()
        for index in map(int, listed.split(", ")):
            entry = entries[index]
            rest = ((entry.io_address, int(first, 0)), (int(last, 0) + 1, entry.end))
            parts = [replace(entry, io_address=a, length_or_width=b - a, attributes=2) for a, b in rest if a < b]
            entries[index] = parts
        entries = [one for part in entries for one in (part if isinstance(part, list) else [part])]
    text = f'policy-form = 1\n[[root]]\ntype = "{root.type_name}"\nlist = "deny"\nrule = [{{ {rule} }}]\n'
    return replace(root, entries=(*entries, *read_toml_policy(text.encode()).policy.roots[0].entries))


@pytest.mark.parametrize(
    "root",
    [
        PolicyRoot(RootType.IO, DENY),
        PolicyRoot(RootType.IO, DENY, (IoEntry(0xCF8, 8, 1),)),
        PolicyRoot(RootType.IO, DENY, (PCI[0], IoEntry(0xCFC, 4, 0xA))),
        PolicyRoot(RootType.IO, DENY, (PCI[0], IoEntry(0xCFC, 4, 8))),
        PolicyRoot(RootType.IO, DENY, (IoEntry(0xCF8, 2, 2), IoEntry(0xCFA, 2, 2), IoEntry(0xCFD, 8, 2))),
        PolicyRoot(RootType.MSR, DENY),
        PolicyRoot(RootType.MSR, DENY, (MsrEntry(0xC000_0080, 5, 1), MsrEntry(0x6A0, 3, 2), MsrEntry(0x1D9, 1, 4))),
    ],
)
@pytest.mark.parametrize("way", ["reference", "real"])
def test_a_mend_can_be_followed(root: PolicyRoot, way: str) -> None:
    """Each step is one that the supervisor's own check accepts, and together they reach the level."""
    for _ in range(40):
        one = policy(root) if root.type == RootType.IO else policy(msr=root)
        findings = [found for found in getattr(judge(one, Vendor.AMD), way).findings if found.limit is not None]
        if not findings:
            return
        root = follow(findings[0].mend, root)
        mended = policy(root) if root.type == RootType.IO else policy(msr=root)
        assert security_policy_check(mended) is None, findings[0].mend
    pytest.fail("the mends do not mend")


def test_remarks_cost_nothing() -> None:
    remarks = [one for one in judge(default_policy(), Vendor.AMD).real.findings if one.limit is None]
    assert [str(one).split(":")[1].strip() for one in remarks] == ["IO", "MSR", *["INSTRUCTION"] * 3]
    assert (
        judge(policy(PolicyRoot(RootType.IO, ALLOW), PolicyRoot(RootType.MSR, ALLOW)), Vendor.AMD).real.findings == ()
    )


# ------------------------------------------------------------------------------------------------------------ memory

PAGE = 0x1000


def mapped(*entries: MemEntry, attr: int = ALLOW) -> Policy:
    """As a fetch returns it: without a legacy list of memory."""
    roots = (PORTS, MSRS, SAVE_STATE, PolicyRoot(RootType.MEM, attr, entries))
    return default_layout(roots, memory_root=True, file="fetched")


BUFFER = MemEntry(0x10_0000, 0x1_0000, 3)
IOMMU = Region(0xFEB8_0000, PAGE, "IOMMU")
ECAM = Region(0xB000_0000, 0x1000_0000, "ECAM")
SOUND = MemoryFacts(iommu=(IOMMU,), ecam=(ECAM,), txt=(Region(0xFED2_0000, PAGE, "TXT private"),))


def mat(kind: int, start: int, is_protected: bool = False, size: int = PAGE) -> MemoryFacts:
    return replace(SOUND, mat=(MatEntry(kind, Region(start, size), is_protected),))


@pytest.mark.parametrize(
    ("entry", "facts", "expected"),
    [
        (BUFFER, SOUND, (30, 30)),
        (replace(BUFFER, attributes=7), SOUND, (0, 0)),
        (replace(BUFFER, attributes=4), SOUND, (30, 30)),
        (BUFFER, replace(SOUND, iommu=None), (10, 10)),
        (BUFFER, replace(SOUND, iommu=()), (30, 30)),
        (BUFFER, replace(SOUND, ecam=None), (30, 30)),
        (MemEntry(IOMMU.start, PAGE, 3), SOUND, (10, 10)),
        (MemEntry(IOMMU.start, PAGE, 1), SOUND, (30, 30)),
        (MemEntry(IOMMU.start, PAGE, 4), SOUND, (10, 10)),  # any bit but READ counts
        (MemEntry(IOMMU.start - PAGE, 3 * PAGE, 3), SOUND, (30, 10)),  # surprise 6: strictly inside
        (MemEntry(IOMMU.start - PAGE, 2 * PAGE, 3), SOUND, (10, 10)),
        (MemEntry(IOMMU.start - PAGE, PAGE, 3), SOUND, (30, 30)),
        (MemEntry(IOMMU.end, PAGE, 3), SOUND, (30, 30)),
        (MemEntry(ECAM.start + PAGE, PAGE, 3), SOUND, (30, 10)),
        (MemEntry(ECAM.start, ECAM.size, 1), SOUND, (30, 30)),
        (MemEntry(0xFED2_0000, PAGE, 3), SOUND, (30, 30)),  # AMD has no TXT
        (BUFFER, mat(CONVENTIONAL_MEMORY, BUFFER.base_address), (0, 0)),
        (BUFFER, mat(CONVENTIONAL_MEMORY, BUFFER.base_address + PAGE), (30, 0)),
        (BUFFER, mat(CONVENTIONAL_MEMORY, BUFFER.base_address, True), (30, 0)),
        (BUFFER, mat(CONVENTIONAL_MEMORY, 0), (30, 30)),
        (BUFFER, mat(RUNTIME_SERVICES_CODE, BUFFER.base_address), (0, 0)),
        (BUFFER, mat(RUNTIME_SERVICES_CODE, BUFFER.base_address, True), (30, 30)),
        (BUFFER, mat(6, BUFFER.base_address), (30, 30)),
        (BUFFER, replace(SOUND, conventional=(Region(0, 0x10_0001),)), (30, 0)),
        (BUFFER, replace(SOUND, mat=None), (None, 0)),
    ],
)
def test_memory(entry: MemEntry, facts: MemoryFacts, expected: tuple[int | None, int | None]) -> None:
    assert levels(mapped(entry), Vendor.AMD, facts) == expected


def test_txt_counts_on_intel_only() -> None:
    one = assemble([*shipped.policy("intel").policy.roots[:-1], PolicyRoot(RootType.MEM, ALLOW, (BUFFER,))])
    assert levels(one, Vendor.INTEL, SOUND) == (30, 30)
    inside = replace(SOUND, txt=(Region(BUFFER.base_address, PAGE, "TXT heap"), Region(0, PAGE)))
    assert levels(one, Vendor.INTEL, inside) == (20, 20)
    assert levels(one, Vendor.INTEL, replace(SOUND, txt=(Region(BUFFER.base_address + PAGE, PAGE),))) == (30, 20)
    low = assemble([*one.roots[:-1], PolicyRoot(RootType.MEM, ALLOW, (MemEntry(0, PAGE, 3),))])
    assert levels(low, Vendor.INTEL, replace(SOUND, txt=(Region(0, PAGE, "TXT heap"),)))[0] == 30  # base 0 is none


@pytest.mark.parametrize(
    ("entry", "facts", "level"),
    [
        (MemEntry(IOMMU.start - PAGE, 3 * PAGE, 3), SOUND, 10),
        (BUFFER, mat(CONVENTIONAL_MEMORY, BUFFER.base_address, True), 0),
        (BUFFER, SOUND, 30),
        (BUFFER, replace(SOUND, mat=None), None),
    ],
)
def test_a_level_counts_by_both_verdicts(entry: MemEntry, facts: MemoryFacts, level: int | None) -> None:
    report = judge(mapped(entry), Vendor.AMD, facts)
    assert report.level == level
    assert [report.reaches(one) for one in (0, 10, 20, 30)] == [
        level is not None and level >= one for one in (0, 10, 20, 30)
    ]


def test_memory_that_is_not_there() -> None:
    assert levels(mapped(), facts=SOUND) == (30, 0)
    assert levels(mapped(BUFFER, attr=7), facts=SOUND)[0] == 0
    verdict: Verdict = judge(mapped(BUFFER), Vendor.AMD, SOUND).reference
    assert list(verdict.parts) == [Area.MEMORY, Area.IO, Area.MSR, Area.SAVE_STATE]
