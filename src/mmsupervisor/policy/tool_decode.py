"""What the reference's tool says to a v1.0 blob that it is asked to decode.

Facts: ``docs/reference/isolation-policy.md`` §4.2 and §5.4. The tool is stricter than the supervisor in some places and
looser in others; this is its opinion only. For a legacy blob, :func:`mmsupervisor.policy.legacy.read_legacy_blob`
refuses what the tool refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.policy.blob import ENTRY_LAYOUTS, HEADER_SIZE_FIELD, read_within
from mmsupervisor.policy.model import (
    ENTRY_TYPES,
    KNOWN_ATTRIBUTES,
    POLICY_HEADER_SIZE,
    Policy,
    PolicyRoot,
    RootType,
)


@dataclass(frozen=True, slots=True)
class ToolRefusal:
    """An exception that the tool ends with.

    Attributes:
        exception: Its Python type.
        message: Its text; empty where the text is the Python library's own.
    """

    exception: str
    message: str = ""

    def __str__(self) -> str:
        """As the last line of a traceback shows it."""
        return f"{self.exception}: {self.message}" if self.message else self.exception


_STRUCT_ERROR = ToolRefusal("struct.error")


def tool_refusal(data: bytes, allowance: Allowance | None = None) -> ToolRefusal | None:
    """What the tool objects to first, or None if it decodes the blob.

    Args:
        data: A v1.0 blob.
        allowance: Bounds for hostile input.

    Raises:
        LimitError: the blob holds more than the bounds allow.
    """
    if len(data) < POLICY_HEADER_SIZE:
        return _STRUCT_ERROR
    reader = Reader(data, "policy")
    size = reader.u32(HEADER_SIZE_FIELD, "policy Size")
    if size > len(data):
        return ToolRefusal("Exception", "Invalid Size")
    policy = read_within(reader, size, allowance)
    if text := _header_refusal(policy):
        return ToolRefusal("Exception", text)
    seen: set[int] = set()
    for root in policy.roots:
        if refusal := _root_refusal(policy, root, seen):
            return refusal
        seen.add(root.type)
    return _end_refusal(policy, seen)


def _header_refusal(policy: Policy) -> str:
    if policy.memory_policy_offset >= policy.size:
        return "Invalid MemoryPolicyOffset"
    if policy.root_offset >= policy.size:
        return "Invalid PolicyRootOffset"
    if policy.root_count == 0:
        return "Invalid PolicyRootCount"
    return ""


def _root_refusal(policy: Policy, root: PolicyRoot, seen: set[int]) -> ToolRefusal | None:
    if root.version != 1:
        return ToolRefusal("Exception", "Invalid Version")
    if not root.has_legal_attr:
        return ToolRefusal("Exception", "Invalid value")
    if root.type not in ENTRY_TYPES and root.count:
        return ToolRefusal("NotImplementedError", f"Can't decode policy of type {root.type}")
    if root.type != RootType.MEM and any(entry.attributes > KNOWN_ATTRIBUTES for entry in root.entries):
        return ToolRefusal("Exception", "Invalid value")
    if root.lies_outside:
        return _STRUCT_ERROR
    if root.type == RootType.MEM and policy.memory_policy_count:
        # The two lists are compared as objects, which are never the same (sheet §17.12).
        return ToolRefusal("RuntimeError", "Legacy memory descriptor mismatched with new versions")
    if root.type in seen:
        return ToolRefusal("RuntimeError", f"Can't add duplicated policy of same type {root.type}")
    return None


def _end_refusal(policy: Policy, seen: set[int]) -> ToolRefusal | None:
    if policy.root_count > len(policy.roots):
        return _STRUCT_ERROR
    if RootType.MEM not in seen:
        text = "No memory policy root found from input binary, might want to check this"
        return ToolRefusal("RuntimeWarning", text)
    total = POLICY_HEADER_SIZE
    for root in policy.roots:
        total += root.root_size  # as declared: the tool believes it here, and nowhere else
        if root.entries:
            total += ENTRY_LAYOUTS[root.type].size * len(root.entries)
    if total != policy.size:
        return ToolRefusal("Exception", "Incorrect decoding.  Size doesn't match")
    return None
