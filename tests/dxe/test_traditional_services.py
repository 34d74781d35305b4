"""The stand-in's services, by their declaration and each by itself: a driver is a few values in registers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.core.interfaces import OutsideCall
from mmsupervisor.core.modules import Module
from mmsupervisor.devices.empty_bus import EmptyBus
from mmsupervisor.devices.flash import CfiFlash
from mmsupervisor.dxe.memory_map import UefiMemoryMap
from mmsupervisor.dxe.traditional.events import ServiceCalled
from mmsupervisor.dxe.traditional.services import SERVICES, Support
from mmsupervisor.dxe.traditional.stand_in import StandIn
from mmsupervisor.machine.events import EventLog
from mmsupervisor.machine.memory import PAGE_SIZE, Access, Attribute, PhysicalMemory
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.memory_types import MemoryType
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.pcd_database import DatumType, Pcd, Storage
from mmsupervisor.pi.service_table import FieldKind
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.system_table import BOOT_SERVICES, DXE_SERVICES, RUNTIME_SERVICES, SYSTEM_TABLE

RAM, RAM_SIZE = 0x10_0000, 0x40_0000
SCRATCH = RAM
STACK = RAM + 0x8000
CLOSED = 0x80_0000
SMST = 0x7000_1234
SPACE = Guid.parse("5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11")
OURS = Guid.parse("7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20")
PCDS = (
    Pcd(1, None, None, DatumType.UINT16, Storage.DATA, 2, b"\x34\x12"),
    Pcd(2, SPACE, 7, DatumType.UINT64, Storage.DATA, 8, bytes(8)),
    Pcd(3, None, None, DatumType.POINTER, Storage.DATA, 16, b"text"),
    Pcd(4, None, None, DatumType.UINT8, Storage.VPD, 1, None, vpd_offset=0),
)
DEVICE, FLASH = RAM + RAM_SIZE + PAGE_SIZE, RAM + RAM_SIZE
IMAGES = 100
MMRAM = MmramDescriptor(0x7E00_0000, 0x7E00_0000, 0x200_0000, 10)
LAYOUTS = {layout.symbol: layout for layout in (BOOT_SERVICES, RUNTIME_SERVICES, DXE_SERVICES)}


@dataclass
class HostDouble:
    """The core's part: memory above ``CLOSED`` is not ring 3's, and what is called is remembered."""

    memory: PhysicalMemory
    log: EventLog = field(default_factory=EventLog)
    system_table: int = SMST
    cpus: int = 4
    called: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)

    def require(self, address: int, size: int, access: Access) -> None:
        if address + size > CLOSED:
            raise SystemStopError(make_finding("MM-1202", f"{access!r} at {address:#x}"))

    def call(self, routine: int, arguments: tuple[int, ...]) -> int:
        self.called.append((routine, arguments))
        return 0

    def refuse(self, detail: str) -> SystemStopError:
        return SystemStopError(make_finding("MM-2010", detail))


class Desk:
    """The stand-in, and a driver that calls it."""

    def __init__(self) -> None:
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, RAM_SIZE, "memory")
        self.map = UefiMemoryMap(((RAM + 0x1_0000, RAM_SIZE - 0x1_0000),))
        self.announced: list[Guid] = []
        self.stand_in = StandIn(
            self.memory,
            self.map,
            mmram=(MMRAM,),
            hob_list=0x1234_0000,
            pcds=PCDS,
            has_protocol=lambda guid: guid == SPACE,
            announce=self.announced.append,
            images=IMAGES,
        )
        self.stand_in.begin()
        self.host = HostDouble(self.memory)
        self.host.log.driver = "Driver"
        image = Module("Driver", OURS, 0x7F00_0000, 0x4000, 0x7F00_1000)
        self.image_handle, self.system_table = self.stand_in.enter(image)

    def field(self, name: str) -> int:
        return self.memory.read_u64(self.system_table + SYSTEM_TABLE.offset_of(name))

    def address(self, title: str) -> int:
        """Where a driver finds a service: by the tables in memory."""
        service = next(one for one in SERVICES if one.title == title)
        if service.table in ("gBS", "gRT"):
            table = self.field("BootServices" if service.table == "gBS" else "RuntimeServices")
        elif service.table == "gDS":
            table = self.configuration()[known_guid("gEfiDxeServicesTableGuid")]
        else:
            names = {"PCD": "gPcdProtocolGuid", "EfiPcd": "gEfiPcdProtocolGuid"}
            guid = known_guid(names.get(service.table) or self._protocol(service.table))
            table = self.locate(guid)
        return self.memory.read_u64(table + service.offset)

    @staticmethod
    def _protocol(table: str) -> str:
        return f"gEfi{table}ProtocolGuid"

    def configuration(self) -> dict[Guid, int]:
        rows, count = self.field("ConfigurationTable"), self.field("NumberOfTableEntries")
        raw = self.memory.read(rows, 24 * count)
        return {
            Guid(raw[at : at + 16]): int.from_bytes(raw[at + 16 : at + 24], "little") for at in range(0, len(raw), 24)
        }

    def put(self, data: bytes, at: int = SCRATCH) -> int:
        self.memory.write(at, data)
        return at

    def call(self, title: str, *arguments: int) -> int:
        registers = (*arguments, 0, 0, 0, 0)[:4]
        self.memory.write(STACK + 0x28, struct.pack("<8Q", *(*arguments[4:], *[0] * 8)[:8]))
        raw = OutsideCall(self.address(title), registers, STACK, 0x7F00_1234)
        return self.stand_in.serve(self.host, raw)

    def locate(self, guid: Guid) -> int:
        handle = self.stand_in.database.with_protocol(guid)[0]
        return handle.interfaces[guid]

    def read(self, address: int) -> int:
        return self.memory.read_u64(address)


@pytest.fixture
def desk() -> Iterator[Desk]:
    found = Desk()
    yield found
    found.memory.close()


def test_every_function_of_the_tables_is_declared_at_its_offset() -> None:
    for symbol, layout in LAYOUTS.items():
        expected = {(item.name, item.offset) for item in layout.fields if item.kind is FieldKind.FUNCTION}
        assert {(one.name, one.offset) for one in SERVICES if one.table == symbol} == expected


def test_what_is_declared_as_served_is_implemented_and_nothing_else(desk: Desk) -> None:
    served = {one.title for one in SERVICES if one.support is not Support.NONE}
    assert desk.stand_in.implemented == served
    assert all(one.does for one in SERVICES)
    assert len({one.title for one in SERVICES}) == len(SERVICES)


@pytest.mark.parametrize("title", [one.title for one in SERVICES if one.support is Support.NONE])
def test_what_is_not_implemented_says_so(desk: Desk, title: str) -> None:
    service = next(one for one in SERVICES if one.title == title)
    result = desk.call(title)
    assert result == (0 if service.table == "DevicePathUtilities" else Status.UNSUPPORTED)
    (entry,) = desk.stand_in.census
    assert (entry.driver, entry.service, entry.count, entry.served) == ("Driver", service, 1, False)
    (record,) = desk.host.log.records
    assert isinstance(record.event, ServiceCalled)
    assert (record.event.service, record.event.support) == (title, "not implemented")


def test_tables_have_their_signatures_and_checksums(desk: Desk) -> None:
    tables = [
        (SYSTEM_TABLE, desk.system_table),
        (BOOT_SERVICES, desk.field("BootServices")),
        (RUNTIME_SERVICES, desk.field("RuntimeServices")),
        (DXE_SERVICES, desk.configuration()[known_guid("gEfiDxeServicesTableGuid")]),
    ]
    for layout, address in tables:
        raw = bytearray(desk.memory.read(address, layout.size))
        signature, _, size, crc = struct.unpack_from("<QIII", raw)
        assert (signature, size) == (layout.signature, layout.size)
        raw[0x10:0x14] = bytes(4)
        assert crc == zlib.crc32(raw)
    assert desk.configuration()[known_guid("gEfiHobListGuid")] == 0x1234_0000


def test_ring_3_may_read_the_tables_and_call_no_code_there(desk: Desk) -> None:
    assert desk.memory.state(desk.system_table).ring3 == Access.READ
    assert desk.memory.state(desk.address("gBS->Stall")).attributes & Attribute.RP
    assert desk.stand_in.is_service(desk.address("gBS->Stall"))
    assert not desk.stand_in.is_service(desk.address("gBS->Stall") + 1)
    assert not desk.stand_in.is_service(desk.address("gBS->RaiseTPL") + PAGE_SIZE - 8)


def test_the_image_handle_has_a_loaded_image(desk: Desk) -> None:
    guid = desk.put(known_guid("gEfiLoadedImageProtocolGuid").raw)
    assert desk.call("gBS->HandleProtocol", desk.image_handle, guid, SCRATCH + 0x20) == Status.SUCCESS
    loaded = desk.read(SCRATCH + 0x20)
    assert (desk.read(loaded + 0x40), desk.read(loaded + 0x48)) == (0x7F00_0000, 0x4000)
    assert desk.read(loaded + 0x10) == desk.system_table
    assert desk.call("gBS->HandleProtocol", desk.image_handle, desk.put(OURS.raw), SCRATCH + 0x20) == Status.UNSUPPORTED


def test_checksum_copy_and_fill(desk: Desk) -> None:
    desk.put(b"123456789")
    assert desk.call("gBS->CalculateCrc32", SCRATCH, 9, SCRATCH + 0x20) == Status.SUCCESS
    assert int.from_bytes(desk.memory.read(SCRATCH + 0x20, 4), "little") == 0xCBF4_3926
    assert desk.call("gBS->CalculateCrc32", SCRATCH, 0, SCRATCH + 0x20) == Status.INVALID_PARAMETER
    desk.call("gBS->CopyMem", SCRATCH + 4, SCRATCH, 9)
    assert desk.memory.read(SCRATCH, 13) == b"1234123456789"
    desk.call("gBS->SetMem", SCRATCH, 5, 0x1FF)
    assert desk.memory.read(SCRATCH, 6) == b"\xff\xff\xff\xff\xff2"


@pytest.mark.parametrize(
    "call",
    [
        ("gBS->CopyMem", CLOSED, SCRATCH, 1),
        ("gBS->CopyMem", SCRATCH, CLOSED, 1),
        ("gBS->SetMem", CLOSED, 1, 0),
        ("gBS->CalculateCrc32", CLOSED, 1, SCRATCH),
    ],
)
def test_no_service_lends_a_driver_rights(desk: Desk, call: tuple[str, int, int, int]) -> None:
    with pytest.raises(SystemStopError):
        desk.call(*call)


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (("gBS->CopyMem", DEVICE, SCRATCH, 4), DEVICE),
        (("gBS->CopyMem", SCRATCH, DEVICE, 4), DEVICE),
        (("gBS->SetMem", FLASH - 1, 2, 0), FLASH),
        (("gBS->CopyMem", FLASH, SCRATCH, 4), FLASH),
        (("gBS->CalculateCrc32", SCRATCH, 4, FLASH), FLASH),
    ],
)
def test_no_service_talks_to_a_device(desk: Desk, call: tuple[str, int, int, int], place: int) -> None:
    """Ring 3 itself may; but a store to flash is a command, and no service may write past that."""
    flash = CfiFlash(desk.memory, FLASH, b"\x5a" * PAGE_SIZE, "flash", writable=True)
    desk.memory.add_device(DEVICE, PAGE_SIZE, "timer", EmptyBus())
    with pytest.raises(SystemStopError, match=f"MM-2010.*at {place:#x} is no memory, but (timer|flash)"):
        desk.call(*call)
    assert flash.content == b"\x5a" * PAGE_SIZE
    assert desk.call("gBS->CopyMem", SCRATCH, FLASH, 4) == Status.SUCCESS, "an array is read like memory"
    assert desk.memory.read(SCRATCH, 4) == b"\x5a" * 4


def use_all_memory(desk: Desk) -> None:
    while desk.call("gBS->AllocatePages", 0, MemoryType.BOOT_SERVICES_DATA, 1, SCRATCH) == Status.SUCCESS:
        pass


def test_handles_events_and_values_are_given_out_until_memory_ends(desk: Desk) -> None:
    """More of them than the first pages hold; the tables stay readable for ring 3, and nothing overlaps."""
    events = set()
    for _ in range(5000):
        assert desk.call("gBS->CreateEvent", 0x200, 8, 0x1000, 0, SCRATCH) == Status.SUCCESS
        events.add(desk.read(SCRATCH))
    assert len(events) == 5000
    assert all(desk.memory.state(event).ring3 == Access.READ for event in events)
    use_all_memory(desk)
    answers = {desk.call("gBS->CreateEvent", 0x200, 8, 0x1000, 0, SCRATCH) for _ in range(5000)}
    assert answers == {Status.SUCCESS, Status.OUT_OF_RESOURCES}
    with pytest.raises(SystemStopError, match="no free range of memory"):
        desk.call("PCD->GetPtr", 3)


def test_images_that_were_announced_are_entered_whatever_memory_is_left(desk: Desk) -> None:
    use_all_memory(desk)
    while desk.call("gBS->CreateEvent", 0x200, 8, 0x1000, 0, SCRATCH) == Status.SUCCESS:
        pass
    for number in range(IMAGES - 1):
        desk.stand_in.enter(Module(f"Driver{number}", OURS, 0x7F00_0000, 0x4000, 0x7F00_1000))


def test_pages_and_pool_come_from_the_memory_map(desk: Desk) -> None:
    before = len(desk.map.allocations)
    assert desk.call("gBS->AllocatePages", 0, MemoryType.BOOT_SERVICES_DATA, 3, SCRATCH) == Status.SUCCESS
    address = desk.read(SCRATCH)
    assert [(one.pages, one.owner) for one in desk.map.allocations if one.start == address] == [(3, "Driver")]
    assert desk.call("gBS->FreePages", address, 2) == Status.UNSUPPORTED
    assert desk.call("gBS->FreePages", address, 3) == Status.SUCCESS
    assert desk.call("gBS->FreePages", address, 3) == Status.NOT_FOUND
    desk.put(address.to_bytes(8, "little"))
    assert desk.call("gBS->AllocatePages", 2, MemoryType.ACPI_NVS, 1, SCRATCH) == Status.SUCCESS
    assert desk.call("gBS->AllocatePages", 2, MemoryType.ACPI_NVS, 1, SCRATCH) == Status.NOT_FOUND
    assert desk.call("gBS->FreePages", address, 1) == Status.SUCCESS
    last = address + 3 * PAGE_SIZE - 1
    for limit, status in ((last - 1, Status.UNSUPPORTED), (last, Status.SUCCESS)):
        desk.put(limit.to_bytes(8, "little"))
        assert desk.call("gBS->AllocatePages", 1, MemoryType.ACPI_NVS, 1, SCRATCH) == status
    assert desk.call("gBS->FreePages", desk.read(SCRATCH), 1) == Status.SUCCESS
    assert desk.call("gBS->AllocatePool", MemoryType.BOOT_SERVICES_DATA, 100, SCRATCH) == Status.SUCCESS
    assert desk.call("gBS->FreePool", desk.read(SCRATCH)) == Status.SUCCESS
    assert desk.call("gBS->FreePool", desk.read(SCRATCH)) == Status.INVALID_PARAMETER
    assert desk.call("gBS->AllocatePool", MemoryType.BOOT_SERVICES_DATA, 100, SCRATCH) == Status.SUCCESS
    assert desk.call("gBS->FreePages", desk.read(SCRATCH), 1) == Status.SUCCESS
    assert desk.call("gBS->FreePool", desk.read(SCRATCH)) == Status.INVALID_PARAMETER, "pool that was freed as pages"
    assert len(desk.map.allocations) == before
    assert (
        desk.call("gBS->AllocatePages", 0, MemoryType.BOOT_SERVICES_DATA, 1 << 30, SCRATCH) == Status.OUT_OF_RESOURCES
    )


def test_pages_of_others_are_not_freed(desk: Desk) -> None:
    tables = next(one for one in desk.map.allocations if "tables" in one.owner)
    assert desk.call("gBS->FreePages", tables.start, tables.pages) == Status.NOT_FOUND


def test_the_memory_map_is_uefis(desk: Desk) -> None:
    size, rows, key, stride, version = SCRATCH, SCRATCH + 0x100, SCRATCH + 8, SCRATCH + 16, SCRATCH + 24
    desk.put(bytes(0x100))
    assert desk.call("gBS->GetMemoryMap", size, 0, key, stride, version) == Status.BUFFER_TOO_SMALL
    needed = desk.read(size)
    assert desk.call("gBS->GetMemoryMap", size, rows, key, stride, version) == Status.SUCCESS
    step = desk.read(stride)
    assert (step, int.from_bytes(desk.memory.read(version, 4), "little")) == (48, 1)
    found = [struct.unpack_from("<I4xQQQQ", desk.memory.read(rows, needed), at) for at in range(0, needed, step)]
    assert [row[:2] + row[3:4] for row in found] == [
        (item.type, item.physical_start, item.number_of_pages) for item in desk.map.descriptors()
    ]
    runtime = {row[0] for row in found if row[4] >> 63}
    assert runtime == {MemoryType.RUNTIME_SERVICES_CODE, MemoryType.RUNTIME_SERVICES_DATA}


def test_protocols_are_installed_found_and_removed(desk: Desk) -> None:
    guid, handle, out = desk.put(OURS.raw), SCRATCH + 0x20, SCRATCH + 0x40
    desk.put(bytes(8), handle)
    desk.put(b"\xff" * 8, out)
    assert desk.call("gBS->LocateProtocol", guid, 0, out) == Status.NOT_FOUND
    assert desk.read(out) == 0, "a driver that does not look at the status finds no stale pointer"
    assert desk.call("gBS->InstallProtocolInterface", handle, guid, 0, 0xABC) == Status.SUCCESS
    assert desk.announced == [OURS]
    assert [(one.driver, one.guid, one.interface) for one in desk.stand_in.installed] == [("Driver", OURS, 0xABC)]
    assert desk.stand_in.has_protocol(OURS)
    assert desk.call("gBS->LocateProtocol", guid, 0, out) == Status.SUCCESS
    assert desk.read(out) == 0xABC
    assert desk.call("gBS->LocateProtocol", guid, handle, out) == Status.UNSUPPORTED, "searches by registration"
    assert desk.call("gBS->InstallProtocolInterface", handle, guid, 0, 0xABC) == Status.INVALID_PARAMETER
    desk.put(struct.pack("<Q", 64), out)
    assert desk.call("gBS->LocateHandle", 2, guid, 0, out, out + 8) == Status.SUCCESS
    assert (desk.read(out), desk.read(out + 8)) == (8, desk.read(handle))
    assert desk.call("gBS->LocateHandleBuffer", 2, guid, 0, out, out + 8) == Status.SUCCESS
    assert (desk.read(out), desk.read(desk.read(out + 8))) == (1, desk.read(handle))
    assert desk.call("gBS->UninstallProtocolInterface", desk.read(handle), guid, 0xDEF) == Status.NOT_FOUND
    assert desk.call("gBS->UninstallProtocolInterface", desk.read(handle), guid, 0xABC) == Status.SUCCESS
    assert not desk.stand_in.has_protocol(OURS)
    assert desk.stand_in.has_protocol(SPACE)


def test_several_protocols_at_once_are_all_or_none(desk: Desk) -> None:
    one, two, handle = desk.put(OURS.raw), desk.put(SPACE.raw, SCRATCH + 16), SCRATCH + 0x20
    desk.put(bytes(8), handle)
    assert desk.call("gBS->InstallMultipleProtocolInterfaces", handle, one, 1, two, 2, 0) == Status.SUCCESS
    desk.put(OURS.raw, SCRATCH + 0x40)
    bad = desk.call("gBS->InstallMultipleProtocolInterfaces", handle, two, 3, SCRATCH + 0x40, 4, 0)
    assert bad == Status.INVALID_PARAMETER
    assert [item.interface for item in desk.stand_in.installed] == [1, 2]


def test_events_call_their_function_and_protocols_signal_them(desk: Desk) -> None:
    event, guid, handle = SCRATCH + 0x40, desk.put(OURS.raw), SCRATCH + 0x20
    assert desk.call("gBS->CreateEvent", 0x200, 8, 0x7F00_2000, 0x77, event) == Status.SUCCESS
    assert desk.call("gBS->CreateEvent", 0x8000_0000, 8, 0, 0, event + 8) == Status.UNSUPPORTED
    created = desk.read(event)
    assert desk.call("gBS->RegisterProtocolNotify", guid, created, SCRATCH + 0x60) == Status.SUCCESS
    desk.put(bytes(8), handle)
    desk.call("gBS->InstallProtocolInterface", handle, guid, 0, 0)
    assert desk.call("gBS->SignalEvent", created) == Status.SUCCESS
    assert desk.host.called == [(0x7F00_2000, (created, 0x77))] * 2
    assert desk.call("gBS->CloseEvent", created) == Status.SUCCESS
    assert desk.call("gBS->SignalEvent", created) == Status.INVALID_PARAMETER


def test_pcds_have_the_databases_values_and_keep_new_ones(desk: Desk) -> None:
    space = desk.put(SPACE.raw)
    assert desk.call("PCD->Get16", 1) == 0x1234
    assert desk.call("PCD->Set16", 1, 0xBEEF) == Status.SUCCESS
    assert desk.call("PCD->Get16", 1) == 0xBEEF
    assert desk.call("PCD->Set8", 1, 1) == Status.INVALID_PARAMETER
    assert desk.call("PCD->Set64Ex", space, 7, 5) == Status.SUCCESS
    assert desk.call("EfiPcd->Get64", space, 7) == 5
    assert desk.call("PCD->GetSize", 3) == 4
    place = desk.call("PCD->GetPtr", 3)
    assert desk.memory.read(place, 4) == b"text"
    desk.put(struct.pack("<Q", 3) + b"new", SCRATCH + 0x40)
    assert desk.call("PCD->SetPtr", 3, SCRATCH + 0x40, SCRATCH + 0x48) == Status.SUCCESS
    assert desk.call("PCD->GetSize", 3) == 3
    assert {desk.call("PCD->GetPtr", 3) for _ in range(10_000)} == {place}, "a value keeps its place"
    assert desk.memory.read(place, 3) == b"new"
    desk.put(struct.pack("<Q", 16), SCRATCH + 0x40)
    assert desk.call("PCD->SetPtr", 3, SCRATCH + 0x40, SCRATCH + 0x48) == Status.SUCCESS
    desk.put(struct.pack("<Q", 17), SCRATCH + 0x40)
    assert desk.call("PCD->SetPtr", 3, SCRATCH + 0x40, SCRATCH + 0x48) == Status.INVALID_PARAMETER
    assert desk.read(SCRATCH + 0x40) == 16, "the largest size is told"


@pytest.mark.parametrize("call", [("PCD->Get8", 99), ("PCD->Get8", 4), ("PCD->Get8Ex", SCRATCH, 8)])
def test_a_pcd_that_nobody_knows_is_refused(desk: Desk, call: tuple[str, int]) -> None:
    desk.put(SPACE.raw)
    with pytest.raises(SystemStopError, match="MM-2010"):
        desk.call(*call)


def test_mm_base_access_and_processors(desk: Desk) -> None:
    assert desk.call("SmmBase2->InSmm", 0, SCRATCH) == Status.SUCCESS
    assert desk.memory.read(SCRATCH, 1) == b"\x01"
    assert desk.call("SmmBase2->GetSmstLocation", 0, SCRATCH) == Status.SUCCESS
    assert desk.read(SCRATCH) == SMST
    desk.put(bytes(8))
    assert desk.call("SmmAccess2->GetCapabilities", 0, SCRATCH, SCRATCH + 8) == Status.BUFFER_TOO_SMALL
    assert desk.call("SmmAccess2->GetCapabilities", 0, SCRATCH, SCRATCH + 8) == Status.SUCCESS
    assert desk.memory.read(SCRATCH + 8, 32) == MMRAM.pack()
    assert desk.call("MpService->GetNumberOfProcessors", 0, SCRATCH, SCRATCH + 8) == Status.SUCCESS
    assert (desk.read(SCRATCH), desk.read(SCRATCH + 8)) == (4, 4)
    assert desk.call("MpService->WhoAmI", 0, SCRATCH) == Status.SUCCESS
    assert desk.read(SCRATCH) == 0


def test_configuration_tables_are_installed_replaced_and_deleted(desk: Desk) -> None:
    guid, before = desk.put(OURS.raw), desk.configuration()
    for table in (0x1000, 0x2000):
        assert desk.call("gBS->InstallConfigurationTable", guid, table) == Status.SUCCESS
        assert desk.configuration() == {**before, OURS: table}
    assert desk.call("gBS->InstallConfigurationTable", guid, 0) == Status.SUCCESS
    assert desk.configuration() == before
    assert desk.call("gBS->InstallConfigurationTable", guid, 0) == Status.NOT_FOUND
