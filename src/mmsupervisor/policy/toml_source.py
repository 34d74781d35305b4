"""The policy as TOML: our own source form, in which every rule can say why it is there.

Everything that the model can hold can be written, illegal values too; what is unknown, repeated, of the wrong type or
too large for its field is refused with its line. Whether the policy makes sense is not asked here: that is what
:mod:`mmsupervisor.policy.check` and :mod:`mmsupervisor.policy.lint` are for. ``docs/policy.md`` explains the form.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mmsupervisor.pi.errors import SourceError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.toml_source import TomlTable, read_toml
from mmsupervisor.policy import toml_names as names
from mmsupervisor.policy.model import (
    ENTRY_TYPES,
    Attribute,
    Entry,
    Extra,
    Place,
    Policy,
    PolicyRoot,
    RootType,
)
from mmsupervisor.policy.source import Note, PolicySource, RootNotes
from mmsupervisor.policy.toml_names import NumberKey


def read_toml_policy(data: bytes, file: str = "policy.toml", allowance: Allowance | None = None) -> PolicySource:
    """Read a policy from TOML.

    Args:
        data: The file.
        file: Its name in messages and places.
        allowance: Bounds for hostile input.

    Raises:
        SourceError: the file breaks a rule of the form.
        LimitError: the file holds more than the bounds allow.
    """
    table = read_toml(data, file, allowance).table()
    form = table.need("policy-form", int, "the number of the form, 1")
    if form != names.FORM:
        raise table.error("policy-form", f"form {form} is not known; this is form {names.FORM}")
    title = table.take("title", str, "a text") or ""
    vendor = table.take("vendor", str, "a text") or ""
    if vendor and vendor not in names.VENDORS:
        raise table.error("vendor", f"unknown vendor `{vendor}`; there are {', '.join(names.VENDORS)}")
    weakens = table.take("weakens-minimum", bool, "true or false") or False
    roots, notes, given = [], [], []
    for root_table in table.tables("root"):
        root, note, numbers = _read_root(root_table)
        roots.append(root)
        notes.append(note)
        given.append(numbers)
    policy = _lay_out(table, tuple(roots), given, file)
    table.finish()
    return PolicySource(policy, title, vendor, tuple(notes), weakens)


def _lay_out(table: TomlTable, roots: tuple[PolicyRoot, ...], given: list[dict[str, Any]], file: str) -> Policy:
    """Fill in the numbers that follow from the rules, then the given ones."""
    layout = table.table("layout")
    memory_root = layout.take(names.MEMORY_ROOT, bool, "true or false") if layout else None
    policy = names.default_layout(roots, memory_root is not False, file)
    given += [{}] * (len(policy.roots) - len(given))
    placed = tuple(replace(root, **numbers) for root, numbers in zip(policy.roots, given, strict=True))
    if layout is not None:
        if memory_root is False and names.has_memory_root(roots):
            raise layout.error(names.MEMORY_ROOT, "there is a MEM root")
        numbers: dict[str, Any] = {
            key.attribute: value for key in names.LAYOUT_KEYS if (value := _number(layout, key)) is not None
        }
        layout.finish()
        policy = replace(policy, **numbers)
    return replace(policy, roots=placed, extras=tuple(_read_extra(extra) for extra in table.tables("extra")))


def _read_extra(table: TomlTable) -> Extra:
    offset = table.need_number("offset", 0xFFFF_FFFF)
    extra = Extra(offset, _bytes(table, "bytes", table.need("bytes", str, "bytes in hexadecimal")))
    table.finish()
    return extra


def _bytes(table: TomlTable, key: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise table.error(key, f"`{key}` must be bytes in hexadecimal") from error


def _number(table: TomlTable, key: NumberKey) -> int | None:
    """A number; one of 64 bits may be a text in hexadecimal, since TOML's own end at 63 bits."""
    most = (1 << key.bits) - 1
    text = table.values.get(key.key)
    if not isinstance(text, str):
        return table.take_number(key.key, most)
    table.take(key.key, str, "")
    if key.names is not None:
        return _word(table, key.key, text, key.names)
    try:
        value = int(text, 16) if key.bits == 64 and text.startswith("0x") else -1
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise table.error(key.key, f"`{key.key}` must be a number")
    return value


def _word(table: TomlTable, key: str, text: str, known: Mapping[str, int]) -> int:
    if text not in known:
        raise table.error(key, f"`{key}` is `{text}`; there are {', '.join(known)}")
    return int(known[text])


def _need(table: TomlTable, key: NumberKey) -> int:
    value = _number(table, key)
    if value is None:
        raise table.error("", f"`{key.key}` is missing")
    return value


def _read_note(table: TomlTable) -> Note:
    texts = {key: table.take(key, str, "a text") or "" for key in names.NOTES if key != "date"}
    date = table.take("date", datetime.date, "a date such as 2026-08-01")
    if isinstance(date, datetime.datetime):
        raise table.error("date", "`date` must be a date such as 2026-08-01")
    return Note(date=date.isoformat() if date else "", **texts)


def _read_root(table: TomlTable) -> tuple[PolicyRoot, RootNotes, dict[str, Any]]:
    """A root, its notes, and those of its numbers that are given."""
    kind = _need(table, NumberKey("type", "type", 32, dict(names.TYPES)))
    attr = _need(table, NumberKey("list", "access_attr", 8, dict(names.LISTS)))
    numbers: dict[str, Any] = {
        key.attribute: value for key in names.ROOT_KEYS if (value := _number(table, key)) is not None
    }
    form = {name: numbers.pop(name) for name in ("version", "root_size") if name in numbers}
    reserved = _bytes(table, "reserved", table.take("reserved", str, "bytes in hexadecimal") or "000000")
    if len(reserved) != 3:
        raise table.error("reserved", "`reserved` must be three bytes in hexadecimal")
    note = _read_note(table)
    entries, notes = [], []
    for rule in table.tables("rule"):
        if kind not in ENTRY_TYPES:
            raise rule.error("", f"a root of type {kind:#x} can have no rules")
        entries.append(_read_rule(RootType(kind), rule))
        notes.append(_read_note(rule))
        rule.finish()
    table.finish()
    place = Place(table.document.file, line=table.line)
    root = PolicyRoot(kind, attr, tuple(entries), reserved=reserved, place=place, **form)
    return root, RootNotes(note, tuple(notes)), numbers


def _read_rule(kind: RootType, table: TomlTable) -> Entry:
    keys = names.ENTRY_KEYS[kind]
    is_strict = kind is RootType.IO and names.WIDTH in table
    if is_strict:
        if keys[1].key in table:
            raise table.error(names.WIDTH, f"`{names.WIDTH}` and `{keys[1].key}` exclude each other")
        keys = (keys[0], replace(keys[1], key=names.WIDTH))
    bits = _read_access(kind, table)
    values = {}
    for key in keys:
        value = _number(table, key)
        if value is None and not _may_be_left_out(key, bits):
            raise table.error("", f"`{key.key}` is missing")
        values[key.attribute] = _LEFT_OUT.get(key.key, 0) if value is None else value
    if kind in names.RESERVED_BITS:
        values["reserved"] = _number(table, NumberKey("reserved", "reserved", names.RESERVED_BITS[kind])) or 0
    make: Callable[..., Entry] = ENTRY_TYPES[kind]
    attributes = bits | (Attribute.STRICT_WIDTH if is_strict else 0)
    return make(**values, attributes=int(attributes), place=Place(table.document.file, line=table.line))


_LEFT_OUT = {"length": 1, "condition": 0}


def _may_be_left_out(key: NumberKey, bits: int) -> bool:
    return key.key == "length" or (key.key == "condition" and not bits & Attribute.COND_READ)


def _read_access(kind: RootType, table: TomlTable) -> int:
    """The attributes: a list of words, in which numbers stand for bits without a name."""
    most = (1 << names.ATTRIBUTE_BITS[kind]) - 1
    bits = 0
    words = table.need("access", list, "a list of words")
    if not words:
        raise table.error("access", "`access` names nothing")
    for index, word in enumerate(words):
        line = table.document.line(*table.path, "access", index)
        if isinstance(word, str) and word in names.BITS:
            bit = int(names.BITS[word])
        elif isinstance(word, int) and not isinstance(word, bool) and 0 <= word <= most:
            bit = word
        else:
            known = ", ".join(names.BITS)
            raise SourceError(table.document.file, line, f"unknown access {word!r}; there are {known}, and numbers")
        if kind is RootType.IO and bit == Attribute.STRICT_WIDTH:
            raise SourceError(table.document.file, line, f"`{names.WIDTH}` says that, instead of `length`")
        if bits & bit:
            raise SourceError(table.document.file, line, f"{word!r} twice")
        bits |= bit
    return bits
