"""What a platform gives to the measurement of levels."""

from __future__ import annotations

from dataclasses import replace

import pytest

import mmsupervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.save_state import Vendor as Cpu
from mmsupervisor.pi.hob import ResourceType
from mmsupervisor.platform.description import (
    AddressRange,
    MemoryAttributesEntry,
    MemoryRange,
    PlatformDescription,
    SecurityFacts,
)
from mmsupervisor.platform.isolation import NotFetchableError, fetched_policy, level_vendor, memory_facts
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.level_facts import MatEntry, Region
from mmsupervisor.policy.level_tables import Vendor
from mmsupervisor.policy.levels import judge
from mmsupervisor.policy.model import MemEntry, RootType


def test_the_default_platform_has_no_iommu() -> None:
    facts = memory_facts(PlatformDescription())
    assert (facts.iommu, facts.mat) == (None, ())
    assert [(one.start, one.size) for one in facts.ecam or ()] == [(0xB000_0000, 0x1000_0000)]
    assert [one.start for one in facts.txt] == [0xFED2_0000, 0xFED3_0000]
    assert level_vendor(PlatformDescription()) is Vendor.AMD
    assert level_vendor(PlatformDescription(vendor=Cpu.INTEL)) is Vendor.INTEL


def test_described_facts() -> None:
    security = SecurityFacts(True, (0xFED9_0000,), AddressRange(0x7A00_0000, 0x1000), AddressRange(0x7B00_0000, 0x2000))
    plain = PlatformDescription()
    facts = memory_facts(replace(plain, security=security, devices=replace(plain.devices, ecam=0)))
    assert (facts.iommu, facts.ecam) == ((Region(0xFED9_0000, 0x1000, "IOMMU registers"),), ())
    assert [(one.start, one.size) for one in facts.txt][1:3] == [(0x7A00_0000, 0x1000), (0x7B00_0000, 0x2000)]


def test_the_memory_attributes_table_is_the_described_one() -> None:
    entry = MemoryAttributesEntry(0x7000_0000, 0x2000, 5, execute_protected=False)
    facts = memory_facts(PlatformDescription(security=SecurityFacts(memory_attributes=(entry,))))
    assert facts.mat == (MatEntry(5, Region(0x7000_0000, 0x2000, "memory attributes table"), False),)
    assert memory_facts(PlatformDescription(security=SecurityFacts(memory_attributes_table=False))).mat is None


def test_free_memory_of_a_boot_is_the_operating_systems() -> None:
    with mmsupervisor.boot() as session:
        facts = memory_facts(session.description, session.memory_map)
        policy = fetched_policy(session.core, "sample")
    assert facts.conventional
    assert all(region.end <= session.description.memory_top for region in facts.conventional)
    mapped = [entry for entry in policy.roots[-1].entries if isinstance(entry, MemEntry)]
    assert not [one for one in facts.conventional for entry in mapped if _meet(one, entry)]


def _meet(region: Region, entry: MemEntry) -> bool:
    return region.start < entry.base_address + entry.size and entry.base_address < region.end


@pytest.mark.parametrize(
    ("entry", "levels"),
    [
        (None, (30, 30)),
        (MemoryAttributesEntry(0xFEE0_0000, 0x1000, 5, execute_protected=False), (0, 0)),
        (MemoryAttributesEntry(0xFEE0_0000, 0x1000, 5, execute_protected=True), (30, 30)),
        (MemoryAttributesEntry(0xFEE0_0000, 0x1000, 7, execute_protected=True), (30, 0)),
        (MemoryAttributesEntry(0xFEE8_0000, 0x1000, 5, execute_protected=False), (30, 0)),
    ],
    ids=["none", "code at the start", "protected code", "free memory", "code inside, unseen by the reference"],
)
def test_levels_follow_the_table(entry: MemoryAttributesEntry | None, levels: tuple[int, int]) -> None:
    """On a platform that is sound otherwise, an entry within what ring 3 sees as the local APIC."""
    sound = PlatformDescription(
        ranges=(MemoryRange(0xFEE0_0000, 0x10_0000, ResourceType.MEMORY_MAPPED_IO, "local APIC"),),
        security=SecurityFacts(True, (0xFEB8_0000,), memory_attributes=() if entry is None else (entry,)),
    )
    with mmsupervisor.boot(description=sound) as session:
        policy = fetched_policy(session.core, "sample")
        report = judge(policy, Vendor.AMD, memory_facts(sound, session.memory_map))
    assert (report.reference.level, report.real.level) == levels


def test_the_fetched_policy_is_the_images_with_memory() -> None:
    with mmsupervisor.boot() as session:
        policy = fetched_policy(session.core, "sample")
    before = default_policy()
    assert [root.entries for root in policy.roots[:-1]] == [root.entries for root in before.roots[:-1]]
    assert policy.roots[-1].type == RootType.MEM
    assert len(policy.roots[-1].entries) > 5


def test_before_the_lock_there_is_nothing_to_fetch() -> None:
    with (
        mmsupervisor.boot(until=Phase.END_OF_DXE) as session,
        pytest.raises(NotFetchableError, match="sample: there is no locked supervisor"),
    ):
        fetched_policy(session.core, "sample")
    with pytest.raises(NotFetchableError):
        fetched_policy(None, "sample")
