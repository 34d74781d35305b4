"""Instructions that an emulator may execute otherwise than the machine, and how to find them in a block of code.

Unicorn performs port I/O at any privilege level (INS even writes memory before anybody is asked), delivers software
interrupts without looking at the gate, has no UMIP, ignores LOCK where it is not allowed, and answers CPUID and the
timestamp counter from the host. Of what it has not it executes something else: VZEROUPPER and VZEROALL, the beginning
of a transaction, waits, and XOP encodings as POP. None of these instructions may therefore reach it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from iced_x86 import Decoder, DecoderError, EncodingKind, Instruction, Mnemonic

from mmsupervisor.processor.alignment import AlignedOperand, aligned_operands, lies_askew

_MAYBE = re.compile(
    rb"[\x6c-\x6f\xe4-\xe7\xec-\xef\xcc\xcd\xf0\xf1]"  # INS, OUTS, IN, OUT, INT3, INT, LOCK, INT1
    rb"|\x0f[\x00\x01\x07\x31\x33-\x35\xa2\xaa]"  # UMIP group, RDTSCP, SYSRET, RDTSC, RDPMC, SYSENTER, CPUID, RSM
    rb"|[\xc4\xc5].{1,2}\x77"  # VZEROUPPER, VZEROALL
    rb"|[\xc6\xc7]\xf8"  # XABORT, XBEGIN
    rb"|\x0f\xae[\xe8-\xff]"  # INCSSP and waits, among fences
    rb"|\x8f[^\x00-\x07\x40-\x47\x80-\x87\xc0-\xc7]",  # XOP
    re.DOTALL,
)

ABSENT = frozenset(
    {
        *(Mnemonic.VZEROUPPER, Mnemonic.VZEROALL, Mnemonic.XBEGIN, Mnemonic.XABORT),
        *(Mnemonic.UMONITOR, Mnemonic.UMWAIT, Mnemonic.TPAUSE, Mnemonic.INCSSPD, Mnemonic.INCSSPQ),
    }
)
"""Those that the machine does not have, by mnemonic."""

TRAPPED = frozenset(
    {
        Mnemonic.IN,
        Mnemonic.OUT,
        Mnemonic.INSB,
        Mnemonic.INSW,
        Mnemonic.INSD,
        Mnemonic.OUTSB,
        Mnemonic.OUTSW,
        Mnemonic.OUTSD,
        Mnemonic.INT,
        Mnemonic.INT1,
        Mnemonic.INT3,
        Mnemonic.SGDT,
        Mnemonic.SIDT,
        Mnemonic.SLDT,
        Mnemonic.STR,
        Mnemonic.SMSW,
        Mnemonic.LMSW,
        Mnemonic.SWAPGS,
        Mnemonic.SYSRET,
        Mnemonic.SYSRETQ,
        Mnemonic.SYSENTER,
        Mnemonic.SYSEXIT,
        Mnemonic.SYSEXITQ,
        Mnemonic.RDTSC,
        Mnemonic.RDTSCP,
        Mnemonic.RDPMC,
        Mnemonic.CPUID,
        Mnemonic.RSM,
        *ABSENT,
    }
)
"""The decoder's numbers of these instructions."""


def is_absent(instruction: Instruction) -> bool:
    """Return whether it is one that the machine does not have and the emulator takes for another."""
    return instruction.mnemonic in ABSENT or instruction.encoding == EncodingKind.XOP


def is_trapped(instruction: Instruction) -> bool:
    """Return whether the instruction is one that must never reach the emulator."""
    return instruction.mnemonic in TRAPPED or instruction.encoding == EncodingKind.XOP


def trapped_offsets(code: bytes, address: int, size: int) -> list[int]:
    """Return the offsets of such instructions in a block of code that begins at ``address``.

    Args:
        code: The block, and what follows it: an instruction that the emulator does not know ends a block within itself.
        address: Where it begins.
        size: Bytes of the block.
    """
    if not _MAYBE.search(code, 0, size):
        return []
    offsets: list[int] = []
    decoder = Decoder(64, code, ip=address)
    while decoder.position < size:
        offset = decoder.position
        instruction = decoder.decode()
        if instruction.is_invalid:
            # The emulator may take it for a valid one, of which only it knows the length. It stops in front of it; but
            # where code ends within what may be valid, the emulator comes to that end by itself.
            undefined = decoder.last_error == DecoderError.INVALID_INSTRUCTION
            return [*offsets, offset] if undefined else offsets
        if is_trapped(instruction):
            offsets.append(offset)
    return offsets


class Traps:
    """Where an engine has to stop: in front of such instructions, and of operands that turn out to be misaligned."""

    def __init__(self) -> None:
        """Begin with none."""
        self._aligned: dict[int, AlignedOperand] = {}

    def find(self, code: bytes, address: int, size: int) -> list[int]:
        """Return the addresses at which to stop in a block; arguments are those of :func:`trapped_offsets`."""
        addresses = [address + offset for offset in trapped_offsets(code, address, size)]
        for known in addresses:
            self._aligned.pop(known, None)  # other code was there before
        for operand in aligned_operands(code[:size], address):
            addresses.append(address + operand.offset)
            self._aligned[addresses[-1]] = operand
        return addresses

    def depends_on_registers(self, address: int) -> bool:
        """Return whether the stop at an address is for an operand that may be aligned."""
        return address in self._aligned

    def lies_askew(self, address: int, registers: Sequence[int]) -> bool:
        """Return whether that operand is misaligned with these registers, in the order of ``Registers``."""
        return lies_askew(self._aligned[address], registers)

    def forget(self, address: int) -> None:
        """Have no stop at an address: other code is there now."""
        self._aligned.pop(address, None)
