"""Reports on policies as JSON documents. ``docs/json-schemas.md`` describes the members."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from mmsupervisor.policy.check import Violation
from mmsupervisor.policy.compare import AccessChange
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.explain import Explanation
from mmsupervisor.policy.level_facts import LevelFinding, Verdict
from mmsupervisor.policy.levels import LevelReport
from mmsupervisor.policy.lint import LintFinding
from mmsupervisor.policy.load import LoadedPolicy
from mmsupervisor.policy.model import (
    AccessAttr,
    Entry,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Place,
    PolicyRoot,
    SaveStateEntry,
)
from mmsupervisor.policy.source import Note
from mmsupervisor.policy.toml_names import BITS, CONDITIONS, FIELDS, INSTRUCTIONS, NOTES

SHOW_SCHEMA = "mmsupervisor.policy/1"
CHECK_SCHEMA = "mmsupervisor.policy-check/1"
BUILD_SCHEMA = "mmsupervisor.policy-build/1"
LEVEL_SCHEMA = "mmsupervisor.policy-level/1"
DIFF_SCHEMA = "mmsupervisor.policy-diff/1"
EXPLAIN_SCHEMA = "mmsupervisor.policy-explain/1"
"""Names and versions of the documents."""

Document = dict[str, Any]


def _hex(number: int) -> str:
    return f"0x{number:X}"


def _place(place: Place | None) -> str | None:
    return str(place) if place is not None else None


def _input(loaded: LoadedPolicy) -> Document:
    return {
        "name": loaded.name,
        "form": loaded.form.value,
        "sha256": loaded.sha256 or None,
        "title": loaded.source.title,
        "vendor": loaded.source.vendor or None,
    }


def show_document(loaded: LoadedPolicy) -> Document:
    """What a policy holds, with its notes."""
    policy = loaded.policy
    return {
        "schema": SHOW_SCHEMA,
        **_input(loaded),
        "version": f"{policy.version_major}.{policy.version_minor}",
        "size": policy.size,
        "roots": [
            {
                **_root(root),
                **_note(loaded.source.notes_of(number).note),
                "entries": [
                    {"index": index, **entry_document(entry), **_note(loaded.source.note_of(number, index))}
                    for index, entry in enumerate(root.entries)
                ],
            }
            for number, root in enumerate(policy.roots)
        ],
    }


def list_name(root: PolicyRoot) -> str:
    """``allow``, ``deny``, or the number of a list that is neither."""
    return AccessAttr(root.access_attr).name.lower() if root.has_legal_attr else _hex(root.access_attr)


def _root(root: PolicyRoot) -> Document:
    return {"type": root.type_name, "list": list_name(root), "count": root.count, "place": _place(root.place)}


def _note(note: Note) -> Document:
    return {key: getattr(note, key) or None for key in NOTES}


def _name(names: dict[str, Any], number: int) -> str:
    return next((name for name, value in names.items() if value == number), _hex(number))


def access_words(attributes: int) -> list[str]:
    """The words for attribute bits; bits without a name as a number."""
    words = [name for name, bit in BITS.items() if attributes & bit]
    rest = attributes & ~sum(int(bit) for bit in BITS.values())
    return [*words, _hex(rest)] if rest else words


def entry_document(entry: Entry) -> Document:
    """An entry: what it names, the access, its place."""
    match entry:
        case IoEntry():
            what: Document = {"port": _hex(entry.io_address), "length": entry.length_or_width}
        case MsrEntry():
            what = {"msr": _hex(entry.msr_address), "length": entry.length}
        case InstructionEntry():
            what = {"instruction": _name(dict(INSTRUCTIONS), entry.instruction_index)}
        case SaveStateEntry():
            condition = _name(dict(CONDITIONS), entry.access_condition)
            what = {"field": _name(dict(FIELDS), entry.map_field), "condition": condition}
        case MemEntry():
            what = {"base": _hex(entry.base_address), "size": _hex(entry.size)}
    return {**what, "access": access_words(entry.attributes), "place": _place(entry.place)}


def check_document(
    loaded: LoadedPolicy, violation: Violation | None, trouble: str, findings: Sequence[LintFinding]
) -> Document:
    """What the supervisor's check and the linter say.

    Args:
        loaded: The policy.
        violation: The first violation.
        trouble: Why the check could not end; empty if it did.
        findings: The linter's findings.
    """
    return {
        "schema": CHECK_SCHEMA,
        **_input(loaded),
        "passes": violation is None and not trouble,
        "violation": violation
        and {"rule": violation.rule, "detail": violation.detail, "place": _place(violation.place)},
        "trouble": trouble or None,
        "findings": [
            {
                "kind": one.kind.name.lower().replace("_", "-"),
                "subject": one.subject,
                "meaning": one.kind.value,
                "place": _place(one.place),
            }
            for one in findings
        ],
    }


def level_document(loaded: LoadedPolicy, reports: Sequence[LevelReport], at_least: int | None) -> Document:
    """Both verdicts for each vendor; at least one report."""
    return {
        "schema": LEVEL_SCHEMA,
        **_input(loaded),
        "refused": reports[0].refusal or None,
        "at_least": at_least,
        "reached": None if at_least is None else all(one.reaches(at_least) for one in reports),
        "reports": [
            {
                "vendor": one.vendor.value,
                "level": one.level,
                "has_memory": one.has_memory,
                "reference": _verdict(one.reference),
                "real": _verdict(one.real),
            }
            for one in reports
        ],
    }


def _verdict(verdict: Verdict) -> Document:
    return {
        "level": verdict.level,
        "error": verdict.error or None,
        "parts": {area.value: level for area, level in verdict.parts.items()},
        "findings": [_finding(one) for one in verdict.findings],
    }


def _finding(one: LevelFinding) -> Document:
    return {
        "area": one.area.value,
        "limit": one.limit,
        "what": one.what,
        "why": one.why,
        "mend": one.mend or None,
        "place": _place(one.place),
    }


def diff_document(a: LoadedPolicy, b: LoadedPolicy, changes: Sequence[AccessChange]) -> Document:
    """What ring 3 may do under one policy and not under the other."""
    return {
        "schema": DIFF_SCHEMA,
        "a": _input(a),
        "b": _input(b),
        "only_a": [_change(one) for one in changes if one.allowed[0] and one.allowed[1] is False],
        "only_b": [_change(one) for one in changes if one.allowed[1] and one.allowed[0] is False],
        "undecided": [_change(one) for one in changes if None in one.allowed],
    }


def _change(one: AccessChange) -> Document:
    return {
        "kind": one.kind.name,
        "access": one.access,
        "width": one.width or None,
        "first": _hex(one.first),
        "last": _hex(one.last),
        "subject": one.subject,
        "a": _decision(one.decisions[0]),
        "b": _decision(one.decisions[1]),
    }


def _decision(decision: Decision | None) -> Document | None:
    if decision is None:
        return None
    return {
        "allowed": decision.allowed,
        "status": decision.status.name,
        "list": list_name(decision.root) if decision.root is not None else None,
        "reason": decision.reason.value,
        "rule": decision.rule,
        "entry": None if decision.entry is None else {"index": decision.index, **entry_document(decision.entry)},
        "surprises": [{"source": one.source, "text": one.text} for one in decision.surprises],
    }


def explain_document(loaded: LoadedPolicy, answer: Explanation) -> Document:
    """The decision on one access, and the walk."""
    decision = answer.decision
    note = Note()
    if decision.index is not None and decision.root is not None:
        number = next(i for i, root in enumerate(loaded.policy.roots) if root is decision.root)
        note = loaded.source.note_of(number, decision.index)
    return {
        "schema": EXPLAIN_SCHEMA,
        **_input(loaded),
        "question": answer.question,
        "decision": _decision(decision),
        "cause": _decision(decision.cause),
        **{f"entry_{key}": value for key, value in _note(note).items()},
        "walk": [
            {"index": step.index, **entry_document(step.entry), "covers": step.covers, "why": step.why}
            for step in answer.walk
        ],
    }


def build_document(
    loaded: LoadedPolicy, output: str, form: str, data: bytes, *, layers: Sequence[str], remarks: Sequence[str]
) -> Document:
    """What was written.

    Args:
        loaded: The policy that was built from.
        output: The file as the user named it.
        form: What was written.
        data: Its bytes.
        layers: The layers as the user named them.
        remarks: What was said about them.
    """
    return {
        "schema": BUILD_SCHEMA,
        **_input(loaded),
        "layers": list(layers),
        "remarks": list(remarks),
        "output": output,
        "output_form": form,
        "output_size": len(data),
        "output_sha256": hashlib.sha256(data).hexdigest(),
    }
