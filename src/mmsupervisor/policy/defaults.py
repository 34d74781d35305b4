"""The policy of a run that names none: the content of the reference's example policy.

Facts: ``docs/reference/isolation-policy.md`` §16, of which the blob's every byte is a golden vector.
"""

from __future__ import annotations

from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.model import (
    AccessAttr,
    AccessCondition,
    Attribute,
    Instruction,
    InstructionEntry,
    IoEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    SaveStateField,
)

DEFAULT_POLICY_NAME = "built-in default policy"
"""What messages call it."""

_PCI_CONFIG_ADDRESS, _PCI_CONFIG_DATA = 0xCF8, 0xCFC

_PORTS = (
    IoEntry(_PCI_CONFIG_ADDRESS, 4, Attribute.WRITE | Attribute.STRICT_WIDTH),
    IoEntry(_PCI_CONFIG_DATA, 4, Attribute.WRITE),
)

_MSR_RANGES = (
    (0xC000_0080, 1),  # EFER
    (0xC000_0081, 4),  # STAR, LSTAR, CSTAR, FMASK
    (0xC001_0010, 1),  # SYSCFG
    (0xC001_0111, 1),  # SMM_BASE
    (0x0000_01D9, 1),  # DEBUGCTL
    (0x0000_0DA0, 1),  # IA32_XSS
    (0x0000_06A0, 1),  # IA32_U_CET
    (0x0000_06A2, 1),  # IA32_S_CET
    (0x0000_06A4, 5),  # shadow stack pointers of the rings, and their table
    (0xC001_1010, 1),
    (0xC001_1024, 1),
    (0xC001_1018, 1),
    (0xC000_0101, 2),  # GS_BASE, KERNEL_GS_BASE
)

_MSR_ATTRIBUTES = Attribute.READ | Attribute.WRITE | Attribute.EXECUTE
"""EXECUTE means nothing on an MSR; the example has it (§17.14)."""


def default_policy() -> Policy:
    """Build the default policy: ports and MSRs by deny lists, instructions and save state by allow lists."""
    roots = (
        PolicyRoot(RootType.IO, AccessAttr.DENY, _PORTS),
        PolicyRoot(
            RootType.MSR,
            AccessAttr.DENY,
            tuple(MsrEntry(address, length, _MSR_ATTRIBUTES) for address, length in _MSR_RANGES),
        ),
        PolicyRoot(
            RootType.INSTRUCTION,
            AccessAttr.ALLOW,
            tuple(InstructionEntry(instruction, Attribute.EXECUTE) for instruction in Instruction),
        ),
        PolicyRoot(
            RootType.SAVE_STATE,
            AccessAttr.ALLOW,
            (
                SaveStateEntry(SaveStateField.RAX, Attribute.COND_READ, AccessCondition.IO_WR),
                SaveStateEntry(SaveStateField.IO_TRAP, Attribute.READ, AccessCondition.UNCONDITIONAL),
            ),
        ),
    )
    return assemble(roots, file=DEFAULT_POLICY_NAME)
