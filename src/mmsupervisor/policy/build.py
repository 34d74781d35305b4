"""Policies written in the asked form, after the checks that a build should not pass without."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.check import objection
from mmsupervisor.policy.layout import PolicyLayoutError
from mmsupervisor.policy.legacy import assemble_legacy, write_legacy_blob
from mmsupervisor.policy.model import AccessAttr, Policy, PolicyRoot, RootType
from mmsupervisor.policy.sequential import write_sequential_blob
from mmsupervisor.policy.source import PolicySource
from mmsupervisor.policy.toml_writer import write_toml
from mmsupervisor.policy.xml_writer import NotExpressibleError, write_xml


class OutputForm(Enum):
    """What a policy can be written as."""

    BLOB = "blob"
    LEGACY = "legacy"
    SEQUENTIAL = "sequential"
    XML = "xml"
    TOML = "toml"


FORM_OF_SUFFIX = {".xml": OutputForm.XML, ".toml": OutputForm.TOML}
"""The form that a file's name asks for; any other name asks for a blob."""


class UnsoundPolicyError(MmSupervisorError):
    """A policy that the supervisor's own check would refuse."""


def require_sound(policy: Policy) -> None:
    """Refuse what the supervisor's check refuses.

    Raises:
        UnsoundPolicyError: with the first violation.
    """
    if why := objection(policy):
        raise UnsoundPolicyError(why)


def write_policy(source: PolicySource, form: OutputForm) -> bytes:
    """Write a policy; what the form cannot express is refused.

    Notes are kept by TOML only: a blob and XML have no room for them.

    Raises:
        NotExpressibleError: the form cannot hold the policy.
        PolicyLayoutError: a value does not fit.
    """
    match form:
        case OutputForm.BLOB:
            return write_blob(source.policy)
        case OutputForm.XML:
            return write_xml(source.policy).encode()
        case OutputForm.TOML:
            return write_toml(source).encode()
        case OutputForm.LEGACY:
            return _write_old(source.policy, "a legacy blob", _as_legacy)
        case OutputForm.SEQUENTIAL:
            return _write_old(source.policy, "a sequential blob", write_sequential_blob)


def left_behind(source: PolicySource, form: OutputForm) -> str:
    """What a source form has no room for and the policy's own file keeps, as one line; empty if there is nothing.

    A blob is no source: nobody looks for reasons in it.
    """
    notes = [note for listed in source.notes for note in (listed.note, *listed.entries)]
    if form is not OutputForm.XML or not (source.title or source.vendor or any(notes)):
        return ""
    return f"{source.policy.file}: title, vendor, reasons, reviewers, dates and references stay there: XML has none"


def _as_legacy(roots: list[PolicyRoot]) -> bytes:
    listed = sorted((root for root in roots if root.entries), key=lambda root: root.type)
    if not listed:
        raise PolicyLayoutError("lists without any entry, which the reference's tool refuses to read")
    return write_legacy_blob(assemble_legacy(listed))


def _write_old(policy: Policy, form: str, write: Callable[[list[PolicyRoot]], bytes]) -> bytes:
    """A blob of version 1 or 2, whose lists are deny lists but for the instructions, which are an allow list (§3)."""
    roots = [root for root in policy.roots if root.entries or root.type != RootType.MEM]
    for root in roots:
        wanted = AccessAttr.ALLOW if root.type == RootType.INSTRUCTION else AccessAttr.DENY
        if root.type == RootType.SAVE_STATE:
            raise NotExpressibleError(policy.file, form, "a save-state list")
        if root.access_attr != wanted:
            clause = f"its {root.type_name} list is always {'an' if wanted is AccessAttr.ALLOW else 'a'} "
            raise NotExpressibleError(policy.file, form, f"{clause}{wanted.name.lower()} list")
        if any(root.reserved) or any(getattr(entry, "reserved", 0) for entry in root.entries):
            raise NotExpressibleError(policy.file, form, "reserved fields that are not zero")
    for kind in (RootType.IO, RootType.MSR):
        if not policy.roots_of(kind):
            raise NotExpressibleError(policy.file, form, f"no {kind.name} list, which denies everything")
    try:
        return write(roots)
    except PolicyLayoutError as error:
        raise NotExpressibleError(policy.file, form, str(error)) from error
