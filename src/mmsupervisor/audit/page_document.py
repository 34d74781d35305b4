"""The page audit as plain data, for ``--page-audit FILE.json``; docs/json-schemas.md describes the rules."""

from __future__ import annotations

from typing import Any

from mmsupervisor.audit.page_checks import CheckResult, Issue, PageAudit
from mmsupervisor.audit.page_map import Row
from mmsupervisor.session import Session

PAGE_AUDIT_SCHEMA = "mmsupervisor.page-audit/1"
"""What ``mmsup boot --page-audit FILE.json`` writes."""


def page_document(session: Session, audit: PageAudit) -> dict[str, Any]:
    """The document of an audit, ready for :func:`json.dumps`."""
    return {
        "schema": PAGE_AUDIT_SCHEMA,
        "image": session.firmware.name,
        "platform": session.description.name,
        "profile": session.description.profile.name,
        "phase": session.phase.value if session.phase else None,
        "failed": audit.failed,
        "checks": [_check(result) for result in audit.results],
        "rows": [_row(row) for row in audit.rows],
    }


def _check(result: CheckResult) -> dict[str, Any]:
    check = result.check
    return {
        "number": check.number,
        "title": check.title,
        "meaning": check.meaning,
        "passed": not result.issues,
        "issues": [_issue(issue) for issue in result.issues],
    }


def _issue(issue: Issue) -> dict[str, Any]:
    return {"start": _hex(issue.start), "end": _hex(issue.end), "text": issue.text}


def _row(row: Row) -> dict[str, Any]:
    return {
        "start": _hex(row.start),
        "end": _hex(row.end),
        "pages": row.pages,
        "present": row.present,
        "owner": ("user" if row.user else "supervisor") if row.present else None,
        "writable": row.present and row.writable,
        "executable": row.present and row.executable,
        "memory_types": list(row.memory_types),
        "system": list(row.system),
        "contents": list(row.contents),
        "use": row.use,
        "guard": row.is_guard,
    }


def _hex(number: int | None) -> str | None:
    return None if number is None else f"0x{number:X}"
