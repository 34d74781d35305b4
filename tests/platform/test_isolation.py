"""What a platform gives to the measurement of levels."""

from __future__ import annotations

from dataclasses import replace

import pytest

import mmsupervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.save_state import Vendor as Cpu
from mmsupervisor.platform.description import AddressRange, PlatformDescription, SecurityFacts
from mmsupervisor.platform.isolation import NotFetchableError, fetched_policy, level_vendor, memory_facts
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.level_facts import Region
from mmsupervisor.policy.level_tables import Vendor
from mmsupervisor.policy.model import RootType


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
