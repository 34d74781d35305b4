"""The report as plain data: what ``--json`` prints. ``docs/schemas/session.schema.json`` describes it.

The members are the fields of :mod:`mmsupervisor.report.model` in their order, by the rules of
``docs/json-schemas.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from mmsupervisor.pi.guid import Guid

RUN_SCHEMA = "mmsupervisor.run/1"
"""What ``mmsup run`` writes."""

BOOT_SCHEMA = "mmsupervisor.boot/1"
"""What ``mmsup boot`` writes."""

SEND_SCHEMA = "mmsupervisor.send/1"
"""What ``mmsup send`` writes."""


def document(schema: str, report: object) -> dict[str, Any]:
    """The document of a report, ready for :func:`json.dumps`."""
    return {"schema": schema, **_plain(report)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type | Guid):
        return dict(_members(value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Guid):
        return {"guid": str(value).lower(), "name": value.name}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        item = getattr(value, field.name)
        if field.type in ("Guid", "Guid | None"):
            yield field.name, str(item).lower() if item else None
            yield f"{field.name}_name", item.name if item else None
        elif "Hex" in str(field.type) and item is not None:
            yield field.name, f"0x{item:X}"
        else:
            yield field.name, _plain(item)
