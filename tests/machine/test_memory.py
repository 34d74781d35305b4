"""Physical memory: banks, contents, and the attribute rules of docs/reference/memory.md §1."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmsupervisor.machine.memory import Access, Attribute, BusError, PhysicalMemory, ProtectionChange

RAM = 0x10000
SIZE = 0x8000
A = Attribute


class Device:
    def mmio_read(self, offset: int, width: int) -> int:
        return offset

    def mmio_write(self, offset: int, width: int, value: int) -> None: ...


@pytest.fixture
def memory() -> Iterator[PhysicalMemory]:
    memory = PhysicalMemory(36)
    memory.add_ram(RAM, SIZE, "ram")
    yield memory
    memory.close()


def test_contents_ignore_attributes(memory: PhysicalMemory) -> None:
    memory.write(RAM + 5, b"hello")
    assert memory.read(RAM + 5, 5) == b"hello"
    memory.write_u64(RAM + SIZE - 8, 0x1122334455667788)
    assert memory.read_u64(RAM + SIZE - 8) == 0x1122334455667788


def test_contents_span_banks(memory: PhysicalMemory) -> None:
    memory.add_ram(RAM + SIZE, 0x1000, "next")
    memory.write(RAM + SIZE - 2, b"abcd")
    assert memory.read(RAM + SIZE - 2, 4) == b"abcd"


def test_holes_are_bus_errors_and_write_nothing(memory: PhysicalMemory) -> None:
    with pytest.raises(BusError) as caught:
        memory.read(RAM - 1, 1)
    assert caught.value.address == RAM - 1
    with pytest.raises(BusError):
        memory.write(RAM + SIZE - 2, b"abcd")
    assert memory.read(RAM + SIZE - 2, 2) == bytes(2)
    with pytest.raises(BusError):
        memory.read(1 << 60, 1)


def test_a_device_among_banks_is_a_bus_error_and_nothing_is_written(memory: PhysicalMemory) -> None:
    memory.add_device(RAM + SIZE, 0x1000, "device", Device())
    memory.add_ram(RAM + SIZE + 0x1000, 0x1000, "behind")
    for address, bad in ((RAM + SIZE - 2, RAM + SIZE), (RAM + SIZE + 0xFFE, RAM + SIZE + 0xFFE)):
        with pytest.raises(BusError) as caught:
            memory.write(address, bytes([1]) * 0x1004)
        assert caught.value.address == bad
    assert memory.read(RAM + SIZE - 2, 2) == bytes(2)
    assert memory.read(RAM + SIZE + 0x1000, 0x1000) == bytes(0x1000)


def test_a_device_has_no_contents_but_flash_has(memory: PhysicalMemory) -> None:
    memory.add_device(0x100000, 0x1000, "device", Device())
    with pytest.raises(BusError):
        memory.read(0x100000, 1)
    memory.add_flash(0x200000, 0x1000, "flash", Device())
    memory.write(0x200000, b"array")
    assert memory.read(0x200000, 5) == b"array"


@pytest.mark.parametrize(
    ("base", "size"),
    [(RAM, 0x1000), (RAM - 0x1000, 0x2000), (0x1001, 0x1000), (0x1000, 0x800), (0, 0), (1 << 36, 0x1000)],
)
def test_refuses_bad_banks(memory: PhysicalMemory, base: int, size: int) -> None:
    with pytest.raises(ValueError, match="bank"):
        memory.add_ram(base, size, "bad")


def test_everything_begins_not_present(memory: PhysicalMemory) -> None:
    assert memory.state(RAM).attributes & A.RP
    assert memory.state(RAM).ring3 is Access.NONE


@pytest.mark.parametrize(
    ("cleared", "then_set", "left"),
    [
        (A.RP, A.NONE, A.RO | A.SP),
        (A.RP | A.RO | A.SP, A.NONE, A.NONE),
        (A.RP | A.RO | A.SP, A.XP, A.XP),
        (A.RP | A.SP, A.XP, A.RO | A.XP),
        (A.RP | A.RO, A.NONE, A.SP),
    ],
)
def test_clearing_presence_rewrites_the_leaf(memory: PhysicalMemory, cleared: A, then_set: A, left: A) -> None:
    memory.clear_attributes(RAM, 0x1000, cleared)
    memory.set_attributes(RAM, 0x1000, then_set)
    assert memory.state(RAM).attributes == left


def test_setting_not_present_keeps_the_stale_bits(memory: PhysicalMemory) -> None:
    memory.assign(RAM, 0x1000, A.XP)
    memory.set_attributes(RAM, 0x1000, A.RP | A.RO | A.SP)
    assert memory.state(RAM).attributes == A.RP | A.XP


@pytest.mark.parametrize(
    ("attributes", "access"),
    [
        (A.NONE, Access.READ | Access.WRITE | Access.EXECUTE),
        (A.XP, Access.READ | Access.WRITE),
        (A.RO, Access.READ | Access.EXECUTE),
        (A.RO | A.XP, Access.READ),
        (A.SP, Access.NONE),
        (A.RP, Access.NONE),
    ],
)
def test_ring3_access(memory: PhysicalMemory, attributes: A, access: Access) -> None:
    memory.assign(RAM, 0x1000, attributes)
    assert memory.state(RAM).ring3 == access
    assert memory.state(RAM).direct == access


def test_direct_access_leaves_devices_and_flash_stores_out(memory: PhysicalMemory) -> None:
    memory.add_device(0x100000, 0x1000, "device", Device())
    memory.add_flash(0x200000, 0x1000, "flash", Device())
    memory.assign(0x100000, 0x1000, A.XP)
    memory.assign(0x200000, 0x1000, A.XP)
    memory.assign(0x300000, 0x1000, A.XP)
    assert memory.state(0x100000).ring3 == Access.READ | Access.WRITE
    assert memory.state(0x100000).direct is Access.NONE
    assert memory.state(0x200000).direct == Access.READ
    assert memory.state(0x300000).direct is Access.NONE, "a hole has nothing to map"


def test_flash_outside_array_mode_is_a_device_for_reads_too(memory: PhysicalMemory) -> None:
    bank = memory.add_flash(0x200000, 0x2000, "flash", Device())
    memory.write(0x200000, b"array")
    memory.assign(0x200000, 0x1000, A.XP, use="variables")
    pending = memory.subscribe()
    memory.show_flash(bank, array=False)
    assert memory.state(0x200000).direct is Access.NONE
    assert memory.state(0x200000).ring3 == Access.READ | Access.WRITE
    assert memory.state(0x200000).use == "variables"
    assert memory.state(0x200000).bank is not bank
    assert pending == [ProtectionChange(0x200000, 0x1000, Access.NONE)], "the second page was never open"
    with pytest.raises(BusError, match="device 'flash'"):
        memory.read(0x200000, 1)
    memory.show_flash(bank, array=True)
    assert memory.read(0x200000, 5) == b"array"
    assert pending[1:] == [ProtectionChange(0x200000, 0x1000, Access.READ)]
    assert memory.banks.count(bank) == 1
    with pytest.raises(KeyError):
        memory.show_flash(memory.banks[0], array=False)


def test_changes_are_told_once_and_only_where_they_matter(memory: PhysicalMemory) -> None:
    pending = memory.subscribe()
    memory.assign(RAM, 0x2000, A.XP, use="data")
    assert pending == [ProtectionChange(RAM, 0x2000, Access.READ | Access.WRITE)]
    pending.clear()
    memory.set_use(RAM, 0x1000, "other use")
    memory.assign(RAM, 0x2000, A.XP)
    assert pending == []
    memory.set_attributes(RAM + 0x1000, 0x1000, A.RO)
    assert pending == [ProtectionChange(RAM + 0x1000, 0x1000, Access.READ)]
    pending.clear()
    memory.unsubscribe(pending)
    memory.assign(RAM, 0x1000, A.SP)
    assert pending == []


def test_uses_are_kept_apart_from_attributes(memory: PhysicalMemory) -> None:
    memory.assign(RAM, 0x1000, A.XP, use="stack")
    memory.set_attributes(RAM, 0x1000, A.RO)
    assert memory.state(RAM).use == "stack"
    assert [(p.start, p.value.use) for p in memory.slice(RAM, 0x2000)] == [(RAM, "stack"), (RAM + 0x1000, "")]


def test_ranges_must_be_whole_pages(memory: PhysicalMemory) -> None:
    with pytest.raises(ValueError, match="whole pages"):
        memory.assign(RAM + 1, 0x1000, A.XP)


@pytest.mark.parametrize(("target", "source"), [(0x100, 0x800), (SIZE - 8, 0x100), (0x100, SIZE - 8)])
def test_copies_are_a_read_and_a_write(memory: PhysicalMemory, target: int, source: int) -> None:
    memory.add_ram(RAM + SIZE, 0x1000, "next")
    memory.write(RAM + source, bytes(range(1, 17)))
    memory.copy(RAM + target, RAM + source, 16)
    assert memory.read(RAM + target, 16) == bytes(range(1, 17))


def test_copies_from_or_to_a_hole_are_bus_errors(memory: PhysicalMemory) -> None:
    for target, source in ((RAM, 0x50_0000), (0x50_0000, RAM)):
        with pytest.raises(BusError):
            memory.copy(target, source, 16)


def test_the_first_absent_page_of_a_range(memory: PhysicalMemory) -> None:
    memory.assign(RAM, 0x1000, A.XP)
    assert memory.first_absent(RAM + 0x10, 8) is None
    assert memory.first_absent(RAM + 0xFF8, 16) == RAM + 0x1000
    memory.assign(RAM + 0x1000, 0x1000, A.RO)
    assert memory.first_absent(RAM + 0xFF8, 16) is None
    memory.set_attributes(RAM, 0x1000, A.RP)
    assert memory.first_absent(RAM + 0xFF8, 16) == RAM + 0xFF8
