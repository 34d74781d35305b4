"""Every command line in the documents and in the help is one that the command takes: no option that went, no argument
that is missing. What each does is tested elsewhere; here nothing runs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mmsupervisor.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/findings/*.md")} - {ROOT / "CHANGELOG.md"}
)
_LINE = re.compile(r"^\s*(?:\$ )?(?:\./)?(mmsup (?!COMMAND).*)$", re.MULTILINE)
_PLACEHOLDERS = {"GUID": "gEfiSmmVariableProtocolGuid"}
_END = re.compile(r"\s(?:\||>|&&|#)\s.*$|\s{2,}.*$|\s\|\s.*$")


def lines(text: str) -> Iterator[str]:
    """The command lines of a text, each up to its explanation, or to what it is handed on to."""
    for match in _LINE.finditer(re.sub(r"\\\n\s*", " ", text)):
        yield _END.sub("", match[1])


def whole_context() -> click.Context:
    """The context that the whole command makes; click keeps a command's help option as the first context has it."""
    return click.Context(main, info_name="mmsup", **main.context_settings)


def groups() -> Iterator[tuple[str, ...]]:
    """The words of every command that has a help of its own."""
    for name in COMMANDS:
        yield (name,)
        command = main.get_command(whole_context(), name)
        if isinstance(command, click.Group):
            before = ("IMAGE",) if name == "variable" else ()
            yield from ((name, *before, action) for action in command.commands)


def help_of(words: tuple[str, ...]) -> str:
    """The help of a command."""
    command, context = resolve([*words])
    return command.get_help(context)


def resolve(words: list[str]) -> tuple[click.Command, click.Context]:
    """Go from group to group, as the command line does, without reading the last one's arguments."""
    context = whole_context()
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        if command.name == "variable":
            words = words[1:]
        if not words:
            break
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        context, command = click.Context(found, parent=context, info_name=name), found
    context.args = words
    return command, context


def check(line: str) -> None:
    """Read a command line as the command would; raises click's own error where it would refuse it."""
    words = [_PLACEHOLDERS.get(word, word) for word in shlex.split(line)[1:]]
    if "--help" in words:
        return
    command, context = resolve(words)
    command.make_context(context.info_name, list(context.args), parent=context.parent)


DOCUMENTED = [(page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in lines(page.read_text("utf-8"))]
HELPED = [(" ".join(words), line) for words in groups() for line in lines(help_of(words))]


def test_there_are_many() -> None:
    assert len(DOCUMENTED) > 40
    assert len(HELPED) > 30


@pytest.mark.parametrize(("place", "line"), [*dict.fromkeys(DOCUMENTED + HELPED)])
def test_a_documented_command_is_one(place: str, line: str) -> None:
    try:
        check(line)
    except click.UsageError as error:
        pytest.fail(f"{place}: {line}: {error.format_message()}")


@pytest.mark.parametrize(
    "line", ["mmsup boot --no-such-option", "mmsup send bios.fd", "mmsup policy level x --vendor me", "mmsup nothing x"]
)
def test_a_wrong_one_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        check(line)
