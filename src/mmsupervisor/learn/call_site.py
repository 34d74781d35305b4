"""Whose access it is: the code that asked, or its caller where that is a stub which only makes the access.

Libraries reach ports and MSRs through small functions that everybody shares. The function that decided to make the
access is the one that called them.
"""

from __future__ import annotations

from mmsupervisor.core.findings import Place
from mmsupervisor.core.modules import Module
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.debuginfo.image_view import ImageView
from mmsupervisor.debuginfo.read_ahead import is_stub
from mmsupervisor.debuginfo.unwind import Stack, unwind
from mmsupervisor.machine.memory import BusError, PhysicalMemory
from mmsupervisor.processor.instructions import REGISTER_NAMES, decode, register_values
from mmsupervisor.processor.interface import Registers

_LONGEST_INSTRUCTION = 15
_SLOT = 8
_STUB_STACK = 0x80
"""Bytes of stack that are looked at: a stub keeps little there besides its return address."""


class CallSites:
    """Finds the places to blame, and remembers what it found out about stubs."""

    def __init__(self) -> None:
        """Begin knowing nothing."""
        self._return_slots: dict[tuple[str, int], int | None] = {}

    def place(self, supervisor: Supervisor) -> Place:
        """Where the access under way was decided on; ``supervisor.place`` where that is no stub."""
        place = supervisor.place
        module = supervisor.modules.find(place.address)
        if module is None or supervisor.rip != place.address:
            return place  # code in no image, or a driver for which the broker is at work
        registers = supervisor.processor.registers()
        stack = _read(supervisor.memory, registers.rsp)
        key = module.name, place.address
        if key not in self._return_slots:
            # A stub has no branches: at one place of it the return address always lies equally deep.
            self._return_slots[key] = _return_slot(supervisor.memory, module, place, registers, stack)
        slot = self._return_slots[key]
        if slot is None:
            return place
        caller = int.from_bytes(stack[slot : slot + _SLOT], "little")
        return module.place(caller) if module.holds(caller) else place


def _return_slot(
    memory: PhysicalMemory, module: Module, place: Place, registers: Registers, stack: bytes
) -> int | None:
    """How far above RSP the return address of the stub at a place lies, in bytes; None if it is no stub."""
    content = memory.read(module.base, module.size)
    image = ImageView(module.name, module.base, module.size, module.symbols, content)
    behind = registers.rip
    if behind == place.address:  # a fault: the instruction is still to be carried out
        instruction = decode(image.read(behind - image.base, _LONGEST_INSTRUCTION), behind)
        behind += instruction.len if instruction is not None else 0
    if not is_stub(image, behind):
        return None
    known = dict(zip(REGISTER_NAMES, register_values(registers), strict=True))
    known["rip"] = behind
    frames = unwind(known, Stack(registers.rsp, stack), lambda address: image if image.holds(address) else None)
    if len(frames) < 2:
        return None
    slots = range(0, len(stack) - _SLOT + 1, _SLOT)
    return next((at for at in slots if int.from_bytes(stack[at : at + _SLOT], "little") == frames[1].address), None)


def _read(memory: PhysicalMemory, rsp: int) -> bytes:
    """The end of a stub's stack; nothing where RSP leads to no memory."""
    try:
        return memory.read(rsp, _STUB_STACK)
    except BusError:
        return b""
