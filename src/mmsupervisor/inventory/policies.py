"""Isolation policies in an image."""

from __future__ import annotations

from mmsupervisor.inventory.model import PolicyReport, PolicyRootReport
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.volume import File, FileType, Section, SectionType
from mmsupervisor.policy.blob import read_blob_as_runtime
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.model import AccessAttr, Policy, PolicyBoundsError, PolicyRoot

POLICY_FILE = known_guid("gMmSupervisorPolicyFileGuid")
"""Name of the file that holds the policy."""


def is_policy_file(file: File) -> bool:
    """Whether the supervisor would take a file for its policy, in the right volume (boot-flow.md §4.3)."""
    return file.type == FileType.FREEFORM and file.guid == POLICY_FILE


def policy_section(file: File) -> Section | None:
    """The section that holds the policy: the first RAW one that is not encapsulated."""
    return file.first_section(SectionType.RAW, open_encapsulations=False)


def describe_policy(file: File, volume: int, part: str, allowance: Allowance) -> PolicyReport:
    """Describe a policy file as the supervisor would read it.

    Args:
        file: The file.
        volume: Number of its volume.
        part: Name of its part in the report.
        allowance: Bounds of the parse.
    """
    section = policy_section(file)
    if section is None:
        return PolicyReport(volume, part, file.offset, 0, "", (), "the policy file has no RAW section")
    size = len(section.data)
    try:
        policy = read_blob_as_runtime(bytes(section.data), "policy", allowance)
    except FormatError as error:
        return PolicyReport(volume, part, file.offset, size, "", (), f"policy at {error.offset:#x}: {error.rule}")
    version = f"{policy.version_major}.{policy.version_minor}"
    roots = tuple(_root(root) for root in policy.roots)
    return PolicyReport(volume, part, file.offset, size, version, roots, _trouble(policy))


def _root(root: PolicyRoot) -> PolicyRootReport:
    access = AccessAttr(root.access_attr).name.lower() if root.has_legal_attr else f"{root.access_attr:#x}"
    return PolicyRootReport(root.type_name, access, root.count)


def _trouble(policy: Policy) -> str:
    try:
        violation = security_policy_check(policy)
    except PolicyBoundsError as error:
        return error.what
    return f"rule {violation.rule} of the supervisor's check: {violation.detail}" if violation else ""
