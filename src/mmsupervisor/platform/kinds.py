"""Kinds of values in a platform file: what is read, what is refused, and how a value is written.

A kind turns a TOML value into one of ours (:meth:`Kind.read`), ours into TOML text (:meth:`Kind.write`) and into a
JSON value (:meth:`Kind.plain`). What it refuses it says as a clause, to which the caller adds file, line and key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from mmsupervisor.pi.guid import Guid, GuidSyntaxError

_MOST = (1 << 64) - 1
_OBVIOUS = 1 << 47
"""Bounds from here on follow from the width of addresses and need no words."""


class RuleError(Exception):
    """A value breaks a rule; the text is a clause such as "must be true or false"."""


class Kind(Protocol):
    """A kind of value."""

    @property
    def words(self) -> str:
        """What the value is, for documents."""

    def read(self, value: Any) -> Any:
        """Return our value for a TOML value.

        Raises:
            RuleError: it is not of this kind.
        """

    def write(self, value: Any) -> str:
        """Return the TOML text of one of our values."""

    def plain(self, value: Any) -> Any:
        """Return the JSON value of one of our values."""


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number.

    Attributes:
        least: Smallest.
        most: Largest.
        multiple: What it must be a multiple of.
        is_hex: Whether people write it in hexadecimal: an address, a port, a bit pattern.
        unit: What is counted, or empty.
    """

    least: int = 0
    most: int = _MOST
    multiple: int = 1
    is_hex: bool = False
    unit: str = ""

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        parts = [self.unit or "number"]
        if self.least:
            parts.append(f"at least {self._text(self.least)}")
        if self.most < _OBVIOUS:
            parts.append(f"at most {self._text(self.most)}")
        if self.multiple > 1:
            parts.append(f"a multiple of {self._text(self.multiple)}")
        return ", ".join(parts)

    def read(self, value: Any) -> int:
        """Return the number.

        Raises:
            RuleError: it is none, out of bounds or no multiple.
        """
        if not isinstance(value, int) or isinstance(value, bool):
            raise RuleError("must be a whole number")
        if not self.least <= value <= self.most:
            raise RuleError(f"must be from {self._text(self.least)} to {self._text(self.most)}")
        if value % self.multiple:
            raise RuleError(f"must be a multiple of {self._text(self.multiple)}")
        return value

    def write(self, value: int) -> str:
        """Return the TOML text."""
        return self._text(value)

    def plain(self, value: int) -> int | str:
        """Return the JSON value: hexadecimal numbers are text."""
        return f"0x{value:X}" if self.is_hex else value

    def _text(self, value: int) -> str:
        return f"0x{value:_X}" if self.is_hex else f"{value:_}"


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        return "true or false"

    def read(self, value: Any) -> bool:
        """Return the flag.

        Raises:
            RuleError: it is none.
        """
        if not isinstance(value, bool):
            raise RuleError("must be true or false")
        return value

    def write(self, value: bool) -> str:
        """Return the TOML text."""
        return "true" if value else "false"

    def plain(self, value: bool) -> bool:
        """Return the JSON value."""
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """Text of one line.

    Attributes:
        what: What it says.
    """

    what: str = "text"

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        return self.what

    def read(self, value: Any) -> str:
        """Return the text.

        Raises:
            RuleError: it is none, empty or more than a line.
        """
        if not isinstance(value, str) or not value or not value.isprintable():
            raise RuleError("must be text of one line, not empty")
        return value

    def write(self, value: str) -> str:
        """Return the TOML text."""
        return json.dumps(value, ensure_ascii=False)

    def plain(self, value: str) -> str:
        """Return the JSON value."""
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words.

    Attributes:
        options: The words.
    """

    options: tuple[str, ...]

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        return "one of " + ", ".join(f'"{option}"' for option in self.options)

    def read(self, value: Any) -> str:
        """Return the word.

        Raises:
            RuleError: it is none of them.
        """
        if not isinstance(value, str) or value not in self.options:
            raise RuleError(f"must be {self.words}")
        return value

    def write(self, value: str) -> str:
        """Return the TOML text."""
        return f'"{value}"'

    def plain(self, value: str) -> str:
        """Return the JSON value."""
        return value


@dataclass(frozen=True, slots=True)
class GuidValue:
    """A GUID, or its name."""

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        return "GUID, or the name of a known one"

    def read(self, value: Any) -> Guid:
        """Return the GUID.

        Raises:
            RuleError: it is none.
        """
        try:
            return Guid.parse(Text().read(value))
        except GuidSyntaxError as error:
            raise RuleError(f"must be a GUID: {error}") from error

    def write(self, value: Guid) -> str:
        """Return the TOML text."""
        return f'"{value.label}"'

    def plain(self, value: Guid) -> str:
        """Return the JSON value."""
        return str(value).lower()


@dataclass(frozen=True, slots=True)
class File:
    """A file, relative to the folder of the platform file."""

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        return "file; a relative path begins at the folder of this file"

    def read(self, value: Any) -> Path:
        """Return the path as it stands.

        Raises:
            RuleError: it is no text.
        """
        return Path(Text().read(value))

    def write(self, value: Path) -> str:
        """Return the TOML text."""
        return Text().write(value.as_posix())

    def plain(self, value: Path) -> str:
        """Return the JSON value."""
        return value.as_posix()


@dataclass(frozen=True, slots=True)
class Date:
    """A date and time without a zone."""

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        return "date and time without a zone, 1970 to 2099"

    def read(self, value: Any) -> datetime:
        """Return it.

        Raises:
            RuleError: it is none.
        """
        if not isinstance(value, datetime) or value.tzinfo is not None or not 1970 <= value.year < 2100:
            raise RuleError("must be a date and time without a zone, such as 2026-01-01T00:00:00, from 1970 to 2099")
        return value.replace(microsecond=0)

    def write(self, value: datetime) -> str:
        """Return the TOML text."""
        return value.isoformat()

    def plain(self, value: datetime) -> str:
        """Return the JSON value."""
        return value.isoformat()


@dataclass(frozen=True, slots=True)
class ListOf:
    """Some values of one kind.

    Attributes:
        kind: Theirs.
    """

    kind: Kind

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        return f"list; each: {self.kind.words}"

    def read(self, value: Any) -> tuple[Any, ...]:
        """Return the values.

        Raises:
            RuleError: it is no list, or one of them breaks a rule.
        """
        if not isinstance(value, list):
            raise RuleError("must be a list")
        found = []
        for index, item in enumerate(value):
            try:
                found.append(self.kind.read(item))
            except RuleError as error:
                raise RuleError(f"value {index + 1} of the list {error}") from error
        return tuple(found)

    def write(self, value: tuple[Any, ...]) -> str:
        """Return the TOML text."""
        return f"[{', '.join(map(self.kind.write, value))}]"

    def plain(self, value: tuple[Any, ...]) -> list[Any]:
        """Return the JSON value."""
        return [self.kind.plain(item) for item in value]


@dataclass(frozen=True, slots=True)
class PcdData:
    """The value of a PCD: a number, a boolean, or the bytes of a ``VOID*``."""

    @property
    def words(self) -> str:
        """What the value is, for documents."""
        return 'number, true or false, or for VOID* pairs of hexadecimal digits such as "01 ff"'

    def read(self, value: Any) -> int | bytes:
        """Return a number or bytes.

        Raises:
            RuleError: it is neither.
        """
        if isinstance(value, int):
            return Number().read(int(value))
        try:
            return bytes.fromhex(Text().read(value))
        except ValueError as error:
            raise RuleError("must be a number, true, false, or pairs of hexadecimal digits") from error

    def write(self, value: int | bytes) -> str:
        """Return the TOML text."""
        return f"0x{value:X}" if isinstance(value, int) else f'"{value.hex(" ")}"'

    def plain(self, value: int | bytes) -> str:
        """Return the JSON value."""
        return f"0x{value:X}" if isinstance(value, int) else value.hex()
