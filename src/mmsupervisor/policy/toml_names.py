"""The words of the policy's TOML form, shared by its reader and its writer. ``docs/policy.md`` explains them.

The form holds whatever a blob can hold. What has a name is written with it; a number without a meaning is written as a
number, so that nobody writes one by mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from mmsupervisor.policy.blob import ENTRY_LAYOUTS
from mmsupervisor.policy.model import (
    POLICY_HEADER_SIZE,
    POLICY_ROOT_SIZE,
    AccessAttr,
    AccessCondition,
    Attribute,
    Instruction,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateField,
)

FORM = 1
"""The version of the form itself."""

VENDORS = ("amd", "intel")

TYPES = {kind.name: kind for kind in RootType}
LISTS = {attr.name.lower(): attr for attr in AccessAttr}
BITS = {
    "read": Attribute.READ,
    "write": Attribute.WRITE,
    "execute": Attribute.EXECUTE,
    "strict-width": Attribute.STRICT_WIDTH,
    "conditional-read": Attribute.COND_READ,
    "conditional-write": Attribute.COND_WRITE,
}
INSTRUCTIONS = {one.name: one for one in Instruction}
FIELDS = {one.name: one for one in SaveStateField}
CONDITIONS = {
    "unconditional": AccessCondition.UNCONDITIONAL,
    "io-read": AccessCondition.IO_RD,
    "io-write": AccessCondition.IO_WR,
}
NOTES = ("reason", "reviewer", "date", "reference")


@dataclass(frozen=True, slots=True)
class NumberKey:
    """A key that stands for one number of the model.

    Attributes:
        key: In the file.
        attribute: In the model.
        bits: Width of the field.
        names: Names of its values, if they have any.
    """

    key: str
    attribute: str
    bits: int
    names: dict[str, IntEnum] | None = None


ENTRY_KEYS: dict[int, tuple[NumberKey, ...]] = {
    RootType.MEM: (NumberKey("base", "base_address", 64), NumberKey("size", "size", 64)),
    RootType.IO: (NumberKey("port", "io_address", 16), NumberKey("length", "length_or_width", 16)),
    RootType.MSR: (NumberKey("msr", "msr_address", 32), NumberKey("length", "length", 16)),
    RootType.INSTRUCTION: (NumberKey("instruction", "instruction_index", 16, dict(INSTRUCTIONS)),),
    RootType.SAVE_STATE: (
        NumberKey("field", "map_field", 32, dict(FIELDS)),
        NumberKey("condition", "access_condition", 32, dict(CONDITIONS)),
    ),
}
"""What names a rule's object, in the order of writing."""

WIDTH = "width"
"""Stands instead of ``length`` on a port rule of strict width."""

ATTRIBUTE_BITS = {
    RootType.MEM: 32,
    RootType.IO: 16,
    RootType.MSR: 16,
    RootType.INSTRUCTION: 16,
    RootType.SAVE_STATE: 32,
}
RESERVED_BITS = {RootType.MEM: 32, RootType.IO: 16, RootType.INSTRUCTION: 32, RootType.SAVE_STATE: 32}

ROOT_KEYS = (
    NumberKey("version", "version", 32),
    NumberKey("root-size", "root_size", 32),
    NumberKey("offset", "offset", 32),
    NumberKey("count", "count", 32),
)
LAYOUT_KEYS = (
    NumberKey("version-major", "version_major", 16),
    NumberKey("version-minor", "version_minor", 16),
    NumberKey("size", "size", 32),
    NumberKey("memory-policy-offset", "memory_policy_offset", 32),
    NumberKey("memory-policy-count", "memory_policy_count", 32),
    NumberKey("flags", "flags", 32),
    NumberKey("capabilities", "capabilities", 32),
    NumberKey("reserved", "reserved", 64),
    NumberKey("root-offset", "root_offset", 32),
    NumberKey("root-count", "root_count", 32),
)
"""Numbers that follow from the rules unless they are given."""

MEMORY_ROOT = "memory-root"
"""In the layout: false for a policy that has no MEM root, which every other file gets at the end."""


def has_memory_root(roots: tuple[PolicyRoot, ...]) -> bool:
    """Whether one of the roots is about memory."""
    return any(root.type == RootType.MEM for root in roots)


def default_layout(roots: tuple[PolicyRoot, ...], memory_root: bool, file: str) -> Policy:
    """Lay out roots one behind the other, with a MEM root at the end if there is none.

    Other than the reference's tool, this writes no second, legacy list of memory entries, which nothing accepts.
    Numbers that are given in the roots are overwritten.

    Args:
        roots: The roots.
        memory_root: Whether a missing MEM root is added.
        file: Name of the policy.
    """
    if memory_root and not has_memory_root(roots):
        roots = (*roots, PolicyRoot(RootType.MEM, AccessAttr.DENY))
    offset = POLICY_HEADER_SIZE + POLICY_ROOT_SIZE * len(roots)
    placed = []
    for root in roots:
        placed.append(replace(root, offset=offset, count=len(root.entries)))
        if root.entries:
            offset += len(root.entries) * ENTRY_LAYOUTS[root.type].size
    return Policy(tuple(placed), size=offset, root_count=len(placed), file=file)
