"""Findings as text for people: one that ended the system with everything that helps to find its cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from mmsupervisor.cli.console import plain, table
from mmsupervisor.report.finding_model import CodeReport, FindingReport, FrameReport, MomentReport, ValueReport

_INDENT = 2
_REGISTERS_A_LINE = 3
_MOST_LINES = 12
_SURE = ("the place itself", ".pdata", "DWARF", "code")


def render_findings(findings: Sequence[FindingReport]) -> Iterator[RenderableType]:
    """Yield everything that is said of findings, in order."""
    for number, finding in enumerate(findings):
        if number:
            yield Text()
        yield Text(f"{finding.number} {finding.title}", style="bold red" if finding.fatal else "bold yellow")
        rows = table("What", "Text", header=False, fold=["Text"])
        for what, text in _rows(finding):
            rows.add_row(what, Text("\n".join(map(plain, text.split("\n")))))
        yield Padding(rows, (0, 0, 0, _INDENT))


def _rows(finding: FindingReport) -> Iterator[tuple[str, str]]:
    yield from _where(finding)
    yield "what", finding.detail + _exception(finding)
    if finding.rule:
        yield "rule", finding.rule
    yield "mend", finding.mend
    if finding.moment is not None and finding.moment.mmi:
        yield "when", _when(finding.moment)
    if finding.fatal or finding.stack:
        yield from _details(finding)
    yield "more", finding.page


def _where(finding: FindingReport) -> Iterator[tuple[str, str]]:
    if finding.address is None:
        yield "where", finding.subject
        return
    here = _place(finding)
    if finding.call_site is None:
        yield "where", here + (f", {finding.source}" if finding.source else "")
        return
    site = finding.call_site
    yield "where", f"{site}{f', {site.source}' if site.source else ''}, by way of {here}"


def _place(finding: FindingReport) -> str:
    if finding.offset is None:
        where = f"{finding.address:#x}, in no image"
        return f"{finding.driver} at {where}" if finding.driver else where
    symbol = f" ({finding.symbol})" if finding.symbol else ""
    return f"{finding.driver}+{finding.offset:#x}{symbol}"


def _exception(finding: FindingReport) -> str:
    fault = finding.fault
    if fault is None:
        return ""
    words = [] if fault.name in finding.detail else [fault.name]
    if fault.error_code:
        words.append(f"error code {fault.error_code:#x}")
    return f" ({', '.join(words)})" if words else ""


def _when(moment: MomentReport) -> str:
    words = [f"MMI {moment.mmi}"]
    if moment.guid:
        size = f"{moment.size:,} byte{'' if moment.size == 1 else 's'}"
        words.append(f"{moment.source} {moment.guid} of {size} on the {moment.channel} channel")
    elif moment.source:
        words.append(moment.source)
    if moment.cpu:
        words.append(f"on CPU {moment.cpu}")
    return ", ".join([*words, f"step {moment.step} of the trace"])


def _details(finding: FindingReport) -> Iterator[tuple[str, str]]:
    if len(finding.stack) > 1:
        yield "stack", "\n".join(_frames(finding.stack))
    if finding.code:
        yield "code", "\n".join(_code(finding.code))
    if finding.registers:
        yield "registers", "\n".join(_registers(finding.registers))


def _frames(frames: Sequence[FrameReport]) -> Iterator[str]:
    lines: list[tuple[str, int]] = []  # recursion gives the same line over and over
    for number, frame in enumerate(frames):
        source = f", {frame.source}" if frame.source else ""
        doubt = "" if frame.found in _SURE else f" [found by {frame.found}]"
        line = f"{'called by ' if number else ''}{frame}{source}{doubt}"
        if lines and lines[-1][0] == line:
            lines[-1] = (line, lines[-1][1] + 1)
        else:
            lines.append((line, 1))
    for line, times in lines[:_MOST_LINES]:
        yield line + (f", {times} times" if times > 1 else "")
    if len(lines) > _MOST_LINES:
        yield f"and {len(lines) - _MOST_LINES:,} more; --json has them"


def _code(lines: Sequence[CodeReport]) -> Iterator[str]:
    for line in lines:
        mark = ">" if line.here else " "
        target = f"  ; {line.target}" if line.target else ""
        yield f"{mark} +{line.offset:#x}  {line.text}{target}"


def _registers(values: Sequence[ValueReport]) -> Iterator[str]:
    for start in range(0, len(values), _REGISTERS_A_LINE):
        row = values[start : start + _REGISTERS_A_LINE]
        yield "  ".join(f"{one.name:6} {one.value:<#18x}" for one in row).rstrip()
