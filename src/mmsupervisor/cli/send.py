"""``mmsup send``: one message to a booted image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmsupervisor.cli.session_input import (
    POLICY_OPTION,
    MessageData,
    SessionOptions,
    data_argument,
    guid_argument,
    read_policy,
    session_options,
)
from mmsupervisor.pi.guid import Guid

_EXAMPLES = """\b
Examples:
  mmsup send bios.fd 12345678-90AB-CDEF-1234-567890ABCDEF 0x0100000000000000
  mmsup send bios.fd gEfiSmmVariableProtocolGuid @request.bin
  mmsup send bios.fd gEfiSmmLockBoxCommunicationGuid text:hello --json | jq -r '.messages[0].payload'

\b
Exit codes: as of mmsup boot; 13 if no handler took the message.
"""


@click.command("send", epilog=_EXAMPLES)
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("guid", type=guid_argument)
@click.argument("data", required=False, type=data_argument)
@POLICY_OPTION
@session_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    image: Path,
    guid: Guid,
    data: MessageData | None,
    policy: str | None,
    **values: Any,
) -> None:
    """Boot a firmware image and send one message on the user channel.

    DATA is hexadecimal digits (0x0100 or "01 00"), text:..., or @FILE; a message without data never reaches a
    handler. GUID is text or a known name. The answer is printed; of the boot only what went wrong.
    """
    from mmsupervisor.cli.session_boot import boot_image
    from mmsupervisor.cli.session_work import finish, read_messages, send_all
    from mmsupervisor.report.document import SEND_SCHEMA

    options = SessionOptions(**values)
    messages = read_messages([(guid, data or MessageData())])
    booted = boot_image(image, options, read_policy(policy))
    with booted.session as session:
        code = finish(
            session,
            booted.image,
            options,
            schema=SEND_SCHEMA,
            exchanges=send_all(session, messages),
            policy_source=booted.policy_source if policy is None else policy,
            answers_only=True,
        )
    ctx.exit(code)
