"""Ring 0's own accesses to memory that ring 3 names: through the same page tables, with CR0.WP set.

The pointer checks ask whose pages they are and nothing else (docs/reference/syscall-abi.md §5), so ring 0 may
touch one that is not present or not writable. On the device that is a page fault of the supervisor itself.
"""

from __future__ import annotations

from mmsupervisor.core.errors import Ring0FaultError
from mmsupervisor.machine.memory import Access, Attribute, PhysicalMemory

_PAGE_FAULT = 14
_RULE = "syscall-abi.md §5: presence and writability are not required"


def _check(memory: PhysicalMemory, address: int, length: int, access: Access) -> None:
    denied = Attribute.RP | Attribute.RO if access is Access.WRITE else Attribute.RP
    verb = "write" if access is Access.WRITE else "read"
    if address + length > memory.pages.limit:
        raise Ring0FaultError(_PAGE_FAULT, f"ring 0 {verb} at {address:#x}, an address without a page", _RULE, address)
    for piece in memory.slice(address, length):
        if piece.value.attributes & denied or piece.value.bank is None:
            why = "read-only" if not piece.value.attributes & Attribute.RP and piece.value.bank else "not present"
            detail = f"ring 0 {verb} at {piece.start:#x}, a page that is {why}"
            raise Ring0FaultError(_PAGE_FAULT, detail, _RULE, piece.start)


def read_as_ring0(memory: PhysicalMemory, address: int, length: int) -> bytes:
    """Read memory as ring 0 does.

    Raises:
        Ring0FaultError: a page is not present.
    """
    _check(memory, address, length, Access.READ)
    return memory.read(address, length)


def write_as_ring0(memory: PhysicalMemory, address: int, data: bytes) -> None:
    """Write memory as ring 0 does; nothing is written if it faults.

    Raises:
        Ring0FaultError: a page is not present or read-only.
    """
    _check(memory, address, len(data), Access.WRITE)
    memory.write(address, data)
