"""Protocols and events of gBS (UEFI 2.10 §7.1, §7.3)."""

from __future__ import annotations

from collections.abc import Callable

from mmsupervisor.dxe.traditional.area import TableArea
from mmsupervisor.dxe.traditional.call import Call
from mmsupervisor.dxe.traditional.database import DxeHandle, GuestEvent, HandleDatabase, InstalledOutside
from mmsupervisor.dxe.traditional.memory_services import MemoryServices
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.memory_types import MemoryType
from mmsupervisor.pi.status import Status

_HANDLE = b"DXE handle\0\0\0\0\0\0"
_EVENT = b"DXE event\0\0\0\0\0\0\0"
_ALL_HANDLES, _BY_PROTOCOL = 0, 2
_MASK32 = (1 << 32) - 1
_NOTIFY_SIGNAL = 0x200
_TIMER = 0x8000_0000
_MOST_PROTOCOLS = 64

Announce = Callable[[Guid], None]
"""Told of every protocol that a driver installs."""


class ProtocolServices:
    """DXE's database and events."""

    def __init__(self, database: HandleDatabase, area: TableArea, memory: MemoryServices, announce: Announce) -> None:
        """Serve a database; handles and events get addresses in ``area``."""
        self._database = database
        self._area = area
        self._memory = memory
        self._announce = announce
        self._priority = 4

    def services(self) -> dict[str, Callable[[Call], int]]:
        """Return what is implemented, by title."""
        return {
            "gBS->RaiseTPL": self._set_priority,
            "gBS->RestoreTPL": self._set_priority,
            "gBS->InstallProtocolInterface": self._install_one,
            "gBS->InstallMultipleProtocolInterfaces": self._install_many,
            "gBS->UninstallProtocolInterface": self._uninstall,
            "gBS->HandleProtocol": self._handle_protocol,
            "gBS->OpenProtocol": self._handle_protocol,
            "gBS->CloseProtocol": self._close_protocol,
            "gBS->LocateProtocol": self._locate_protocol,
            "gBS->LocateHandle": self._locate_handle,
            "gBS->LocateHandleBuffer": self._locate_handle_buffer,
            "gBS->RegisterProtocolNotify": self._register_notify,
            "gBS->CreateEvent": self._create_event,
            "gBS->CreateEventEx": self._create_event,
            "gBS->SignalEvent": self._signal,
            "gBS->CloseEvent": self._close_event,
        }

    def new_handle(self) -> DxeHandle:
        """Make a handle."""
        return self._database.add_handle(self._area.put(_HANDLE))

    def _set_priority(self, call: Call) -> int:
        before, self._priority = self._priority, call.argument(0)
        return before

    # Protocols

    def _install_one(self, call: Call) -> int:
        handle_at, guid_at, kind, interface = (call.argument(index) for index in range(4))
        if not handle_at or not guid_at or kind & _MASK32:
            return Status.INVALID_PARAMETER
        return self._install(call, handle_at, [(call.guid_at(guid_at), interface)])

    def _install_many(self, call: Call) -> int:
        pairs: list[tuple[Guid, int]] = []
        position = 1
        while call.argument(position):
            if len(pairs) == _MOST_PROTOCOLS:
                return Status.INVALID_PARAMETER
            pairs.append((call.guid_at(call.argument(position)), call.argument(position + 1)))
            position += 2
        return self._install(call, call.argument(0), pairs)

    def _install(self, call: Call, handle_at: int, pairs: list[tuple[Guid, int]]) -> int:
        address = call.read_u64(handle_at)
        handle = self._database.handles.get(address) if address else None
        names = [guid for guid, _ in pairs]
        taken = handle is not None and any(guid in handle.interfaces for guid in names)
        if (address and handle is None) or taken or len(set(names)) != len(names):
            return Status.INVALID_PARAMETER
        handle = handle or self.new_handle()
        call.write_u64(handle_at, handle.address)
        for guid, interface in pairs:
            handle.interfaces[guid] = interface
            self._database.installed.append(InstalledOutside(call.driver, guid, interface))
            self._announce(guid)
            for event in list(self._database.notified.get(guid, ())):
                _run(call, event)
        return Status.SUCCESS

    def _uninstall(self, call: Call) -> int:
        handle = self._database.handles.get(call.argument(0))
        if handle is None or not call.argument(1):
            return Status.INVALID_PARAMETER
        guid = call.guid_at(call.argument(1))
        if handle.interfaces.get(guid) != call.argument(2):
            return Status.NOT_FOUND
        del handle.interfaces[guid]
        return Status.SUCCESS

    def _handle_protocol(self, call: Call) -> int:
        handle, guid_at, target = self._database.handles.get(call.argument(0)), call.argument(1), call.argument(2)
        if handle is None or not guid_at or not target:
            return Status.INVALID_PARAMETER
        interface = handle.interfaces.get(call.guid_at(guid_at))
        call.write_u64(target, interface or 0)
        return Status.UNSUPPORTED if interface is None else Status.SUCCESS

    def _close_protocol(self, call: Call) -> int:
        handle = self._database.handles.get(call.argument(0))
        if handle is None or not call.argument(1):
            return Status.INVALID_PARAMETER
        return Status.SUCCESS if call.guid_at(call.argument(1)) in handle.interfaces else Status.NOT_FOUND

    def _locate_protocol(self, call: Call) -> int:
        guid_at, registration, target = (call.argument(index) for index in range(3))
        if not guid_at or not target:
            return Status.INVALID_PARAMETER
        if registration:
            return Status.UNSUPPORTED
        guid = call.guid_at(guid_at)
        found = self._database.with_protocol(guid)
        call.write_u64(target, found[0].interfaces[guid] if found else 0)
        return Status.SUCCESS if found else Status.NOT_FOUND

    def _search(self, call: Call) -> list[int] | None:
        """Return the handles that the first two arguments ask for, or None for a search not served."""
        kind = call.argument(0) & _MASK32
        if kind == _ALL_HANDLES:
            return list(self._database.handles)
        if kind == _BY_PROTOCOL and call.argument(1):
            return [handle.address for handle in self._database.with_protocol(call.guid_at(call.argument(1)))]
        return None

    def _locate_handle(self, call: Call) -> int:
        found, size_at, target = self._search(call), call.argument(3), call.argument(4)
        if found is None or not size_at:
            return Status.UNSUPPORTED if size_at else Status.INVALID_PARAMETER
        if not found:
            return Status.NOT_FOUND
        room = call.read_u64(size_at)
        call.write_u64(size_at, 8 * len(found))
        if room < 8 * len(found):
            return Status.BUFFER_TOO_SMALL
        call.write(target, _pointers(found))
        return Status.SUCCESS

    def _locate_handle_buffer(self, call: Call) -> int:
        found, count_at, target = self._search(call), call.argument(3), call.argument(4)
        if found is None or not count_at or not target:
            return Status.UNSUPPORTED if count_at and target else Status.INVALID_PARAMETER
        if not found:
            return Status.NOT_FOUND
        buffer = self._memory.allocate_pool(8 * len(found), MemoryType.BOOT_SERVICES_DATA, call.driver)
        if buffer is None:
            return Status.OUT_OF_RESOURCES
        call.host.memory.write(buffer, _pointers(found))
        call.write_u64(count_at, len(found))
        call.write_u64(target, buffer)
        return Status.SUCCESS

    # Events

    def _register_notify(self, call: Call) -> int:
        guid_at, event, target = call.argument(0), self._database.events.get(call.argument(1)), call.argument(2)
        if not guid_at or event is None or not target:
            return Status.INVALID_PARAMETER
        self._database.notified.setdefault(call.guid_at(guid_at), []).append(event)
        call.write_u64(target, event.address)
        return Status.SUCCESS

    def _create_event(self, call: Call) -> int:
        kind, function, context = call.argument(0) & _MASK32, call.argument(2), call.argument(3)
        target = call.argument(len(call.service.arguments) - 1)
        if not target or (kind & _NOTIFY_SIGNAL and not function):
            return Status.INVALID_PARAMETER
        if kind & _TIMER:
            return Status.UNSUPPORTED
        address = self._area.put(_EVENT)
        self._database.events[address] = GuestEvent(address, function, context)
        call.write_u64(target, address)
        return Status.SUCCESS

    def _signal(self, call: Call) -> int:
        event = self._database.events.get(call.argument(0))
        if event is None:
            return Status.INVALID_PARAMETER
        _run(call, event)
        return Status.SUCCESS

    def _close_event(self, call: Call) -> int:
        event = self._database.events.get(call.argument(0))
        if event is None:
            return Status.INVALID_PARAMETER
        self._database.close(event)
        return Status.SUCCESS


def _run(call: Call, event: GuestEvent) -> None:
    if event.function:
        call.host.call(event.function, (event.address, event.context))


def _pointers(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)
