"""A trace and a report without what may be secret.

The canonical trace holds no message's data. But a driver may hand what it got on: to a port, to a service, to the
console. Redacted, a trace keeps who did what, when, where and with which status, and says ``redacted`` for values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from mmsupervisor.machine.events import EventLog
from mmsupervisor.report.model import SessionReport

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
    """Return a report whose messages have no data: what was sent is empty, what came back None."""
    return replace(report, messages=tuple(replace(one, sent="", payload=None) for one in report.messages))
