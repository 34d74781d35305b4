"""Ring 0's own accesses to memory that ring 3 names: through the same page tables, with CR0.WP set.

The pointer checks ask whose pages they are and nothing else (docs/reference/syscall-abi.md §5), so ring 0 may
touch one that is not present or not writable. On the device that is a page fault of the supervisor itself.
"""

from __future__ import annotations

from mmsupervisor.core.errors import Ring0FaultError
from mmsupervisor.machine.memory import Access, Attribute, PhysicalMemory

_PAGE_FAULT = 14
_ABSENT, _UNWRITABLE = int(Attribute.RP), int(Attribute.RP | Attribute.RO)
_RULE = "syscall-abi.md §5: presence and writability are not required"


def _check(memory: PhysicalMemory, address: int, length: int, access: Access) -> None:
    denied = _UNWRITABLE if access is Access.WRITE else _ABSENT
    verb = "write" if access is Access.WRITE else "read"
    if address + length > memory.pages.limit:
        raise Ring0FaultError(_PAGE_FAULT, f"ring 0 {verb} at {address:#x}, an address without a page", _RULE, address)
    for piece in memory.slice(address, length):
        if int(piece.value.attributes) & denied or piece.value.bank is None:
            why = "read-only" if not piece.value.attributes & Attribute.RP and piece.value.bank else "not present"
            detail = f"ring 0 {verb} at {piece.start:#x}, a page that is {why}"
            raise Ring0FaultError(_PAGE_FAULT, detail, _RULE, piece.start)


def read_as_ring0(memory: PhysicalMemory, address: int, length: int) -> bytes:
    """Read memory as ring 0 does.

    Raises:
        Ring0FaultError: a page is not present.
    """
    _check(memory, address, length, Access.READ)
    found = b""
    while len(found) < length:
        at, left = address + len(found), length - len(found)
        bank = memory.state(at).bank
        if bank is None or bank.backing is not None or bank.device is None:
            size = left if bank is None else min(left, bank.end - at)
            found += memory.read(at, size)
        else:
            width = _device_width(at, left)
            found += bank.device.mmio_read(at - bank.base, width).to_bytes(width, "little")
    return found


def write_as_ring0(memory: PhysicalMemory, address: int, data: bytes) -> None:
    """Write memory as ring 0 does; nothing is written if it faults.

    Raises:
        Ring0FaultError: a page is not present or read-only.
    """
    _check(memory, address, len(data), Access.WRITE)
    done = 0
    while done < len(data):
        at = address + done
        bank = memory.state(at).bank
        if bank is None or bank.device is None:
            size = len(data) - done if bank is None else min(len(data) - done, bank.end - at)
            memory.write(at, data[done : done + size])
        else:
            size = _device_width(at, len(data) - done)
            bank.device.mmio_write(at - bank.base, size, int.from_bytes(data[done : done + size], "little"))
        done += size


def _device_width(address: int, left: int) -> int:
    """The widest access of a device that begins at an address and takes no more than is wanted."""
    return next(width for width in (8, 4, 2, 1) if address % width == 0 and width <= left)
