"""What an instruction that touches a device's page does, one touch after the other.

A processor calls :func:`begin_device_operation` when ring 3 touched a page that it may touch but that has no memory
behind it. The instruction is then executed here, element by element: memory is read and written directly, each
touch of a device is handed out, and in the end the registers are those after the instruction. Processors differ in how
they notice the touch, not in what it means.

Rules:

* All that an instruction will touch is checked before the first touch, so that a fault leaves no trace in a device.
* A repeated string instruction is done for one element; RIP stays on it until the last, and the processor comes back.
* An access that crosses a page is done in naturally aligned pieces where one of the two pages is a device's.
* 16 bytes of an SSE register are two touches of 8 bytes in order of addresses.
* An instruction that is not listed in :mod:`mmsupervisor.processor.device_instructions` is not guessed at:
  :func:`begin_device_operation` returns None and the processor reports a page fault.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from iced_x86 import Instruction

from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Access, PhysicalMemory
from mmsupervisor.processor.exceptions import refused_access, vector_of_range
from mmsupervisor.processor.instructions import RegisterFile, decode, is_canonical
from mmsupervisor.processor.interface import Registers
from mmsupervisor.processor.page_map import READ, WRITE, direct_access, ring3_access


@dataclass(frozen=True, slots=True)
class Touch:
    """One access to a device; the fields are those of ``interface.MmioAccess``."""

    address: int
    width: int
    write: bool
    value: int


class MemoryFault(Exception):  # noqa: N818 - what the machine calls it
    """The instruction touches a page without the right to.

    Attributes:
        address: First byte that is refused (CR2).
        access: What was tried.
    """

    def __init__(self, address: int, access: Access) -> None:
        """Record what was refused."""
        self.address = address
        self.access = access
        super().__init__(f"{access!r} at {address:#x}")


class AddressFault(Exception):  # noqa: N818 - what the machine calls it
    """The instruction uses an address that cannot be one: not canonical, or not aligned where it must be.

    Attributes:
        vector: #GP or #SS; the error code is 0.
    """

    def __init__(self, vector: int) -> None:
        """Record the vector."""
        self.vector = vector
        super().__init__(f"vector {vector}")


class VectorRegisters(Protocol):
    """The SSE registers of a processor."""

    def read_vector(self, index: int) -> int:
        """Return the 128 bits of one."""

    def write_vector(self, index: int, value: int) -> None:
        """Set the 128 bits of one."""


class NoVectorRegisters:
    """Stands for the SSE registers where an instruction has nothing to do with them."""

    def read_vector(self, index: int) -> int:
        """Raise: there are none."""
        raise LookupError(f"no SSE register {index} here")

    def write_vector(self, index: int, value: int) -> None:
        """Raise: there are none."""
        raise LookupError(f"no SSE register {index} here")


Steps = Generator[Touch, int, None]
"""An instruction at work: yields touches, is sent what reads gave."""

Load = Generator[Touch, int, int]
"""A load at work: returns the value."""


class Execution:
    """What the instruction under way sees.

    Attributes:
        instruction: It.
        file: General registers, changed as it goes on.
        vectors: SSE registers.
    """

    def __init__(
        self, instruction: Instruction, registers: Registers, vectors: VectorRegisters, memory: PhysicalMemory
    ) -> None:
        """Begin in front of the instruction."""
        self.instruction = instruction
        self.file = RegisterFile(registers)
        self.vectors = vectors
        self._memory = memory

    def require(self, address: int, width: int, access: Access) -> None:
        """Check a range before anything is touched.

        Raises:
            MemoryFault: ring 3 may not do so.
            AddressFault: the range is not canonical.
        """
        last = address + width - 1
        if not (is_canonical(address) and is_canonical(last)):
            raise AddressFault(vector_of_range(self.instruction, self.file.frozen(), address))
        for at in sorted({address, max(address, last & ~PAGE_MASK)}):
            missing = int(access) & ~ring3_access(self._memory.state(at))
            if missing:
                raise MemoryFault(at, refused_access(self.instruction, Access.READ if missing & READ else Access.WRITE))

    def load(self, address: int, width: int) -> Load:
        """Read ``width`` bytes, from memory or devices."""
        value = 0
        for at, size in self._pieces(address, width):
            if direct_access(self._memory.state(at)) & READ:
                piece = int.from_bytes(self._memory.read(at, size), "little")
            else:
                piece = (yield Touch(at, size, False, 0)) & (1 << 8 * size) - 1
            value |= piece << 8 * (at - address)
        return value

    def store(self, address: int, width: int, value: int) -> Steps:
        """Write ``width`` bytes, to memory or devices."""
        for at, size in self._pieces(address, width):
            piece = value >> 8 * (at - address) & (1 << 8 * size) - 1
            if direct_access(self._memory.state(at)) & WRITE:
                self._memory.write(at, piece.to_bytes(size, "little"))
            else:
                yield Touch(at, size, True, piece)

    def _pieces(self, address: int, width: int) -> list[tuple[int, int]]:
        if width == 16:
            return self._pieces(address, 8) + self._pieces(address + 8, 8)
        if (address & PAGE_MASK) + width <= PAGE_SIZE:
            return [(address, width)]
        pieces = []
        end = address + width
        while address < end:
            size = 1
            while address % (size * 2) == 0 and address + size * 2 <= end:
                size *= 2
            pieces.append((address, size))
            address += size
        return pieces


class DeviceOperation:
    """An instruction that touches a device, under way.

    Attributes:
        before: The registers in front of it.
        code: Its bytes, and perhaps more.
    """

    def __init__(self, before: Registers, code: bytes, execution: Execution, steps: Steps) -> None:
        """Begin; nothing is touched yet."""
        self.before = before
        self.code = code
        self._execution = execution
        self._steps = steps
        self._begun = False

    def step(self, value: int | None) -> Touch | Registers:
        """Go on to the next touch, answering the last with ``value``; registers mean that it is complete.

        Raises:
            MemoryFault: memory that the instruction also needs is refused; no device was touched.
        """
        try:
            if self._begun:
                return self._steps.send(value or 0)
            self._begun = True
            return next(self._steps)
        except StopIteration:
            return self._execution.file.frozen()


def begin_device_operation(
    code: bytes, registers: Registers, vectors: VectorRegisters, memory: PhysicalMemory
) -> DeviceOperation | None:
    """Return the instruction at the start of ``code`` at work, or None if it is not one that is known."""
    from mmsupervisor.processor.device_instructions import steps_of

    instruction = decode(code, registers.rip)
    if instruction is None:
        return None
    execution = Execution(instruction, registers, vectors, memory)
    steps = steps_of(execution)
    return None if steps is None else DeviceOperation(registers, code, execution, steps)
