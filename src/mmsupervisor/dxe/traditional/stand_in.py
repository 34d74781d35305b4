"""The stand-in itself: tables in memory, calls from the core, the census of what was asked for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mmsupervisor.core.interfaces import OutsideCall, OutsideHost
from mmsupervisor.core.modules import Module
from mmsupervisor.dxe.memory_map import OutOfMemoryError, UefiMemoryMap
from mmsupervisor.dxe.traditional.area import ServiceAddresses, TableArea
from mmsupervisor.dxe.traditional.call import Call
from mmsupervisor.dxe.traditional.database import HandleDatabase, InstalledOutside
from mmsupervisor.dxe.traditional.events import ServiceCalled
from mmsupervisor.dxe.traditional.memory_services import DESCRIPTOR_STRIDE, MemoryServices
from mmsupervisor.dxe.traditional.pcd_services import PcdServices
from mmsupervisor.dxe.traditional.protocol_services import ProtocolServices
from mmsupervisor.dxe.traditional.services import SERVICES, Service, Support
from mmsupervisor.machine.events import Hex
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.memory_types import MemoryType, pages_for
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.pcd_database import Pcd
from mmsupervisor.pi.service_table import HEADER_SIZE, TableHeader, TableLayout
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.system_table import BOOT_SERVICES, DXE_SERVICES, RUNTIME_SERVICES, SYSTEM_TABLE

_TABLE_PAGES = 16
_REVISION = 0x0002_0046
_DXE_REVISION = 0x0001_0032
_VENDOR = "mmsupervisor\0".encode("utf-16-le")
_MMRAM_DESCRIPTOR_SIZE = 32
_IMAGE_HANDLE = b"DXE image\0\0\0\0\0\0\0"
_LOADED_IMAGE = struct.Struct("<I4xQQQQQI4xQQQIIQ")
_IMAGE_SIZE = len(_IMAGE_HANDLE) + _LOADED_IMAGE.size
"""Bytes that a driver takes as it is entered: multiples of 16, to which a table area rounds up."""
_MOST_TABLES = 32
_TRUE = 1
_RUNTIME_ARCH = struct.Struct("<4QQI4xQQQBB")
_DXE_SERVICES_GUID = known_guid("gEfiDxeServicesTableGuid")
_HOB_LIST_GUID = known_guid("gEfiHobListGuid")
_LOADED_IMAGE_GUID = known_guid("gEfiLoadedImageProtocolGuid")
_RUNTIME_ARCH_GUID = known_guid("gEfiRuntimeArchProtocolGuid")
_PROTOCOL_TABLES = {
    "SmmBase2": known_guid("gEfiSmmBase2ProtocolGuid"),
    "SmmAccess2": known_guid("gEfiSmmAccess2ProtocolGuid"),
    "DevicePathUtilities": known_guid("gEfiDevicePathUtilitiesProtocolGuid"),
    "MpService": known_guid("gEfiMpServiceProtocolGuid"),
    "PCD": known_guid("gPcdProtocolGuid"),
    "EfiPcd": known_guid("gEfiPcdProtocolGuid"),
}
_SMM_ACCESS_STATE = bytes([_TRUE, 0])
"""LockState and OpenState, which follow the services of SmmAccess2."""

Handler = Callable[[Call], int]


@dataclass(slots=True)
class CensusEntry:
    """How often a driver called a service.

    Attributes:
        driver: The driver.
        service: The service.
        count: How often.
        last: RAX of the last call.
    """

    driver: str
    service: Service
    count: int = 0
    last: int = 0

    @property
    def served(self) -> bool:
        """Whether the service is implemented."""
        return self.service.support is not Support.NONE


class StandIn:
    """What stands for DXE where a traditional driver looks for it; see ``core.interfaces.OutsideServices``.

    Attributes:
        ready: Whether DXE has begun.
        database: DXE's handles and events.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        memory_map: UefiMemoryMap,
        *,
        mmram: tuple[MmramDescriptor, ...],
        hob_list: int,
        pcds: Iterable[Pcd] = (),
        has_protocol: Callable[[Guid], bool],
        announce: Callable[[Guid], None],
        images: int,
    ) -> None:
        """Write the tables into normal memory; ring 3 cannot read them before a driver is entered.

        Args:
            memory: The machine's memory.
            memory_map: UEFI's memory map, from which the tables and all that drivers allocate are taken.
            mmram: What SmmAccess2 reports.
            hob_list: Address of DXE's HOB list.
            pcds: The values of the image's PCD databases.
            has_protocol: Whether DXE's own drivers installed a protocol.
            announce: Told of each protocol that an MM driver installs.
            images: How many drivers will be entered at the most.
        """
        self.ready = False
        self.database = HandleDatabase()
        self._mmram = mmram
        self._has_protocol = has_protocol
        self._memory = memory
        self._area = TableArea(memory, memory_map, _TABLE_PAGES)
        services = memory_map.allocate(1, MemoryType.RUNTIME_SERVICES_CODE, "stand-in for DXE: services")
        # What is needed to enter a driver is set aside: no other driver can use it up.
        self._images = TableArea(memory, memory_map, max(1, pages_for(images * _IMAGE_SIZE)))
        self._addresses = ServiceAddresses(memory, services)
        self._pages = MemoryServices(memory_map)
        self._protocols = ProtocolServices(self.database, self._area, self._pages, announce)
        self._pcds = PcdServices(pcds, self._area)
        self._handlers = self._collect()
        self._census: dict[tuple[str, str], CensusEntry] = {}
        self._tables: dict[Guid, int] = {_HOB_LIST_GUID: hob_list}
        self._system_table = self._write_tables()

    # Tables

    def _collect(self) -> dict[str, Handler]:
        return {
            **self._pages.services(),
            **self._protocols.services(),
            **self._pcds.services(),
            "gBS->Stall": lambda _call: Status.SUCCESS,
            "gBS->InstallConfigurationTable": self._install_table,
            "SmmBase2->InSmm": self._in_smm,
            "SmmBase2->GetSmstLocation": self._get_smst_location,
            "SmmAccess2->GetCapabilities": self._get_capabilities,
            "MpService->GetNumberOfProcessors": _get_number_of_processors,
            "MpService->WhoAmI": _who_am_i,
        }

    @property
    def implemented(self) -> frozenset[str]:
        """Titles of the services that are implemented."""
        return frozenset(self._handlers)

    def _pointers(self, table: str) -> bytes:
        """The addresses of a table's services, in the order of their offsets."""
        indices = [index for index, service in enumerate(SERVICES) if service.table == table]
        return b"".join(self._addresses.address_of(index).to_bytes(8, "little") for index in indices)

    def _write_tables(self) -> int:
        for table, guid in _PROTOCOL_TABLES.items():
            tail = _SMM_ACCESS_STATE if table == "SmmAccess2" else b""
            self._add_protocol(guid, self._area.put(self._pointers(table) + tail))
        runtime_arch = self._area.put(bytes(_RUNTIME_ARCH.size))
        self._memory.write(runtime_arch, _runtime_arch(runtime_arch))
        self._add_protocol(_RUNTIME_ARCH_GUID, runtime_arch)
        boot = self._service_table(BOOT_SERVICES, _REVISION)
        runtime = self._service_table(RUNTIME_SERVICES, _REVISION)
        self._tables[_DXE_SERVICES_GUID] = self._service_table(DXE_SERVICES, _DXE_REVISION)
        self._table_rows = self._area.put(bytes(24 * _MOST_TABLES))
        body = bytearray(SYSTEM_TABLE.size)
        fields = {
            "FirmwareVendor": self._area.put(_VENDOR),
            "RuntimeServices": runtime,
            "BootServices": boot,
            "ConfigurationTable": self._table_rows,
        }
        for name, value in fields.items():
            struct.pack_into("<Q", body, SYSTEM_TABLE.offset_of(name), value)
        address = self._area.put(bytes(body))
        self._system_table = address
        self._update_system_table()
        return address

    def _service_table(self, layout: TableLayout, revision: int) -> int:
        return self._area.put(_with_header(layout, revision, bytes(HEADER_SIZE) + self._pointers(layout.symbol)))

    def _add_protocol(self, guid: Guid, interface: int) -> None:
        self._protocols.new_handle().interfaces[guid] = interface

    def _update_system_table(self) -> None:
        """Write the configuration tables, their number and the checksum."""
        rows = b"".join(guid.raw + value.to_bytes(8, "little") for guid, value in self._tables.items())
        self._memory.write(self._table_rows, rows.ljust(24 * _MOST_TABLES, b"\0"))
        body = bytearray(self._memory.read(self._system_table, SYSTEM_TABLE.size))
        struct.pack_into("<Q", body, SYSTEM_TABLE.offset_of("NumberOfTableEntries"), len(self._tables))
        self._memory.write(self._system_table, _with_header(SYSTEM_TABLE, _REVISION, bytes(body)))

    # What the core asks

    def begin(self) -> None:
        """Let DXE begin: traditional drivers may be dispatched."""
        self.ready = True

    def has_protocol(self, guid: Guid) -> bool:
        """Whether DXE's database has a protocol."""
        return bool(self.database.with_protocol(guid)) or self._has_protocol(guid)

    def enter(self, module: Module) -> tuple[int, int]:
        """Return ImageHandle, with a LoadedImage protocol on it, and the address of the EFI system table."""
        self._area.open()
        self._images.open()
        handle = self.database.add_handle(self._images.put(_IMAGE_HANDLE))
        handle.interfaces[_LOADED_IMAGE_GUID] = self._images.put(_loaded_image(module, self._system_table))
        return handle.address, self._system_table

    def is_service(self, address: int) -> bool:
        """Whether an address stands for a service."""
        index = self._addresses.index_of(address)
        return self.ready and index is not None and index < len(SERVICES)

    def serve(self, host: OutsideHost, call: OutsideCall) -> int:
        """Serve a call; see ``core.interfaces.OutsideServices``."""
        index = self._addresses.index_of(call.address)
        if index is None or index >= len(SERVICES):
            raise ValueError(f"{call.address:#x} is no service")
        service = SERVICES[index]
        request = Call(service, host, call)
        entry = self._census.setdefault((request.driver, service.title), CensusEntry(request.driver, service))
        entry.count += 1
        arguments = tuple(Hex(value) for value in request.arguments)
        guid = request.guid_name()
        entry.last = result = self._answer(request)
        host.log.emit(ServiceCalled(service.title, arguments, guid, service.support.value, Hex(result)))
        return result

    def _answer(self, call: Call) -> int:
        handler = self._handlers.get(call.service.title)
        if handler is None:
            return call.service.failure
        try:
            return int(handler(call))
        except OutOfMemoryError:
            return Status.OUT_OF_RESOURCES

    # What came of it

    @property
    def census(self) -> tuple[CensusEntry, ...]:
        """Every service that each driver called, in order of the first call."""
        return tuple(self._census.values())

    @property
    def installed(self) -> tuple[InstalledOutside, ...]:
        """The protocols that drivers installed in DXE's database, in order."""
        return tuple(self.database.installed)

    # Services of its own

    def _install_table(self, call: Call) -> int:
        if not call.argument(0):
            return Status.INVALID_PARAMETER
        guid, table = call.guid_at(call.argument(0)), call.argument(1)
        if not table:
            if self._tables.pop(guid, None) is None:
                return Status.NOT_FOUND
        elif guid not in self._tables and len(self._tables) == _MOST_TABLES:
            return Status.OUT_OF_RESOURCES
        else:
            self._tables[guid] = table
        self._update_system_table()
        return Status.SUCCESS

    def _in_smm(self, call: Call) -> int:
        if not call.argument(1):
            return Status.INVALID_PARAMETER
        call.write(call.argument(1), bytes([_TRUE]))
        return Status.SUCCESS

    def _get_smst_location(self, call: Call) -> int:
        if not call.argument(1):
            return Status.INVALID_PARAMETER
        call.write_u64(call.argument(1), call.host.system_table)
        return Status.SUCCESS

    def _get_capabilities(self, call: Call) -> int:
        size_at, target = call.argument(1), call.argument(2)
        content = b"".join(item.pack().ljust(_MMRAM_DESCRIPTOR_SIZE, b"\0") for item in self._mmram)
        room = call.read_u64(size_at)
        call.write_u64(size_at, len(content))
        if room < len(content):
            return Status.BUFFER_TOO_SMALL
        call.write(target, content)
        return Status.SUCCESS


def _get_number_of_processors(call: Call) -> int:
    if not call.argument(1) or not call.argument(2):
        return Status.INVALID_PARAMETER
    call.write_u64(call.argument(1), call.host.cpus)
    call.write_u64(call.argument(2), call.host.cpus)
    return Status.SUCCESS


def _who_am_i(call: Call) -> int:
    if not call.argument(1):
        return Status.INVALID_PARAMETER
    call.write_u64(call.argument(1), 0)
    return Status.SUCCESS


def _with_header(layout: TableLayout, revision: int, body: bytes) -> bytes:
    """Return a table with its header and the checksum over all of it."""
    plain = TableHeader(layout.signature, revision, layout.size).pack() + body[HEADER_SIZE:]
    header = TableHeader(layout.signature, revision, layout.size, zlib.crc32(plain))
    return header.pack() + body[HEADER_SIZE:]


def _runtime_arch(address: int) -> bytes:
    """EFI_RUNTIME_ARCH_PROTOCOL (PI 1.8 vol. 2 §12.9) at an address: two empty lists, and no runtime map yet."""
    images, events = address, address + 0x10
    return _RUNTIME_ARCH.pack(images, images, events, events, DESCRIPTOR_STRIDE, 1, 0, 0, 0, 0, 0)


def _loaded_image(module: Module, system_table: int) -> bytes:
    """EFI_LOADED_IMAGE_PROTOCOL (UEFI 2.10 §9.1): base and size at 0x40 and 0x48, memory types after."""
    return _LOADED_IMAGE.pack(
        0x1000,
        0,
        system_table,
        0,
        0,
        0,
        0,
        0,
        module.base,
        module.size,
        MemoryType.RUNTIME_SERVICES_CODE,
        MemoryType.RUNTIME_SERVICES_DATA,
        0,
    )
