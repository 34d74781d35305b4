"""Memory as gBS gives it: normal memory, outside MMRAM (UEFI 2.10 §7.2, §7.5.1)."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from mmsupervisor.dxe.memory_map import OutOfMemoryError, UefiMemoryMap
from mmsupervisor.dxe.traditional.call import Call
from mmsupervisor.pi.memory_types import (
    PAGE_SIZE,
    AllocateType,
    MemoryAttribute,
    MemoryDescriptor,
    MemoryType,
    pages_for,
)
from mmsupervisor.pi.status import Status

DESCRIPTOR_STRIDE = 48
"""Bytes from one descriptor of the memory map to the next, as edk2 has it."""

_DESCRIPTOR_VERSION = 1
_RUNTIME_TYPES = (MemoryType.RUNTIME_SERVICES_CODE, MemoryType.RUNTIME_SERVICES_DATA)
_FREE_TYPES = frozenset(range(MemoryType.PERSISTENT + 1)) - {MemoryType.CONVENTIONAL}
_MASK32 = (1 << 32) - 1


class MemoryServices:
    """Pages, pool and the memory map."""

    def __init__(self, memory_map: UefiMemoryMap) -> None:
        """Allocate from a memory map."""
        self._map = memory_map
        self._pool: set[int] = set()
        self._key = 0

    def services(self) -> dict[str, Callable[[Call], int]]:
        """Return what is implemented, by title."""
        return {
            "gBS->AllocatePages": self._allocate_pages,
            "gBS->FreePages": self._free_pages,
            "gBS->GetMemoryMap": self._get_memory_map,
            "gBS->AllocatePool": self._allocate_pool,
            "gBS->FreePool": self._free_pool,
            "gBS->CalculateCrc32": _calculate_crc32,
            "gBS->CopyMem": _copy_memory,
            "gBS->SetMem": _set_memory,
        }

    def allocate(self, pages: int, memory_type: int, owner: str) -> int | None:
        """Allocate pages anywhere and return their address, or None if there are none."""
        try:
            address = self._map.allocate(pages, memory_type, owner)
        except OutOfMemoryError:
            return None
        self._key += 1
        return address

    def _allocate_pages(self, call: Call) -> int:
        kind, memory_type, pages, target = (call.argument(index) for index in range(4))
        kind, memory_type = kind & _MASK32, memory_type & _MASK32
        if not target or not pages or memory_type not in _FREE_TYPES:
            return Status.INVALID_PARAMETER
        if kind == AllocateType.ADDRESS:
            wanted = call.read_u64(target)
            try:
                self._map.reserve(wanted, pages, memory_type, call.driver)
            except ValueError:
                return Status.NOT_FOUND
            self._key += 1
            return Status.SUCCESS
        if kind not in (AllocateType.ANY_PAGES, AllocateType.MAX_ADDRESS):
            return Status.INVALID_PARAMETER
        limit = call.read_u64(target) if kind == AllocateType.MAX_ADDRESS else None
        address = self.allocate(pages, memory_type, call.driver)
        if address is None:
            return Status.OUT_OF_RESOURCES
        if limit is not None and address + pages * PAGE_SIZE - 1 > limit:
            self._release(address)
            return Status.UNSUPPORTED  # memory below a limit is not looked for
        call.write_u64(target, address)
        return Status.SUCCESS

    def _release(self, address: int) -> None:
        """Free an allocation that is there, whether it was given out as pages or as pool."""
        self._map.free(address)
        self._pool.discard(address)
        self._key += 1

    def _free_pages(self, call: Call) -> int:
        address, pages = call.argument(0), call.argument(1)
        known = self._map.find(address)
        if known is None or known.owner != call.driver:
            return Status.NOT_FOUND
        if known.pages != pages:
            return Status.UNSUPPORTED
        self._release(address)
        return Status.SUCCESS

    def _allocate_pool(self, call: Call) -> int:
        memory_type, size, target = call.argument(0) & _MASK32, call.argument(1), call.argument(2)
        if not target or memory_type not in _FREE_TYPES:
            return Status.INVALID_PARAMETER
        address = self.allocate_pool(size, memory_type, call.driver)
        if address is None:
            return Status.OUT_OF_RESOURCES
        call.write_u64(target, address)
        return Status.SUCCESS

    def allocate_pool(self, size: int, memory_type: int, owner: str) -> int | None:
        """Allocate pool, in whole pages, and return its address, or None."""
        address = self.allocate(max(1, pages_for(size)), memory_type, owner)
        if address is not None:
            self._pool.add(address)
        return address

    def _free_pool(self, call: Call) -> int:
        address = call.argument(0)
        if address not in self._pool:
            return Status.INVALID_PARAMETER
        self._release(address)
        return Status.SUCCESS

    def _get_memory_map(self, call: Call) -> int:
        size_at, map_at, key_at, stride_at, version_at = (call.argument(index) for index in range(5))
        if not size_at:
            return Status.INVALID_PARAMETER
        rows = [_row(item) for item in self._map.descriptors()]
        room = call.read_u64(size_at)
        call.write_u64(size_at, len(rows) * DESCRIPTOR_STRIDE)
        if stride_at:
            call.write_u64(stride_at, DESCRIPTOR_STRIDE)
        if version_at:
            call.write(version_at, _DESCRIPTOR_VERSION.to_bytes(4, "little"))
        if room < len(rows) * DESCRIPTOR_STRIDE:
            return Status.BUFFER_TOO_SMALL
        if not map_at:
            return Status.INVALID_PARAMETER
        call.write(map_at, b"".join(rows))
        if key_at:
            call.write_u64(key_at, self._key)
        return Status.SUCCESS


def _row(item: MemoryDescriptor) -> bytes:
    attribute = int(MemoryAttribute.WB) | (int(MemoryAttribute.RUNTIME) if item.type in _RUNTIME_TYPES else 0)
    full = MemoryDescriptor(item.type, item.physical_start, item.virtual_start, item.number_of_pages, attribute)
    return full.pack().ljust(DESCRIPTOR_STRIDE, b"\0")


def _calculate_crc32(call: Call) -> int:
    data, size, target = (call.argument(index) for index in range(3))
    if not data or not size or not target:
        return Status.INVALID_PARAMETER
    call.write(target, zlib.crc32(call.read(data, size)).to_bytes(4, "little"))
    return Status.SUCCESS


def _copy_memory(call: Call) -> int:
    target, source, length = (call.argument(index) for index in range(3))
    call.write(target, call.read(source, length))
    return Status.SUCCESS


def _set_memory(call: Call) -> int:
    target, size, value = (call.argument(index) for index in range(3))
    call.fill(target, size, value & 0xFF)
    return Status.SUCCESS
