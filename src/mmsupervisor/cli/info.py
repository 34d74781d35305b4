"""``mmsup info``: what firmware images hold for management mode."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mmsupervisor.cli.console import output, progress, show
from mmsupervisor.cli.errors import guard
from mmsupervisor.cli.exit_codes import ExitCode, most_severe
from mmsupervisor.inventory.document import Failure, document
from mmsupervisor.inventory.model import ImageReport
from mmsupervisor.inventory.payloads import Written, safe_name, write_payloads
from mmsupervisor.inventory.survey import survey
from mmsupervisor.pi.limits import MIB

LONG_INPUT = 8 * MIB
"""Bytes from which on reading takes long enough to say so."""

_EXAMPLES = """\b
Examples:
  mmsup info OVMF_CODE_4M.secboot.fd            drivers, volumes, policy, remarks
  mmsup info --all --guids bios.bin | less -S   every file, every GUID
  mmsup info --json *.fd | jq '.images[].modules[].name'
  mmsup info --extract drivers bios.bin         write drivers and their DEPEX to files

\b
Exit codes: 0 reported, input sound; 3 damaged, or no firmware (what could be read is still reported);
4 cannot be read; 5 beyond the limits; 6 an optional library is missing. With several images, the worst.
"""


@click.command("info", epilog=_EXAMPLES)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document (docs/json-schemas.md) instead of text.")
@click.option("--all", "everything", is_flag=True, help="List all files of all volumes, and all problems.")
@click.option("--guids", is_flag=True, help="List the GUIDs of volumes and dependencies, too.")
@click.option(
    "--extract",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write each MM module's image and DEPEX, and the policy, to files in DIR.",
)
@click.option("--force", is_flag=True, help="With --extract: replace files that are there.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    images: tuple[Path, ...],
    as_json: bool,
    everything: bool,
    guids: bool,
    folder: Path | None,
    force: bool,
) -> None:
    """Say what a firmware image holds for management mode.

    IMAGE is a flash image or dump, a firmware volume, a capsule, or an EFI image by itself. Compressed parts are
    opened. Modules, their dependencies, the policy and the volumes are listed, with what is certain to go wrong
    under the MM Supervisor. Nothing in the image is executed.
    """
    if force and folder is None:
        raise click.UsageError("--force goes with --extract only")
    printer = _JsonPrinter() if as_json else _TextPrinter(everything, guids)
    codes = []
    for path, target in zip(images, _folders(images, folder), strict=True):
        with guard(per_input=True) as outcome:
            report = _survey(path)
            outcome.code = exit_code(report)
            printer.add(report)
            if target is not None:
                printer.add_written(write_payloads(report, target, overwrite=force))
        if outcome.line:
            printer.fail(str(path), outcome.line)
        codes.append(outcome.code)
    printer.finish()
    ctx.exit(most_severe(codes))


def exit_code(report: ImageReport) -> ExitCode:
    """The exit code that a report stands for."""
    if any(problem.kind == "limit" for problem in report.problems):
        return ExitCode.LIMIT
    if report.is_damaged or not report.is_firmware:
        return ExitCode.MALFORMED
    if report.images == 0 and any(one.why == "missing library" for one in report.unopened):
        return ExitCode.MISSING_LIBRARY
    return ExitCode.OK


def _survey(path: Path) -> ImageReport:
    try:
        is_long = path.stat().st_size > LONG_INPUT
    except OSError:
        is_long = False  # what is wrong with the file is said when it is read
    with progress(f"reading {path}", is_long=is_long):
        return survey(path)


def _folders(images: Sequence[Path], folder: Path | None) -> list[Path | None]:
    """Where the files of each image go: the folder, or one in it for each of several images."""
    if folder is None or len(images) == 1:
        return [folder] * len(images)
    names: list[str] = []
    for path in images:
        name = stem = safe_name(path.name)
        number = 1
        while name.casefold() in (taken.casefold() for taken in names):
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return [folder / name for name in names]


class _TextPrinter:
    """Prints each report as it comes."""

    def __init__(self, everything: bool, guids: bool) -> None:
        from mmsupervisor.cli.info_view import View

        self._console = output()
        self._view = View(everything, guids, self._console.width)
        self._is_first = True

    def add(self, report: ImageReport) -> None:
        from mmsupervisor.cli.info_view import render

        if not self._is_first:
            self._console.print()
        self._is_first = False
        show(self._console, render(report, self._view))
        sys.stdout.flush()

    def add_written(self, written: Sequence[Written]) -> None:
        from mmsupervisor.cli.info_view import render_written

        self._console.print()
        show(self._console, render_written(written))

    def fail(self, name: str, line: str) -> None:
        """Nothing: the line stands on standard error."""

    def finish(self) -> None:
        """Nothing is left to print."""


class _JsonPrinter:
    """Collects the reports for one document."""

    def __init__(self) -> None:
        self._reports: list[ImageReport] = []
        self._failures: list[Failure] = []

    def add(self, report: ImageReport) -> None:
        self._reports.append(report)

    def add_written(self, written: Sequence[Written]) -> None:
        for one in written:
            click.echo(f"mmsup: wrote {one.path} ({one.size} bytes, SHA-256 {one.sha256})", err=True)

    def fail(self, name: str, line: str) -> None:
        self._failures.append(Failure(name, line))

    def finish(self) -> None:
        import json

        click.echo(json.dumps(document(self._reports, self._failures), indent=2))
