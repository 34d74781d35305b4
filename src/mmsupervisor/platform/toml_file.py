"""Platform files: reading one with every error at its line, and writing one out.

What a file does not say is as in the default, a machine like QEMU's Q35.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.errors import SourceError
from mmsupervisor.pi.limits import DEFAULT_LIMITS
from mmsupervisor.pi.toml_source import TomlDocument, TomlPath, read_toml
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.kinds import RuleError
from mmsupervisor.platform.rules import check_description
from mmsupervisor.platform.schema import ENTRY_NUMBER, SECTIONS, Key, Section
from mmsupervisor.platform.tree import Table, Tree, from_tree, to_tree

_WIDTH = 110
_HEAD = (
    "# A platform for mmsup: what no firmware image says. Every key may be left out; its default stands here.",
    "# Numbers may be decimal or hexadecimal. The reference of all keys is docs/platform.md.",
)


def load_platform(path: Path) -> PlatformDescription:
    """Read a platform file.

    Raises:
        SourceError: it is no TOML, or breaks a rule; the error names file, line and rule.
        LimitError: it is beyond the limits for inputs.
        InputError: it cannot be read.
    """
    return read_platform(read_input_file(path, DEFAULT_LIMITS.input_bytes), str(path), path.parent)


def read_platform(data: bytes, file: str, folder: Path) -> PlatformDescription:
    """Read a platform file's content.

    Args:
        data: Its bytes.
        file: Its name in messages.
        folder: Where relative paths in it begin.

    Raises:
        SourceError: it is no TOML, or breaks a rule.
        LimitError: it is beyond the limits for inputs.
    """
    errors, description = _read(data, file, folder)
    if errors:
        raise errors[0]
    assert description is not None  # noqa: S101  (no error, no excuse)
    return description


def check_platform(data: bytes, file: str, folder: Path) -> list[SourceError]:
    """Return every error of a platform file, by line; none if it can be used."""
    return _read(data, file, folder)[0]


def _read(data: bytes, file: str, folder: Path) -> tuple[list[SourceError], PlatformDescription | None]:
    try:
        document = read_toml(data, file)
    except SourceError as error:
        return [error], None
    reader = _Reader(document)
    tree = reader.read()
    if reader.errors:
        return sorted(reader.errors, key=lambda error: error.line), None
    description = from_tree(_completed(tree), folder)
    errors = [
        SourceError(file, document.line(*problem.path), f"{_name(problem.path)}: {problem.rule}")
        for problem in check_description(description)
    ]
    return sorted(errors, key=lambda error: error.line), description


def _name(path: TomlPath) -> str:
    """A path as people write it: ``range[2].start``, counted from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return f"`{text}`"


class _Reader:
    """Reads all sections of a document, and goes on after an error."""

    def __init__(self, document: TomlDocument) -> None:
        self._document = document
        self.errors: list[SourceError] = []

    def read(self) -> Tree:
        self._refuse_unknown((), self._document.data)
        found: Tree = {}
        for section in SECTIONS:
            value = self._value_at(section)
            if value is None:
                continue
            if section.is_array:
                found[section.name] = self._array(section, value)
            elif not isinstance(value, dict):
                self._fail(section.path, "must be a table")
            elif section.entries is not None:
                found[section.name] = dict(self._entries(section, value))
            else:
                found[section.name] = self._table(section, section.path, value)
        return found

    def _fail(self, path: TomlPath, rule: str) -> None:
        self.errors.append(SourceError(self._document.file, self._document.line(*path), f"{_name(path)}: {rule}"))

    def _value_at(self, section: Section) -> Any:
        value: Any = self._document.data
        for part in section.path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def _array(self, section: Section, value: Any) -> list[Table]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self._fail(section.path, f"must be an array of tables, written [[{section.name}]]")
            return []
        return [self._table(section, (*section.path, index), item) for index, item in enumerate(value)]

    def _table(self, section: Section, path: TomlPath, values: dict[str, Any]) -> Table:
        if path:
            self._refuse_unknown(path, values)
        found: Table = {}
        for key in section.keys:
            if key.name in values:
                self._take(found, key, (*path, key.name), values[key.name])
            elif key.is_needed:
                self._fail(path, f"`{key.name}` is missing ({key.kind.words})")
        return found

    def _take(self, found: Table, key: Key, path: TomlPath, value: Any) -> None:
        try:
            found[key.name] = key.kind.read(value)
        except RuleError as error:
            self._fail(path, str(error))

    def _entries(self, section: Section, values: dict[str, Any]) -> Iterator[tuple[int, Any]]:
        assert section.entries is not None  # noqa: S101  (the caller looked)
        seen: dict[int, str] = {}
        for name, value in values.items():
            path = (*section.path, name)
            try:
                number = ENTRY_NUMBER.read(_number(name))
                entry = section.entries.read(value)
            except RuleError as error:
                self._fail(path, str(error))
                continue
            if number in seen:
                self._fail(path, f"is {seen[number]} again")
            seen[number] = name
            yield number, entry

    def _refuse_unknown(self, path: TomlPath, values: dict[str, Any]) -> None:
        names = tuple(part for part in path if isinstance(part, str))
        known = {key.name for section in SECTIONS if section.path == names for key in section.keys}
        known |= {section.path[len(names)] for section in SECTIONS if _is_below(section, names)}
        for name in values:
            if name not in known:
                self._fail((*path, name), f"unknown key; known here: {', '.join(sorted(known))}")


def _is_below(section: Section, names: tuple[str, ...]) -> bool:
    return len(section.path) > len(names) and section.path[: len(names)] == names


def _number(name: str) -> int:
    try:
        return int(name, 0)
    except ValueError as error:
        raise RuleError("must be a number") from error


def _completed(tree: Tree) -> Tree:
    """Tables with every key: those that were read, and the defaults of the profile for the rest."""
    platform = tree.get("platform", {})
    name = platform.get("profile") if isinstance(platform, dict) else None
    base = PlatformDescription() if name is None else PlatformDescription(profile=PROFILES[name])
    whole: Tree = {}
    for section, default in to_tree(base).items():
        given = tree.get(section)
        if isinstance(default, dict) and isinstance(given, dict) and section != "processor.msrs":
            whole[section] = {**default, **given}
        else:
            whole[section] = default if given is None else given
    return whole


# --- writing --------------------------------------------------------------------------------------------------


def write_platform(description: PlatformDescription, *, comments: bool) -> str:
    """Return the platform file of a description, with every key.

    Args:
        description: The platform.
        comments: Whether every key is explained, and what is not set is shown.
    """
    tree, defaults = to_tree(description), to_tree(PlatformDescription())
    lines = list(_HEAD) if comments else []
    # An array without elements has no header that could be written; it must not mean the default.
    lines += [f"{name} = []" for name, values in tree.items() if values == [] and defaults[name]]
    for section in SECTIONS:
        values = tree[section.name]
        block = list(
            _array_lines(section, values, comments=comments)
            if isinstance(values, list)
            else _table_lines(section, values, comments=comments)
        )
        if block:
            lines += ["", *block] if lines else block
    return "\n".join(lines) + "\n"


def _table_lines(section: Section, values: Table, *, comments: bool) -> Iterator[str]:
    if comments:
        yield from _comment(section.meaning)
    elif not values and section.entries is None:
        return
    yield f"[{section.name}]"
    if section.entries is not None:
        yield from (f"0x{number:X} = {section.entries.write(value)}" for number, value in values.items())
    else:
        yield from _key_lines(section, values, comments=comments)


def _array_lines(section: Section, tables: list[Table], *, comments: bool) -> Iterator[str]:
    if comments:
        yield from _comment(section.meaning)
        if not tables:
            yield f"# [[{section.name}]]"
            for key in section.keys:
                yield from _comment(f"{key.name} = ...  # {_explained(key)}")
    for index, values in enumerate(tables):
        if index:
            yield ""
        yield f"[[{section.name}]]"
        yield from _key_lines(section, values, comments=comments and index == 0)


def _key_lines(section: Section, values: Table, *, comments: bool) -> Iterator[str]:
    for key in section.keys:
        if comments:
            yield from _comment(_explained(key))
        if key.name in values:
            yield f"{key.name} = {key.kind.write(values[key.name])}"
        elif comments:
            yield f"# {key.name} = ...  # not set: {key.default_text}"


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False))


def _explained(key: Key) -> str:
    return f"{key.meaning} ({key.kind.words})"


def plain_platform(description: PlatformDescription) -> dict[str, Any]:
    """Return a description as JSON values; addresses and bits are hexadecimal text."""
    tree = to_tree(description)
    whole: dict[str, Any] = {}
    for section in SECTIONS:
        values = tree[section.name]
        made = [_plain(section, item) for item in values] if isinstance(values, list) else _plain(section, values)
        _put(whole, section.path, made)
    return whole


def _plain(section: Section, values: Table) -> dict[str, Any]:
    if section.entries is not None:
        return {f"0x{number:X}": section.entries.plain(value) for number, value in values.items()}
    return {key.name: key.kind.plain(values[key.name]) for key in section.keys if key.name in values}


def _put(whole: dict[str, Any], path: tuple[str, ...], made: Any) -> None:
    for part in path[:-1]:
        whole = whole.setdefault(part, {})
    whole[path[-1]] = made
