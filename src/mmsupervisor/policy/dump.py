"""The reference's debug dump of a policy, line by line as it appears in a log.

Facts: ``docs/reference/isolation-policy.md`` §16.1. Numbers are lower-case hexadecimal without leading zeros.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmsupervisor.policy.model import (
    ENTRY_TYPES,
    AccessAttr,
    AccessCondition,
    Attribute,
    Entry,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
)

_LETTERS = {Attribute.READ: "R", Attribute.WRITE: "W", Attribute.EXECUTE: "X"}
_CONDITIONS = {AccessCondition.UNCONDITIONAL: "Unconditional", AccessCondition.IO_RD: "IoRead"}


def dump_policy(policy: Policy) -> Iterator[str]:
    """The lines of the dump, without line ends.

    A root of unknown type that declares descriptors ends the dump, as it does in the reference.

    Raises:
        PolicyBoundsError: after the lines that lie inside the blob, if the dump would leave it.
    """
    yield "SMM_SUPV_SECURE_POLICY_DATA_V1_0:"
    yield f"Version Major:{policy.version_major:x}"
    yield f"Version Minor:{policy.version_minor:x}"
    yield f"Size:0x{policy.size:x}"
    yield f"MemoryPolicyOffset:0x{policy.memory_policy_offset:x}"
    yield f"MemoryPolicyCount:0x{policy.memory_policy_count:x}"
    yield f"Flags:{policy.flags:x}"
    yield f"Capabilities:{policy.capabilities:x}"
    yield f"PolicyRootOffset:0x{policy.root_offset:x}"
    yield f"PolicyRootCount:0x{policy.root_count:x}"
    for root in policy.roots:
        yield from _dump_root(root)
        if root.type not in ENTRY_TYPES and root.count:
            return
        yield from map(dump_entry, root.entries)
        if root.lies_outside:
            raise policy.walk_beyond(root)
    if policy.root_count > len(policy.roots):
        raise policy.roots_beyond()


def _dump_root(root: PolicyRoot) -> Iterator[str]:
    yield "Policy Root:"
    yield f"  Version: {root.version:x}"
    yield f"  PolicyRootSize: {root.root_size:x}"
    yield f"  Type: {root.type:x}"
    yield f"  Offset: {root.offset:x}"
    yield f"  Count: {root.count:x}"
    yield f"  AccessAttr: {'ALLOW' if root.access_attr == AccessAttr.ALLOW else 'DENY'}"


def _letters(attributes: int, *bits: Attribute) -> str:
    return " ".join(_LETTERS[bit] if attributes & bit else "." for bit in bits)


def dump_entry(entry: Entry) -> str:
    """The line of one descriptor. The last address of an empty range wraps, at 64 bits for memory and 32 otherwise."""
    read, write, execute = _LETTERS
    match entry:
        case MemEntry():
            last = (entry.base_address + entry.size - 1) % (1 << 64)
            return f"V1.0 MEM: [{entry.base_address:x}-{last:x}] {_letters(entry.attributes, read, write, execute)}"
        case IoEntry():
            last = (entry.end - 1) % (1 << 32)
            return f"IO: [{entry.io_address:x}-{last:x}] {_letters(entry.attributes, read, write)}"
        case MsrEntry():
            last = (entry.end - 1) % (1 << 32)
            return f"MSR: [{entry.msr_address:x}-{last:x}] {_letters(entry.attributes, read, write)}"
        case InstructionEntry():
            return f"INSTRUCTION: [{entry.instruction_index:x}] {_letters(entry.attributes, execute)}"
        case _:
            condition = next(
                (text for value, text in _CONDITIONS.items() if value == entry.access_condition), "IoWrite"
            )
            return f"SAVESTATE: [{entry.map_field:x}] {entry.attributes:x} {condition}"
