"""Policies that deny one of each kind, or allow the same."""

from __future__ import annotations

from mmsupervisor.policy.blob import assemble, write_blob
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import (
    AccessAttr,
    Attribute,
    Instruction,
    InstructionEntry,
    IoEntry,
    MsrEntry,
    PolicyRoot,
    RootType,
)

PORT, MSR = 0x60, 0x1A0
"""What is denied, for reading and for writing."""


def policy(*, denies: bool) -> bytes:
    """The default policy that denies one port, one MSR and all gated instructions, or allows them."""
    both = Attribute.READ | Attribute.WRITE
    default = {root.type: root for root in default_policy().roots}
    ports = (IoEntry(PORT, 1, both),) if denies else ()
    registers = (MsrEntry(MSR, 1, both | Attribute.EXECUTE),) if denies else ()
    gated = tuple(InstructionEntry(one, Attribute.EXECUTE) for one in Instruction)
    made = assemble(
        (
            PolicyRoot(RootType.IO, AccessAttr.DENY, (*ports, *default[RootType.IO].entries)),
            PolicyRoot(RootType.MSR, AccessAttr.DENY, (*registers, *default[RootType.MSR].entries)),
            PolicyRoot(RootType.INSTRUCTION, AccessAttr.DENY if denies else AccessAttr.ALLOW, gated),
            default[RootType.SAVE_STATE],
        ),
        file="test policy",
    )
    return write_blob(made)
