"""``mmsup learn``: the least policy for what an image's drivers do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.policy_input import json_option, print_json, print_lines, require_writable, write_output
from mmsupervisor.cli.session_input import SEND_OPTION, MessageData, SessionOptions, boot_options, read_file
from mmsupervisor.pi.guid import Guid

if TYPE_CHECKING:
    from mmsupervisor.learn.rules import Lesson
    from mmsupervisor.learn.run import ObservedRun

_LEVELS = ("0", "10", "20", "30")
_BUDGET_SPENT = "MM-1301"

_EXAMPLES = """\b
Examples:
  mmsup learn bios.fd                                what its drivers access, and for whom
  mmsup learn bios.fd -o policy.toml --blob policy.bin
  mmsup learn bios.fd --script exercise.py --platform my.toml -o policy.toml
  mmsup learn bios.fd --script exercise.py --against policy.toml
                                                     would the policy deny anything of this run?

\b
FILE.py defines `run(session)`, which is called with the booted mmsupervisor.Session: it sends messages,
sets variables, raises MMIs. What a run does not do is not learned.

\b
Exit codes: 0 learned, or nothing is denied; 7 an access must stay denied, or would be; 10 the system died,
14 of a spent budget; 15 the launch failed; 3 a file is damaged or the script fails; 4 a file cannot be read
or written.
"""


@click.command("learn", epilog=_EXAMPLES)
@click.argument("image", required=False, type=click.Path(path_type=Path))
@SEND_OPTION
@click.option(
    "--script", metavar="FILE.py", type=click.Path(path_type=Path), help="Exercise the booted platform: run(session)."
)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write the policy as TOML.")
@click.option("--blob", metavar="FILE", type=click.Path(path_type=Path), help="Write the policy as a blob.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option(
    "--level", type=click.Choice(_LEVELS), default="30", show_default=True, help="The level that the policy must reach."
)
@click.option("--leave-denied", is_flag=True, help="Write the policy without what must stay denied.")
@click.option("--against", metavar="POLICY", help="Learn nothing; count what POLICY would have denied.")
@boot_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    image: Path | None,
    sends: tuple[tuple[Guid, MessageData], ...],
    script: Path | None,
    output: Path | None,
    blob: Path | None,
    force: bool,
    level: str,
    leave_denied: bool,
    against: str | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Boot IMAGE, watch what its drivers access, and write the least policy that lets them.

    Everything is carried out: the run is observed (all relaxations) under a policy that denies nothing. The learned
    policy denies by default; each rule says which driver needs it, from where, in which phase. What would break the
    wanted level stays denied, and the report says whose it is. Without IMAGE the sample platform is booted.
    """
    from mmsupervisor.cli.learn_view import learn_lines
    from mmsupervisor.cli.session_work import read_messages
    from mmsupervisor.learn.denials import would_be_denied
    from mmsupervisor.learn.document import Judged, Subject, learn_document
    from mmsupervisor.learn.rules import learn
    from mmsupervisor.learn.run import observe
    from mmsupervisor.learn.script import read_script
    from mmsupervisor.platform.isolation import level_vendor
    from mmsupervisor.policy.load import load_policy
    from mmsupervisor.session import SAMPLE_NAME

    if against is not None and (output or blob or leave_denied):
        raise click.UsageError("--against writes nothing: -o, --blob and --leave-denied do not go with it")
    _require_outputs(output, blob, force=force)
    options = SessionOptions(**values)
    description = options.description()
    loaded = load_policy(against) if against is not None else None
    subject = Subject(SAMPLE_NAME if image is None else str(image), None if image is None else read_file(image))
    run = observe(
        subject.data,
        subject.name,
        description=description,
        processor=options.processor,
        messages=read_messages(sends),
        script=read_script(script) if script is not None else None,
    )
    lesson, judged, written = None, None, list[str]()
    if loaded is not None:
        judged = Judged(loaded, would_be_denied(run.observations, loaded.policy))
        is_met = not judged.denials
    else:
        lesson = learn(run.observations, level_vendor(description), int(level))
        is_met = leave_denied or not lesson.refusals
        if is_met and run.is_whole:
            written = _write(lesson, f"Learned from {Path(subject.name).name}", output, blob, force=force)
    document = learn_document(subject, run, lesson, judged, written)
    if as_json:
        print_json(document)
    else:
        print_lines(learn_lines(document))
    ctx.exit(_exit_code(run, is_met=is_met))


def _require_outputs(output: Path | None, blob: Path | None, *, force: bool) -> None:
    """Refuse outputs that could not be written, or of which only one could."""
    wanted = [path for path in (output, blob) if path is not None]
    if any(str(path) == "-" for path in wanted):
        raise click.UsageError("standard output is for the report: write the policy to a file")
    if len({path.resolve() for path in wanted}) < len(wanted):
        raise click.UsageError("-o and --blob name the same file")
    for path in wanted:
        require_writable(path, overwrite=force)


def _write(lesson: Lesson, title: str, output: Path | None, blob: Path | None, *, force: bool) -> list[str]:
    """Write the policy where it is wanted, and return the files' names."""
    from mmsupervisor.learn.source import to_source
    from mmsupervisor.policy.build import OutputForm, require_sound, write_policy

    source = to_source(lesson, title)
    require_sound(source.policy)
    written = []
    for path, form in ((output, OutputForm.TOML), (blob, OutputForm.BLOB)):
        if path is not None:
            write_output(path, write_policy(source, form), overwrite=force)
            written.append(str(path))
    return written


def _exit_code(run: ObservedRun, *, is_met: bool) -> ExitCode:
    if run.launch_failure:
        return ExitCode.LAUNCH_FAILED
    if run.stop is not None:
        return ExitCode.BUDGET_SPENT if run.stop.kind.number == _BUDGET_SPENT else ExitCode.VIOLATION
    return ExitCode.OK if is_met else ExitCode.NOT_MET
