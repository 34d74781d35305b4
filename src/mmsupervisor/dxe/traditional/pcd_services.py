"""Dynamic PCDs: the values that the image's own PCD database begins with (PI 1.8 vol. 3 §8).

A PEIM that would have changed a value has not run here; a value that is not in the database is refused, because
no answer would be honest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mmsupervisor.dxe.memory_map import OutOfMemoryError
from mmsupervisor.dxe.traditional.area import TableArea
from mmsupervisor.dxe.traditional.call import Call
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.pcd_database import Pcd
from mmsupervisor.pi.status import Status

_WIDTHS = {"8": 1, "16": 2, "32": 4, "64": 8, "Bool": 1}


class PcdServices:
    """Both PCD protocols.

    Attributes:
        changed: Values that drivers set, by token.
    """

    def __init__(self, pcds: Iterable[Pcd], area: TableArea) -> None:
        """Begin with the database's values."""
        self._pcds = {pcd.token: pcd for pcd in pcds}
        self._extended = {(pcd.token_space, pcd.ex_token): pcd for pcd in self._pcds.values() if pcd.token_space}
        self._area = area
        self._places: dict[int, int] = {}
        self.changed: dict[int, bytes] = {}

    def services(self) -> dict[str, Callable[[Call], int]]:
        """Return what is implemented, by title."""
        found: dict[str, Callable[[Call], int]] = {}
        for table, suffix, extended in (("PCD", "", False), ("PCD", "Ex", True), ("EfiPcd", "", True)):
            find = self._find_extended if extended else self._find
            for kind in ("8", "16", "32", "64", "Bool", "Ptr", "Size"):
                found[f"{table}->Get{kind}{suffix}"] = self._getter(kind, find)
            for kind, width in _WIDTHS.items():
                found[f"{table}->Set{kind}{suffix}"] = self._setter(width, find, 2 if extended else 1)
            found[f"{table}->SetPtr{suffix}"] = self._pointer_setter(find, 2 if extended else 1)
        return found

    def _find(self, call: Call) -> Pcd:
        token = call.argument(0)
        pcd = self._pcds.get(token)
        if pcd is None:
            raise call.host.refuse(f"{call.service.title}: no PCD database of the image has token {token:#x}")
        return pcd

    def _find_extended(self, call: Call) -> Pcd:
        space: Guid = call.guid_at(call.argument(0))
        number = call.argument(1)
        pcd = self._extended.get((space, number))
        if pcd is None:
            raise call.host.refuse(f"{call.service.title}: no PCD database of the image has {space.label} {number:#x}")
        return pcd

    def _value(self, call: Call, pcd: Pcd) -> bytes:
        value = self.changed.get(pcd.token, pcd.value)
        if value is None:
            raise call.host.refuse(f"{call.service.title}: PCD {pcd.token:#x} lies in a VPD region, which is not here")
        return value

    def _place(self, call: Call, pcd: Pcd, value: bytes) -> int:
        """Return the address of a value: a PCD keeps its place, with room for its largest value."""
        address = self._places.get(pcd.token)
        if address is None:
            try:
                address = self._area.put(bytes(max(pcd.max_size, len(value), 1)))
            except OutOfMemoryError as error:
                raise call.host.refuse(f"{call.service.title}: {error}") from error
            self._places[pcd.token] = address
        call.host.memory.write(address, value)
        return address

    def _getter(self, kind: str, find: Callable[[Call], Pcd]) -> Callable[[Call], int]:
        def get(call: Call) -> int:
            pcd = find(call)
            value = self._value(call, pcd)
            if kind == "Size":
                return len(value)
            if kind == "Ptr":
                return self._place(call, pcd, value)
            return int.from_bytes(value[: _WIDTHS[kind]], "little")

        return get

    def _setter(self, width: int, find: Callable[[Call], Pcd], position: int) -> Callable[[Call], int]:
        def set_value(call: Call) -> int:
            pcd = find(call)
            if pcd.size != width:
                return Status.INVALID_PARAMETER
            self.changed[pcd.token] = call.argument(position).to_bytes(8, "little")[:width]
            return Status.SUCCESS

        return set_value

    def _pointer_setter(self, find: Callable[[Call], Pcd], position: int) -> Callable[[Call], int]:
        def set_value(call: Call) -> int:
            pcd = find(call)
            size = call.read_u64(call.argument(position))
            if size > pcd.max_size:
                call.write_u64(call.argument(position), pcd.max_size)
                return Status.INVALID_PARAMETER
            self.changed[pcd.token] = call.read(call.argument(position + 1), size)
            return Status.SUCCESS

        return set_value
