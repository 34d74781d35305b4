"""What the actions of ``mmsup variable`` share: boot, ask the driver, report, write back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import click

from mmsupervisor.cli.console import output, say_error, show
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.session_boot import Booted, boot_image
from mmsupervisor.cli.session_input import SessionOptions
from mmsupervisor.cli.session_work import EXIT_CODES, write_trace
from mmsupervisor.clients.errors import BadAnswerError, ClientError, DroppedMessageError, NotServedError
from mmsupervisor.clients.variables import DEFAULT_ATTRIBUTES, Variable, VariableAttribute, VariableError, Variables
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.dxe.world import PhaseError
from mmsupervisor.inventory.payloads import OutputError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status
from mmsupervisor.report.build import build_report
from mmsupervisor.report.document import document
from mmsupervisor.report.model import Outcome, SessionReport
from mmsupervisor.report.redaction import without_message_data
from mmsupervisor.report.variables import (
    VARIABLES_SCHEMA,
    VariablesReport,
    report_changes,
    report_variable,
    report_variables,
)


@dataclass(frozen=True, slots=True)
class Action:
    """What is asked of the driver.

    Attributes:
        name: Its name.
        ask: Asks, and returns the variables to be reported.
        write_back: Whether the store's file is replaced afterwards.
        output: Where the value of the variable goes as well, or None.
    """

    name: str
    ask: Callable[[Variables], Iterable[Variable]]
    write_back: bool = False
    output: Path | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of an action.

    Attributes:
        variables: What the driver gave.
        failure: What it refused, or empty.
        code: The exit code that stands for it.
    """

    variables: tuple[Variable, ...] = ()
    failure: str = ""
    code: ExitCode = ExitCode.OK


def change(variables: Variables, name: str, guid: Guid, data: bytes, attributes: int | None) -> tuple[Variable, ...]:
    """Set a variable and read it back; without attributes it keeps those it has."""
    wanted = DEFAULT_ATTRIBUTES if attributes is None else VariableAttribute(attributes)
    if attributes is None:
        try:
            wanted = variables.get(name, guid).attributes
        except VariableError as error:
            if error.status != Status.NOT_FOUND:
                raise
    variables.set(name, guid, data, wanted)
    return (variables.get(name, guid),) if data else ()


def remove(variables: Variables, name: str, guid: Guid | None) -> tuple[Variable, ...]:
    """Delete a variable and return what it was."""
    variable = variables.find(name, guid)
    variables.delete(name, variable.guid)
    return (variable,)


def work(image: Path, options: SessionOptions, action: Action) -> ExitCode:
    """Boot, do what is asked, report, and return the exit code.

    Raises:
        MmSupervisorError: an input is damaged.
        OSError: a file cannot be read or written.
    """
    if action.write_back and options.variables is None:
        raise click.UsageError("--write-back needs --vars FILE: the file that is to change")
    booted = boot_image(image, options)
    with booted.session as session:
        asked = _ask(booted, action)
        code = asked.code
        written = action.write_back and code is ExitCode.OK and session.devices.write_back()
        if action.output is not None and code is ExitCode.OK:
            _write_value(action.output, asked.variables)
        whole = _whole(booted, options)
        report = report_variables(
            session,
            whole,
            action.name,
            variables=[report_variable(one, redact=options.redact) for one in asked.variables],
            failure=asked.failure,
            written_back=written,
        )
        write_trace(session, options)
        _present(report, whole, code, as_json=options.as_json)
    return code


def compare(image: Path, options: SessionOptions, other: Path) -> ExitCode:
    """Compare two stores by what the driver reads from them; raises as :func:`work` does."""
    action = Action("diff", lambda variables: variables.all())
    second = boot_image(image, replace(options, variables=other))
    with second.session as session:
        theirs = _ask(second, action)
        if theirs.code is not ExitCode.OK:
            whole = _whole(second, options)
            report = report_variables(session, whole, "diff", failure=f"{other}: {theirs.failure}")
            _present(report, whole, theirs.code, as_json=options.as_json)
            return theirs.code
    first = boot_image(image, options)
    with first.session as session:
        ours = _ask(first, action)
        whole = _whole(first, options)
        changes = report_changes(ours.variables, theirs.variables, redact=options.redact) if not ours.failure else ()
        report = report_variables(session, whole, "diff", changes=changes, failure=ours.failure)
        write_trace(session, options)
        _present(report, whole, ours.code, as_json=options.as_json)
    return ExitCode.NOT_MET if changes and ours.code is ExitCode.OK else ours.code


def _ask(booted: Booted, action: Action) -> _Asked:
    session = booted.session
    if session.stop is None and session.launch_failure is None:
        try:
            return _Asked(tuple(action.ask(session.variables)))
        except (NotServedError, DroppedMessageError, PhaseError) as error:
            return _Asked(failure=str(error), code=ExitCode.NOT_HANDLED)
        except (ClientError, BadAnswerError) as error:
            return _Asked(failure=str(error), code=ExitCode.DRIVER_ERROR)
        except SystemStopError:
            pass
    report = _whole(booted, None)
    return _Asked(failure=f"the system came to an end: {report.outcome.value}", code=EXIT_CODES[report.outcome])


def _whole(booted: Booted, options: SessionOptions | None) -> SessionReport:
    report = build_report(booted.session, booted.image, policy_source=booted.policy_source)
    return without_message_data(report) if options is not None and options.redact else report


def _write_value(path: Path, variables: tuple[Variable, ...]) -> None:
    try:
        path.write_bytes(b"".join(one.data for one in variables))
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error


def _present(report: VariablesReport, whole: SessionReport, code: ExitCode, *, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(document(VARIABLES_SCHEMA, report), indent=2))
    else:
        from mmsupervisor.cli.session_report import render
        from mmsupervisor.cli.variable_view import render_variables

        console = output()
        show(console, render_variables(report, console.width))
        if whole.outcome in _SHOWN or code is ExitCode.NOT_HANDLED:
            click.echo()
            show(console, render(whole, answers_only=True))
    if report.failure:
        say_error(report.failure)


_SHOWN = {Outcome.VIOLATION, Outcome.BUDGET_SPENT, Outcome.LAUNCH_FAILED, Outcome.BAD_POLICY}
"""Ends after which the findings say more than the driver's silence; so they do where nobody serves variables."""
