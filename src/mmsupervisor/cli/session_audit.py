"""The audits of ``mmsup boot``: of the handlers of the messages sent, and of the pages in the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from mmsupervisor.audit.handlers import HandlerAudit
from mmsupervisor.audit.page_checks import PageAudit, audit_pages
from mmsupervisor.audit.page_document import page_document
from mmsupervisor.audit.page_map import read_page_map
from mmsupervisor.audit.page_report import page_report
from mmsupervisor.cli.console import plain
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.session_work import Message, send_all
from mmsupervisor.inventory.payloads import OutputError
from mmsupervisor.report.build import Exchange
from mmsupervisor.session import Session

FORMATS = (".html", ".json")
"""Suffixes of files that a page audit can be written to."""


def check_formats(files: Sequence[Path]) -> None:
    """Refuse a file of which nobody knows how to write it, before anything runs.

    Raises:
        click.BadParameter: its suffix is none of :data:`FORMATS`.
    """
    for file in files:
        if file.suffix.lower() not in FORMATS:
            raise click.BadParameter(f"{file}: a page audit is written as .html or .json", param_hint="--page-audit")


def send_audited(session: Session, messages: Sequence[Message]) -> tuple[list[Exchange], HandlerAudit | None]:
    """Send messages under the audit of handlers; without a core there is nothing to audit."""
    if session.core is None or session.stop is not None:
        return send_all(session, messages), None
    with HandlerAudit(session) as audit:
        return send_all(session, messages), audit


def say_handler_audit(audit: HandlerAudit | None, exchanges: Sequence[Exchange]) -> ExitCode:
    """Print what the audit of handlers found in these exchanges, a line each."""
    if audit is None:
        click.echo("\nAudit of handlers: there was no supervisor to audit.")
        return ExitCode.OK
    if not exchanges:
        click.echo("\nAudit of handlers: no message was sent (--send), so that none was watched.")
        return ExitCode.OK
    count = len(audit.findings)
    click.echo(f"\nAudit of handlers: {f'{count} found' if count else 'nothing was found'}.")
    for finding in audit.findings:
        click.echo(plain(f"  {finding}"))
    missed = sum(audit.missed.values())
    if missed:
        click.echo(f"  {missed} touches were not looked at: {', '.join(sorted(audit.missed))}.")
    return ExitCode.NOT_MET if count else ExitCode.OK


def write_page_audit(session: Session, files: Sequence[Path]) -> ExitCode:
    """Audit the pages of a session as it is now and write the report.

    Raises:
        OutputError: a file cannot be written.
    """
    audit = audit_pages(read_page_map(session))
    for file in files:
        _write(file, _render(session, audit, file.suffix.lower()))
    if audit.failed:
        failed = ", ".join(result.check.number for result in audit.results if result.issues)
        click.echo(f"page audit: {audit.failed} of {len(audit.results)} checks fail: {failed}", err=True)
        return ExitCode.NOT_MET
    return ExitCode.OK


def _render(session: Session, audit: PageAudit, suffix: str) -> str:
    if suffix == ".html":
        return page_report(session, audit)
    return json.dumps(page_document(session, audit), indent=2) + "\n"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8", newline="\n")
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror or error}") from error
