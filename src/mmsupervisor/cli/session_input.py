"""What ``run``, ``boot`` and ``send`` take from the command line: options, files, messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.guid import Guid, GuidSyntaxError
from mmsupervisor.pi.limits import DEFAULT_LIMITS
from mmsupervisor.processor.select import PROCESSORS

if TYPE_CHECKING:
    from mmsupervisor.platform.description import PlatformDescription
    from mmsupervisor.policy.model import Policy

F = TypeVar("F", bound=Callable[..., Any])

PHASES = tuple(phase.value for phase in Phase)
"""Names of the phases, in a device's order."""

PROCESSOR_NAMES = ("auto", *PROCESSORS)
"""Names of the processors."""

MOST_CPUS = 64
"""CPUs whose SMI entry code and save states fit into MMRAM with room to spare."""


def guid_argument(text: str) -> Guid:
    """Read a GUID, as text or by a name that is known."""
    try:
        return Guid.parse(text)
    except GuidSyntaxError as error:
        raise click.BadParameter(str(error)) from error


@dataclass(frozen=True, slots=True)
class MessageData:
    """A message's data as the user gave it.

    Attributes:
        literal: The bytes it spells.
        file: The file it names instead, or None.
    """

    literal: bytes = b""
    file: Path | None = None

    def read(self) -> bytes:
        """Return the bytes; raises as :func:`read_file` does."""
        return self.literal if self.file is None else read_file(self.file)


def data_argument(text: str) -> MessageData:
    """Read hexadecimal digits, ``text:...`` or ``@FILE``; a file is opened later, when it is an input."""
    if text.startswith("@"):
        return MessageData(file=Path(text[1:]))
    if text.startswith("text:"):
        return MessageData(text.removeprefix("text:").encode("utf-8", "surrogateescape"))  # the bytes as typed
    try:
        return MessageData(bytes.fromhex(text[2:] if text[:2] in ("0x", "0X") else text))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is neither pairs of hexadecimal digits, text:..., nor @FILE") from error


_BOOT_OPTIONS = (
    click.option(
        "--until",
        metavar="PHASE",
        type=click.Choice(PHASES),
        help=f"Go that far: {', '.join(PHASES)}; ready-to-boot if nothing else says so.",
    ),
    click.option(
        "--platform",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Platform file (`mmsup platform init` writes one); else a platform like QEMU's Q35.",
    ),
    click.option("--profile", type=click.Choice(tuple(PROFILES)), help="Which generation of the reference to be."),
    click.option(
        "--cpus",
        metavar="N",
        type=click.IntRange(1, MOST_CPUS),
        help=f"Number of CPUs, at most {MOST_CPUS}; 4 if nothing else says so.",
    ),
    click.option(
        "--processor",
        type=click.Choice(PROCESSOR_NAMES),
        default="auto",
        show_default=True,
        help="What executes ring-3 code.",
    ),
    click.option(
        "--budget",
        type=click.IntRange(1),
        metavar="N",
        help="Instructions that one entry into ring 3 may take; 200 million if not given.",
    ),
)

VARIABLES_OPTION = click.option(
    "--vars",
    "variables",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Variable store; else that of the platform file, at the front of the image, or beside an image of OVMF.",
)
"""What the writable part of the flash holds."""

REDACT_OPTION = click.option(
    "--redact", is_flag=True, help="Keep message data and values that drivers chose out of report and trace."
)
"""Whether what may be secret is left out."""

_OPTIONS = (
    *_BOOT_OPTIONS,
    VARIABLES_OPTION,
    REDACT_OPTION,
    click.option("--observe", is_flag=True, help="Permit and count what would end the system: all relaxations."),
    click.option(
        "--relax",
        multiple=True,
        type=click.Choice(tuple(item.value for item in Relaxation)),
        metavar="NAME",
        help=f"One relaxation, as often as wanted: {', '.join(item.value for item in Relaxation)}.",
    ),
    click.option(
        "--trace",
        metavar="FILE",
        type=click.Path(path_type=Path, allow_dash=True),
        help="Write the canonical trace, a JSON line an event; - prints it instead of the report.",
    ),
    click.option(
        "--json", "as_json", is_flag=True, help="Print a JSON document (docs/json-schemas.md) instead of text."
    ),
)

SEND_OPTION = click.option(
    "--send",
    "sends",
    metavar="GUID DATA",
    multiple=True,
    type=(guid_argument, data_argument),
    help="Send a message when the phase is reached; as often as wanted, in order.",
)
"""Messages to be sent."""


POLICY_OPTION = click.option(
    "--policy",
    metavar="POLICY",
    help="Isolation policy in place of the image's: XML, TOML, a blob, an image with one; default, amd, intel.",
)
"""The policy to be in force."""


AUDIT_OPTION = click.option(
    "--audit-handlers",
    is_flag=True,
    help="Watch entry points, and handlers of --send messages and their replies; print mistakes.",
)
"""Whether the audits of handlers and replies watch."""


def session_options(command: F) -> F:
    """Add the options that all three commands have."""
    return _with_options(command, _OPTIONS)


def boot_options(command: F) -> F:
    """Add those of them that say what is booted, on what, and how far."""
    return _with_options(command, _BOOT_OPTIONS)


def _with_options(command: F, options: Iterable[Callable[[F], F]]) -> F:
    for option in reversed(tuple(options)):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """The values of :func:`session_options`.

    Attributes:
        until: The phase to go to, or None for the platform's.
        platform: A platform file, or None for the default.
        profile: Name of a profile, or None for the platform's.
        cpus: Number of CPUs, or None for the platform's.
        processor: Which ring-3 processor.
        budget: Instructions that one entry may take, or None for the platform's.
        observe: Whether all relaxations are in force.
        relax: Names of single relaxations.
        trace: Where the canonical trace goes: a file, ``-`` for standard output, or None.
        as_json: Whether a JSON document is printed instead of text.
        variables: File with the flash's variables, or None for the platform's.
        redact: Whether message data, and values that drivers chose, are kept out of report and trace.
    """

    until: str | None
    platform: Path | None
    profile: str | None
    cpus: int | None
    processor: str
    budget: int | None
    observe: bool = False
    relax: tuple[str, ...] = ()
    trace: Path | None = None
    as_json: bool = False
    variables: Path | None = None
    redact: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be together."""
        if self.as_json and self.traces_to_output:
            raise click.UsageError("--json and --trace - both want standard output; give the trace a file")

    @property
    def traces_to_output(self) -> bool:
        """Whether the trace takes the place of the report."""
        return self.trace is not None and str(self.trace) == "-"

    def description(self) -> PlatformDescription:
        """Describe the platform.

        Raises:
            MmSupervisorError: the platform file is malformed.
            InputError: it cannot be read.
        """
        from mmsupervisor.platform.description import PlatformDescription
        from mmsupervisor.platform.toml_file import load_platform

        plain = PlatformDescription() if self.platform is None else load_platform(self.platform)
        wanted: dict[str, Any] = {"cpus": self.cpus, "budget": self.budget}
        if self.until is not None:
            wanted["until"] = Phase(self.until)
        if self.profile is not None:
            wanted["profile"] = PROFILES[self.profile]
        if self.variables is not None:
            wanted["devices"] = replace(plain.devices, flash_variables=self.variables)
        return replace(plain, **{name: value for name, value in wanted.items() if value is not None})


def read_file(path: Path) -> bytes:
    """Read an input file.

    Raises:
        InputError: it cannot be read.
        LimitError: it is larger than the limits for inputs allow.
    """
    return read_input_file(path, DEFAULT_LIMITS.input_bytes)


def read_policy(name: str | None) -> bytes | Policy | None:
    """Read an isolation policy in any of its forms and refuse what is none; None stays None.

    Returns:
        A blob's bytes, damaged or not; of a source the policy itself, so that findings can name its file and lines.

    Raises:
        FormatError: it is a damaged blob.
        SourceError: it breaks a rule of XML or TOML.
        MmSupervisorError: it holds no policy, or several.
        InputError: it cannot be read.
        LimitError: it is beyond the limits for inputs.
    """
    if name is None:
        return None
    from mmsupervisor.policy.blob import read_blob
    from mmsupervisor.policy.load import PolicyForm, load_policy

    loaded = load_policy(name)
    if loaded.form is not PolicyForm.BLOB:
        return loaded.policy
    read_blob(loaded.blob, name)
    return loaded.blob
