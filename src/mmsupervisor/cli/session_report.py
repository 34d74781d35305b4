"""The report of a session as text for people. What it says is decided in :mod:`mmsupervisor.report`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

from mmsupervisor.cli.console import plain, table
from mmsupervisor.cli.finding_view import render_findings
from mmsupervisor.core.modules import BROKER_GUID
from mmsupervisor.machine.events import Record
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.report.model import (
    AuditReport,
    DriverLine,
    EndReport,
    MessageReport,
    Outcome,
    ReferenceBug,
    RegionReport,
    SessionReport,
    VolumeLine,
)

_INDENT = 2
_BYTES_A_LINE = 16
_MOST_BYTES = 4096
_WIDEST_NAME = 28
"""Names of drivers up to here, in columns, are not broken, however little room that leaves to what became of them."""
_WIDE_TABLE = 96
"""Columns from which on the table of drivers has all of its own."""

_STATE_STYLES = {"started": "green", "failed": "red", "running": "bold red", "refused": "red"}
_SELF_OPENED = (known_guid("gMmSupervisorCoreGuid"), known_guid("MmDxeSupport"))
"""Whose regions are there in every run: MMIO, comm buffers, mailboxes."""
_ENDS = {
    Outcome.OK: "Nothing was found.",
    Outcome.NOT_HANDLED: "A message was not handled.",
    Outcome.DRIVER_ERROR: "An entry point returned an error.",
    Outcome.NOT_DISPATCHED: "A driver was refused or never dispatched.",
    Outcome.DAMAGED: "The image is damaged: what is missing from it may be missing here.",
    Outcome.BAD_POLICY: "The isolation policy does not pass the supervisor's check.",
    Outcome.LAUNCH_FAILED: "The launch failed: there is no management mode.",
}


def render(report: SessionReport, *, answers_only: bool = False, with_volumes: bool = False) -> RenderableType:
    """Everything that is said of a session.

    Args:
        report: The report.
        answers_only: Leave out how the boot went, as far as it went well.
        with_volumes: Tell of the image's volumes, too.
    """
    return Group(*_blocks(report, answers_only=answers_only, with_volumes=with_volumes))


def log_lines(records: Iterable[Record]) -> Iterator[str]:
    """Every event, a line each: step, MMI, where in ring 3, what happened."""
    return (plain(_event_line(record)) for record in records)


def _event_line(record: Record) -> str:
    place = record.position
    offset = "" if place.offset is None else f"+{place.offset:#x}"
    where = f"{place.driver}{offset}" + (f" on CPU {place.cpu}" if place.cpu else "")
    words = []
    for name, value in record.event.as_fields().items():
        if value in ("", None, []):
            continue
        words.append(f"{name}={','.join(value) if isinstance(value, list) else value}")
    return f"{place.step:6} mmi {place.mmi:<3} {where:28} {record.event.kind:20} {' '.join(words)}".rstrip()


def _blocks(report: SessionReport, *, answers_only: bool, with_volumes: bool) -> Iterator[RenderableType]:
    if not answers_only:
        yield Text(plain(report.image.name), style="bold")
        yield _indented(_head(report))
    parts: tuple[tuple[str, bool, RenderableType], ...] = (
        ("Volumes", bool(report.volumes) and with_volumes, _volumes(report.volumes)),
        ("Drivers", bool(report.drivers) and not answers_only, _Drivers(report.drivers)),
        ("Why drivers do not run", any(map(_hindrance, report.drivers)) and not answers_only, _idle(report.drivers)),
        ("Handlers and protocols", _registers(report) and not answers_only, _registrations(report.drivers)),
        ("Memory outside MMRAM", bool(report.regions) and not answers_only, _regions(report)),
        ("Unblock requests", bool(report.unblock_requests) and not answers_only, _requests(report)),
        ("Relaxations used", bool(report.relaxations), _relaxations(report)),
        ("Asked of DXE", bool(report.outside_services) and not answers_only, _services(report)),
        ("Messages", bool(report.messages), Group(*_messages(report.messages))),
        ("Findings", bool(report.findings), Group(*render_findings(report.findings))),
        ("Audit of handlers", report.audit is not None, _audit(report.audit)),
        ("Bugs of the reference that were met", bool(report.reference_bugs) and not answers_only, _bugs(report)),
    )
    first = answers_only
    for title, is_shown, block in parts:
        if is_shown:
            if not first:
                yield Text()
            first = False
            yield Text(title, style="bold underline")
            yield _indented(block)
    yield Text()
    yield _last_line(report)


def _registers(report: SessionReport) -> bool:
    return any(driver.handlers or driver.protocols or driver.notifications for driver in _others(report.drivers))


def _others(drivers: Sequence[DriverLine]) -> list[DriverLine]:
    """All but the broker: what that one registers is the same in every run."""
    return [driver for driver in drivers if driver.guid != BROKER_GUID]


def _indented(block: RenderableType) -> RenderableType:
    return Padding(block, (0, 0, 0, _INDENT))


def _head(report: SessionReport) -> RenderableType:
    rows = table("What", "Value", header=False, fold=["Value"])
    rows.add_row("image", f"{report.image.size:,} bytes, SHA-256 {report.image.sha256}")
    policy = report.policy
    if policy is None:
        rows.add_row("policy", Text("none", style="red"))
    else:
        rows.add_row("policy", Text(plain(f"{policy.source}, {policy.size:,} bytes")))
        rows.add_row("", f"SHA-256 {policy.sha256}")
        if policy.trouble:
            rows.add_row("", Text(plain(policy.trouble), style="red"))
    if report.store is not None:
        rows.add_row("store", Text(plain(f"{report.store.name}, {report.store.size:,} bytes")))
        rows.add_row("", f"SHA-256 {report.store.sha256}")
        became = "unchanged" if report.store.sha256_after == report.store.sha256 else "changed in memory"
        rows.add_row("", became)
    platform = report.platform
    cpus = f"{platform.cpus} CPU{'s' if platform.cpus > 1 else ''}"
    rows.add_row("platform", Text(plain(f"{platform.name}, {cpus}, {platform.vendor}")))
    rows.add_row("profile", f"{platform.profile}; ring 3 on {platform.processor}, {platform.budget:,} instructions")
    rows.add_row("phases", ", ".join(report.phases) or "none")
    return rows


def _volumes(volumes: Sequence[VolumeLine]) -> RenderableType:
    rows = table("No", "Where", "Address", "Bytes", "Drivers", "", right=["No", "Address", "Bytes", "Drivers"])
    for volume in volumes:
        rows.add_row(
            str(volume.number),
            Text(plain(volume.place)),
            "" if volume.address is None else f"{volume.address:#x}",
            f"{volume.size:,}",
            f"{volume.drivers:,}",
            "the core's" if volume.holds_core else "",
        )
    return rows


@dataclass(frozen=True, slots=True)
class _Drivers:
    """The table of drivers, in as many columns as there is room for: what became of them is never left out."""

    drivers: Sequence[DriverLine]

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield _drivers(self.drivers, is_narrow=options.max_width < _WIDE_TABLE)


def _drivers(drivers: Sequence[DriverLine], *, is_narrow: bool) -> RenderableType:
    """What became of each driver; their volumes where they come from more than one.

    A narrow table does without the numbers of handlers and protocols: the next table has them by name.
    """
    columns = ["Order", "Base", "Calls", *([] if is_narrow else ["Handlers", "Protocols"])]
    several = len({driver.volume for driver in drivers}) > 1
    if several:
        columns.insert(0, "Vol")
    long_names = max((len(driver.name) for driver in drivers), default=0) > _WIDEST_NAME
    rows = table("Name", *columns, "Became", right=columns, fold=["Name", "Became"] if long_names else ["Became"])
    for driver in drivers:
        state = driver.state
        if driver.status not in (None, "EFI_SUCCESS"):
            state += f": {driver.status}"
        rows.add_row(
            Text(plain(driver.name)),
            *([str(driver.volume)] if several else []),
            "" if driver.order is None else str(driver.order),
            "" if driver.base is None else f"{driver.base:#x}",
            f"{driver.system_calls:,}",
            *([] if is_narrow else [f"{len(driver.handlers) + driver.root_handlers:,}", f"{len(driver.protocols):,}"]),
            Text(plain(state), style=_STATE_STYLES.get(driver.state, "yellow")),
        )
    return rows


def _hindrance(driver: DriverLine) -> str:
    return driver.reason if driver.state in ("refused", "removed", "never dispatched") else ""


def _idle(drivers: Sequence[DriverLine]) -> RenderableType:
    """The reasons, which are too long for a column beside all the others."""
    rows = table("Name", "Why", header=False, fold=["Name", "Why"])
    for driver in drivers:
        if _hindrance(driver):
            rows.add_row(Text(plain(driver.name)), Text(plain(_hindrance(driver))))
    return rows


def _registrations(drivers: Sequence[DriverLine]) -> RenderableType:
    rows = table("Name", "What", "GUID", header=False, fold=["Name", "GUID"])
    for driver in _others(drivers):
        name = plain(driver.name)
        for what, guids in (
            ("handles", driver.handlers),
            ("installs", driver.protocols),
            ("waits for", driver.notifications),
        ):
            if guids:
                rows.add_row(Text(name), what, Text("\n".join(guid.label for guid in guids)))
                name = ""
    return rows


def _regions(report: SessionReport) -> RenderableType:
    """What is open: what the core opens by itself in two lines, what drivers asked for one by one."""
    own = [region for region in report.regions if region.requester in _SELF_OPENED]
    asked = [region for region in report.regions if region.requester not in _SELF_OPENED]
    lines: list[RenderableType] = [Text(_summary(own))] if own else []
    if asked:
        titles = ("Start", "Bytes", "Owner", "Asked for by", "Opened at")
        rows = table(*titles, right=["Start", "Bytes"], fold=["Asked for by"])
        for region in asked:
            who = Text(plain(region.requester.label))
            rows.add_row(f"{region.start:#x}", f"{region.size:,}", region.owner, who, region.when)
        lines.append(rows)
    return Group(*lines)


def _summary(regions: Sequence[RegionReport]) -> str:
    parts = []
    for owner, what in (("user", "of MMIO by resource descriptor HOBs"), ("supervisor", "for the supervisor only")):
        found = [region for region in regions if region.owner == owner]
        if found:
            size = sum(region.size for region in found) >> 10
            parts.append(f"{len(found)} range{'s' if len(found) > 1 else ''} {what} ({size:,} KiB)")
    return f"{', '.join(parts)}; --json lists them"


def _requests(report: SessionReport) -> RenderableType:
    titles = ("Start", "Pages", "Asked for by", "When", "Answer", "Rule")
    rows = table(*titles, right=["Start", "Pages"], fold=["Rule"])
    for request in report.unblock_requests:
        when = f"{request.window}, {request.when}"
        who = Text(plain(request.requester.label))
        rows.add_row(f"{request.start:#x}", f"{request.pages:,}", who, when, request.status, Text(plain(request.rule)))
    return rows


def _relaxations(report: SessionReport) -> RenderableType:
    rows = table("Name", "Times", "Denied", "Where", "First", right=["Times", "Denied"], fold=["First"])
    for use in report.relaxations:
        where = use.driver if use.offset is None else f"{use.driver}+{use.offset:#x}"
        denied = f"{use.denied:,}" if use.denied else ""
        rows.add_row(use.name, f"{use.count:,}", denied, Text(plain(where)), Text(plain(use.detail)))
    return rows


def _services(report: SessionReport) -> RenderableType:
    rows = table("Driver", "Service", "Times", "Last answer", "Support", right=["Times"], fold=["Support"])
    for item in report.outside_services:
        cells = (Text(plain(item.driver)), item.service, f"{item.count:,}", item.status, Text(plain(item.support)))
        rows.add_row(*cells)
    return rows


def _messages(messages: Sequence[MessageReport]) -> Iterator[RenderableType]:
    for number, message in enumerate(messages, 1):
        sent = bytes.fromhex(message.sent)
        yield Text(f"{number}. {plain(message.guid.label)}: {len(sent):,} bytes sent")
        yield _indented(_dump(sent))
        if message.status is None or message.payload is None:
            yield Text("no answer: the system died of it", style="bold red")
            continue
        style = "green" if message.is_handled else "red"
        payload = bytes.fromhex(message.payload)
        yield Text(f"{message.status}, {len(payload):,} bytes back", style=style)
        yield _indented(_dump(payload))


def _dump(data: bytes) -> RenderableType:
    lines = []
    for offset in range(0, min(len(data), _MOST_BYTES), _BYTES_A_LINE):
        row = data[offset : offset + _BYTES_A_LINE]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{offset:04x}  {row.hex(' '):{3 * _BYTES_A_LINE - 1}}  {letters}")
    if len(data) > _MOST_BYTES:
        lines.append(f"and {len(data) - _MOST_BYTES:,} more; --json has them")
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")


def _bugs(report: SessionReport) -> RenderableType:
    rows = table("Where", "Times", "What", right=["Times"], header=False, fold=["What"])
    bugs: Sequence[ReferenceBug] = report.reference_bugs
    for bug in bugs:
        rows.add_row(bug.source, f"{bug.times:,}", Text(plain(bug.first)))
    return rows


def _audit(audit: AuditReport | None) -> RenderableType:
    if audit is None:
        return Text()
    blocks = list(render_findings(audit.findings)) or [Text("Nothing was found.")]
    missed = sum(one.count for one in audit.missed)
    if missed:
        instructions = ", ".join(one.instruction for one in audit.missed)
        blocks += [Text(), Text(f"{missed:,} touches were not looked at: {plain(instructions)}")]
    if not audit.replies:
        blocks += [Text(), Text("Without --send, only what the boot itself does was watched, and no reply.")]
    return Group(*blocks)


def _last_line(report: SessionReport) -> RenderableType:
    if report.end is None:
        good = report.outcome is Outcome.OK
        if good and report.audit is not None and report.audit.findings:
            return Text(f"The audit found {len(report.audit.findings)}; nothing else was found.", style="bold yellow")
        return Text(_ENDS[report.outcome], style="green" if good else "bold red")
    names = {driver.guid: driver.name for driver in report.drivers}
    return Text("\n".join(_device(report.end, report.outcome, names)), style="bold red")


def _device(end: EndReport, outcome: Outcome, names: Mapping[Guid, str]) -> Iterator[str]:
    if outcome is Outcome.BUDGET_SPENT:
        yield f"{end.cause}: stopped here. A device has no budget: it would hang."
        return
    if end.reset == "none" and end.vector is not None:
        yield f"{end.cause}: stopped here. A device would hang in the routine for its error report: no reset."
        return
    if end.reset == "none":
        yield f"{end.cause}: stopped here. A DEBUG build stands still at a failed ASSERT: no telemetry, no reset."
        return
    yield f"{end.cause}: stopped here. A device would write telemetry and reset ({end.reset})."
    if end.vector is not None and end.rip is not None:
        image = plain(names.get(end.image, end.image.label)) if end.image else "none"
        yield f"Error report: vector {end.vector} at {end.rip:#x}, image {image}; {plain(end.outcome)}."
