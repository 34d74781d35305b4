"""``mmsup doctor``: what works on this computer, and what to change where something does not."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import NamedTuple

import click

from mmsupervisor.cli.console import output, show
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.processor.native.host import lowest_address, remarks
from mmsupervisor.processor.select import Availability, probe

SCHEMA = "mmsupervisor.doctor/1"
"""Name and version of the document."""

_EXAMPLES = """\b
Examples:
  mmsup doctor                 processors and optional libraries: what is there, what to change
  mmsup doctor --json | jq -r '.processors[] | select(.is_available) | .name'

\b
Exit codes: 0 some processor works; 6 none does.
"""


class Extra(NamedTuple):
    """An optional library, as ``pyproject.toml`` has it.

    Attributes:
        name: The extra's name.
        module: A module of the library.
        requirement: What pip is to install.
    """

    name: str
    module: str
    requirement: str


EXTRAS = (
    Extra("brotli", "brotli", "brotli>=1.2"),
    Extra("dwarf", "elftools", "pyelftools>=0.32"),
    Extra("pdb", "purepdb", "purepdb>=0.6"),
    Extra("tiano", "uefi_firmware", "uefi-firmware>=1.16"),
)
"""All optional libraries, by extra."""

_MEANING = {
    "unicorn": "emulates; runs everywhere",
    "native": "this computer's own processor; several times as fast where drivers compute",
}


@dataclass(frozen=True, slots=True)
class Library:
    """An optional library.

    Attributes:
        extra: Name of the extra.
        is_available: Whether it is installed.
        advice: What installs it; empty if it is.
    """

    extra: str
    is_available: bool
    advice: str


@click.command("doctor", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document (docs/json-schemas.md) instead of text.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Say what works on this computer, and what to change.

    Each processor is really tried. The first that works is the one that `--processor auto` takes.
    """
    processors = probe()
    libraries = [_library(extra) for extra in EXTRAS]
    chosen = next((one.name for one in processors if one.is_available), None)
    if as_json:
        _print_json(processors, libraries, chosen)
    else:
        _print_text(processors, libraries, chosen)
    ctx.exit(ExitCode.OK if chosen else ExitCode.MISSING_LIBRARY)


def _library(extra: Extra) -> Library:
    """Look for a library; the advice installs it by its own name, where this very program finds it.

    By the extra's name pip would look for this package first, and put a copy of it in the place of a checkout's own.
    """
    if find_spec(extra.module) is not None:
        return Library(extra.name, True, "")
    return Library(extra.name, False, shlex.join([sys.executable, "-m", "pip", "install", extra.requirement]))


def _print_json(processors: list[Availability], libraries: list[Library], chosen: str | None) -> None:
    import json

    document = {
        "schema": SCHEMA,
        "processors": [asdict(one) for one in processors],
        "auto": chosen,
        "native_lowest_address": f"{lowest_address():#x}",
        "native_remarks": remarks(),
        "libraries": [asdict(one) for one in libraries],
    }
    click.echo(json.dumps(document, indent=2))


def _print_text(processors: list[Availability], libraries: list[Library], chosen: str | None) -> None:
    from mmsupervisor.cli.console import table

    rows = table("Processor", "Works", "", fold=("",))
    for one in processors:
        words = one.reason or _MEANING[one.name] + (" (taken by auto)" if one.name == chosen else "")
        rows.add_row(one.name, _yes(one.is_available), words)
        for line in (one.advice, *(remarks() if one.name == "native" and one.is_available else ())):
            if line:
                rows.add_row("", "", line)
    console = output()
    show(console, rows)
    console.print()
    rows = table("Library", "There", "", fold=("",))
    for library in libraries:
        rows.add_row(library.extra, _yes(library.is_available), library.advice)
    show(console, rows)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
