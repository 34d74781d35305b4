"""Exception vectors, and what an emulator leaves out about an exception, found from the instruction."""

from __future__ import annotations

from iced_x86 import Instruction, Mnemonic

from mmsupervisor.machine.memory import PAGE_SIZE, Access
from mmsupervisor.processor.instructions import is_canonical, memory_uses
from mmsupervisor.processor.interface import Registers

DEBUG = 1
INVALID_OPCODE = 6
STACK_SEGMENT = 12
GENERAL_PROTECTION = 13

_LAST_LOW_PAGE = (1 << 47) - PAGE_SIZE

WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})
"""Vectors that push an error code."""


def touched_address(instruction: Instruction, registers: Registers, page: int) -> int:
    """Return CR2 for a fault on a page: the first byte of it that the instruction touches."""
    for use in memory_uses(instruction, registers):
        if use.address < page + PAGE_SIZE and use.address + max(use.size, 1) > page:
            return max(use.address, page)
    return page


def refused_access(instruction: Instruction, access: Access) -> Access:
    """Return what a page fault says was tried: locked instructions and XCHG ask for the right to write at once."""
    locked = instruction.has_lock_prefix or instruction.mnemonic == Mnemonic.XCHG
    return Access.WRITE if locked else access


def vector_of_bad_address(instruction: Instruction, registers: Registers, page: int) -> int | None:
    """Return #SS or #GP if the access to ``page`` is one to addresses that are not canonical, else None."""
    if is_canonical(page) and page != _LAST_LOW_PAGE:
        return None
    for use in memory_uses(instruction, registers):
        last = use.address + max(use.size, 1) - 1
        touches = use.address < page + PAGE_SIZE and last >= page
        if touches and not (is_canonical(use.address) and is_canonical(last)):
            return STACK_SEGMENT if use.stack else GENERAL_PROTECTION
    return None if is_canonical(page) else GENERAL_PROTECTION


def vector_of_range(instruction: Instruction, registers: Registers, address: int) -> int:
    """Return #SS or #GP for an operand at an address that is not canonical."""
    stack = any(use.stack and use.address == address for use in memory_uses(instruction, registers))
    return STACK_SEGMENT if stack else GENERAL_PROTECTION
