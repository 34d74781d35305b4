"""The report of an image as text for people. What it says is decided in :mod:`mmsupervisor.inventory`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmsupervisor.cli.console import PIPE_WIDTH, plain, table
from mmsupervisor.inventory.model import (
    ExecutableReport,
    FileReport,
    ImageReport,
    ModuleReport,
    PolicyReport,
    ProblemReport,
    Remark,
    Role,
    Severity,
    UnopenedReport,
    Visibility,
    VolumeReport,
)
from mmsupervisor.inventory.payloads import Written
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.volume import FFS2_GUID, FFS3_GUID, NVRAM_GUID

MOST_PROBLEMS = 10
"""Lines of problems that are shown unless all are asked for."""

MOST_ROWS = 1000
"""Rows of any other table: far more than real firmware has, and few enough for hostile input not to take minutes."""

MOST_TEXT = 4000
"""Characters of a sentence or of a dependency expression that are shown; the JSON document has all of them."""

MOST_NAME = 200
"""Characters of a name, or of a list of names, that are shown; the JSON document has all of them."""

_INDENT = 2
_LONGEST_NAME = 36
_LONGEST_NARROW_NAME = 24
_PAGE = 0x1000
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_KINDS = {
    Role.SUPERVISOR_CORE: "MM core",
    Role.STANDALONE_CORE: "other MM core",
    Role.TRADITIONAL_CORE: "SMM core",
    Role.BROKER: "broker",
    Role.STANDALONE_DRIVER: "standalone",
    Role.TRADITIONAL_DRIVER: "traditional",
    Role.COMBINED_DRIVER: "combined",
}
_SIGHT = {
    Visibility.IN_FLASH: "by HOB",
    Visibility.FROM_MAIN_VOLUME: "if PEI unpacks",
    Visibility.TOO_DEEP: "no, too deep",
}
_SYSTEMS = {FFS2_GUID: "FFS2", FFS3_GUID: "FFS3", NVRAM_GUID: "variables"}


@dataclass(frozen=True, slots=True)
class View:
    """What of a report is shown.

    Attributes:
        everything: All files of all volumes and all problems.
        guids: The GUIDs of all that is named, not only of the modules.
        width: Columns there are; in a narrow view tables lack some columns, and names are folded.
    """

    everything: bool = False
    guids: bool = False
    width: int = PIPE_WIDTH

    @property
    def is_narrow(self) -> bool:
        """Whether there is less room than whole tables need."""
        return self.width < PIPE_WIDTH

    def foldable(self, names: Iterable[str], *columns: str) -> list[str]:
        """Which columns of a table may be folded.

        Args:
            names: The cells of its first column of words: folded only if a long one would leave no room for the rest.
            columns: That column, then those that may always be folded.
        """
        most = _LONGEST_NARROW_NAME if self.is_narrow else _LONGEST_NAME
        return list(columns if any(len(name) > most for name in names) else columns[1:])


def render(report: ImageReport, view: View) -> RenderableType:
    """Everything that is said of one image."""
    return Group(*_blocks(report, view))


def render_written(written: Sequence[Written]) -> RenderableType:
    """What was written to files: a line for each, as ``sha256sum`` has them, with the size between."""
    if not written:
        return Text("Nothing was written: there are no MM modules and no policy in it.")
    lines = [f"{one.sha256}  {one.size:>10,}  {plain(str(one.path))}" for one in written]
    return Group(Text("Written", style="bold underline"), Text("\n".join(lines), no_wrap=True, overflow="ignore"))


def _blocks(report: ImageReport, view: View) -> Iterator[RenderableType]:
    yield from _head(report)
    for title, block in _parts(report, view):
        yield Text()
        yield Text(title, style="bold underline")
        yield _indented(block)
    if view.is_narrow and report.volumes:
        yield Text()
        yield Text(f"With {PIPE_WIDTH} columns the tables also have Free, System and Sections.", style="dim")


def _parts(report: ImageReport, view: View) -> Iterator[tuple[str, RenderableType]]:
    """The parts of a report that have something to say, each with its title."""
    modules = report.modules
    drivers = [module for module in modules if not module.role.is_core]
    parts: list[tuple[str, Sequence[object], Callable[[], RenderableType]]] = [
        ("Regions of the flash dump", report.regions, lambda: _regions(report)),
        ("In the capsule", report.capsule_items, lambda: _capsule(report)),
        ("Volumes", report.volumes, lambda: _cut(report.volumes, view, lambda some: _volumes(some, view))),
        (_modules_title(modules), modules, lambda: _cut(modules, view, lambda some: _modules(some, view))),
        ("Dependency expressions", drivers, lambda: _cut(drivers, view, lambda some: _dependencies(some, view))),
        ("GUIDs of the MM modules", () if view.guids else modules, lambda: _cut(modules, view, _module_guids)),
        ("GUIDs", report.volumes if view.guids else (), lambda: _guids(report)),
        ("Policy", report.policies, lambda: _cut(report.policies, view, _policies)),
        ("Remarks", report.remarks, lambda: _cut(report.remarks, view, _remarks)),
        ("Not opened", report.unopened, lambda: _cut(report.unopened, view, _unopened)),
        ("Problems of the format", report.problems, lambda: _cut(report.problems, view, _problems, MOST_PROBLEMS)),
    ]
    if report.executable:
        yield "Image", _executable(report.executable)
    for title, items, block in parts:
        if items:
            yield title, block()
    for volume in report.volumes if view.everything else ():
        if volume.files:
            yield f"Files of volume {volume.number}", _files(volume, view)


Row = TypeVar("Row")


def _cut(
    rows: Sequence[Row], view: View, block: Callable[[Sequence[Row]], RenderableType], most: int = MOST_ROWS
) -> RenderableType:
    """The first rows, and how many there are more; all of them where all were asked for."""
    if view.everything or len(rows) <= most:
        return block(rows)
    return Group(block(rows[:most]), Text(f"and {len(rows) - most:,} more; --all shows them"))


def _head(report: ImageReport) -> Iterator[RenderableType]:
    yield Text(plain(report.name), style="bold", no_wrap=True, overflow="ignore")
    kind = f"{report.kind} ({_shown(report.detail)})" if report.detail else report.kind
    if report.capsule:
        kind = f"capsule {_shown(report.capsule.label)}"
    yield _indented(Text(f"{kind}, {report.size:,} bytes"))
    yield _indented(Text(f"SHA-256 {report.sha256}", style="dim"))
    for line in report.summary:
        yield _indented(Text(line, style="bold" if line is report.summary[0] else ""))


def _shown(text: str, most: int = MOST_NAME) -> str:
    """Text from an input: safe for a terminal, and not longer than a table can bear."""
    return plain(text) if len(text) <= most else f"{plain(text[:most])}..."


def _sentence(text: str, style: str = "") -> Text:
    return Text(_shown(text, MOST_TEXT), style=style)


def _indented(block: RenderableType) -> RenderableType:
    return Padding(block, (0, 0, 0, _INDENT), expand=False)


def _regions(report: ImageReport) -> RenderableType:
    rows = table("Offset", "Size", "Region", right=["Offset", "Size"])
    for region in report.regions:
        rows.add_row(f"{region.offset:#x}", f"{region.size:,}", region.name)
    return rows


def _capsule(report: ImageReport) -> RenderableType:
    rows = table("Offset", "Size", "What", "For", right=["Offset", "Size"], fold=["What", "For"])
    for item in report.capsule_items:
        target = _shown(item.image_type.label) if item.image_type else ""
        rows.add_row(f"{item.offset:#x}", f"{item.size:,}", Text(_shown(item.kind)), target)
    return rows


def _executable(image: ExecutableReport) -> RenderableType:
    rows = table("What", "Is", header=False, fold=["Is"])
    rows.add_row("format", f"{image.format} {image.machine}, {image.subsystem}".rstrip(" ,"))
    if image.trouble:
        rows.add_row("damaged", _sentence(image.trouble, "red"))
    if image.machine:
        rows.add_row("in memory", f"{image.image_size:,} bytes, aligned to {image.section_alignment:#x}")
        rows.add_row("entry point", f"{image.entry_point:#x}")
        rows.add_row("relocations", _count(image.relocations))
        names = [f"{section.name} {section.access} {section.virtual_size:,}" for section in image.sections]
        rows.add_row("sections", _sentence(", ".join(names)))
    if image.linker_name:
        rows.add_row("linked as", Text(_shown(image.linker_name)))
    return rows


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


_Cells = dict[str, RenderableType]


def _rows(lines: Sequence[_Cells], right: Iterable[str], fold: Iterable[str], without: Collection[str]) -> Table:
    """A table of lines that all have the same cells, without some of its columns."""
    columns = [column for column in lines[0] if column not in without]
    rows = table(*columns, right=right, fold=fold)
    for cells in lines:
        rows.add_row(*(cells[column] for column in columns))
    return rows


def _width(lines: Sequence[_Cells], without: Collection[str]) -> int:
    """Columns that a table of such lines takes unfolded, without some of its columns."""
    wanted = (column for column in lines[0] if column not in without)
    return sum(2 + max(cell_len(column), *(cell_len(str(cells[column])) for cells in lines)) for column in wanted)


def _volumes(volumes: Sequence[VolumeReport], view: View) -> RenderableType:
    numbers = ["No", "In", "Size", "Free", "Files"]
    left_out = ["Free", "System"] if view.is_narrow else []
    return _rows([_volume_cells(volume) for volume in volumes], numbers, ["Name", "Where"], left_out)


def _volume_cells(volume: VolumeReport) -> _Cells:
    holds_files = volume.variable_store is None
    sight = _SIGHT[volume.visibility] if holds_files else ""
    return {
        "No": str(volume.number),
        "In": "" if volume.parent is None else str(volume.parent),
        "Where": Text(_place(volume.part, volume.offset)),
        "Size": f"{volume.size:,}",
        "Free": f"{volume.free:,}" if holds_files else "",
        "Files": str(len(volume.files)) if holds_files else "",
        "System": Text(_SYSTEMS.get(volume.file_system) or _short(volume.file_system)),
        "MM core sees it": sight if volume.checksum_holds else Text("bad header checksum", style="red"),
        "Name": Text(_short(volume.guid) if volume.guid else volume.variable_store or ""),
    }


def _short(guid: Guid) -> str:
    return guid.name or f"{str(guid)[:8]}.."


def _modules_title(modules: Sequence[ModuleReport]) -> str:
    return f"MM modules, sections aligned to {_PAGE:#x}" if _alignments(modules) == {_PAGE} else "MM modules"


def _alignments(modules: Sequence[ModuleReport]) -> set[int]:
    return {module.executable.section_alignment for module in modules if module.executable}


def _modules(modules: Sequence[ModuleReport], view: View) -> RenderableType:
    numbers = ["PE bytes", "Align", "Relocs", "Entry", "Vol"]
    left_out = ["Align"] if _alignments(modules) == {_PAGE} else []
    if view.is_narrow:
        left_out.append("Sections")
    lines = [_module_cells(module) for module in modules]
    # Sections are folded first. A table too wide for that would lose the last letters of every column.
    room = view.width - _INDENT - len("Sections")
    fold = ["Sections"] if _width(lines, (*left_out, "Sections")) <= room else ["Name", "Sections"]
    return _rows(lines, numbers, fold, left_out)


def _module_cells(module: ModuleReport) -> _Cells:
    image = module.executable
    return {
        "Name": Text(_shown(module.name), style="red" if module.is_found is False else ""),
        "Kind": _KINDS[module.role],
        "Machine": Text(_shown(image.machine or image.format)) if image else "-",
        "PE bytes": f"{image.size:,}" if image else "-",
        "Align": f"{image.section_alignment:#x}" if image else "-",
        "Relocs": _count(image.relocations) if image else "-",
        "Entry": f"{image.entry_point:#x}" if image else "-",
        "Vol": str(module.volume),
        "Sections": Text(_shown(" ".join(section.name for section in image.sections))) if image else "no image",
    }


def _dependencies(modules: Sequence[ModuleReport], view: View) -> RenderableType:
    fold = view.foldable(_names(modules), "Name", "Expression")
    rows = table("Name", "Expression", header=False, fold=fold)
    for module in modules:
        dependency = module.dependency
        if dependency is None:
            rows.add_row(Text(_shown(module.name)), Text("none", style="dim"))
            continue
        text = dependency.text
        if len(text) > MOST_TEXT:
            text = f"{text[:MOST_TEXT]} ... and {len(text) - MOST_TEXT:,} characters more; --json has them all"
        if dependency.trouble:
            text += f" [{dependency.trouble}]"
        rows.add_row(Text(_shown(module.name)), Text(plain(text)))
    return rows


def _module_guids(modules: Sequence[ModuleReport]) -> RenderableType:
    rows = table("GUID", "Name", header=False, fold=["Name"])
    for module in modules:
        rows.add_row(str(module.guid), Text(_shown(module.name)))
    return rows


def _guids(report: ImageReport) -> RenderableType:
    rows = table("GUID", "Name", header=False, fold=["Name"])
    named = {volume.guid: f"volume {volume.number}" for volume in report.volumes if volume.guid}
    named |= {module.guid: module.name for module in report.modules}
    wanted = (guid for module in report.modules if module.dependency for guid in module.dependency.guids)
    for guid in (*named, *dict.fromkeys(wanted)):
        name = named.get(guid)
        rows.add_row(str(guid), Text(_shown(", ".join(dict.fromkeys(filter(None, (name, guid.name)))))))
    return rows


def _names(modules: Sequence[ModuleReport]) -> list[str]:
    return [_shown(module.name) for module in modules]


def _policies(policies: Sequence[PolicyReport]) -> RenderableType:
    rows = table("Vol", "Size", "Version", "Check", "Roots", right=["Vol", "Size"], fold=["Roots", "Check"])
    for policy in policies:
        roots = ", ".join(f"{root.type} {root.access} {root.entries}" for root in policy.roots)
        check = (
            Text(_shown(policy.trouble, MOST_TEXT), style="red") if policy.trouble else Text("passes", style="green")
        )
        rows.add_row(str(policy.volume), f"{policy.size:,}", policy.version, check, _sentence(roots))
    return rows


def _remarks(remarks: Sequence[Remark]) -> RenderableType:
    rows = table("Severity", "Check", "Text", header=False, fold=["Text"])
    for remark in remarks:
        severity = Text(remark.severity.value, style=_STYLES[remark.severity])
        about = f"{_shown(remark.module)}: " if remark.module else ""
        rows.add_row(severity, remark.check, Text(about + _shown(remark.text, MOST_TEXT)))
    return rows


def _unopened(unopened: Sequence[UnopenedReport]) -> RenderableType:
    rows = table("Where", "File", "Why", header=False, fold=["Where", "File", "Why"])
    for one in unopened:
        rows.add_row(
            Text(_place(one.part, one.offset)),
            Text(_shown(one.file)),
            _sentence(f"{one.why}: {one.text}"),
        )
    return rows


def _place(part: str, offset: int) -> str:
    return f"{_shown(part)} {offset:#x}" if part else f"{offset:#x}"


def _problems(problems: Sequence[ProblemReport]) -> RenderableType:
    rows = table("Severity", "Kind", "Where", "Text", header=False, fold=["Where", "Text"])
    for problem in problems:
        severity = Text("damage", style="red") if problem.is_damage else Text("note", style="cyan")
        rows.add_row(severity, problem.kind, Text(_place(problem.part, problem.offset)), _sentence(problem.text))
    return rows


def _files(volume: VolumeReport, view: View) -> RenderableType:
    fold = view.foldable(map(_file_name, volume.files), "Name", "Sections")
    rows = table("Offset", "Size", "Type", "Name", "Sections", right=["Offset", "Size"], fold=fold)
    for file in volume.files:
        state = "" if file.state == "DATA_VALID" else f" [{file.state.lower()}]"
        rows.add_row(
            f"{file.offset:#x}",
            f"{file.size:,}",
            file.type,
            Text(_file_name(file) + state),
            Text(_shown(" ".join(file.sections))),
        )
    return rows


def _file_name(file: FileReport) -> str:
    return "" if file.type == "PAD" else _shown(file.name or file.guid.label)
