"""Code as text: what stands around a place, and what a call leads to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iced_x86 import Decoder, FlowControl, Instruction

from mmsupervisor.debuginfo.image_view import ImageView

_LONGEST = 15
_SHORTEST_CALL, _LONGEST_CALL = 2, 8
_FARTHEST_START = 0x2000
_CALLS = (FlowControl.CALL, FlowControl.INDIRECT_CALL)


@dataclass(frozen=True, slots=True)
class CodeLine:
    """One instruction.

    Attributes:
        address: Where it stands.
        code: Its bytes.
        text: It in words; the bytes again where they are no instruction.
        target: Address that a near call or jump leads to, or None.
    """

    address: int
    code: bytes
    text: str
    target: int | None = None


def follows_call(code: bytes) -> bool:
    """Whether the bytes end with a call: what comes next is an address to which something returns."""
    for size in range(_SHORTEST_CALL, min(_LONGEST_CALL, len(code)) + 1):
        instruction = Decoder(64, code[-size:]).decode()
        if not instruction.is_invalid and instruction.len == size and instruction.flow_control in _CALLS:
            return True
    return False


def instructions(image: ImageView, offset: int) -> Iterator[Instruction]:
    """Iterate over an image's instructions in the order of their addresses, up to bytes that are none."""
    decoder = Decoder(64, image.content[offset:], ip=image.base + offset)
    while decoder.can_decode:
        instruction = decoder.decode()
        if instruction.is_invalid:
            return
        yield instruction


def disassemble_around(
    image: ImageView, address: int, *, before: int = 4, after: int = 3, function: int | None = None
) -> tuple[CodeLine, ...]:
    """Disassemble around a place.

    Args:
        image: The image that holds it.
        address: Where an instruction stands.
        before: Instructions before it; fewer where the code cannot be read backward with certainty.
        after: Instructions behind it.
        function: Offset at which the function begins, where that is known.
    """
    offset = address - image.base
    lines = list(_before(image, offset, function))[-before:] if before else []
    decoder = Decoder(64, image.content[offset:], ip=address)
    for _ in range(after + 1):
        instruction = decoder.decode()
        if instruction.is_invalid:
            if not instruction.ip - address:
                lines.append(CodeLine(address, image.read(offset, 1), f"db {image.read(offset, 1).hex()}"))
            break
        lines.append(_line(image, instruction))
    return tuple(lines)


def _before(image: ImageView, offset: int, function: int | None) -> Iterator[CodeLine]:
    """Yield the instructions that end exactly at an offset, from a start where that comes out even."""
    if function is not None and 0 < offset - function <= _FARTHEST_START:
        starts = [function]
    else:
        starts = list(range(max(offset - 4 * _LONGEST, 0), offset))
    for start in starts:
        found = []
        for instruction in instructions(image, start):
            if instruction.ip >= image.base + offset:
                break
            found.append(instruction)
        if found and found[-1].next_ip == image.base + offset:
            yield from (_line(image, instruction) for instruction in found)
            return


def _line(image: ImageView, instruction: Instruction) -> CodeLine:
    code = image.read(instruction.ip - image.base, instruction.len)
    near = instruction.flow_control in (
        FlowControl.CALL,
        FlowControl.UNCONDITIONAL_BRANCH,
        FlowControl.CONDITIONAL_BRANCH,
    )
    target = instruction.near_branch_target if near else None
    return CodeLine(instruction.ip, code, str(instruction), target)
