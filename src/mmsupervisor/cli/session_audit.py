"""The audits of ``mmsup boot``: of handlers and their replies, and of the pages in the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from mmsupervisor.audit.handlers import HandlerAudit
from mmsupervisor.audit.page_checks import PageAudit, audit_pages
from mmsupervisor.audit.page_document import page_document
from mmsupervisor.audit.page_map import read_page_map
from mmsupervisor.audit.page_report import page_report
from mmsupervisor.audit.replies import ReplyAudit
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.session_work import Message, send_all
from mmsupervisor.inventory.payloads import OutputError
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


class MessageAudits:
    """The audits of a session's handlers and of their replies, if they were asked for."""

    def __init__(self, *, wanted: bool) -> None:
        """Say whether there shall be any."""
        self._wanted = wanted
        self._handlers: HandlerAudit | None = None

    def prepare(self, session: Session) -> None:
        """Begin with the audit of handlers, before the launch of the session."""
        if self._wanted:
            self._handlers = HandlerAudit(session)

    def send_all(
        self, session: Session, again: Callable[[], Session], messages: Sequence[Message]
    ) -> tuple[list[Exchange], Audited | None]:
        """Send messages to the session, and to a twin with whose replies its own are compared.

        Args:
            session: The session.
            again: Boots the twin.
            messages: What to send.

        Returns:
            The messages with their answers, and what audits saw; None where there are none, or no supervisor.
        """
        if self._handlers is None:
            return send_all(session, messages), None
        return _send_audited(self._handlers, session, again, messages)


def _send_audited(
    handlers: HandlerAudit, session: Session, again: Callable[[], Session], messages: Sequence[Message]
) -> tuple[list[Exchange], Audited | None]:
    with ExitStack() as stack:
        stack.enter_context(handlers)
        replies: ReplyAudit | None = None
        if messages and session.core is not None and session.stop is None:
            replies = ReplyAudit(session, stack.enter_context(again()))
        exchanges = send_all(session, messages, replies.communicate if replies is not None else None)
    if not handlers.is_attached:
        return exchanges, None
    findings = (*handlers.findings, *(replies.findings if replies is not None else ()))
    return exchanges, Audited(findings, handlers.missed, replies is not None)


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
