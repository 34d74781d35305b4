"""``mmsup platform``: writing a platform file, and checking one."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from mmsupervisor.cli.console import say_error
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.session_input import read_file
from mmsupervisor.inventory.payloads import OutputError

SCHEMA = "mmsupervisor.platform/1"
"""Name and version of the document."""

DEFAULT_NAME = "platform.toml"
"""What a platform file is called if nothing else is said."""

_EXAMPLES = """\b
Examples:
  mmsup platform init                     write platform.toml: every key, explained, as the default has it
  mmsup platform check platform.toml      is it right, and what does it come to?
  mmsup boot --platform platform.toml bios.fd

\b
Exit codes: 0 done; 3 the file breaks a rule (every line that does is named); 4 it cannot be read, or one
is in the way. All keys: docs/platform.md.
"""


@click.group("platform", epilog=_EXAMPLES)
def command() -> None:
    """Write and check platform files: what no firmware image says.

    MMRAM, CPUs, memory, MMIO ranges, devices, flash, PCD values, which generation of the reference. Without a
    file the platform is like QEMU's Q35.
    """


@command.command("init", short_help="Write a platform file, every key explained.")
@click.argument("file", default=DEFAULT_NAME, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def init(file: Path, force: bool) -> None:
    """Write a platform file with every key, its meaning and its default to FILE; - prints it."""
    from mmsupervisor.platform.description import PlatformDescription
    from mmsupervisor.platform.toml_file import write_platform

    text = write_platform(PlatformDescription(), comments=True)
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise OutputError(f"{file}: is there already; nothing was written (--force replaces it)") from error
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror or error}") from error
    click.echo(f"{file}: written; `mmsup platform check {shlex.quote(str(file))}` checks it")


@command.command("check", short_help="Check a platform file; print what it comes to.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document (docs/json-schemas.md) instead of TOML.")
@click.pass_context
def check(ctx: click.Context, /, *, file: Path, as_json: bool) -> None:
    """Check a platform file, and print the platform that it describes, with every default filled in.

    Files with devices are looked for, and not run.
    """
    from mmsupervisor.platform.toml_file import check_platform, plain_platform, read_platform, write_platform

    data = read_file(file)
    errors = check_platform(data, str(file), file.parent)
    description = None if errors else read_platform(data, str(file), file.parent)
    for error in errors:
        say_error(str(error))
    if as_json:
        import json

        document = {
            "schema": SCHEMA,
            "file": str(file),
            "errors": [{"line": error.line, "rule": error.rule} for error in errors],
            "platform": None if description is None else plain_platform(description),
        }
        click.echo(json.dumps(document, indent=2))
    elif description is not None:
        click.echo(write_platform(description, comments=False), nl=False)
    ctx.exit(ExitCode.MALFORMED if errors else ExitCode.OK)
