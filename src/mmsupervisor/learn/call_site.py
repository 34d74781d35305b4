"""Whose access it is: the code that asked, or its caller where that is a stub which only makes the access.

Libraries reach ports and MSRs through small functions that everybody shares. The function that decided to make the
access is the one that called them.
"""

from __future__ import annotations

from mmsupervisor.core.findings import Place
from mmsupervisor.core.modules import Module
from mmsupervisor.core.scene import read_stack
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.debuginfo.image_view import ImageView
from mmsupervisor.debuginfo.read_ahead import is_stub
from mmsupervisor.debuginfo.unwind import Stack, unwind
from mmsupervisor.processor.instructions import REGISTER_NAMES, decode, register_values

_LONGEST_INSTRUCTION = 15
_STUB_STACK = 0x80
"""Bytes of stack that are looked at: a stub keeps little there besides its return address."""


class CallSites:
    """Finds the places to blame, and keeps what it read of images."""

    def __init__(self) -> None:
        """Begin with no image read."""
        self._views: dict[tuple[str, int], ImageView] = {}

    def place(self, supervisor: Supervisor) -> Place:
        """Where the access under way was decided on; ``supervisor.place`` where that is no stub."""
        place = supervisor.place
        module = supervisor.modules.find(place.address)
        if module is None or supervisor.rip != place.address:
            return place  # code in no image, or a driver for which the broker is at work
        registers = supervisor.processor.registers()
        image = self._view(supervisor, module)
        behind = registers.rip
        if behind == place.address:  # a fault: the instruction is still to be carried out
            instruction = decode(image.read(behind - image.base, _LONGEST_INSTRUCTION), behind)
            behind += instruction.len if instruction is not None else 0
        if not is_stub(image, behind):
            return place
        known = dict(zip(REGISTER_NAMES, register_values(registers), strict=True))
        known["rip"] = behind
        stack = Stack(registers.rsp, read_stack(supervisor.memory, supervisor.stacks, registers.rsp)[:_STUB_STACK])
        frames = unwind(known, stack, lambda address: image if image.holds(address) else None)
        if len(frames) < 2 or not image.holds(frames[1].address):
            return place
        return module.place(frames[1].address)

    def _view(self, supervisor: Supervisor, module: Module) -> ImageView:
        key = module.name, module.base
        if key not in self._views:
            content = supervisor.memory.read(module.base, module.size)
            self._views[key] = ImageView(module.name, module.base, module.size, module.symbols, content)
        return self._views[key]
