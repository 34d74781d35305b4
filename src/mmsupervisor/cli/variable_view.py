"""Variables as text for people. What is said is decided in :mod:`mmsupervisor.report.variables`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from mmsupervisor.cli.console import PIPE_WIDTH, plain, table
from mmsupervisor.pi.guid import Guid
from mmsupervisor.report.model import StoreReport
from mmsupervisor.report.variables import ChangeReport, VariableReport, VariablesReport

_INDENT = 2
_BYTES_A_LINE = 16
_SHORT_BYTES = 8
_SHORT_TEXT = 30
_OTHER_COLUMNS = 70
"""What names, vendors, attributes and sizes take of a line."""
_REDACTED = "(kept out)"


def render_variables(report: VariablesReport, width: int = PIPE_WIDTH) -> RenderableType:
    """Everything that is said of what was done with variables.

    Args:
        report: The report.
        width: Columns of the output; values in lists are cut to what is left of a line.
    """
    return Group(*_blocks(report, max(_SHORT_TEXT, width - _OTHER_COLUMNS)))


def _blocks(report: VariablesReport, room: int) -> Iterator[RenderableType]:
    yield Text(plain(report.image.name), style="bold")
    yield Padding(_head(report), (0, 0, 0, _INDENT))
    if report.action == "list" and report.variables:
        yield Text()
        yield _list(report.variables, room)
    elif report.variables:
        for variable in report.variables:
            yield Text()
            yield from _whole(variable)
    if report.action == "diff" and not report.failure:
        yield Text()
        yield _changes(report.changes)


def _head(report: VariablesReport) -> RenderableType:
    rows = table("What", "Value", header=False, fold=["Value"])
    rows.add_row("image", f"SHA-256 {report.image.sha256}")
    if report.store is None:
        rows.add_row("store", Text("none", style="red"))
    else:
        rows.add_row("store", Text(plain(f"{report.store.name}, {report.store.size:,} bytes")))
        rows.add_row("", f"SHA-256 {report.store.sha256}")
        rows.add_row("", _what_became(report.store, written_back=report.written_back))
    if report.policy is not None:
        rows.add_row("policy", Text(plain(f"{report.policy.source}, SHA-256 {report.policy.sha256}")))
    platform = report.platform
    rows.add_row("platform", Text(plain(f"{platform.name}; {platform.profile}; ring 3 on {platform.processor}")))
    used = ", ".join(f"{item.name} {item.count:,}" for item in report.relaxations)
    rows.add_row("relaxations", used or "none")
    rows.add_row("messages", f"{report.messages:,} to the variable driver")
    return rows


def _what_became(store: StoreReport, *, written_back: bool) -> Text:
    if written_back:
        return Text(f"written back: SHA-256 {store.sha256_after}", style="green")
    if store.sha256 == store.sha256_after:
        return Text("unchanged afterwards")
    return Text("changed in memory, not written back")


def _list(variables: Sequence[VariableReport], room: int) -> RenderableType:
    rows = table("Name", "Vendor", "Attributes", "Bytes", "Value", right=["Bytes"], fold=["Value"])
    for variable in variables:
        words = " ".join(variable.attributes)
        value = Text(_cut(plain(_short(variable)), room))
        rows.add_row(Text(plain(variable.name)), _vendor(variable.guid), words, f"{variable.size:,}", value)
    return rows


def _vendor(guid: Guid) -> str:
    """A GUID's name without what all names have, or its first digits; ``get`` and JSON have all of it."""
    name = guid.name
    return name.removeprefix("g").removeprefix("Efi").removesuffix("Guid") if name else f"{str(guid)[:8]}-..."


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."


def _short(variable: VariableReport) -> str:
    if variable.data is None:
        return _REDACTED
    if variable.decoded:
        count = len(variable.decoded)
        return variable.decoded[0] if count == 1 else f"{variable.decoded[0]} (1 of {count})"
    if variable.text is not None:
        return variable.text
    shown = bytes.fromhex(variable.data[: 2 * _SHORT_BYTES]).hex(" ")
    return shown + (" ..." if variable.size > _SHORT_BYTES else "")


def _whole(variable: VariableReport) -> Iterator[RenderableType]:
    yield Text(plain(variable.name), style="bold underline")
    rows = table("What", "Value", header=False, fold=["Value"])
    name = f" ({variable.guid.name})" if variable.guid.name else ""
    rows.add_row("vendor", f"{variable.guid}{name}")
    rows.add_row("attributes", " ".join(variable.attributes))
    rows.add_row("size", _size(variable))
    if variable.data is None:
        rows.add_row("value", _REDACTED)
    for number, line in enumerate(variable.decoded or ()):
        rows.add_row("" if number else "decoded", Text(plain(line)))
    if variable.text is not None:
        rows.add_row("text", Text(plain(variable.text)))
    yield Padding(rows, (0, 0, 0, _INDENT))
    if variable.data:
        yield Padding(Text("\n".join(_dump(bytes.fromhex(variable.data)))), (0, 0, 0, _INDENT))


def _dump(data: bytes) -> Iterator[str]:
    for start in range(0, len(data), _BYTES_A_LINE):
        line = data[start : start + _BYTES_A_LINE]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)
        yield f"{start:06x}  {line.hex(' '):{3 * _BYTES_A_LINE - 1}}  {letters}"


def _changes(changes: Sequence[ChangeReport]) -> RenderableType:
    if not changes:
        return Text("The variables are the same.", style="green")
    rows = table("Change", "Name", "Vendor", "Before", "After", fold=["Before", "After"])
    for change in changes:
        one = change.after or change.before
        if one is not None:
            before, after = ("" if each is None else _side(each) for each in (change.before, change.after))
            rows.add_row(change.kind, Text(plain(one.name)), _vendor(one.guid), Text(before), Text(after))
    return rows


def _side(variable: VariableReport) -> str:
    return f"{' '.join(variable.attributes)}, {_size(variable)}: {_cut(plain(_short(variable)), _SHORT_TEXT)}"


def _size(variable: VariableReport) -> str:
    return f"{variable.size:,} byte{'' if variable.size == 1 else 's'}"
