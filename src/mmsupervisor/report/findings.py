"""From a finding of the core to its report: who called whom, which source line, what the code there is."""

from __future__ import annotations

from collections.abc import Iterator

from mmsupervisor.abi.system_calls import SYSTEM_CALLS, SystemCallDeclaration
from mmsupervisor.core.events import SystemCallMade
from mmsupervisor.core.faults import VECTOR_NAMES
from mmsupervisor.core.findings import Finding, Place
from mmsupervisor.core.modules import Module
from mmsupervisor.core.scene import Ring3Scene, Scene
from mmsupervisor.debuginfo.disassembly import disassemble_around
from mmsupervisor.debuginfo.image_view import ImageView
from mmsupervisor.debuginfo.read_ahead import is_stub
from mmsupervisor.debuginfo.unwind import Found, Frame, Stack, unwind
from mmsupervisor.machine.events import Hex
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.status import status_name
from mmsupervisor.processor.instructions import REGISTER_NAMES, register_values
from mmsupervisor.report.finding_model import (
    CodeReport,
    FaultReport,
    FindingReport,
    FrameReport,
    MomentReport,
    RequestReport,
    ValueReport,
)

_SYSCALL_SIZE = 2
_CALLS = {declaration.name: declaration for declaration in SYSTEM_CALLS.values()}


def report_finding(finding: Finding, memory: PhysicalMemory | None, *, fatal: bool) -> FindingReport:
    """Report a finding.

    Args:
        finding: The finding.
        memory: Physical memory, which still holds the images; None where there never was any.
        fatal: Whether it ended the system.
    """
    place, scene = finding.place, finding.scene
    ring3 = scene.ring3 if scene is not None else None
    images = Images(ring3.modules if ring3 else (), memory)
    stack = tuple(_stack(finding, ring3, images)) if ring3 else ()
    here = place.address if place else stack[0].address if stack else None
    return FindingReport(
        number=finding.kind.number,
        title=finding.kind.title,
        page=f"docs/{finding.kind.page}",
        fatal=fatal,
        driver=place.driver if place else "",
        offset=None if place is None or place.offset is None else Hex(place.offset),
        symbol=place.symbol if place else "",
        source=images.source(place.address, is_return=_is_caller(place, stack)) if place else "",
        address=Hex(place.address) if place else None,
        call_site=_call_site(finding, stack, images),
        subject=finding.subject,
        detail=finding.detail,
        rule=finding.rule,
        written=finding.written,
        mend=finding.mend,
        status=None if finding.status is None else status_name(finding.status),
        fault=_fault(finding),
        request=_request(scene.request) if scene and scene.request else None,
        moment=_moment(scene) if scene else None,
        stack=stack,
        code=tuple(_code(here, images)) if here is not None else (),
        registers=tuple(_registers(ring3)) if ring3 else (),
    )


class Images:
    """The images that were loaded when a finding was made, read when they are asked for."""

    def __init__(self, modules: tuple[Module, ...], memory: PhysicalMemory | None) -> None:
        """Look for images in memory."""
        self._modules = modules if memory is not None else ()
        self._memory = memory
        self._views: dict[int, ImageView] = {}

    def at(self, address: int) -> ImageView | None:
        """Return the image that holds an address, or None."""
        module = next((one for one in self._modules if one.holds(address)), None)
        if module is None or self._memory is None:
            return None
        if module.base not in self._views:
            content = self._memory.read(module.base, module.size)
            self._views[module.base] = ImageView(module.name, module.base, module.size, module.symbols, content)
        return self._views[module.base]

    def source(self, address: int, *, is_return: bool) -> str:
        """Return the source line of an instruction, or of the call before it; empty where it is not known."""
        image = self.at(address)
        line = None if image is None else image.symbols.lines.at(address - image.base - is_return)
        return "" if line is None else str(line)

    def frame(self, address: int, found: Found) -> FrameReport:
        """Describe a place."""
        image = self.at(address)
        if image is None:
            return FrameReport("", None, "", "", Hex(address), found.value)
        offset = address - image.base
        source = self.source(address, is_return=found is not Found.PLACE)
        return FrameReport(image.name, Hex(offset), image.symbols.name_of(offset), source, Hex(address), found.value)


def _is_system_call(finding: Finding) -> bool:
    return finding.scene is not None and finding.scene.request is not None


def _stack(finding: Finding, ring3: Ring3Scene, images: Images) -> Iterator[FrameReport]:
    """Walk the stack. After a system call RIP is behind the instruction that made it."""
    registers = dict(zip(REGISTER_NAMES, register_values(ring3.registers), strict=True))
    frames = unwind(registers, Stack(ring3.registers.rsp, ring3.stack), images.at)
    place, *callers = frames
    if _is_system_call(finding):
        place = Frame(place.address - _SYSCALL_SIZE, place.found)
    return (images.frame(frame.address, frame.found) for frame in (place, *callers))


def _is_caller(place: Place, stack: tuple[FrameReport, ...]) -> bool:
    """Whether the place is not where ring 3 was, but the driver for which the broker was at work."""
    return bool(stack) and place.address != stack[0].address


def _call_site(finding: Finding, stack: tuple[FrameReport, ...], images: Images) -> FrameReport | None:
    place = finding.place
    if place is None or not _is_system_call(finding) or len(stack) < 2 or _is_caller(place, stack):
        return None
    image = images.at(place.address)
    return stack[1] if image is not None and is_stub(image, place.address + _SYSCALL_SIZE) else None


def _fault(finding: Finding) -> FaultReport | None:
    if finding.vector is None:
        return None
    return FaultReport(
        finding.vector,
        VECTOR_NAMES.get(finding.vector, f"vector {finding.vector}"),
        None if finding.error_code is None else Hex(finding.error_code),
        None if finding.address is None else Hex(finding.address),
    )


def _request(made: SystemCallMade) -> RequestReport:
    declaration: SystemCallDeclaration | None = _CALLS.get(made.call)
    declared = [argument.name for argument in declaration.arguments] if declaration else []
    names = [*declared, *("RDX", "R8", "R9")[len(declared) :]]
    arguments = tuple(ValueReport(name, value) for name, value in zip(names, made.arguments, strict=False))
    return RequestReport(made.call, arguments, made.guid)


def _moment(scene: Scene) -> MomentReport:
    began = scene.message
    if began is None:
        return MomentReport(scene.mmi, scene.step, scene.cpu, "", "", "", 0)
    return MomentReport(scene.mmi, scene.step, scene.cpu, began.source, began.channel, began.guid, began.size)


def _code(address: int, images: Images) -> Iterator[CodeReport]:
    image = images.at(address)
    if image is None:
        return
    start = image.symbols.start_of(address - image.base)
    for line in disassemble_around(image, address, function=start):
        target = ""
        if line.target is not None and image.holds(line.target):
            target = image.symbols.name_of(line.target - image.base)
        offset = Hex(line.address - image.base)
        yield CodeReport(offset, line.code.hex(), line.text, target, line.address == address)


def _registers(ring3: Ring3Scene) -> Iterator[ValueReport]:
    for name, value in zip(REGISTER_NAMES, register_values(ring3.registers), strict=True):
        yield ValueReport(name.upper(), Hex(value))
