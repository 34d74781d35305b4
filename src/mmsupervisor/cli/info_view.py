"""The report of an image as text for people. What it says is decided in :mod:`mmsupervisor.inventory`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from mmsupervisor.cli.console import plain, table
from mmsupervisor.inventory.model import (
    ExecutableReport,
    FileReport,
    ImageReport,
    ModuleReport,
    PolicyReport,
    ProblemReport,
    Role,
    Severity,
    Visibility,
    VolumeReport,
)
from mmsupervisor.inventory.payloads import Written
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.volume import FFS2_GUID, FFS3_GUID, NVRAM_GUID

MOST_PROBLEMS = 10
"""Lines of problems that are shown unless all are asked for."""

_INDENT = 2
_LONGEST_NAME = 40
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
        guids: The GUIDs of all that is named.
    """

    everything: bool = False
    guids: bool = False


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


def _parts(report: ImageReport, view: View) -> Iterator[tuple[str, RenderableType]]:
    """The parts of a report that have something to say, each with its title."""
    drivers = [module for module in report.modules if not module.role.is_core]
    parts: list[tuple[str, Sequence[object], Callable[[], RenderableType]]] = [
        ("Regions of the flash dump", report.regions, lambda: _regions(report)),
        ("In the capsule", report.capsule_items, lambda: _capsule(report)),
        ("Volumes", report.volumes, lambda: _volumes(report.volumes)),
        (_modules_title(report.modules), report.modules, lambda: _modules(report.modules)),
        ("Dependency expressions", drivers, lambda: _dependencies(drivers)),
        ("GUIDs", report.volumes if view.guids else (), lambda: _guids(report)),
        ("Policy", report.policies, lambda: _policies(report.policies)),
        ("Remarks", report.remarks, lambda: _remarks(report)),
        ("Not opened", report.unopened, lambda: _unopened(report)),
        ("Problems of the format", report.problems, lambda: _problems(report.problems, view)),
    ]
    if report.executable:
        yield "Image", _executable(report.executable)
    for title, items, block in parts:
        if items:
            yield title, block()
    for volume in report.volumes if view.everything else ():
        if volume.files:
            yield f"Files of volume {volume.number}", _files(volume)


def _head(report: ImageReport) -> Iterator[RenderableType]:
    yield Text(plain(report.name), style="bold", no_wrap=True, overflow="ignore")
    kind = f"{report.kind} ({plain(report.detail)})" if report.detail else report.kind
    if report.capsule:
        kind = f"capsule {plain(report.capsule.label)}"
    yield _indented(Text(f"{kind}, {report.size:,} bytes"))
    yield _indented(Text(f"SHA-256 {report.sha256}", style="dim"))
    for line in report.summary:
        yield _indented(Text(line, style="bold" if line is report.summary[0] else ""))


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
        target = plain(item.image_type.label) if item.image_type else ""
        rows.add_row(f"{item.offset:#x}", f"{item.size:,}", Text(plain(item.kind)), target)
    return rows


def _executable(image: ExecutableReport) -> RenderableType:
    rows = table("What", "Is", header=False, fold=["Is"])
    rows.add_row("format", f"{image.format} {image.machine}, {image.subsystem}".rstrip(" ,"))
    if image.trouble:
        rows.add_row("damaged", Text(plain(image.trouble), style="red"))
    if image.machine:
        rows.add_row("in memory", f"{image.image_size:,} bytes, aligned to {image.section_alignment:#x}")
        rows.add_row("entry point", f"{image.entry_point:#x}")
        rows.add_row("relocations", _count(image.relocations))
        names = [f"{section.name} {section.access} {section.virtual_size:,}" for section in image.sections]
        rows.add_row("sections", Text(plain(", ".join(names))))
    if image.linker_name:
        rows.add_row("linked as", Text(plain(image.linker_name)))
    return rows


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _volumes(volumes: Sequence[VolumeReport]) -> RenderableType:
    columns = ["No", "In", "Where", "Size", "Free", "Files", "System", "MM core sees it", "Name"]
    rows = table(*columns, right=["No", "In", "Size", "Free", "Files"], fold=["Name", "Where"])
    for volume in volumes:
        sight = "" if volume.variable_store else _SIGHT[volume.visibility]
        rows.add_row(
            str(volume.number),
            "" if volume.parent is None else str(volume.parent),
            Text(_place(volume.part, volume.offset)),
            f"{volume.size:,}",
            "" if volume.variable_store else f"{volume.free:,}",
            "" if volume.variable_store else str(len(volume.files)),
            Text(_SYSTEMS.get(volume.file_system) or _short(volume.file_system)),
            sight if volume.checksum_holds else Text("bad header checksum", style="red"),
            Text(_short(volume.guid) if volume.guid else volume.variable_store or ""),
        )
    return rows


def _short(guid: Guid) -> str:
    return guid.name or f"{str(guid)[:8]}.."


def _modules_title(modules: Sequence[ModuleReport]) -> str:
    return f"MM modules, sections aligned to {_PAGE:#x}" if _alignments(modules) == {_PAGE} else "MM modules"


def _alignments(modules: Sequence[ModuleReport]) -> set[int]:
    return {module.executable.section_alignment for module in modules if module.executable}


def _modules(modules: Sequence[ModuleReport]) -> RenderableType:
    numbers = ["PE bytes", "Align", "Relocs", "Entry", "Vol"]
    columns = ["Name", "Kind", "Machine", *numbers, "Sections"]
    is_common = _alignments(modules) == {_PAGE}
    if is_common:
        columns.remove("Align")
    rows = table(*columns, right=numbers, fold=_foldable(_names(modules), "Name", "Sections"))
    for module in modules:
        cells = _module_cells(module)
        if is_common:
            del cells["Align"]
        rows.add_row(*cells.values())
    return rows


def _module_cells(module: ModuleReport) -> dict[str, RenderableType]:
    image = module.executable
    style = "red" if module.is_found is False else ""
    cells: dict[str, RenderableType] = {"Name": Text(plain(module.name), style=style), "Kind": _KINDS[module.role]}
    if image is None:
        return (
            cells
            | dict.fromkeys(["Machine", "PE bytes", "Align", "Relocs", "Entry"], "-")
            | {
                "Vol": str(module.volume),
                "Sections": "no image",
            }
        )
    sections = " ".join(section.name for section in image.sections)
    return cells | {
        "Machine": Text(plain(image.machine or image.format)),
        "PE bytes": f"{image.size:,}",
        "Align": f"{image.section_alignment:#x}",
        "Relocs": _count(image.relocations),
        "Entry": f"{image.entry_point:#x}",
        "Vol": str(module.volume),
        "Sections": Text(plain(sections)),
    }


def _dependencies(modules: Sequence[ModuleReport]) -> RenderableType:
    fold = _foldable(_names(modules), "Name", "Expression")
    rows = table("Name", "Expression", header=False, fold=fold)
    for module in modules:
        dependency = module.dependency
        if dependency is None:
            rows.add_row(Text(plain(module.name)), Text("none", style="dim"))
            continue
        text = dependency.text
        if dependency.trouble:
            text += f" [{dependency.trouble}]"
        rows.add_row(Text(plain(module.name)), Text(plain(text)))
    return rows


def _guids(report: ImageReport) -> RenderableType:
    rows = table("GUID", "Name", header=False, fold=["Name"])
    named = {volume.guid: f"volume {volume.number}" for volume in report.volumes if volume.guid}
    named |= {module.guid: module.name for module in report.modules}
    wanted = (guid for module in report.modules if module.dependency for guid in module.dependency.guids)
    for guid in (*named, *dict.fromkeys(wanted)):
        name = named.get(guid)
        rows.add_row(str(guid), Text(plain(", ".join(dict.fromkeys(filter(None, (name, guid.name)))))))
    return rows


def _names(modules: Sequence[ModuleReport]) -> list[str]:
    return [plain(module.name) for module in modules]


def _foldable(names: Iterable[str], name_column: str, text_column: str) -> list[str]:
    """Which of two columns may be folded: names only if one is so long that it would leave no room for the rest."""
    is_long = any(len(name) > _LONGEST_NAME for name in names)
    return [name_column, text_column] if is_long else [text_column]


def _policies(policies: Sequence[PolicyReport]) -> RenderableType:
    rows = table("Vol", "Size", "Version", "Check", "Roots", right=["Vol", "Size"], fold=["Roots", "Check"])
    for policy in policies:
        roots = ", ".join(f"{root.type} {root.access} {root.entries}" for root in policy.roots)
        check = Text(plain(policy.trouble), style="red") if policy.trouble else Text("passes", style="green")
        rows.add_row(str(policy.volume), f"{policy.size:,}", policy.version, check, roots)
    return rows


def _remarks(report: ImageReport) -> RenderableType:
    rows = table("Severity", "Check", "Text", header=False, fold=["Text"])
    for remark in report.remarks:
        severity = Text(remark.severity.value, style=_STYLES[remark.severity])
        text = f"{remark.module}: {remark.text}" if remark.module else remark.text
        rows.add_row(severity, remark.check, Text(plain(text)))
    return rows


def _unopened(report: ImageReport) -> RenderableType:
    rows = table("Where", "File", "Why", header=False, fold=["Where", "File", "Why"])
    for one in report.unopened:
        rows.add_row(Text(_place(one.part, one.offset)), Text(plain(one.file)), Text(plain(f"{one.why}: {one.text}")))
    return rows


def _place(part: str, offset: int) -> str:
    return f"{plain(part)} {offset:#x}" if part else f"{offset:#x}"


def _problems(problems: Sequence[ProblemReport], view: View) -> RenderableType:
    shown = problems if view.everything else problems[:MOST_PROBLEMS]
    rows = table("Severity", "Kind", "Where", "Text", header=False, fold=["Where", "Text"])
    for problem in shown:
        severity = Text("damage", style="red") if problem.is_damage else Text("note", style="cyan")
        rows.add_row(severity, problem.kind, Text(_place(problem.part, problem.offset)), Text(plain(problem.text)))
    if len(shown) == len(problems):
        return rows
    return Group(rows, Text(f"and {len(problems) - len(shown):,} more; --all shows them"))


def _files(volume: VolumeReport) -> RenderableType:
    fold = _foldable(map(_file_name, volume.files), "Name", "Sections")
    rows = table("Offset", "Size", "Type", "Name", "Sections", right=["Offset", "Size"], fold=fold)
    for file in volume.files:
        state = "" if file.state == "DATA_VALID" else f" [{file.state.lower()}]"
        rows.add_row(
            f"{file.offset:#x}",
            f"{file.size:,}",
            file.type,
            Text(_file_name(file) + state),
            Text(" ".join(file.sections)),
        )
    return rows


def _file_name(file: FileReport) -> str:
    return "" if file.type == "PAD" else plain(file.name or file.guid.label)
