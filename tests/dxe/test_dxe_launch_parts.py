"""What DXE gives PiSmmIpl: protocols and events, memory space, runtime pointers, pages, SMM Access 2."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmsupervisor.dxe.boot_services import DxeBootServices
from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.dxe.memory_space import DxeMemorySpace
from mmsupervisor.dxe.mm_access import ChipsetSmmAccess2
from mmsupervisor.dxe.runtime_map import RuntimeMap
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.memory_types import MemoryAttribute, MemoryType
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.status import Status

A = Guid.parse("5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11")
B = Guid.parse("7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20")
UC, WB, XP = int(MemoryAttribute.UC), int(MemoryAttribute.WB), int(MemoryAttribute.XP)
PAGE = 0x1000


def test_events_of_a_group_run_newest_first() -> None:
    services, seen = DxeBootServices(), []
    note: Callable[[str], Callable[[], None]] = lambda name: lambda: seen.append(name)  # noqa: E731
    events = [services.create_event(A, note(name)) for name in ("first", "second", "third")]
    services.create_event(B, note("other"))
    services.signal(A)
    assert seen == ["third", "second", "first"]
    services.close_event(events[1])
    services.signal(A)
    assert seen[3:] == ["third", "first"]


def test_an_event_closed_during_its_signal_does_not_run() -> None:
    services, seen = DxeBootServices(), []
    old = services.create_event(A, lambda: seen.append("old"))
    services.create_event(A, lambda: services.close_event(old))
    services.signal(A)
    assert seen == []


def test_protocol_notifications_are_kicked_once_and_run_after_the_whole_call() -> None:
    services, seen = DxeBootServices(), []
    services.notify_on_protocol(A, lambda: seen.append((services.has(A), services.has(B))))
    assert seen == [(False, False)]
    services.install(A, B)
    assert seen[1:] == [(True, True)]
    services.install(A)
    assert len(seen) == 3
    assert services.protocols == [A, B, A]


def test_attributes_need_the_capability() -> None:
    space = DxeMemorySpace(1 << 20)
    assert space.set_attributes(PAGE, PAGE, WB) == Status.UNSUPPORTED
    assert space.attributes(PAGE) == UC
    assert space.set_capabilities(PAGE, PAGE, UC | WB) == Status.SUCCESS
    assert space.set_attributes(PAGE, PAGE, WB) == Status.SUCCESS
    assert [space.attributes(address) for address in (0, PAGE, 2 * PAGE)] == [UC, WB, UC]
    assert space.set_attributes(0, 3 * PAGE, WB) == Status.UNSUPPORTED  # all of the range must be able to
    assert space.set_capabilities(PAGE, PAGE, UC) == Status.UNSUPPORTED  # write-back is in use
    assert space.capabilities(PAGE) == UC | WB
    assert space.calls[0] == f"attributes {WB:#x}"


def runtime_map() -> RuntimeMap:
    memory_map = UefiMemoryMap(((0x10000, 0x100000),))
    memory_map.reserve(0x20000, 2, MemoryType.RUNTIME_SERVICES_DATA, "runtime data")
    memory_map.reserve(0x30000, 1, MemoryType.RUNTIME_SERVICES_CODE, "runtime code")
    memory_map.reserve(0x40000, 1, MemoryType.BOOT_SERVICES_DATA, "boot data")
    return RuntimeMap(memory_map)


def test_pointers_convert_inside_runtime_memory_only() -> None:
    pointers = runtime_map()
    assert pointers.convert_pointer(0x20000) is None  # nothing is planned yet
    pointers.plan(1 << 40)
    assert pointers.convert_pointer(0x21FFF) == (1 << 40) + 0x21FFF
    assert pointers.convert_pointer(0x30010) == (1 << 40) + 0x30010
    assert [pointers.convert_pointer(address) for address in (0x22000, 0x1FFFF, 0x40000)] == [None] * 3


def test_virtual_pointers_lead_back_once_in_force() -> None:
    pointers = runtime_map()
    pointers.plan(1 << 40)
    assert pointers.physical((1 << 40) + 0x20008) == (1 << 40) + 0x20008
    pointers.put_in_force()
    assert pointers.physical((1 << 40) + 0x20008) == 0x20008
    assert pointers.physical(0x40000) == 0x40000


def test_pages_are_given_back() -> None:
    memory_map = UefiMemoryMap(((0x10000, 0x10000),))
    page = memory_map.allocate(1, MemoryType.BOOT_SERVICES_DATA, "somebody")
    memory_map.free(page)
    assert memory_map.allocations == ()
    with pytest.raises(ValueError, match="nothing was allocated"):
        memory_map.free(page)
    assert memory_map.allocate(1, MemoryType.BOOT_SERVICES_DATA, "somebody else") == page


def test_smm_access_2_takes_all_ranges_at_once() -> None:
    access = ChipsetSmmAccess2(tuple(MmramDescriptor(start, start, PAGE, 0) for start in (0x10000, 0x20000)))
    assert access.open() == Status.SUCCESS
    assert [item.region_state for item in access.capabilities()] == [MmramState.OPEN] * 2
    assert access.lock() == Status.DEVICE_ERROR  # still open
    assert access.close() == Status.SUCCESS
    assert access.lock() == Status.SUCCESS
    assert access.open() == Status.DEVICE_ERROR
    assert access.calls == ["open", "capabilities", "lock", "close", "lock", "open"]
