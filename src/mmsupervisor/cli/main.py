"""The command line's entry: the group that the commands hang from.

A command is a file of this package with a click command named ``command``; :data:`COMMANDS` says where it is. The
file is imported only when its command is asked for, so that ``mmsup --help`` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import click

from mmsupervisor import __version__
from mmsupervisor.cli.console import require_streams, tolerate_any_text
from mmsupervisor.cli.errors import guard

_EXAMPLES = """\b
Examples:
  mmsup info OVMF_CODE_4M.secboot.fd      what an image holds for management mode
  mmsup info --json bios.bin | jq .       the same for programs
  mmsup run MyDriver.efi                  one driver under the supervisor: does it keep the rules?
  mmsup boot bios.fd                      every driver of an image
  mmsup COMMAND --help                    a command's options and examples

\b
Exit codes are the same for all commands: docs/exit-codes.md. An input named - is standard input.
Colour: on terminals, unless NO_COLOR is set. MMSUP_DEBUG=1 shows where an error comes from.
"""


class CommandEntry(NamedTuple):
    """Where a command is, and its line in the list of commands.

    Attributes:
        module: Module with the click command ``command``.
        line: What it does, in a few words.
    """

    module: str
    line: str


COMMANDS: dict[str, CommandEntry] = {
    "info": CommandEntry("mmsupervisor.cli.info", "Say what a firmware image holds for management mode."),
    "run": CommandEntry("mmsupervisor.cli.run", "Run one driver under the supervisor."),
    "boot": CommandEntry("mmsupervisor.cli.boot", "Boot a firmware image under the supervisor."),
    "send": CommandEntry("mmsupervisor.cli.send", "Boot a firmware image and send one message."),
    "variable": CommandEntry(
        "mmsupervisor.cli.variable", "List, read and change UEFI variables by an image's own driver."
    ),
    "policy": CommandEntry("mmsupervisor.cli.policy", "Show, build, check, measure and compare isolation policies."),
    "learn": CommandEntry("mmsupervisor.cli.learn", "Write the least policy for what an image's drivers do."),
    "platform": CommandEntry("mmsupervisor.cli.platform", "Write or check a platform file."),
    "doctor": CommandEntry("mmsupervisor.cli.doctor", "Say what works on this computer, and what to change."),
}
"""Every command, in the order of the help."""


class LazyGroup(click.Group):
    """A group that knows its commands by name, and turns whatever they raise into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None if there is none."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = import_module(entry.module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the command line: help and version, which this prints, may find no room either."""
        with _leaving():
            require_streams()
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command that was asked for, and leave with its exit code."""
        with _leaving():
            super().invoke(ctx)


@contextmanager
def _leaving() -> Iterator[None]:
    """Turn what the block raises into one line and an exit code; click's own ways to leave stay as they are."""
    leave: click.exceptions.Exit | click.ClickException | None = None
    with guard() as outcome:
        try:
            yield
        except (click.exceptions.Exit, click.ClickException) as error:
            leave = error
        sys.stdout.flush()
    if outcome.code:
        raise click.exceptions.Exit(outcome.code)
    if leave is not None:
        raise leave


@click.group(
    cls=LazyGroup,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="mmsup")
def main() -> None:
    """Run, police and explain management-mode firmware on an ordinary computer."""
    tolerate_any_text()
