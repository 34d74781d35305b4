"""Instructions that an emulator may execute otherwise than the machine, and how to find them in a block of code.

Unicorn performs port I/O at any privilege level (INS even writes memory before anybody is asked), delivers software
interrupts without looking at the gate, has no UMIP, ignores LOCK where it is not allowed, and answers CPUID and the
timestamp counter from the host; of AVX, which it has not, it executes VZEROUPPER and VZEROALL. None of these
instructions may therefore reach it.
"""

from __future__ import annotations

import re

from iced_x86 import Decoder, Mnemonic

_MAYBE = re.compile(
    rb"[\x6c-\x6f\xe4-\xe7\xec-\xef\xcc\xcd\xf0\xf1]"  # INS, OUTS, IN, OUT, INT3, INT, LOCK, INT1
    rb"|\x0f[\x00\x01\x07\x31\x33-\x35\xa2\xaa]"  # UMIP group, RDTSCP, SYSRET, RDTSC, RDPMC, SYSENTER, CPUID, RSM
    rb"|[\xc4\xc5].{1,2}\x77",  # VZEROUPPER, VZEROALL
    re.DOTALL,
)

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
        Mnemonic.VZEROUPPER,
        Mnemonic.VZEROALL,
    }
)
"""The decoder's numbers of these instructions."""


def trapped_offsets(code: bytes, address: int) -> list[int]:
    """Return the offsets of such instructions in a run of whole instructions that begins at ``address``."""
    if not _MAYBE.search(code):
        return []
    offsets: list[int] = []
    decoder = Decoder(64, code, ip=address)
    while decoder.can_decode:
        offset = decoder.position
        instruction = decoder.decode()
        if instruction.is_invalid:
            # The emulator takes it for a valid one, of which only it knows the length. It stops in front of it.
            return [*offsets, offset]
        if instruction.mnemonic in TRAPPED:
            offsets.append(offset)
    return offsets
