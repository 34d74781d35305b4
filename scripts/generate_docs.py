#!/usr/bin/env python3
"""Writes the pages of docs/ that are made from declarations in the code.

    python scripts/generate_docs.py            write them
    python scripts/generate_docs.py --check    only say which are not current; exit code 1 if one is not

===================================  ===========================================
docs/system-calls.md                 mmsupervisor.abi.system_calls
docs/findings.md, docs/findings/      mmsupervisor.abi.findings, by scripts/finding_pages.py
docs/relaxations.md                  mmsupervisor.abi.relaxations
docs/outside-services.md             mmsupervisor.dxe.traditional.services
docs/platform.md                     mmsupervisor.platform.schema
docs/schemas/session.schema.json     mmsupervisor.report.model, finding_model
docs/schemas/variables.schema.json   mmsupervisor.report.variables
===================================  ===========================================
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mmsupervisor.abi.relaxations import RELAXATIONS
from mmsupervisor.abi.system_calls import (
    FIRST_SUPERVISOR_CALL,
    SYSTEM_CALLS,
    Check,
    NonZero,
    Once,
    Support,
    SystemCallDeclaration,
    UserRange,
)
from mmsupervisor.dxe.traditional.services import SERVICES
from mmsupervisor.pi.status import status_name
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.schema import SECTIONS, Key, Section
from mmsupervisor.platform.tree import Table, to_tree
from mmsupervisor.report import document, finding_model, model, variables

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.finding_pages import finding_pages, findings_page

DOCS = Path(__file__).resolve().parents[1] / "docs"
REGISTERS = ("RDX", "R8", "R9")
MADE = "Made from `{source}` by `scripts/generate_docs.py`; a test holds this page to it."

# --- system calls ---------------------------------------------------------------------------------------------


def system_calls_page() -> str:
    """The table of all system calls."""
    calls = sorted(SYSTEM_CALLS.values(), key=lambda call: call.number)
    lines = [
        "# System calls",
        "",
        MADE.format(source="mmsupervisor.abi.system_calls"),
        "",
        "SYSCALL with the number in RAX and up to three arguments in RDX, R8 and R9; the result comes back in RAX. RCX",
        "and R11 are lost. The facts: [syscall-abi.md](reference/syscall-abi.md).",
        "",
        "What is checked comes first and in the order given. A failure is **fatal** unless the table says that it is",
        "returned: the supervisor reports it and the machine resets, so ring 3 never sees the status named here. Any",
        "other number is fatal with EFI_INVALID_PARAMETER (MM-1003).",
        "",
        "A range is ring 3's if every page of it is: a range that touches page 0, is empty or wraps is nobody's.",
    ]
    for title, wanted in (
        ("Hardware, asked of the isolation policy", lambda call: call.number < FIRST_SUPERVISOR_CALL),
        ("The supervisor's services", lambda call: call.number >= FIRST_SUPERVISOR_CALL),
    ):
        lines += ["", f"## {title}"]
        for call in filter(wanted, calls):
            lines += ["", *_call(call)]
    return "\n".join(lines) + "\n"


def _call(call: SystemCallDeclaration) -> Iterator[str]:
    arguments = ", ".join(f"{one.name} ({one.kind.value})" for one in call.arguments)
    yield f"### {call.number:#x} {call.name}"
    yield ""
    yield f"{call.purpose[0].upper()}{call.purpose[1:]}. Source: {call.source}."
    if call.support is not Support.SERVED:
        yield ""
        yield f"Not served: {call.support.value}, {status_name(call.failures[0][0])}."
        return
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| Arguments | {arguments or 'none'} |"
    yield f"| Result | {call.result} |"
    if call.gate:
        yield f"| Policy is asked | {call.gate} |"
    for check in call.checks:
        yield f"| Checked | {_check(call, check)} |"
    for status, cause in call.failures:
        yield f"| Fails | {status_name(status)}: {cause} |"
    if call.returns_errors:
        yield "| Errors of the service | returned in RAX, not fatal |"


def _check(call: SystemCallDeclaration, check: Check) -> str:
    match check:
        case Once():
            return f"made for the first time, else {status_name(check.status)}"
        case NonZero():
            return f"{call.arguments[check.argument].name} is not 0, else {status_name(check.status)}"
        case UserRange():
            sized = check.size_argument is not None
            size = call.arguments[check.size_argument or 0].name if sized else check.size
            unless = " unless it is 0" if check.unless_zero else ""
            name = call.arguments[check.argument].name
            return f"{size} bytes at {name} are ring 3's{unless}, else {status_name(check.status)}"


# --- relaxations, and what traditional drivers find outside MM --------------------------------------------------


def relaxations_page() -> str:
    """The index of all relaxations."""
    lines = [
        "# Relaxations",
        "",
        MADE.format(source="mmsupervisor.abi.relaxations"),
        "",
        "Strict is the default and behaves as the device: a violation ends the system. A relaxation permits one kind",
        "and counts every use with its driver and offset, so that an author can converge to strict one by one.",
        "Observing is all of them. The isolation policy is asked under a relaxation too: what it would have denied is",
        "counted as that. A denied system call stays fatal.",
    ]
    for item in RELAXATIONS.values():
        replaced = ", ".join(item.replaces) or "the end of the system"
        lines += ["", f"## {item.name}: {item.title}", "", item.permits, ""]
        lines += [f"- Needed because: {item.needed}", f"- In place of: {replaced}", f"- To do without: {item.mend}"]
    return "\n".join(lines) + "\n"


def outside_services_page() -> str:
    """The index of what traditional drivers find outside MM."""
    lines = [
        "# What traditional drivers find outside MM",
        "",
        MADE.format(source="mmsupervisor.dxe.traditional.services"),
        "",
        "Under the relaxation `traditional-entry` a traditional driver is given a stand-in for the EFI system table.",
        "Every call is an event with its arguments and its place, and is counted. What is not implemented answers",
        "EFI_UNSUPPORTED (device paths: 0): nothing pretends to have been done.",
    ]
    table = ""
    for one in SERVICES:
        if one.table != table:
            table = one.table
            lines += ["", f"## {table}", "", "| Offset | Service | Arguments | Served | |", "|---|---|---|---|---|"]
        lines.append(
            f"| {one.offset:#x} | {one.name} | {', '.join(one.arguments)} | {one.support.value} | {one.does} |"
        )
    return "\n".join(lines) + "\n"


# --- platform files -------------------------------------------------------------------------------------------


def platform_page() -> str:
    """The reference of all keys of a platform file."""
    defaults = to_tree(PlatformDescription())
    lines = [
        "# Platform files",
        "",
        MADE.format(source="mmsupervisor.platform.schema"),
        "",
        "A platform file says what no firmware image says: MMRAM, CPUs, memory, MMIO, devices. `mmsup platform init`",
        "writes one with every key, explained; `mmsup platform check FILE` checks one and prints what it comes to; the",
        "commands that boot take it with `--platform FILE`. It is TOML. Every key may be left out, and means its",
        "default then: together the defaults are a machine like QEMU's Q35",
        "([q35-platform.md](reference/q35-platform.md)). Unknown keys, values of another type, ranges that overlap and",
        "the like are errors, each with file, line and rule.",
    ]
    for section in SECTIONS:
        lines += ["", *_section(section, defaults[section.name])]
    return "\n".join(lines) + "\n"


def _section(section: Section, default: Table | list[Table]) -> Iterator[str]:
    yield f"## [[{section.name}]]" if section.is_array else f"## [{section.name}]"
    yield ""
    yield section.meaning
    if section.is_array:
        count = len(default) or "none"
        yield ""
        yield f"As often as needed. The default has {count}; what is written replaces all of the default's."
    yield ""
    if section.entries is not None and isinstance(default, dict):
        entries = ", ".join(f"`0x{number:X}`" for number in default)
        yield f"Keys are MSR numbers, values numbers of 64 bits. What is written replaces the default's: {entries}."
        return
    yield "| Key | Value | Default | Meaning |"
    yield "|---|---|---|---|"
    for key in section.keys:
        yield f"| `{key.name}` | {key.kind.words} | {_default(key, default)} | {key.meaning} |"


def _default(key: Key, default: Table | list[Table]) -> str:
    if key.is_needed:
        return "must be there"
    if key.default_text:
        return key.default_text
    return f"`{key.kind.write(default[key.name])}`" if isinstance(default, dict) else "none"


# --- the schema of reports ------------------------------------------------------------------------------------

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCHEMAS = (document.RUN_SCHEMA, document.BOOT_SCHEMA, document.SEND_SCHEMA)
_CLASSES = [
    item
    for module in (model, finding_model, variables)
    for item in vars(module).values()
    if isinstance(item, type) and item.__module__ == module.__name__
]
_BASIC: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "Hex": {"$ref": "#/$defs/hex"},
    "Guid": {"$ref": "#/$defs/named_guid"},
}
_HEX = {"description": "A number in hexadecimal.", "type": "string", "pattern": "^0x[0-9A-F]+$"}
_GUID = {
    "description": "A GUID in registry form, lower case.",
    "type": "string",
    "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
}
_GUID_NAME = {"description": "The GUID's name, where one is known.", "type": ["string", "null"]}
_NAMED_GUID = {
    "description": "A GUID and its name, where one is known.",
    "type": "object",
    "required": ["guid", "name"],
    "properties": {"guid": {"$ref": "#/$defs/guid"}, "name": {"type": ["string", "null"]}},
}


def session_schema() -> str:
    """The JSON schema of a session's report."""
    title = "mmsup run --json, mmsup boot --json, mmsup send --json"
    return _schema("session", title, "What became of a session", model.SessionReport, _SCHEMAS)


def variables_schema() -> str:
    """The JSON schema of a report on variables."""
    text = "What was done with a session's variables"
    return _schema("variables", "mmsup variable --json", text, variables.VariablesReport, (variables.VARIABLES_SCHEMA,))


def _schema(name: str, title: str, text: str, kind: type, schemas: tuple[str, ...]) -> str:
    definitions = {item.__name__: _object(item) for item in _below(kind)}
    root = definitions.pop(kind.__name__)
    schema = {"description": "Name and version of the document.", "enum": list(schemas)}
    made = {
        "$schema": _DIALECT,
        "$id": f"{name}.schema.json",
        "title": title,
        "description": f"{text}. Members and meaning: docs/json-schemas.md.",
        "type": "object",
        "required": ["schema", *root["required"]],
        "properties": {"schema": schema, **root["properties"]},
        "$defs": {"hex": _HEX, "guid": _GUID, "named_guid": _NAMED_GUID, **definitions},
    }
    return json.dumps(made, indent=2) + "\n"


def _below(root: type) -> list[type]:
    """The classes that a report is made of, in the order of their modules."""
    found = {root}
    while True:
        words = {word for item in found for field in fields(item) for word in re.findall(r"\w+", str(field.type))}
        more = found | {item for item in _CLASSES if is_dataclass(item) and item.__name__ in words}
        if more == found:
            return [item for item in _CLASSES if item in found]
        found = more


def _object(kind: type) -> dict[str, Any]:
    described = _attributes(kind)
    properties: dict[str, Any] = {}
    for field in fields(kind):
        text = {"description": described[field.name]}
        if field.type in ("Guid", "Guid | None"):  # written as two members: the GUID, and its name beside it
            reference = {"$ref": "#/$defs/guid"}
            properties[field.name] = text | (reference if field.type == "Guid" else _or_null(reference))
            properties[f"{field.name}_name"] = dict(_GUID_NAME)
        else:
            properties[field.name] = text | _type(str(field.type))
    summary = (kind.__doc__ or "").splitlines()[0]
    return {"description": summary, "type": "object", "required": list(properties), "properties": properties}


def _attributes(kind: type) -> dict[str, str]:
    """The descriptions that a class's docstring gives of its attributes."""
    listed = (kind.__doc__ or "").partition("Attributes:")[2]
    found = re.findall(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", listed, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text).strip() for name, text in found}


def _type(text: str) -> dict[str, Any]:
    if text.endswith(" | None"):
        return _or_null(_type(text.removesuffix(" | None")))
    if text.startswith("tuple["):
        return {"type": "array", "items": _type(text.removeprefix("tuple[").removesuffix(", ...]"))}
    if text in _BASIC:
        return dict(_BASIC[text])
    named = next(item for item in _CLASSES if item.__name__ == text)
    if issubclass(named, Enum):
        return {"enum": [member.value for member in named]}
    return {"$ref": f"#/$defs/{text}"}


def _or_null(described: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [described, {"type": "null"}]}


# --- writing --------------------------------------------------------------------------------------------------

PAGES: dict[str, Callable[[], str]] = {
    "system-calls.md": system_calls_page,
    "findings.md": findings_page,
    "platform.md": platform_page,
    "relaxations.md": relaxations_page,
    "outside-services.md": outside_services_page,
    "schemas/session.schema.json": session_schema,
    "schemas/variables.schema.json": variables_schema,
    **finding_pages(),
}
"""What is made, by path below docs/."""


def main(arguments: list[str]) -> int:
    """Write all pages, or check them."""
    stale = [name for name, make in PAGES.items() if not _is_current(name, make())]
    if "--check" in arguments:
        for name in stale:
            sys.stdout.write(f"docs/{name} is not current\n")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(PAGES[name](), "utf-8")
    return 0


def _is_current(name: str, text: str) -> bool:
    path = DOCS / name
    return path.is_file() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
