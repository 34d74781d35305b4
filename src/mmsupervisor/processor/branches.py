"""Near branches, found and undone after an emulator has carried one out that the machine refuses."""

from __future__ import annotations

from dataclasses import replace

from iced_x86 import FlowControl, Instruction

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.processor import page_map
from mmsupervisor.processor.instructions import MASK64, decode
from mmsupervisor.processor.interface import Registers

_LONGEST_BLOCK = 1024
"""Instructions; Unicorn ends its blocks earlier."""

_BRANCHES = frozenset({FlowControl.INDIRECT_BRANCH, FlowControl.INDIRECT_CALL, FlowControl.RETURN})


def find_end(memory: PhysicalMemory, block: int) -> Instruction | None:
    """Return the instruction that ends a block of code by leading elsewhere, or None if there is none.

    Args:
        memory: The machine's memory.
        block: Address of the block's first instruction.
    """
    rip = block
    for _ in range(_LONGEST_BLOCK):
        instruction = decode(page_map.fetch(memory, rip), rip)
        if instruction is None or instruction.flow_control != FlowControl.NEXT:
            return instruction
        rip = instruction.next_ip
    return None


def find_branch(memory: PhysicalMemory, block: int) -> Instruction | None:
    """Return the indirect branch or return that ends a block of code, or None if it ends otherwise."""
    end = find_end(memory, block)
    return end if end is not None and end.flow_control in _BRANCHES else None


def undo(branch: Instruction, after: Registers) -> Registers:
    """Return the registers before a branch: RIP is its own address, and RSP what it was before a push or a pop."""
    # What the decoder calls the increment is what the instruction adds to RSP.
    rsp = (after.rsp - branch.stack_pointer_increment) & MASK64
    return replace(after, rip=branch.ip, rsp=rsp)
