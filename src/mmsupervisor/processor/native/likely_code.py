"""Instructions that only an indirect jump reaches, judged by their surroundings.

A page of code holds more than what direct jumps reach: functions called through pointers, and often constants. Bytes
that could be an instruction which must not reach the host's processor are taken for one if a function that decodes
without a flaw leads to them and on to its end. Constants practically never do; a byte of theirs must not be changed.
Only instructions with opcodes of two bytes are looked for, since single bytes occur everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic

from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.processor.native.instruction_rules import must_be_replaced

_SUSPECT = re.compile(rb"\x0f[\x00-\x03\x31\xa0-\xa2\xa8\xa9\xae\xc7]|\xc5[\xf8\xfc]\x77", re.DOTALL)
"""Descriptor tables, RDTSC, FS and GS, CPUID, XSAVE, bases of FS and GS, RDRAND, VZEROUPPER; and innocent ones."""

_ENDS = frozenset((0xC3, 0xCC, 0x90))
"""Bytes that the end of a function has: RET, and what fills the room to the next."""

_LOOK_BACK = 128
_MOST_STARTS = 16
_MOST_INSTRUCTIONS = 100
_ALIGNMENT = 16

_IMPLAUSIBLE = frozenset(
    {
        *(Mnemonic.IN, Mnemonic.OUT, Mnemonic.INSB, Mnemonic.INSD, Mnemonic.OUTSB, Mnemonic.OUTSD, Mnemonic.HLT),
        *(Mnemonic.INTO, Mnemonic.INT, Mnemonic.INT1, Mnemonic.IRETD, Mnemonic.RETF, Mnemonic.XLATB, Mnemonic.SALC),
    }
)
_LAST = frozenset((FlowControl.RETURN, FlowControl.UNCONDITIONAL_BRANCH, FlowControl.INDIRECT_BRANCH))
_ZEROS = b"\0\0"


def suspects(code: bytes) -> Iterator[int]:
    """Yield the offsets in a page's bytes of what could be an opcode to be replaced."""
    for match in _SUSPECT.finditer(code, 0, PAGE_SIZE + 1):
        yield match.start()


def find_around(code: bytes, address: int, suspect: int, covers: Callable[[int], bool]) -> list[tuple[int, int]] | None:
    """Return offset and size of the instructions to be replaced in the function around a suspect.

    Args:
        code: A page, and some bytes of the next.
        address: Of the page.
        suspect: Offset of the opcode.
        covers: Whether the byte at an offset is known to be code.

    Returns:
        None if no flawless function leads to it.
    """
    for start in _starts(code, suspect, covers):
        found = _walk(code, address, start, suspect, covers)
        if found is not None:
            return found
    return None


def _starts(code: bytes, suspect: int, covers: Callable[[int], bool]) -> Iterator[int]:
    """Yield offsets at which a function may begin that holds the suspect, the nearest first."""
    count = 0
    for start in range(suspect, max(suspect - _LOOK_BACK, 0), -1):
        if covers(start):
            return
        if code[start - 1] in _ENDS or start % _ALIGNMENT == 0 or covers(start - 1):
            yield start
            count += 1
            if count == _MOST_STARTS:
                return


def _walk(
    code: bytes, address: int, start: int, suspect: int, covers: Callable[[int], bool]
) -> list[tuple[int, int]] | None:
    decoder = Decoder(64, code, ip=address + start)
    decoder.position = start
    found: list[tuple[int, int]] = []
    passed = False
    for _ in range(_MOST_INSTRUCTIONS):
        offset = decoder.position
        if offset > suspect and not passed:
            return None
        if offset >= PAGE_SIZE or (passed and covers(offset)):
            return found
        instruction = decoder.decode()
        if not _is_plausible(instruction, code, offset):
            return None
        if must_be_replaced(instruction):
            found.append((offset, instruction.len))
            passed = passed or offset <= suspect < offset + instruction.len
        if passed and instruction.flow_control in _LAST:
            return found
    return None


def _is_plausible(instruction: Instruction, code: bytes, offset: int) -> bool:
    if instruction.is_invalid or instruction.mnemonic in _IMPLAUSIBLE:
        return False
    return code[offset : offset + 2] != _ZEROS
