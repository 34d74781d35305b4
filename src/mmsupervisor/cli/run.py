"""``mmsup run``: one driver under the supervisor."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from mmsupervisor.cli.session_input import (
    AUDIT_OPTION,
    POLICY_OPTION,
    SEND_OPTION,
    MessageData,
    SessionOptions,
    guid_argument,
    read_file,
    read_policy,
    session_options,
)
from mmsupervisor.pi.depex import DepexSyntaxError
from mmsupervisor.pi.guid import Guid, GuidSyntaxError

_EXAMPLES = """\b
Examples:
  mmsup run MyDriver.efi                               does it start, and what does it do?
  mmsup run MyDriver.efi --map MyDriver.map            the same, with names of functions
  mmsup run MyDriver.efi --map MyDriver.debug          with source lines and call stacks too
  mmsup run MyDriver.efi --policy policy.toml          under your isolation policy
  mmsup run MyDriver.efi --send 12345678-90AB-CDEF-1234-567890ABCDEF 0x0100000000000000
  mmsup run MyDriver.efi --send gEfiSmmVariableProtocolGuid @message.bin --until dxe
  mmsup run MyDriver.efi --depex 'gEfiMmCpuIoProtocolGuid AND gMmRing3HandlerReadyProtocol'
  mmsup run MyDriver.efi --send gEfiSmmVariableProtocolGuid @message.bin --audit-handlers
  mmsup run Old.efi --traditional --observe            not converted yet: what does it do that it may not?
  mmsup run MyDriver.efi --trace run.jsonl --json | jq .findings

\b
Exit codes: 0 it ran; 10 it broke a rule that is fatal; 11 its entry point returned an error;
12 it was refused or never dispatched; 13 no handler took a message; 14 its budget was spent;
15 the launch failed; 3 a file is damaged or of the wrong kind; 4 it cannot be read;
7 it ran, and an audit found something.
"""


@click.command("run", epilog=_EXAMPLES)
@click.argument("driver", metavar="DRIVER.efi", type=click.Path(path_type=Path))
@SEND_OPTION
@POLICY_OPTION
@click.option(
    "--map",
    "map_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Names and source lines: a linker's map, a .pdb, or an ELF (.debug) or PE file with DWARF.",
)
@click.option("--depex", metavar="TEXT", help="Dependency expression; by default it waits for the broker.")
@click.option("--guid", type=guid_argument, metavar="GUID", help="File GUID; by default made of the name.")
@click.option(
    "--traditional",
    is_flag=True,
    help="DRIVER.efi is a traditional SMM driver (DXE_SMM_DRIVER), yet to be converted; with --observe it runs.",
)
@click.option("--name", metavar="NAME", help="Name in reports; by default the file's.")
@AUDIT_OPTION
@session_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    driver: Path,
    sends: tuple[tuple[Guid, MessageData], ...],
    policy: str | None,
    map_file: Path | None,
    depex: str | None,
    guid: Guid | None,
    name: str | None,
    traditional: bool,
    audit_handlers: bool,
    **values: Any,
) -> None:
    """Run one driver under the supervisor.

    DRIVER.efi is an MM_STANDALONE driver, a PE32+ image for X64. It is packed into a firmware volume with the core,
    the broker and an isolation policy, booted, and stopped at the first rule that it breaks, as on a device.

    DATA of a message is hexadecimal digits (0x0100 or "01 00"), text:..., or @FILE. A GUID is text or a known name.
    """
    from mmsupervisor.cli.session_audit import MessageAudits
    from mmsupervisor.cli.session_work import finish, read_messages
    from mmsupervisor.debuginfo.read import read_symbols
    from mmsupervisor.platform.single_driver import describe_driver
    from mmsupervisor.report.build import describe_input
    from mmsupervisor.report.document import RUN_SCHEMA
    from mmsupervisor.session import boot_driver

    options = SessionOptions(**values)
    image = read_file(driver)
    symbols = None if map_file is None else read_symbols(read_file(map_file), str(map_file), image=image)
    in_force = read_policy(policy)
    try:
        known = describe_driver(
            image,
            str(driver),
            driver.stem,
            name=name,
            guid=guid,
            depex=depex,
            symbols=symbols,
            traditional=traditional,
        )
    except (DepexSyntaxError, GuidSyntaxError) as error:
        raise click.BadParameter(str(error), param_hint="--depex") from error
    messages = read_messages(sends)
    start = partial(
        boot_driver,
        known.image,
        known.name,
        known.guid,
        depex=known.depex,
        policy=in_force,
        description=options.description(),
        processor=options.processor,
        symbols=known.symbols,
        relax=options.relax,
        observe=options.observe,
        traditional=traditional,
    )
    audits = MessageAudits(wanted=audit_handlers)
    with start(prepare=audits.prepare) as session:
        exchanges, audited = audits.send_all(session, start, messages)
        code = finish(
            session,
            describe_input(str(driver), image),
            options,
            schema=RUN_SCHEMA,
            exchanges=exchanges,
            policy_source="built in" if policy is None else policy,
            audited=audited,
        )
    ctx.exit(code)
