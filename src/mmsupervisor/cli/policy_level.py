"""``mmsup policy level``: levels 10, 20 and 30 by both verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.policy_input import json_option, print_json, print_lines, reference_option

if TYPE_CHECKING:
    from mmsupervisor.platform.description import PlatformDescription
    from mmsupervisor.policy.level_facts import MemoryFacts
    from mmsupervisor.policy.load import LoadedPolicy

SAMPLE = "sample"
"""Names the sample platform's own image, for ``--boot``."""

_EPILOG = """\b
Examples:
  mmsup policy level policy.toml --vendor intel       the policy alone: ports, MSRs, save state
  mmsup policy level --boot bios.fd --platform my.toml --at-least 30
                                                       as booted: memory too
  mmsup policy level --boot sample                    the sample platform

\b
Exit codes: 0 judged; 7 below --at-least by either verdict; others as those of `mmsup policy`.
"""


@click.command("level", epilog=_EPILOG, short_help="Say which level POLICY reaches.")
@click.argument("policy", required=False)
@click.option(
    "--vendor", type=click.Choice(["amd", "intel"]), help="Whose lists apply. [POLICY's or the platform's, else both]"
)
@click.option("--boot", "image", metavar="IMAGE", help=f"Boot IMAGE, or `{SAMPLE}`, and judge the policy as fetched.")
@click.option(
    "--platform", "platform", metavar="FILE", type=click.Path(path_type=Path), help="Platform file for --boot."
)
@click.option("--at-least", type=click.IntRange(0, 30), metavar="LEVEL", help="Exit code 7 below LEVEL.")
@json_option
@reference_option
@click.pass_context
def level(
    ctx: click.Context,
    /,
    *,
    policy: str | None,
    vendor: str | None,
    image: str | None,
    platform: Path | None,
    at_least: int | None,
    as_json: bool,
    as_reference: bool,
) -> None:
    """Say which level POLICY reaches, by two verdicts: as the reference's checker computes it, and as it really is.

    Of a policy alone, ports, MSRs and save state are judged. With --boot, POLICY (if given) replaces the image's, and
    memory is judged too, by what the supervisor mapped and what the platform file says of IOMMU and TXT.
    """
    from mmsupervisor.cli.policy_view import level_lines
    from mmsupervisor.policy.document import level_document
    from mmsupervisor.policy.level_tables import vendors_of
    from mmsupervisor.policy.levels import judge
    from mmsupervisor.policy.load import load_policy

    if policy is None and image is None:
        raise click.UsageError("give a POLICY, or --boot IMAGE")
    if platform is not None and image is None:
        raise click.UsageError("--platform goes with --boot only")
    loaded = load_policy(policy, as_reference=as_reference) if policy is not None else None
    facts = None
    if image is not None:
        from mmsupervisor.platform.isolation import level_vendor

        description = _description(platform)
        loaded, facts = _fetched(image, description, loaded)
        vendor = vendor or level_vendor(description).value
    assert loaded is not None  # noqa: S101  (one of the two was given)
    reports = [judge(loaded.policy, one, facts) for one in vendors_of(vendor or loaded.source.vendor)]
    document = level_document(loaded, reports, at_least)
    if as_json:
        print_json(document)
    else:
        print_lines(level_lines(document))
    ctx.exit(ExitCode.NOT_MET if document["reached"] is False else ExitCode.OK)


def _description(path: Path | None) -> PlatformDescription:
    from mmsupervisor.cli.session_input import read_file
    from mmsupervisor.platform.description import PlatformDescription
    from mmsupervisor.platform.toml_file import read_platform

    if path is None:
        return PlatformDescription()
    return read_platform(read_file(path), str(path), path.parent)


def _fetched(
    image: str, description: PlatformDescription, replaced: LoadedPolicy | None
) -> tuple[LoadedPolicy, MemoryFacts]:
    """Boot an image, fetch its policy, and say what the platform's memory is."""
    from mmsupervisor.platform.isolation import NotFetchableError, fetched_policy, memory_facts
    from mmsupervisor.policy.load import LoadedPolicy, PolicyForm
    from mmsupervisor.policy.source import PolicySource
    from mmsupervisor.session import boot

    policy = replaced.policy if replaced is not None else None
    with boot(None if image == SAMPLE else Path(image), description=description, policy=policy) as session:
        if end := session.stop or session.launch_failure:
            raise NotFetchableError(f"{image}: the boot came to no policy that can be fetched: {end}")
        fetched = fetched_policy(session.core, image)
        facts = memory_facts(description, session.memory_map)
    if replaced is None:
        return LoadedPolicy(image, PolicyForm.IMAGE, PolicySource(fetched)), facts
    source = PolicySource(fetched, replaced.source.title, replaced.source.vendor)
    return replace(replaced, source=source), facts
