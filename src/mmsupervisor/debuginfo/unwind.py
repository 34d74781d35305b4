"""Walking a stack: who called whom, and how we know.

For each function the best source that there is decides: unwind data of the PE image, DWARF frame rules, the
function's own code read ahead to its RET, a frame pointer. Where there is none, the stack is scanned for the first
address that stands behind a call, and that may be a stale one: from there on every frame is a guess, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from mmsupervisor.debuginfo.disassembly import follows_call
from mmsupervisor.debuginfo.image_view import ImageFinder, ImageView
from mmsupervisor.debuginfo.pdata import UnwindEntry, find_unwind_entry
from mmsupervisor.debuginfo.read_ahead import Leaving, leave_by_code
from mmsupervisor.debuginfo.symbols import FrameRule

_MOST_FRAMES = 64
_MASK64 = (1 << 64) - 1
_CALL_BYTES = 8


class Found(Enum):
    """How a frame was found; the value is what a report says."""

    PLACE = "the place itself"
    UNWIND_DATA = ".pdata"
    FRAME_RULES = "DWARF"
    CODE = "code"
    FRAME_POINTER = "frame pointer"
    RETURN_ADDRESS = "top of stack"
    SCAN = "scan"


@dataclass(frozen=True, slots=True)
class Frame:
    """One function under way.

    Attributes:
        address: The instruction that is executed in it; of a caller, the one to which the call returns.
        found: How it was found.
    """

    address: int
    found: Found


@dataclass(frozen=True, slots=True)
class Stack:
    """A part of memory that holds a stack.

    Attributes:
        start: Address of its first byte.
        content: The bytes.
    """

    start: int
    content: bytes = field(repr=False)

    def read(self, address: int) -> int | None:
        """Return the 8 bytes at an address, or None outside."""
        offset = address - self.start
        if offset < 0 or offset + 8 > len(self.content):
            return None
        return int.from_bytes(self.content[offset : offset + 8], "little")

    @property
    def end(self) -> int:
        """Address after the last byte."""
        return self.start + len(self.content)


@dataclass(slots=True)
class _Context:
    """Where the walk is: registers that are known, ``rip`` and ``rsp`` among them."""

    registers: dict[str, int]

    @property
    def rip(self) -> int:
        return self.registers["rip"]

    @property
    def rsp(self) -> int:
        return self.registers["rsp"]


def unwind(registers: dict[str, int], stack: Stack, image_at: ImageFinder) -> tuple[Frame, ...]:
    """Walk a stack, from the place itself to the function that ring 3 was entered with.

    Args:
        registers: The general registers at the place, by name; ``rip`` and ``rsp`` at the least.
        stack: The stack, from RSP upward.
        image_at: Finds images.
    """
    frames = [Frame(registers["rip"], Found.PLACE)]
    context = _Context(dict(registers))
    walker = _Walker(stack, image_at)
    while len(frames) < _MOST_FRAMES:
        before = context.rsp
        found = walker.leave(context, is_place=len(frames) == 1)
        if found is None or context.rsp <= before:
            break
        # What follows a guess is one too, however well it was found.
        frames.append(Frame(context.rip, Found.SCAN if frames[-1].found is Found.SCAN else found))
    return tuple(frames)


class _Walker:
    """Leaves one function after the other."""

    def __init__(self, stack: Stack, image_at: ImageFinder) -> None:
        self._stack = stack
        self._image_at = image_at

    def leave(self, context: _Context, *, is_place: bool) -> Found | None:
        """Change a context to that of the caller; None if there is none."""
        image = self._image_at(context.rip)
        if image is None:
            return self._return_address(context) or self._scan(context) if is_place else None
        offset = context.rip - image.base
        asked = offset if is_place else offset - 1  # a call may be the last instruction of its function
        entry = find_unwind_entry(image, asked)
        if entry is not None:
            return Found.UNWIND_DATA if self._by_unwind_data(context, entry) else None
        rule = image.symbols.frames.at(asked)
        if rule is not None:
            return Found.FRAME_RULES if self._by_rule(context, rule) else None
        return self._without_data(context, image)

    def _without_data(self, context: _Context, image: ImageView) -> Found | None:
        leaving = leave_by_code(image, context.registers, self._stack.read)
        if leaving is Leaving.ENTRY:
            return None
        if isinstance(leaving, dict) and self._is_return(leaving["rip"]):
            context.registers = leaving
            return Found.CODE
        return self._frame_pointer(context) or self._scan(context)

    # By data

    def _by_unwind_data(self, context: _Context, entry: UnwindEntry) -> bool:
        registers = context.registers
        for effect in entry.effects:
            if effect.frame:
                if effect.frame not in registers:
                    return False
                registers["rsp"] = registers[effect.frame] - effect.distance
            elif effect.register:
                value = self._stack.read(registers["rsp"] + (effect.slot or 0))
                if value is not None:
                    registers[effect.register] = value
            registers["rsp"] += effect.release
        return self._pop_return(context, registers["rsp"])

    def _by_rule(self, context: _Context, rule: FrameRule) -> bool:
        if rule.base not in context.registers:
            return False
        frame = context.registers[rule.base] + rule.distance & _MASK64
        for register, distance in rule.saved:
            value = self._stack.read(frame + distance)
            if value is not None:
                context.registers[register] = value
        return self._pop_return(context, frame - 8)

    def _pop_return(self, context: _Context, slot: int) -> bool:
        value = self._stack.read(slot)
        if value is None or self._image_at(value) is None:
            return False
        context.registers |= {"rip": value, "rsp": slot + 8}
        return True

    # Without

    def _return_address(self, context: _Context) -> Found | None:
        """A call that led outside all images has left its return address on top of the stack."""
        value = self._stack.read(context.rsp)
        if value is None or not self._is_return(value):
            return None
        context.registers |= {"rip": value, "rsp": context.rsp + 8}
        return Found.RETURN_ADDRESS

    def _frame_pointer(self, context: _Context) -> Found | None:
        """RBP points at the caller's RBP, with the return address above."""
        frame = context.registers.get("rbp", 0)
        if frame % 8 or not context.rsp <= frame < self._stack.end:
            return None
        before, value = self._stack.read(frame), self._stack.read(frame + 8)
        if before is None or value is None or not self._is_return(value):
            return None
        context.registers = {"rip": value, "rsp": frame + 16, "rbp": before}
        return Found.FRAME_POINTER

    def _scan(self, context: _Context) -> Found | None:
        """Take the first address on the stack that stands behind a call; it may be a stale one."""
        for slot in range(-(-context.rsp // 8) * 8, self._stack.end - 7, 8):
            value = self._stack.read(slot)
            if value is not None and self._is_return(value):
                context.registers = {"rip": value, "rsp": slot + 8}
                return Found.SCAN
        return None

    def _is_return(self, address: int) -> bool:
        image = self._image_at(address)
        if image is None:
            return False
        offset = address - image.base
        return follows_call(image.read(max(offset - _CALL_BYTES, 0), min(offset, _CALL_BYTES)))
