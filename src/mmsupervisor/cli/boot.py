"""``mmsup boot``: a firmware image under the supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmsupervisor.cli.session_input import (
    AUDIT_OPTION,
    POLICY_OPTION,
    SEND_OPTION,
    MessageData,
    SessionOptions,
    read_policy,
    session_options,
)
from mmsupervisor.pi.guid import Guid

_EXAMPLES = """\b
Examples:
  mmsup boot                            the sample platform: core, broker, a driver a service
  mmsup boot bios.fd                    every driver of an image, to ready to boot
  mmsup boot bios.fd --until launched --log | less
  mmsup boot bios.fd --trace boot.jsonl --json > boot.json
  mmsup boot bios.fd --page-audit pages.html
  mmsup boot bios.fd --symbols Build/DEBUG_GCC5/X64     violations with source lines and callers

\b
Exit codes: 0 it booted; 10 a driver broke a rule that is fatal; 11 one returned an error; 12 one was
refused or never dispatched; 13 no handler took a message; 14 a budget was spent; 15 the launch failed;
3 the image is damaged or holds no volume; 4 it cannot be read; 7 it booted, and an audit found something.
"""


@click.command("boot", epilog=_EXAMPLES)
@click.argument("image", required=False, type=click.Path(path_type=Path))
@SEND_OPTION
@POLICY_OPTION
@click.option(
    "--symbols",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Names and source lines of drivers: NAME.debug, .pdb or .map in a folder, NAME a driver's name or GUID.",
)
@click.option("--log", "with_log", is_flag=True, help="Print every event, a line each, before the report.")
@click.option(
    "--page-audit",
    "page_audits",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Audit the pages in the end; write a page (.html) or data (.json). May be given twice.",
)
@AUDIT_OPTION
@session_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    image: Path | None,
    sends: tuple[tuple[Guid, MessageData], ...],
    policy: str | None,
    symbols: Path | None,
    with_log: bool,
    page_audits: tuple[Path, ...],
    audit_handlers: bool,
    **values: Any,
) -> None:
    """Boot a firmware image under the supervisor.

    IMAGE is a flash image, a capsule or a firmware volume that holds the supervisor's core, a policy and drivers; its
    own broker is used when it brings one. Without IMAGE the sample platform is booted.
    """
    from mmsupervisor.cli.session_audit import MessageAudits, check_formats, write_page_audit
    from mmsupervisor.cli.session_boot import boot_image
    from mmsupervisor.cli.session_work import finish, read_messages
    from mmsupervisor.report.document import BOOT_SCHEMA

    options = SessionOptions(**values)
    if with_log and (options.as_json or options.traces_to_output):
        raise click.UsageError("--log goes with the report as text only")
    if with_log and options.redact:
        raise click.UsageError("--log prints the values that --redact keeps out")
    check_formats(page_audits)
    messages = read_messages(sends)
    audits = MessageAudits(wanted=audit_handlers)
    booted = boot_image(image, options, read_policy(policy), symbols=symbols, prepare=audits.prepare)
    with booted.session as session:
        exchanges, audited = audits.send_all(session, booted.again, messages)
        code = finish(
            session,
            booted.image,
            options,
            schema=BOOT_SCHEMA,
            exchanges=exchanges,
            policy_source=booted.policy_source if policy is None else policy,
            with_log=with_log,
            audited=audited,
        )
        if page_audits:  # written whatever became of the run, which decides the code
            verdict = write_page_audit(session, page_audits)
            code = code or verdict
    ctx.exit(code)
