"""From the model to the TOML form. Everything can be expressed; numbers that follow from the rules are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import IntEnum

from mmsupervisor.policy import toml_names as names
from mmsupervisor.policy.model import Attribute, Entry, IoEntry, MsrEntry, Policy, PolicyRoot, SaveStateEntry
from mmsupervisor.policy.source import Note, PolicySource
from mmsupervisor.policy.toml_names import NumberKey

_MOST_TOML = (1 << 63) - 1


def write_toml(source: PolicySource) -> str:
    """Write a policy and its notes as TOML; the inverse of :func:`mmsupervisor.policy.toml_source.read_toml_policy`."""
    policy = source.policy
    roots, memory_root = _roots_to_write(source)
    default = names.default_layout(roots, memory_root, policy.file)
    blocks = [[f"policy-form = {names.FORM}", *_header(source)]]
    if layout := _layout(policy, default, memory_root):
        blocks.append(layout)
    for number, root in enumerate(roots):
        notes = source.notes_of(number)
        blocks.append(["[[root]]", *_root(root, default.roots[number], notes.note)])
        blocks += [
            ["[[root.rule]]", *_rule(entry), *_note(notes.of(index))] for index, entry in enumerate(root.entries)
        ]
    blocks += [["[[extra]]", f"offset = {extra.offset:#x}", f'bytes = "{extra.data.hex()}"'] for extra in policy.extras]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _roots_to_write(source: PolicySource) -> tuple[tuple[PolicyRoot, ...], bool]:
    """The roots that must be written, and whether the reader may add a MEM root to them."""
    policy = source.policy
    rest = policy.roots[:-1]
    if policy.roots and not names.has_memory_root(rest) and not source.notes_of(len(rest)).note:
        added = names.default_layout(rest, memory_root=True, file="").roots[-1]
        if policy.roots[-1] == added:
            return rest, True
    return policy.roots, names.has_memory_root(policy.roots)


def text(value: str) -> str:
    """A TOML string."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(value: int, known: dict[str, IntEnum] | None = None) -> str:
    for name, number in (known or {}).items():
        if number == value:
            return text(name)
    return f'"{value:#x}"' if value > _MOST_TOML else f"{value:#x}"


def _header(source: PolicySource) -> Iterator[str]:
    if source.title:
        yield f"title = {text(source.title)}"
    if source.vendor:
        yield f"vendor = {text(source.vendor)}"
    if source.weakens_minimum:
        yield "weakens-minimum = true"


def _differences(keys: Sequence[NumberKey], actual: object, default: object) -> Iterator[str]:
    for key in keys:
        value = getattr(actual, key.attribute)
        if value != getattr(default, key.attribute):
            yield f"{key.key} = {_number(value)}"


def _layout(policy: Policy, default: Policy, memory_root: bool) -> list[str]:
    lines = list(_differences(names.LAYOUT_KEYS, policy, default))
    if not memory_root:
        lines.append(f"{names.MEMORY_ROOT} = false")
    return ["[layout]", *lines] if lines else []


def _root(root: PolicyRoot, default: PolicyRoot, note: Note) -> Iterator[str]:
    yield f"type = {_number(root.type, dict(names.TYPES))}"
    yield f"list = {_number(root.access_attr, dict(names.LISTS))}"
    plain = replace(default, version=1, root_size=PolicyRoot(0, 0).root_size)
    yield from _differences(names.ROOT_KEYS, root, plain)
    if any(root.reserved):
        yield f'reserved = "{root.reserved.hex()}"'
    yield from _note(note)


def _rule(entry: Entry) -> Iterator[str]:
    bits = entry.attributes
    is_strict = isinstance(entry, IoEntry) and entry.is_strict
    for key in names.ENTRY_KEYS[entry.KIND]:
        value = getattr(entry, key.attribute)
        if (
            isinstance(entry, SaveStateEntry)
            and key.key == "condition"
            and not value
            and not bits & Attribute.COND_READ
        ):
            continue
        name = names.WIDTH if is_strict and key.key == "length" else key.key
        yield f"{name} = {value if key.key == 'length' and value < 10 else _number(value, key.names)}"
    if is_strict:
        bits &= ~int(Attribute.STRICT_WIDTH)
    yield f"access = [{', '.join(_access(bits))}]"
    if not isinstance(entry, MsrEntry) and entry.reserved:
        yield f"reserved = {_number(entry.reserved)}"


def _access(bits: int) -> Iterator[str]:
    if not bits:
        yield "0"
    for name, bit in names.BITS.items():
        if bits & bit:
            yield text(name)
            bits &= ~int(bit)  # the flag by itself would drop bits without a name
    if bits:
        yield f"{bits:#x}"


def _note(note: Note) -> Iterator[str]:
    for key in names.NOTES:
        value = getattr(note, key)
        if value:
            yield f"{key} = {value if key == 'date' else text(value)}"
