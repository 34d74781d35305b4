"""The words of the policy's XML form (``docs/reference/isolation-policy.md`` §4), shared by its readers and writer."""

from __future__ import annotations

from mmsupervisor.policy.model import AccessCondition, Attribute, Instruction, RootType, SaveStateField

ROOT_NAMES = ("SmmIsolationPolicy", "SmmIslolationPolicy")
"""The documentation's and the example's name of the document; the reference takes any."""

CATEGORY = "SmmCategory"
ACCESS = "PolicyAccessAttribute"
ENTRY = "PolicyEntry"
START, SIZE, ATTRIBUTES = "StartAddress", "Size", "SecurityAttributes"
INSTRUCTION, FIELD, CONDITION = "Instruction", "SaveStateField", "AccessCondition"
"""Names of elements."""

NAME, VALUE = "name", "Value"
"""Names of attributes: of a category, and of everything else."""

CATEGORIES = {
    "IO": RootType.IO,
    "MSR": RootType.MSR,
    "INSTRUCTION": RootType.INSTRUCTION,
    "SAVESTATE": RootType.SAVE_STATE,
}
"""Categories by name. There is none for memory."""

ALLOW, DENY = "Allow", "Deny"

BITS = {
    "Read": Attribute.READ,
    "Write": Attribute.WRITE,
    "Execute": Attribute.EXECUTE,
    "StrictWidth": Attribute.STRICT_WIDTH,
    "LimitedRead": Attribute.COND_READ,
    "LimitedWrite": Attribute.COND_WRITE,
}
"""Words of a SecurityAttributes value."""

INSTRUCTIONS = {one.name: one for one in Instruction}
FIELDS = {one.name: one for one in SaveStateField}
CONDITIONS = {
    "Unconditional": AccessCondition.UNCONDITIONAL,
    "IoRead": AccessCondition.IO_RD,
    "IoWrite": AccessCondition.IO_WR,
}
"""Values in the spelling that is written; readers take any case."""
