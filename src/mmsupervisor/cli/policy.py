"""``mmsup policy``: isolation policies shown, built, checked, measured, compared and explained."""

from __future__ import annotations

from pathlib import Path

import click

from mmsupervisor.cli.console import plain, say_error
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.policy_input import json_option, print_json, print_lines, reference_option, write_output
from mmsupervisor.cli.policy_level import level

_EXAMPLES = """\b
POLICY is XML, TOML, a blob, a firmware image with a policy in it (IMAGE#1: the second one), or one of
the built-in ones: default (the reference's example), amd, intel (the minimum for level 30).

\b
Examples:
  mmsup policy show bios.fd                         what an image's policy holds
  mmsup policy build policy.toml -o policy.bin      from a source to the blob, checked
  mmsup policy check policy.xml                     what the supervisor and careful readers object to
  mmsup policy level policy.bin --vendor amd --at-least 30
  mmsup policy diff old.fd new.toml                 what ring 3 may do under one and not the other
  mmsup policy explain default "write 1 byte to port 0xCFC"

\b
Exit codes: 0 done; 3 damaged, or nothing that holds a policy; 4 cannot be read or written; 5 beyond the
limits; 7 judged, and not what was asked for. docs/policy.md walks through all of it.
"""


@click.group("policy", epilog=_EXAMPLES)
def command() -> None:
    """Show, build, check, measure, compare and explain isolation policies.

    The policy is the contract between platform, supervisor and operating system: which ports, MSRs, instructions
    and parts of the save state ring 3 may use.
    """


command.add_command(level)


@command.command("show", short_help="Show what POLICY holds, rule by rule.")
@click.argument("policy")
@json_option
@reference_option
def show(*, policy: str, as_json: bool, as_reference: bool) -> None:
    """Show what POLICY holds, with the reason of each rule where there is one."""
    from mmsupervisor.cli.policy_view import show_lines
    from mmsupervisor.policy.document import show_document
    from mmsupervisor.policy.load import load_policy

    document = show_document(load_policy(policy, as_reference=as_reference))
    if as_json:
        print_json(document)
    else:
        print_lines(show_lines(document))


@command.command("check", short_help="Check POLICY as the supervisor does at boot.")
@click.argument("policy")
@json_option
@reference_option
@click.option("--strict", is_flag=True, help="Exit code 7 for remarks too.")
@click.pass_context
def check(ctx: click.Context, /, *, policy: str, as_json: bool, as_reference: bool, strict: bool) -> None:
    """Check POLICY as the supervisor does at boot, and as a careful reader would.

    The first objection of the supervisor's own check decides (exit code 7). What it omits is listed as remarks.
    """
    from mmsupervisor.cli.policy_view import check_lines
    from mmsupervisor.policy.check import security_policy_check
    from mmsupervisor.policy.document import check_document
    from mmsupervisor.policy.lint import lint
    from mmsupervisor.policy.load import load_policy
    from mmsupervisor.policy.model import PolicyBoundsError

    loaded = load_policy(policy, as_reference=as_reference)
    violation, trouble = None, ""
    try:
        violation = security_policy_check(loaded.policy)
    except PolicyBoundsError as error:
        trouble = error.what
    document = check_document(loaded, violation, trouble, lint(loaded.policy))
    if as_json:
        print_json(document)
    else:
        print_lines(check_lines(document))
    is_met = document["passes"] and not (strict and document["findings"])
    ctx.exit(ExitCode.OK if is_met else ExitCode.NOT_MET)


@command.command("build")
@click.argument("policy")
@click.option("-o", "--output", required=True, metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--form",
    type=click.Choice(["blob", "legacy", "sequential", "xml", "toml"]),
    help="What to write; legacy is version 2, sequential version 1. [by FILE's name]",
)
@click.option("--layer", "layers", metavar="FILE", multiple=True, help="Put a layer on POLICY; may be repeated.")
@click.option(
    "--vendor", type=click.Choice(["amd", "intel"]), help="Whose minimum layers must keep. [POLICY's, or both]"
)
@click.option("--allow-weakening", is_flag=True, help="Let layers open what the levels ask to be closed.")
@click.option("--unchecked", is_flag=True, help="Write even what the supervisor's check would refuse.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@json_option
@reference_option
@click.pass_context
def build(
    ctx: click.Context,
    /,
    *,
    policy: str,
    output: Path,
    form: str | None,
    layers: tuple[str, ...],
    vendor: str | None,
    allow_weakening: bool,
    unchecked: bool,
    force: bool,
    as_json: bool,
    as_reference: bool,
) -> None:
    """Write POLICY, with layers put on it, as a blob, XML or TOML.

    What the form cannot express is refused, never dropped; so are policies that the supervisor's check refuses.
    """
    from mmsupervisor.policy.build import (
        FORM_OF_SUFFIX,
        OutputForm,
        UnsoundPolicyError,
        left_behind,
        require_sound,
        write_policy,
    )
    from mmsupervisor.policy.document import build_document
    from mmsupervisor.policy.layers import put_on
    from mmsupervisor.policy.level_tables import vendors_of
    from mmsupervisor.policy.load import load_policy

    if as_json and str(output) == "-":
        raise click.UsageError("--json and -o - would both write to standard output")
    loaded = load_policy(policy, as_reference=as_reference)
    chosen = OutputForm(form) if form else FORM_OF_SUFFIX.get(output.suffix.lower(), OutputForm.BLOB)
    source, remarks = loaded.source, list[str]()
    if layers:
        put = put_on(
            source,
            [load_policy(one, as_reference=as_reference).source for one in layers],
            vendors_of(vendor or source.vendor),
            may_weaken=allow_weakening,
        )
        for problem in put.problems:
            say_error(str(problem))
        if put.problems:
            ctx.exit(ExitCode.NOT_MET)
        source, remarks = put.source, [str(one) for one in put.remarks]
    if not unchecked:
        try:
            require_sound(source.policy)
        except UnsoundPolicyError as error:
            say_error(str(error))
            ctx.exit(ExitCode.NOT_MET)
    data = write_policy(source, chosen)
    if left := left_behind(source, chosen):
        remarks.append(left)
    write_output(output, data, overwrite=force)
    document = build_document(loaded, str(output), chosen.value, data, layers=layers, remarks=remarks)
    if as_json:
        print_json(document)
        return
    for remark in remarks:
        click.echo(f"mmsup: {plain(remark)}", err=True)
    if str(output) != "-":
        click.echo(f"{output}: {chosen.value}, {len(data)} bytes, SHA-256 {document['output_sha256']}")


@command.command("diff", short_help="Compare what ring 3 may do under two policies.")
@click.argument("a")
@click.argument("b")
@json_option
@reference_option
@click.option("--no-more", is_flag=True, help="Exit code 7 if B allows anything that A does not.")
@click.pass_context
def diff(ctx: click.Context, /, *, a: str, b: str, as_json: bool, as_reference: bool, no_more: bool) -> None:
    """Say what ring 3 may do under policy A and not under B, and the reverse.

    Every access is decided by both; how the lists are written plays no part.
    """
    from mmsupervisor.cli.policy_view import diff_lines
    from mmsupervisor.policy.compare import compare
    from mmsupervisor.policy.document import diff_document
    from mmsupervisor.policy.load import load_policy

    one, two = (load_policy(name, as_reference=as_reference) for name in (a, b))
    document = diff_document(one, two, compare(one.policy, two.policy))
    if as_json:
        print_json(document)
    else:
        print_lines(diff_lines(document))
    is_more = document["only_b"] or document["undecided"]
    ctx.exit(ExitCode.NOT_MET if no_more and is_more else ExitCode.OK)


_ACCESSES = """\b
ACCESS is one of
  (read | write) N byte[s] [from | to] port NUMBER
  (read | write) [from | to] msr NUMBER
  [execute] (cli | wbinvd | hlt)
  read N byte[s] of (rax | io | lma | processor_id | other) of the save state
    (on output of N byte[s] | on input of N byte[s] | without port access)
"""


@command.command("explain", epilog=_ACCESSES, short_help="Say whether POLICY allows an access, and why.")
@click.argument("policy")
@click.argument("access")
@json_option
@reference_option
def explain(*, policy: str, access: str, as_json: bool, as_reference: bool) -> None:
    """Say whether POLICY lets ring 3 make ACCESS, by which rule, and how the walk got there."""
    from mmsupervisor.cli.policy_view import explain_lines
    from mmsupervisor.policy.document import explain_document
    from mmsupervisor.policy.explain import QuestionError
    from mmsupervisor.policy.explain import explain as answer_to
    from mmsupervisor.policy.load import load_policy

    loaded = load_policy(policy, as_reference=as_reference)
    try:
        answer = answer_to(loaded.policy, access)
    except QuestionError as error:
        raise click.UsageError(str(error)) from error
    document = explain_document(loaded, answer)
    if as_json:
        print_json(document)
    else:
        print_lines(explain_lines(document))
