"""The audits of ``mmsup boot``: of handlers and their replies, and of the pages in the end."""

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
from mmsupervisor.audit.replies import ReplyAudit
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.session_boot import Booted, boot_image
from mmsupervisor.cli.session_input import SessionOptions
from mmsupervisor.cli.session_work import Message, send_all
from mmsupervisor.inventory.payloads import OutputError
from mmsupervisor.policy.model import Policy
from mmsupervisor.report.build import Audited, Exchange
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


def boot_audited(
    path: Path | None,
    options: SessionOptions,
    policy: bytes | Policy | None,
    *,
    symbols: Path | None,
    messages: Sequence[Message],
) -> tuple[Booted, list[Exchange], Audited | None]:
    """Boot an image under the audit of handlers, and send messages to it and to a twin whose replies are compared.

    Returns:
        The booted image, the messages with their answers, and what audits saw; None where there was no supervisor.

    Raises:
        MmSupervisorError: as :func:`~mmsupervisor.cli.session_boot.boot_image`.
    """
    audits: list[HandlerAudit] = []
    booted = boot_image(
        path,
        options,
        policy,
        symbols=symbols,
        prepare=lambda session: audits.append(HandlerAudit(session)),
        with_twin=bool(messages),
    )
    session, twin = booted.session, booted.twin
    with audits[0] as handlers:
        if twin is None or session.stop is not None or session.core is None or twin.core is None:
            replies, exchanges = None, send_all(session, messages)
        else:
            replies = ReplyAudit(session, twin)
            exchanges = send_all(session, messages, replies.communicate)
    if not handlers.is_attached:
        return booted, exchanges, None
    findings = (*handlers.findings, *(replies.findings if replies else ()))
    return booted, exchanges, Audited(findings, handlers.missed, replies is not None)


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
