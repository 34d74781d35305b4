"""Reports on policies as text. Everything that is said stands in the JSON documents, from which this is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Document = dict[str, Any]

_INDENT = "  "
_NOTES = ("reason", "reviewer", "date", "reference")


def _head(document: Document) -> str:
    title = f": {document['title']}" if document["title"] else ""
    return f"{document['name']} ({document['form']}){title}"


def _bytes(count: int) -> str:
    return f"{count} byte{'s' * (count != 1)}"


def entry_text(entry: Document) -> str:
    """What an entry names, in few words."""
    access = " | ".join(entry["access"]) or "nothing"
    if "port" in entry:
        kind = "width" if "strict-width" in entry["access"] else "length"
        rest = [word for word in entry["access"] if word != "strict-width"]
        return f"port {entry['port']}, {kind} {entry['length']}: {' | '.join(rest) or 'nothing'}"
    if "msr" in entry:
        return f"MSR {entry['msr']}, {entry['length']}: {access}"
    if "instruction" in entry:
        return f"{entry['instruction']}: {access}"
    if "field" in entry:
        when = "" if entry["condition"] == "unconditional" else f" on {entry['condition']}"
        return f"{entry['field']}: {access}{when}"
    return f"memory {entry['base']}, size {entry['size']}: {access}"


def _said(noted: Document) -> str:
    reason = noted["reason"] or ""
    rest = ", ".join(noted[key] for key in _NOTES[1:] if noted[key])
    return f"  {reason}{f' [{rest}]' if rest else ''}" if reason or rest else ""


def show_lines(document: Document) -> Iterator[str]:
    """A policy, root by root."""
    yield f"{_head(document)}, version {document['version']}, {_bytes(document['size'])}"
    for root in document["roots"]:
        yield ""
        entries = "1 entry" if root["count"] == 1 else f"{root['count']} entries"
        yield f"{root['type']}: {root['list']} list, {entries}{_said(root)}"
        for entry in root["entries"]:
            yield f"{_INDENT}{entry['index']:>3}  {entry_text(entry)}{_said(entry)}"


def check_lines(document: Document) -> Iterator[str]:
    """The supervisor's check, then the remarks."""
    yield _head(document)
    violation = document["violation"]
    if violation is not None:
        place = f" ({violation['place']})" if violation["place"] else ""
        yield f"refused: rule {violation['rule']}: {violation['detail']}{place} [isolation-policy.md §10]"
    elif document["trouble"]:
        yield f"refused: {document['trouble']}"
    else:
        yield "passes the supervisor's check"
    for finding in document["findings"]:
        place = f" ({finding['place']})" if finding["place"] else ""
        yield f"remark: {finding['subject']}: {finding['meaning']}{place}"


def level_lines(document: Document) -> Iterator[str]:
    """Both verdicts side by side, then what is missing."""
    yield _head(document)
    if document["refused"] is not None:
        yield f"no level: the supervisor refuses it when it is to be fetched: {document['refused']}"
    for report in document["reports"]:
        yield ""
        yield from _report_lines(report)
    if document["at_least"] is not None:
        yield ""
        yield f"at least {document['at_least']}: {'yes' if document['reached'] else 'no'}"


_VERDICTS = (("reference", "the reference's checker"), ("real", "as it really is"))


def _report_lines(report: Document) -> Iterator[str]:
    scope = "with memory" if report["has_memory"] else "without memory"
    yield f"{report['vendor']}, {scope}".ljust(28) + "level    MEMORY  IO  MSR  SAVE_STATE"
    for key, title in _VERDICTS:
        verdict = report[key]
        parts = verdict["parts"]
        cells = [str(parts.get(area, "-")) for area in ("MEMORY", "IO", "MSR", "SAVE_STATE")]
        level = "none" if verdict["level"] is None else str(verdict["level"])
        yield f"{_INDENT}{title}".ljust(28) + f"{level:<9}{cells[0]:<8}{cells[1]:<4}{cells[2]:<5}{cells[3]}"
        if verdict["error"]:
            yield f"{_INDENT * 2}{verdict['error']}"
    for key, title in _VERDICTS:
        findings = [one for one in report[key]["findings"] if one["limit"] is not None]
        if findings:
            yield f"missing, {title}:"
            yield from map(_finding_line, findings)
    remarks = [one for one in report["real"]["findings"] if one["limit"] is None]
    if remarks:
        yield "remarks, which cost nothing:"
        yield from map(_finding_line, remarks)


def _finding_line(one: Document) -> str:
    cost = "" if one["limit"] is None else f"held at {one['limit']}: "
    place = f" ({one['place']})" if one["place"] else ""
    mend = f"; mend: {one['mend']}" if one["mend"] else ""
    return f"{_INDENT}{cost}{one['area']}: {one['what']}{place}: {one['why']}{mend}"


def diff_lines(document: Document) -> Iterator[str]:
    """What each side allows alone."""
    a, b = document["a"]["name"], document["b"]["name"]
    if not any(document[key] for key in ("only_a", "only_b", "undecided")):
        yield f"ring 3 may do the same under {a} and {b}"
        return
    for key, title in (
        ("only_a", f"allowed under {a}, denied under {b}"),
        ("only_b", f"denied under {a}, allowed under {b}"),
        ("undecided", "decided by one only: the other's lists run out of its bytes"),
    ):
        if document[key]:
            yield f"{title}:"
            yield from (f"{_INDENT}{line}" for line in _changes(document[key]))


def _changes(changes: Sequence[Document]) -> Iterator[str]:
    for one in changes:
        width = f" {_bytes(one['width'])}" if one["width"] else ""
        sides = [f"{side}: {_because(one[side])}" for side in ("a", "b") if one[side] is not None]
        tail = f"  [{'; '.join(sides)}]" if sides else ""
        yield f"{one['access']}{width}: {one['subject']}{tail}"


def _because(decision: Document) -> str:
    entry = decision["entry"]
    if entry is None:
        return decision["reason"] if decision["list"] is None else f"{decision['list']} list, no entry"
    return f"{decision['list']} entry {entry['index']}" + (f" ({entry['place']})" if entry["place"] else "")


def _rule_lines(decision: Document) -> Iterator[str]:
    """Why, by which rule of the fact sheets, and by which entry."""
    named = f"{decision['list']} list: " if decision["list"] is not None else ""
    yield f"{_INDENT}{named}{decision['reason']} [{decision['rule']}]"
    entry = decision["entry"]
    if entry is not None:
        place = f" ({entry['place']})" if entry["place"] else ""
        yield f"{_INDENT}entry {entry['index']}: {entry_text(entry)}{place}"


def explain_lines(document: Document) -> Iterator[str]:
    """The decision, the rule, the walk."""
    decision, cause = document["decision"], document["cause"]
    yield f"{document['question']}: {'allowed' if decision['allowed'] else 'denied'} ({decision['status']})"
    yield from _rule_lines(decision)
    if said := _said({key: document[f"entry_{key}"] for key in _NOTES}):
        yield f"{_INDENT}says:{said}"
    if cause is not None:
        yield f"{_INDENT}RAX:"
        yield from (f"{_INDENT}{line}" for line in _rule_lines(cause))
    for surprise in decision["surprises"]:
        yield f"{_INDENT}only so because {surprise['text']} [{surprise['source']}]"
    if document["walk"]:
        yield "walk:"
    for step in document["walk"]:
        place = f" ({step['place']})" if step["place"] else ""
        yield f"{_INDENT}{step['index']:>3}  {entry_text(step)}{place}: {step['why']}"
