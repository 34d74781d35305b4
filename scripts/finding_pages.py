"""The pages about findings: the index, and one page a kind."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial

from firmware.samples import catalogue
from mmsupervisor.abi.findings import FINDING_KINDS, FindingKind
from mmsupervisor.abi.relaxations import RELAXATIONS

MADE = "Made from `mmsupervisor.abi.findings` by `scripts/generate_docs.py`; a test holds this page to it."
NOT_ANSWERED = 0xFFFF_FFFF_FFFF_FFFF
"""What a sample's Status field holds before its handler writes it."""

_GROUPS = (
    ("MM-10", "System calls", "What the supervisor refuses to do for a driver. Fatal."),
    ("MM-11", "Instructions", "What ring 3 may not execute. Fatal."),
    ("MM-12", "Memory", "What ring 3 may not touch. Fatal."),
    ("MM-13", "Time and the supervisor itself", "Fatal."),
    ("MM-2", "The design", "A driver, message or image that does not fit the design. The system lives on."),
    ("MM-3", "The reference", "What this run met of the reference's own bugs."),
    ("MM-4", "Audits", "Mistakes that the supervisor lets pass, seen by the [audit of handlers](audits.md) only."),
)
_FATAL = "Fatal: a device writes telemetry, if somebody is registered for it, and resets."
_STANDS_STILL = "Fatal: a device stands still, without a report and without a reset."
_LIVES_ON = "Not fatal: the system lives on."
_AUDIT = "The supervisor lets it pass; the [audit of handlers](../audits.md) sees it."


def findings_page() -> str:
    """The index of all findings."""
    lines = [
        "# Findings",
        "",
        MADE,
        "",
        "Every finding has a number that never changes its meaning, and a page of its own. A report gives with it the",
        "driver, offset, name and source line, the request, the rule that was broken with its place, the message in",
        "which it happened, the code around, registers, who called whom, and what to change.",
    ]
    for prefix, title, text in _GROUPS:
        lines += ["", f"## {title}", "", text, "", "| Number | Name | Means | What to change |", "|---|---|---|---|"]
        lines += [
            f"| [{kind.number}]({kind.page}) | {kind.title} | {kind.meaning} | {kind.mend} |"
            for number, kind in sorted(FINDING_KINDS.items())
            if number.startswith(prefix)
        ]
    return "\n".join(lines) + "\n"


def finding_pages() -> dict[str, Callable[[], str]]:
    """What makes the page of each kind, by path below docs/."""
    return {kind.page: partial(finding_page, kind) for kind in FINDING_KINDS.values()}


def finding_page(kind: FindingKind) -> str:
    """The page of one kind."""
    return "\n".join(_lines(kind)) + "\n"


def _lines(kind: FindingKind) -> Iterator[str]:
    yield f"# {kind.number} {kind.title}"
    yield ""
    yield MADE
    yield ""
    yield f"{kind.meaning} {_severity(kind)}"
    yield ""
    yield kind.text
    yield ""
    yield "## Example"
    yield ""
    yield from _code(kind.wrong)
    yield ""
    yield "Mended:"
    yield ""
    yield from _code(kind.right)
    yield ""
    yield "## What to change"
    yield ""
    yield kind.mend
    if kind.sample:
        yield ""
        yield "## See it"
        yield ""
        yield from _code(command(kind))
    yield from _more(kind)


def _severity(kind: FindingKind) -> str:
    if kind.number.startswith("MM-1"):
        return _STANDS_STILL if kind.stands_still else _FATAL
    return _AUDIT if kind.number.startswith("MM-4") else _LIVES_ON


def _code(text: str) -> Iterator[str]:
    yield from (f"    {line}".rstrip() for line in text.split("\n"))


def _more(kind: FindingKind) -> Iterator[str]:
    relaxations = [item for item in RELAXATIONS.values() if kind.number in item.replaces]
    if relaxations:
        names = ", ".join(f"[`{item.name}`](../relaxations.md)" for item in relaxations)
        yield ""
        yield f"Permitted and counted instead by the relaxation {names}."
    if kind.facts:
        yield ""
        yield f"Facts: {'; '.join(kind.facts)} (in [docs/reference/](../reference/))."
    yield ""
    yield "[All findings](../findings.md)"


# --- running a kind's sample --------------------------------------------------------------------------------------


def sample_message(kind: FindingKind) -> tuple[str, bytes] | None:
    """The message that makes a kind's sample show it: name of its GUID, and data; None if it is enough to start it."""
    sample = catalogue.read_sample(catalogue.SAMPLES / kind.sample / "sample.toml")
    message = sample.message
    if not kind.case or message is None or sample.handler is None:
        return None
    case = sample.case(kind.case)
    values = {"Status": NOT_ANSWERED, "Case": case.number or 0, "Action": case.number or 0, **dict(kind.values)}
    arguments = [values.pop("Argument")] if "Argument" in values else list(case.arguments)
    flat: list[int] = []
    for name in message.fields:
        flat += [*arguments, *[0] * (8 - len(arguments))] if name == "Argument" else [values.get(name, 0)]
    return sample.handler, struct.pack(message.format, *flat)


def command(kind: FindingKind) -> str:
    """The command that shows a kind, from the checkout's folder."""
    line = f"mmsup run src/mmsupervisor/prebuilt/{kind.sample}.efi"
    message = sample_message(kind)
    if message is None:
        return line
    guid, data = message
    return f"{line} \\\n  --send {catalogue.guids()[guid]} {data.hex()}"
