"""Memory of a platform: no byte belongs to two, and the core gets what the description says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.hob import ResourceType
from mmsupervisor.pi.mmram import MmramState
from mmsupervisor.pi.supervisor_hobs import MemoryProtectionSettings
from mmsupervisor.platform.description import MIB, AddressRange, PlatformDescription
from mmsupervisor.platform.memory_layout import MemoryLayout
from mmsupervisor.session import boot

DEFAULT = PlatformDescription()
SPLIT = PlatformDescription(
    address_bits=38, above_4g=1 << 30, more_mmram=(AddressRange(0x500_0000, MIB), AddressRange(0x7DF0_0000, MIB))
)


def test_the_default_is_as_the_public_platform() -> None:
    layout = MemoryLayout(DEFAULT)
    assert [(item.start, item.size) for item in layout.normal] == [(0, 0xA0000), (MIB, 0x7DF0_0000)]
    tiles, rest = layout.hob_ranges()
    assert (tiles.physical_start, tiles.physical_size, rest.physical_size) == (0x7E00_0000, 0xE000, 32 * MIB - 0xE000)
    assert tiles.region_state & MmramState.ALLOCATED
    assert rest.is_free


@pytest.mark.parametrize("description", [DEFAULT, SPLIT])
def test_memory_tiles_and_resources_agree_with_it(description: PlatformDescription) -> None:
    layout = MemoryLayout(description)
    memory = PhysicalMemory(description.address_bits)
    layout.add_memory(memory)  # refuses overlaps
    layout.add_empty_bus(memory)
    resources = sorted((hob.start, hob.length) for hob in layout.resources())
    banks = sorted((bank.base, bank.size) for bank in memory.banks)
    assert resources == banks
    memory.close()


def test_holes_of_mmram_are_nobodys_to_allocate() -> None:
    layout = MemoryLayout(SPLIT)
    assert layout.free_ranges() == (
        (0x1000, 0x9F000),
        (MIB, 0x500_0000 - MIB),
        (0x510_0000, 0x7DF0_0000 - 0x510_0000),
    )
    kinds = {(hob.start, hob.resource_type) for hob in layout.resources()}
    assert (0x500_0000, ResourceType.MEMORY_RESERVED) in kinds
    assert (1 << 32, ResourceType.SYSTEM_MEMORY) in kinds


def test_an_empty_bus_fills_what_devices_leave() -> None:
    memory = PhysicalMemory(36)

    class Device:
        def mmio_read(self, offset: int, width: int) -> int:
            return 0

        def mmio_write(self, offset: int, width: int, value: int) -> None: ...

    mine = memory.add_device(0xFFC0_2000, 0x1000, "mine", Device())
    MemoryLayout(DEFAULT).add_empty_bus(memory)
    assert memory.state(0xFFC0_2000).bank is mine
    for address in (0xFFC0_1FFF, 0xFFC0_3000):
        bank = memory.state(address).bank
        assert bank is not None
        assert bank.name == "flash"
    memory.close()


def test_a_platform_with_everything_boots() -> None:
    guards = MemoryProtectionSettings(guards=3, page_types=0x40, pool_types=0x40)
    with boot(description=replace(SPLIT, protection=guards)) as session:
        assert session.stop is None
        assert session.launch_failure is None
        assert session.core is not None
        supervisor = session.core.supervisor
        ranges = [(item.physical_start, item.physical_size) for item in supervisor.mmram.ranges]
        assert (0x500_0000, MIB) in ranges
        assert (0x7DF0_0000, MIB) in ranges
        assert {driver.state for driver in session.drivers} == {"started"}
