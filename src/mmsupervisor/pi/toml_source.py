"""TOML as people write it: values with the lines they stand on, and tables that are read strictly.

The standard library reads TOML but forgets lines. :func:`read_toml` lets it read, and then finds the line of every key
and table by walking the text a second time; that walk relies on the text being valid.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mmsupervisor.pi.errors import LimitError, SourceError
from mmsupervisor.pi.limits import Allowance

T = TypeVar("T")

TomlPath = tuple[str | int, ...]
"""The way to a value: keys, and indices into arrays."""


@dataclass(frozen=True, slots=True)
class TomlDocument:
    """A TOML file.

    Attributes:
        data: Its values, as :mod:`tomllib` gives them.
        lines: The line of every table, key and array element, counted from 1.
        file: Its name in messages.
    """

    data: dict[str, Any]
    lines: dict[TomlPath, int]
    file: str

    def line(self, *path: str | int) -> int:
        """The line of a value, or of the nearest thing around it that has one; 1 for the file itself."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return 1

    def table(self) -> TomlTable:
        """The top-level table, for strict reading."""
        return TomlTable(self, (), self.data)


@dataclass(slots=True)
class TomlTable:
    """One table of a file, from which keys are taken; what nobody took is refused at the end.

    Attributes:
        document: The file.
        path: Where the table is.
        values: Its content.
    """

    document: TomlDocument
    path: TomlPath
    values: dict[str, Any]
    _taken: set[str] = field(default_factory=set)

    @property
    def line(self) -> int:
        """The table's line."""
        return self.document.line(*self.path)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def line_of(self, key: str) -> int:
        """The line of a key."""
        return self.document.line(*self.path, key)

    def error(self, key: str, rule: str) -> SourceError:
        """Build (not raise) the error for a key; for the table itself if the key is empty."""
        return SourceError(self.document.file, self.line_of(key) if key else self.line, rule)

    def take(self, key: str, kind: type[T], what: str) -> T | None:
        """The value of a key, or None.

        Args:
            key: The key.
            kind: Its Python type; a boolean is no integer.
            what: What it should be, for the message.

        Raises:
            SourceError: the value is of another type.
        """
        self._taken.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"`{key}` must be {what}")
        return value

    def need(self, key: str, kind: type[T], what: str) -> T:
        """As :meth:`take`, but the key must be there.

        Raises:
            SourceError: the key is missing, or its value is of another type.
        """
        value = self.take(key, kind, what)
        if value is None:
            raise self.error("", f"`{key}` is missing: {what}")
        return value

    def take_number(self, key: str, most: int) -> int | None:
        """An integer from 0 to ``most``, or None.

        Raises:
            SourceError: the value is anything else.
        """
        value = self.take(key, int, "a number")
        if value is not None and not 0 <= value <= most:
            raise self.error(key, f"`{key}` must be from 0 to {most:#x}")
        return value

    def need_number(self, key: str, most: int) -> int:
        """As :meth:`take_number`, but the key must be there.

        Raises:
            SourceError: the key is missing or the value is anything else.
        """
        value = self.take_number(key, most)
        if value is None:
            raise self.error("", f"`{key}` is missing: a number")
        return value

    def tables(self, key: str) -> Iterator[TomlTable]:
        """The tables of an array of tables; none if the key is missing.

        Raises:
            SourceError: the value is something else.
        """
        for index, value in enumerate(self.take(key, list, "an array of tables") or ()):
            if not isinstance(value, dict):
                raise SourceError(
                    self.document.file, self.document.line(*self.path, key, index), f"`{key}` must hold tables"
                )
            yield TomlTable(self.document, (*self.path, key, index), value)

    def table(self, key: str) -> TomlTable | None:
        """A table, or None.

        Raises:
            SourceError: the value is something else.
        """
        value = self.take(key, dict, "a table")
        return None if value is None else TomlTable(self.document, (*self.path, key), value)

    def finish(self, known: Collection[str] = ()) -> None:
        """Refuse the first key that nobody took.

        Args:
            known: Further keys that are legal.

        Raises:
            SourceError: there is one.
        """
        unknown = [key for key in self.values if key not in self._taken and key not in known]
        if unknown:
            first = min(unknown, key=self.line_of)
            raise self.error(first, f"unknown key `{first}`")


def read_toml(data: bytes, file: str, allowance: Allowance | None = None) -> TomlDocument:
    """Read a TOML file.

    Args:
        data: Its bytes.
        file: Its name in messages.
        allowance: Bounds for hostile input; every key is an item.

    Raises:
        SourceError: it is not UTF-8 or not TOML.
        LimitError: it holds more than the bounds allow, or is nested too deeply.
    """
    allowance = allowance or Allowance()
    if len(data) > allowance.limits.input_bytes:
        raise LimitError(file, 0, f"larger than {allowance.limits.input_bytes} bytes")
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SourceError(file, data.count(b"\n", 0, error.start) + 1, "not UTF-8") from error
    try:
        values = tomllib.loads(text)
        lines = _LineFinder(text).run()
    except tomllib.TOMLDecodeError as error:
        raise _decode_error(str(error), file) from error
    except RecursionError as error:
        raise LimitError(file, 0, "nested too deeply") from error
    allowance.take_items(len(lines), file, 0)
    return TomlDocument(values, lines, file)


_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def _decode_error(text: str, file: str) -> SourceError:
    """The library's message with its place put where ours have it."""
    match = _PLACE.search(text)
    line = int(match[1]) if match and match[1] else 0
    rule = _PLACE.sub("", text)
    where = "" if line else " at the end of the file" if match else ""
    return SourceError(file, line, f"not TOML: {rule[:1].lower()}{rule[1:]}{where}")


_BLANKS = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_KEY_PART = re.compile(
    r"""[ \t]*(?:([A-Za-z0-9_-]+)|"((?:\\.|[^"\\\n])*)"|'([^'\n]*)')[ \t]*(\.?)"""  # bare, basic, literal
)
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")' + r"|'''.*?'{3,5}(?!')" + r'|"(?:\\.|[^"\\\n])*"' + r"|'[^'\n]*'", re.DOTALL
)
_SCALAR = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d[^\s,\]}#]*)?|[^\s,\]}#]+")


class _LineFinder:
    """Walks over valid TOML and notes where each key, table and array element begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._lines: dict[TomlPath, int] = {}
        self._elements: dict[TomlPath, int] = {}
        """How many elements each array of tables has so far."""

    def run(self) -> dict[TomlPath, int]:
        table: TomlPath = ()
        self._skip(_BLANKS)
        while self._at < len(self._text):
            start = self._at
            if self._text.startswith("[[", start):
                self._at += 2
                table = self._element(self._key())
                self._at += 2
                self._note(table, start)
            elif self._text[start] == "[":
                self._at += 1
                table = self._resolve(self._key())
                self._at += 1
                self._note(table, start)
            else:
                self._pair(table)
            self._skip(_BLANKS)
        return self._lines

    def _skip(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _note(self, path: TomlPath, at: int) -> None:
        self._lines.setdefault(path, bisect_left(self._newlines, at) + 1)

    def _key(self) -> list[str]:
        parts = []
        while match := self._skip(_KEY_PART):
            bare, basic, literal, dot = match.groups()
            if basic is not None and "\\" in basic:
                basic = tomllib.loads(f'k = "{basic}"')["k"]
            parts.append(next(part for part in (bare, basic, literal) if part is not None))
            if not dot:
                break
        return parts

    def _resolve(self, keys: list[str]) -> TomlPath:
        """The path of a table's header: each array of tables on the way stands for its last element."""
        path: TomlPath = ()
        for key in keys:
            path = (*path, key)
            if path in self._elements:
                path = (*path, self._elements[path] - 1)
        return path

    def _element(self, keys: list[str]) -> TomlPath:
        path = (*self._resolve(keys[:-1]), keys[-1])
        number = self._elements.get(path, 0)
        self._elements[path] = number + 1
        return (*path, number)

    def _pair(self, table: TomlPath) -> None:
        start = self._at
        keys = self._key()
        path = table
        for key in keys:
            path = (*path, key)
            self._note(path, start)
        self._skip(_EQUALS)
        self._value(path)

    def _value(self, path: TomlPath) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._items("]", lambda number: self._array_element((*path, number)))
        elif opening == "{":
            self._items("}", lambda _: self._pair(path))
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _array_element(self, path: TomlPath) -> None:
        self._note(path, self._at)
        self._value(path)

    def _items(self, closing: str, item: Callable[[int], None]) -> None:
        """What stands between brackets, with commas."""
        self._at += 1
        number = 0
        self._skip(_BLANKS)
        while self._text[self._at] != closing:
            item(number)
            number += 1
            self._skip(_BLANKS)
            if self._text[self._at] == ",":
                self._at += 1
                self._skip(_BLANKS)
        self._at += 1


_EQUALS = re.compile(r"[ \t]*=[ \t]*")
