"""Accesses as the policy gate is asked about them: values that can be counted, written down and asked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import WIDTH_SIZES
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import Attribute, Instruction, RootType
from mmsupervisor.policy.save_state import IoTrap, SaveStateRegister


def _verb(access: Attribute) -> str:
    return "read" if access is Attribute.READ else "write"


@dataclass(frozen=True, slots=True)
class PortQuestion:
    """May ring 3 access a port?

    Attributes:
        port: The first port of the access.
        width: 0, 1 or 2 for 1, 2 or 4 bytes.
        access: READ or WRITE.
    """

    KIND: ClassVar[RootType] = RootType.IO
    port: int
    width: int
    access: Attribute

    @property
    def size(self) -> int:
        """Bytes of the access."""
        return WIDTH_SIZES[self.width]

    def __str__(self) -> str:
        """``read 1 byte at port 0x70``."""
        return f"{_verb(self.access)} {self.size} byte{'s' if self.size > 1 else ''} at port {self.port:#x}"

    def ask(self, policy: CompiledPolicy) -> Decision:
        """What a policy answers; raises PolicyBoundsError as :meth:`CompiledPolicy.io` does."""
        return policy.io(self.port, self.width, self.access)


@dataclass(frozen=True, slots=True)
class MsrQuestion:
    """May ring 3 access an MSR?

    Attributes:
        msr: Its number.
        access: READ or WRITE.
    """

    KIND: ClassVar[RootType] = RootType.MSR
    msr: int
    access: Attribute

    def __str__(self) -> str:
        """``write MSR 0x1a0``."""
        return f"{_verb(self.access)} MSR {self.msr:#x}"

    def ask(self, policy: CompiledPolicy) -> Decision:
        """What a policy answers; raises PolicyBoundsError as :meth:`CompiledPolicy.msr` does."""
        return policy.msr(self.msr, self.access)


@dataclass(frozen=True, slots=True)
class InstructionQuestion:
    """May ring 3 have a privileged instruction executed?

    Attributes:
        instruction: Which.
    """

    KIND: ClassVar[RootType] = RootType.INSTRUCTION
    instruction: Instruction

    def __str__(self) -> str:
        """``execute HLT``."""
        return f"execute {self.instruction.name}"

    def ask(self, policy: CompiledPolicy) -> Decision:
        """What a policy answers; raises PolicyBoundsError as :meth:`CompiledPolicy.instruction` does."""
        return policy.instruction(self.instruction)


@dataclass(frozen=True, slots=True)
class SaveStateQuestion:
    """May ring 3 read a register of a CPU's save state?

    Attributes:
        register: A :class:`SaveStateRegister`, or any other register number of the MM CPU protocol.
        width: Bytes of the read.
        io: The port access that interrupted the CPU, or the status of finding none.
    """

    KIND: ClassVar[RootType] = RootType.SAVE_STATE
    register: int
    width: int
    io: IoTrap | Status

    def __str__(self) -> str:
        """``read 24 bytes of save-state register 512 (IO)``."""
        known = {int(one): f" ({one.name})" for one in SaveStateRegister}
        return f"read {self.width} bytes of save-state register {self.register}{known.get(self.register, '')}"

    def ask(self, policy: CompiledPolicy) -> Decision:
        """What a policy answers; raises PolicyBoundsError as :meth:`CompiledPolicy.save_state` does."""
        return policy.save_state(self.register, self.width, self.io)


PolicyQuestion: TypeAlias = PortQuestion | MsrQuestion | InstructionQuestion | SaveStateQuestion
"""Any access that the policy decides on."""
