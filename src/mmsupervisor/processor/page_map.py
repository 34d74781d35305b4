"""What the machine's page map says about an access of ring 3."""

from __future__ import annotations

from itertools import product

from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Access, Attribute, PageState, PhysicalMemory
from mmsupervisor.processor.instructions import MAX_INSTRUCTION

PAGE_FAULT = 14

_PRESENT, _WRITE, _USER, _FETCH = 1, 2, 4, 0x10


READ, WRITE, EXECUTE = int(Access.READ), int(Access.WRITE), int(Access.EXECUTE)
"""Kinds of access as plain numbers: arithmetic with flags of an enumeration takes ten times as long."""

WITHIN = 8
"""Beside a kind of access: a device answers it, without an exit."""

_RING3 = {
    int(attributes): int(PageState(attributes).ring3)
    for attributes in (
        rp | xp | ro | sp
        for rp, xp, ro, sp in product(
            (Attribute.NONE, Attribute.RP),
            (Attribute.NONE, Attribute.XP),
            (Attribute.NONE, Attribute.RO),
            (Attribute.NONE, Attribute.SP),
        )
    )
}


def ring3_access(state: PageState) -> int:
    """Return ``state.ring3`` as a number."""
    return _RING3[int(state.attributes)]


def direct_access(state: PageState) -> int:
    """Return ``state.direct`` as a number."""
    bank = state.bank
    if bank is None or bank.backing is None:
        return 0
    access = _RING3[int(state.attributes)]
    return access if bank.writable else access & ~WRITE


def access_without_exit(state: PageState) -> int:
    """Return what ring 3 may do with no exit: :func:`direct_access`, or :data:`WITHIN` and what a device may answer."""
    bank = state.bank
    if bank is None or not bank.answers_within:
        return direct_access(state)
    access = _RING3[int(state.attributes)] & ~EXECUTE
    return access | WITHIN if access else 0


def page_fault_code(memory: PhysicalMemory, address: int, access: Access) -> int:
    """Return the error code of a page fault that ring 3 takes."""
    code = _USER
    if not memory.state(address).attributes & Attribute.RP:
        code |= _PRESENT
    if access & Access.WRITE:
        code |= _WRITE
    if access & Access.EXECUTE:
        code |= _FETCH
    return code


def fetch(memory: PhysicalMemory, address: int) -> bytes:
    """Return the bytes that ring 3 could fetch at an address, at most one instruction's."""
    code = b""
    while len(code) < MAX_INSTRUCTION:
        at = address + len(code)
        if not direct_access(memory.state(at)) & EXECUTE:
            break
        code += memory.read(at, min(MAX_INSTRUCTION - len(code), PAGE_SIZE - (at & PAGE_MASK)))
    return code
