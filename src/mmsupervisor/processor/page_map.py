"""What the machine's page map says about an access of ring 3."""

from __future__ import annotations

from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Access, Attribute, PhysicalMemory
from mmsupervisor.processor.instructions import MAX_INSTRUCTION

PAGE_FAULT = 14

_PRESENT, _WRITE, _USER, _FETCH = 1, 2, 4, 0x10


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
        if not memory.state(at).direct & Access.EXECUTE:
            break
        code += memory.read(at, min(MAX_INSTRUCTION - len(code), PAGE_SIZE - (at & PAGE_MASK)))
    return code
