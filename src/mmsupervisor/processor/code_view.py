"""What an emulator's engine asks about the code in memory, which it knows by address only."""

from __future__ import annotations

from mmsupervisor.machine.memory import BusError, PhysicalMemory
from mmsupervisor.processor import branches, page_map, special
from mmsupervisor.processor.instructions import MAX_INSTRUCTION, decode


class CodeView:
    """The code in the machine's memory."""

    def __init__(self, memory: PhysicalMemory) -> None:
        """Look at a machine's memory."""
        self._memory = memory

    def read_on(self, address: int, size: int) -> bytes:
        """Return bytes, and those that an instruction which begins among them may reach, where there is memory."""
        try:
            return self._memory.read(address, size + MAX_INSTRUCTION - 1)
        except BusError:
            return self._memory.read(address, size)

    def loads_descriptor(self, rip: int) -> bool:
        """Whether the instruction at an address reads the descriptor table."""
        instruction = decode(page_map.fetch(self._memory, rip), rip)
        return instruction is not None and special.loads_descriptor(instruction)

    def ends_in_system_call(self, block: int, end: int) -> bool:
        """Whether the block of code at an address ends in a SYSCALL that ends at ``end``."""
        last = branches.find_end(self._memory, block)
        return last is not None and special.is_system_call(last) and last.next_ip == end
