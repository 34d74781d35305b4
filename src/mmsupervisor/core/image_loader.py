"""Loading a driver's image into ring-3 pages (docs/reference/boot-flow.md §6.4, memory.md §5)."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.findings import make_finding
from mmsupervisor.core.modules import Module
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.pe import PeImage, image_address, image_pages, load_image, load_problems, parse_pe, plan_protection
from mmsupervisor.pi.pe.protection import QuirkKind
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status

_QUIRKS = {
    QuirkKind.ADJACENT_CODE: "boot-flow.md §12.12",
    QuirkKind.WRITABLE_CODE: "memory.md surprise 4",
    QuirkKind.EXECUTE_WITHOUT_CODE: "memory.md surprise 4",
    QuirkKind.UNPROTECTED_TAIL: "memory.md surprise 6",
    QuirkKind.READ_ONLY_PAST_END: "memory.md surprise 6",
}
"""Where the fact sheets tell of each."""


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image in place.

    Attributes:
        module: Where it is.
        allocation: Address of its pages, which the reference records as the image's base.
        pages: Number of them.
        image: Its headers.
    """

    module: Module
    allocation: int
    pages: int
    image: PeImage


def load_driver(supervisor: Supervisor, name: str, guid: Guid, data: bytes, symbols: Symbols) -> LoadedImage:
    """Load, relocate and protect an image.

    Args:
        supervisor: The supervisor.
        name: The driver's name, for reports.
        guid: Its file GUID.
        data: The bytes of its PE32 section.
        symbols: Names in it.

    Raises:
        CoreError: the image breaks a load rule; its pages are free again.
    """
    try:
        image = parse_pe(Reader(data, name))
        pages = image_pages(image)
    except FormatError as error:
        raise CoreError(Status.UNSUPPORTED, str(error)) from error
    certain = [problem for problem in load_problems(image) if problem.is_certain]
    if certain:
        raise CoreError(certain[0].status, f"{certain[0].rule.text}: {certain[0].detail}")
    allocation = supervisor.pages.allocate(pages, PageType.RUNTIME_SERVICES_CODE, Owner.USER, f"{name} image")
    problems = load_problems(image, allocation)
    if problems:
        supervisor.pages.free(allocation, pages, Owner.USER)
        raise CoreError(problems[0].status, f"{problems[0].rule.text}: {problems[0].detail}")
    base = image_address(image, allocation)
    try:
        mapped = load_image(image, base)
    except FormatError as error:
        supervisor.pages.free(allocation, pages, Owner.USER)
        raise CoreError(Status.UNSUPPORTED, str(error)) from error
    supervisor.memory.write(base, mapped)
    _protect(supervisor, name, image, allocation)
    entry = base + image.optional_header.address_of_entry_point
    module = Module(name, guid, base, len(mapped), entry, symbols=symbols)
    return LoadedImage(module, allocation, pages, image)


def _protect(supervisor: Supervisor, name: str, image: PeImage, allocation: int) -> None:
    plan = plan_protection(image)
    for span in plan.spans:
        what = ", ".join(span.contents) or "gap"
        attributes = Attribute(int(span.attributes))
        supervisor.memory.assign(allocation + span.offset, span.length, attributes, use=f"{name} {what}")
    for quirk in plan.quirks:
        detail = f"{name}, section {quirk.section}: {quirk.detail}"
        supervisor.reference_bug(_QUIRKS[quirk.kind], detail)


def unload(supervisor: Supervisor, loaded: LoadedImage) -> None:
    """Give an image's pages back, as after an entry point that failed. What it registered stays."""
    supervisor.pages.free(loaded.allocation, loaded.pages, Owner.USER)
    supervisor.modules.remove(loaded.module)


def refuse(supervisor: Supervisor, name: str, error: CoreError) -> None:
    """Record that a driver's image was refused."""
    supervisor.report(
        make_finding("MM-2001", error.detail, subject=name, rule="boot-flow.md §6.4", status=error.status)
    )
