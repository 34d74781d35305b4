"""``mmsup variable``: UEFI variables, by messages to the variable driver of a booted image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mmsupervisor.cli.session_input import (
    REDACT_OPTION,
    VARIABLES_OPTION,
    MessageData,
    SessionOptions,
    boot_options,
    data_argument,
    guid_argument,
)
from mmsupervisor.pi.guid import Guid

F = TypeVar("F", bound=Callable[..., Any])

_MOST_ATTRIBUTES = 0xFFFF_FFFF

_EXAMPLES = """\b
Examples:
  mmsup variable OVMF_CODE_4M.secboot.fd list
  mmsup variable OVMF_CODE_4M.secboot.fd list --vars OVMF_VARS_4M.ms.fd
  mmsup variable bios.fd get db --vars vars.fd --output db.esl
  mmsup variable bios.fd set Timeout gEfiGlobalVariableGuid 0500 --vars vars.fd --write-back
  mmsup variable bios.fd diff other-vars.fd --vars vars.fd --json | jq -r '.changes[].kind'

\b
The image is booted with its own variable driver in ring 3; each value goes through a message to it.
The store is a copy: its file changes by --write-back alone, as a whole or not at all.

\b
Exit codes: 0 done, whatever became of other drivers; 7 stores differ; 11 the driver refused;
13 nobody serves variables; else as of mmsup boot.
"""

_OPTIONS = (
    VARIABLES_OPTION,
    click.option("--strict", is_flag=True, help="No relaxations: traditional drivers then do not run."),
    REDACT_OPTION,
    click.option(
        "--trace",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write the canonical trace, a JSON line an event.",
    ),
    click.option(
        "--json", "as_json", is_flag=True, help="Print a JSON document (docs/json-schemas.md) instead of text."
    ),
)

_WRITE_BACK = click.option(
    "--write-back", is_flag=True, help="Replace the store's file by what it is afterwards; needs --vars."
)


def _options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return boot_options(command)


_NAME = click.argument("name")
_GUID = click.argument("guid", type=guid_argument)
_SOME_GUID = click.argument("guid", required=False, type=guid_argument)


def attributes_argument(text: str) -> int:
    """Read attributes: ``NV,BS,RT`` or a number."""
    from mmsupervisor.clients.variables import ATTRIBUTE_WORDS

    bits = {word: int(bit) for bit, word in ATTRIBUTE_WORDS.items()}
    try:
        number = int(text, 0)
    except ValueError:
        words = text.upper().split(",")
    else:
        if not 0 <= number <= _MOST_ATTRIBUTES:
            raise click.BadParameter(f"{text} is not a number of 32 bits")
        return number
    unknown = [word for word in words if word not in bits]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is no attribute; there are {', '.join(bits)}, or a number")
    return sum(bits[word] for word in set(words))


class ImageFirst(click.Group):
    """A group whose first argument is not the command: who writes the command first is told, and not misread."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; an action's name in the image's place is a mistake, a file of that name is ./NAME."""
        if args and args[0] in self.commands:
            raise click.UsageError(f"IMAGE comes first: {ctx.command_path} IMAGE {args[0]}", ctx)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            order = f"Options come after the action: {ctx.command_path} IMAGE ACTION [OPTIONS]"
            raise click.UsageError(f"{error.format_message()} {order}", ctx) from error


@click.group("variable", cls=ImageFirst, epilog=_EXAMPLES, subcommand_metavar="ACTION [ARGS]...")
@click.argument("image", type=click.Path(path_type=Path))
@click.pass_context
def command(ctx: click.Context, /, image: Path) -> None:
    """List, read and change UEFI variables by the variable driver of IMAGE itself."""
    ctx.obj = image


def _options_of(values: dict[str, Any]) -> SessionOptions:
    """Make session options of what the command line gave: observing, unless that is forbidden."""
    strict = values.pop("strict")
    return SessionOptions(**values, observe=not strict)


@command.command("list")
@_options
@click.pass_context
def list_(ctx: click.Context, /, **values: Any) -> None:
    """List all variables: name, vendor, attributes, size, value."""
    from mmsupervisor.cli.variable_work import Action, work

    options = _options_of(values)
    ctx.exit(work(ctx.obj, options, Action("list", lambda variables: variables.all())))


@command.command("get")
@_NAME
@_SOME_GUID
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write the value to a file.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@_options
@click.pass_context
def get(
    ctx: click.Context, /, *, name: str, guid: Guid | None, output: Path | None, force: bool, **values: Any
) -> None:
    """Show a variable: attributes, value in words, text and bytes. GUID may be left out if the name is enough."""
    from mmsupervisor.cli.policy_input import require_writable
    from mmsupervisor.cli.variable_work import Action, work

    options = _options_of(values)
    if output is not None:
        require_writable(output, overwrite=force)
    action = Action("get", lambda variables: (variables.find(name, guid),), output=output)
    ctx.exit(work(ctx.obj, options, action))


@command.command("set")
@_NAME
@_GUID
@click.argument("data", type=data_argument)
@click.option(
    "--attributes",
    metavar="WORDS",
    type=attributes_argument,
    help="NV,BS,RT,HR,AW,AT,AP or a number; else those it has, and NV,BS,RT for a new one.",
)
@_WRITE_BACK
@_options
@click.pass_context
def set_(
    ctx: click.Context,
    /,
    *,
    name: str,
    guid: Guid,
    data: MessageData,
    attributes: int | None,
    write_back: bool,
    **values: Any,
) -> None:
    """Create or change a variable. DATA is hexadecimal digits, text:..., or @FILE."""
    from mmsupervisor.cli.variable_work import Action, change, work

    options = _options_of(values)
    value = data.read()
    action = Action("set", lambda variables: change(variables, name, guid, value, attributes), write_back=write_back)
    ctx.exit(work(ctx.obj, options, action))


@command.command("delete")
@_NAME
@_SOME_GUID
@_WRITE_BACK
@_options
@click.pass_context
def delete(ctx: click.Context, /, name: str, guid: Guid | None, write_back: bool, **values: Any) -> None:
    """Delete a variable; what is shown is what it was. GUID may be left out if the name is enough."""
    from mmsupervisor.cli.variable_work import Action, remove, work

    options = _options_of(values)
    action = Action("delete", lambda variables: remove(variables, name, guid), write_back=write_back)
    ctx.exit(work(ctx.obj, options, action))


@command.command("diff", short_help="Compare with another store.")
@click.argument("other", type=click.Path(path_type=Path))
@_options
@click.pass_context
def diff(ctx: click.Context, /, other: Path, **values: Any) -> None:
    """Compare the variables with those of another store, OTHER, each read by the driver in a boot of its own."""
    from mmsupervisor.cli.variable_work import compare

    options = _options_of(values)
    ctx.exit(compare(ctx.obj, options, other))
