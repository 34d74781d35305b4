"""The report as plain data: what ``mmsup info --json`` prints. ``docs/schemas/info.schema.json`` describes it.

The members are the fields of :mod:`mmsupervisor.inventory.model` in their order, by the rules of
``docs/json-schemas.md``: offsets, addresses and flags are hexadecimal strings, GUIDs are strings in lower case with
their name in a member beside, enumerations are their words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

from mmsupervisor.inventory.model import ImageReport
from mmsupervisor.pi.guid import Guid

SCHEMA = "mmsupervisor.info/1"
"""Name and version of the document."""

_HEXADECIMAL = frozenset({"offset", "virtual_address", "image_base", "entry_point", "characteristics"})
_LEFT_OUT = frozenset({"payloads"})


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that no report could be made of.

    Attributes:
        name: The input, as the caller named it.
        error: Why, one line.
    """

    name: str
    error: str


def document(reports: Iterable[ImageReport], failures: Iterable[Failure] = ()) -> dict[str, Any]:
    """The document for some inputs, ready for :func:`json.dumps`.

    Args:
        reports: Inputs with a report, in order.
        failures: Inputs without one, in order.
    """
    return {"schema": SCHEMA, "images": [_plain(r) for r in reports], "failures": [_plain(f) for f in failures]}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type | Guid):
        return dict(_members(value))
    if isinstance(value, Guid):
        return {"guid": _guid_text(value), "name": value.name}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        item = getattr(value, field.name)
        if field.name in _LEFT_OUT:
            continue
        if isinstance(item, Guid) or ("Guid" in str(field.type) and item is None):
            yield field.name, _guid_text(item) if item else None
            yield f"{field.name}_name", item.name if item else None
        elif field.name in _HEXADECIMAL:
            yield field.name, f"0x{item:X}"
        else:
            yield field.name, _plain(item)


def _guid_text(guid: Guid) -> str:
    return str(guid).lower()
