"""What ``run``, ``boot`` and ``send`` do once the session is there: send, trace, report, and leave with a code."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from mmsupervisor.cli.console import output, show
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.session_input import MessageData, SessionOptions
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.inventory.payloads import OutputError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.report.build import Audited, Exchange, build_report
from mmsupervisor.report.document import BOOT_SCHEMA, document
from mmsupervisor.report.model import InputReport, Outcome
from mmsupervisor.report.redaction import redacted_lines, without_message_data
from mmsupervisor.session import Answer, Session

EXIT_CODES = {
    Outcome.VIOLATION: ExitCode.VIOLATION,
    Outcome.BUDGET_SPENT: ExitCode.BUDGET_SPENT,
    Outcome.LAUNCH_FAILED: ExitCode.LAUNCH_FAILED,
    Outcome.BAD_POLICY: ExitCode.MALFORMED,
    Outcome.DAMAGED: ExitCode.MALFORMED,
    Outcome.NOT_DISPATCHED: ExitCode.NOT_DISPATCHED,
    Outcome.DRIVER_ERROR: ExitCode.DRIVER_ERROR,
    Outcome.NOT_HANDLED: ExitCode.NOT_HANDLED,
    Outcome.OK: ExitCode.OK,
}
"""The exit code of each outcome."""

Message = tuple[Guid, bytes]


def read_messages(sends: Iterable[tuple[Guid, MessageData]]) -> list[Message]:
    """Read the data of messages before anything runs, so that a missing file stops nothing half-way."""
    return [(guid, data.read()) for guid, data in sends]


def send_all(
    session: Session, messages: Iterable[Message], send: Callable[[Guid, bytes], Answer] | None = None
) -> list[Exchange]:
    """Send messages until they are out or the system dies, by another way than the session's own where one is given."""
    send = send or session.communicate
    exchanges: list[Exchange] = []
    for guid, payload in messages:
        if session.stop is not None or session.launch_failure is not None:
            break
        try:
            exchanges.append(Exchange(guid, payload, send(guid, payload)))
        except SystemStopError:
            exchanges.append(Exchange(guid, payload, None))
    return exchanges


def finish(
    session: Session,
    image: InputReport,
    options: SessionOptions,
    *,
    schema: str,
    exchanges: Iterable[Exchange] = (),
    policy_source: str,
    with_log: bool = False,
    answers_only: bool = False,
    audited: Audited | None = None,
) -> ExitCode:
    """Write the trace and the report, and return the exit code: what went wrong decides it, then what audits found."""
    report = build_report(
        session,
        image,
        exchanges=exchanges,
        policy_source=policy_source,
        audited=audited,
    )
    if options.redact:
        report = without_message_data(report)
    write_trace(session, options)
    if options.as_json:
        import json

        click.echo(json.dumps(document(schema, report), indent=2))
    elif not options.traces_to_output:
        from mmsupervisor.cli.session_report import render

        if with_log:
            _print_log(session)
        show(output(), render(report, answers_only=answers_only, with_volumes=schema == BOOT_SCHEMA))
    if report.outcome is Outcome.OK and report.audit is not None and report.audit.findings:
        return ExitCode.NOT_MET
    return EXIT_CODES[report.outcome]


def write_trace(session: Session, options: SessionOptions) -> None:
    """Write the canonical trace where the options say: to a file, to standard output, or nowhere.

    Raises:
        OutputError: the file cannot be written.
    """
    path = options.trace
    if path is None:
        return
    lines = redacted_lines(session.log) if options.redact else session.log.canonical_lines()
    if str(path) == "-":
        for line in lines:
            click.echo(line)
        return
    try:
        with path.open("w", encoding="ascii", newline="\n") as stream:
            stream.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error


def _print_log(session: Session) -> None:
    from mmsupervisor.cli.session_report import log_lines

    for line in log_lines(session.events):
        click.echo(line)
    click.echo()
