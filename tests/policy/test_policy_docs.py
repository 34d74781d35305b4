"""The commands in docs/policy.md run, in the order of the page, and print what it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmsupervisor.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "policy.md"
_BLOCK = re.compile(r"```(\w+)(?: file=(\S+))?\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"^\$ mmsup (.*?)(?: +# exit (\d+))?$")
ELLIPSIS = "..."


def commands(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Each command of a console block with its exit code and the output shown."""
    shown: list[str] = []
    current: tuple[str, int] | None = None
    for line in text.splitlines():
        if match := _COMMAND.match(line):
            if current:
                yield *current, shown
            current, shown = (match[1], int(match[2] or 0)), []
        else:
            shown.append(line)
    if current:
        yield *current, shown


def mismatch(shown: list[str], output: str) -> str:
    """The first line shown that the output does not have in its place; empty if all are there.

    A line of dots stands for any lines, and dots at the end of a line for the rest of it.
    """
    lines, at, may_skip = output.splitlines(), 0, False
    for line in shown:
        if line == ELLIPSIS:
            may_skip = True
            continue
        wanted = range(at, len(lines) if may_skip else min(at + 1, len(lines)))
        found = next((i for i in wanted if is_same(line, lines[i])), None)
        if found is None:
            return line
        at, may_skip = found + 1, False
    return "" if may_skip or not any(lines[at:]) or not shown else f"nothing about: {lines[at]}"


def is_same(shown: str, line: str) -> bool:
    return line.startswith(shown.removesuffix(ELLIPSIS)) if shown.endswith(ELLIPSIS) else line == shown


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = 0
    for match in _BLOCK.finditer(PAGE.read_text("utf-8")):
        kind, name, text = match.groups()
        if name:
            Path(name).write_text(text, "utf-8")
        if kind != "console":
            continue
        for words, code, shown in commands(text):
            result = CliRunner().invoke(main, shlex.split(words))
            assert (words, result.exit_code) == (words, code), result.output
            assert (words, mismatch([line for line in shown if line], _without_blanks(result.output))) == (words, "")
            count += 1
    assert count >= 20


def _without_blanks(output: str) -> str:
    return "\n".join(line for line in output.splitlines() if line)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (["a", "b", "c"], ""),
        (["a", "...", "c"], ""),
        (["...", "b", "..."], ""),
        (["a", "b"], "nothing about: c"),
        (["b"], "b"),
        (["a", "...", "x"], "x"),
        (["c", "...", "a"], "c"),
        (["...", "c", "c"], "c"),
    ],
)
def test_a_wrong_line_is_seen(shown: list[str], expected: str) -> None:
    assert mismatch(shown, "a\nb\nc") == expected
