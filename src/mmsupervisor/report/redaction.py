"""A trace and a report without what may be secret.

The canonical trace holds no message's data. But a driver may hand what it got on: to a port, to a service, to the
console. Redacted, a trace keeps who did what, when, where and with which status, and says ``redacted`` for values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from mmsupervisor.abi.findings import FINDING_KINDS
from mmsupervisor.machine.events import EventLog
from mmsupervisor.report.finding_model import FindingReport
from mmsupervisor.report.model import AuditReport, SessionReport

REDACTED = "redacted"
"""What stands for a value."""

SECRET_FIELDS = frozenset(("arguments", "result", "text", "detail"))
"""Fields of events that hold values which ring 3 chose, or words made of them."""


def redacted_lines(log: EventLog) -> Iterator[str]:
    """Iterate over the canonical trace, values that ring 3 chose left out."""
    for line in log.canonical_lines():
        fields = json.loads(line)
        kept = {name: REDACTED if name in SECRET_FIELDS and value else value for name, value in fields.items()}
        yield json.dumps(kept, separators=(",", ":"))


def without_message_data(report: SessionReport) -> SessionReport:
    """Return a report without message data, and without values that ring 3 chose.

    Messages have none: what was sent is empty, what came back None. Findings keep who, where, when, which rule and
    what to change; their registers, arguments and the address touched are left out, and ``redacted`` stands for the
    detail, which is made of such values.
    """
    return replace(
        report,
        messages=tuple(replace(one, sent="", payload=None) for one in report.messages),
        findings=tuple(_without_values(finding) for finding in report.findings),
        audit=None if report.audit is None else _audit_without_values(report.audit),
        end=None if report.end is None else replace(report.end, rip=None),
    )


def _audit_without_values(audit: AuditReport) -> AuditReport:
    """Leave out of all findings what they say of values: those about replies are about nothing else."""
    findings = (replace(_without_values(finding), detail=REDACTED) for finding in audit.findings)
    return replace(audit, findings=tuple(findings))


def _without_values(finding: FindingReport) -> FindingReport:
    callers = tuple(frame for frame in finding.stack if frame.offset is not None)
    if finding.address is None:  # it is about a file, a message or a budget, not about what code did
        return replace(finding, stack=callers, registers=())
    is_in_image = finding.offset is not None
    return replace(
        finding,
        address=finding.address if is_in_image else None,  # outside images it is where a wild pointer led
        subject=finding.subject if is_in_image else finding.driver,
        stack=callers,
        detail=REDACTED,
        mend=FINDING_KINDS[finding.number].mend,
        fault=None if finding.fault is None else replace(finding.fault, address=None),
        request=None if finding.request is None else replace(finding.request, arguments=()),
        registers=(),
    )
