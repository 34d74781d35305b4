"""Operands of SSE instructions that must lie at a multiple of 16, else #GP(0); Unicorn does not look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from iced_x86 import Decoder, EncodingKind, Instruction, MemorySizeExt, Mnemonic, OpKind

from mmsupervisor.processor.instructions import REGISTER_NAMES, memory_uses, register_parts
from mmsupervisor.processor.interface import Registers

ALIGNMENT = 16
"""Bytes."""

_UNALIGNED = frozenset(
    {
        *(Mnemonic.MOVUPS, Mnemonic.MOVUPD, Mnemonic.MOVDQU, Mnemonic.LDDQU, Mnemonic.MASKMOVDQU),
        *(Mnemonic.PCMPESTRI, Mnemonic.PCMPESTRI64, Mnemonic.PCMPESTRM, Mnemonic.PCMPESTRM64),
        *(Mnemonic.PCMPISTRI, Mnemonic.PCMPISTRM),
        # These raise what they must by themselves, aligned or not.
        *(Mnemonic.CMPXCHG16B, Mnemonic.BNDMOV, Mnemonic.INVEPT, Mnemonic.INVVPID, Mnemonic.INVPCID),
    }
)

_MAYBE = re.compile(
    rb"\x0f[\x12\x14-\x16\x28\x29\x2b-\x2d\x38\x3a\x51-\x6d\x6f\x70\x74-\x76\x7c\x7d\x7f\xc2\xc6\xd0-\xfe]"
)


class AlignedOperand(NamedTuple):
    """An operand, as far as it takes to see whether it is aligned; only the lowest bits of an address count.

    Attributes:
        offset: Offset of the instruction in the code looked at.
        registers: Which 64-bit registers make the address, by their place in ``Registers``, with their factors.
        displacement: What is added.
    """

    offset: int
    registers: tuple[tuple[int, int], ...]
    displacement: int


def must_be_aligned(instruction: Instruction) -> bool:
    """Return whether the instruction has an operand in memory that must be aligned."""
    return (
        instruction.encoding == EncodingKind.LEGACY
        and any(instruction.op_kind(number) == OpKind.MEMORY for number in range(instruction.op_count))
        and MemorySizeExt.size(instruction.memory_size) == ALIGNMENT
        and instruction.mnemonic not in _UNALIGNED
    )


def is_misaligned(instruction: Instruction, registers: Registers) -> bool:
    """Return whether the instruction has such an operand, and with these registers at an address not aligned."""
    return must_be_aligned(instruction) and any(
        use.address % ALIGNMENT for use in memory_uses(instruction, registers) if use.size == ALIGNMENT
    )


def aligned_operands(code: bytes, address: int) -> list[AlignedOperand]:
    """Return the operands of a run of whole instructions that may turn out to be misaligned."""
    if not _MAYBE.search(code):
        return []
    decoder = Decoder(64, code, ip=address)
    found: list[AlignedOperand] = []
    while decoder.can_decode:
        offset = decoder.position
        instruction = decoder.decode()
        if instruction.is_invalid:
            break  # the emulator never gets past it
        if must_be_aligned(instruction):
            found.append(_operand(instruction, offset))
    return [operand for operand in found if operand.registers or operand.displacement % ALIGNMENT]


def _operand(instruction: Instruction, offset: int) -> AlignedOperand:
    registers: list[tuple[int, int]] = []
    # Of an address relative to RIP the displacement is already the sum.
    for register, scale in ((instruction.memory_base, 1), (instruction.memory_index, instruction.memory_index_scale)):
        if register in register_parts():
            registers.append((REGISTER_NAMES.index(register_parts()[register].field), scale))
    return AlignedOperand(offset, tuple(registers), instruction.memory_displacement % ALIGNMENT)


def lies_askew(operand: AlignedOperand, values: Sequence[int]) -> bool:
    """Return whether the operand is misaligned with these values of the registers, in the order of ``Registers``."""
    address = operand.displacement
    for index, factor in operand.registers:
        address += values[index] * factor
    return address % ALIGNMENT != 0
