"""From an input to its report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mmsupervisor.inventory.checks import Evidence, remarks
from mmsupervisor.inventory.executables import describe_executable
from mmsupervisor.inventory.model import (
    CapsuleItemReport,
    ExecutableReport,
    ImageReport,
    Payload,
    PolicyReport,
    ProblemReport,
    RegionReport,
    UnopenedReport,
)
from mmsupervisor.inventory.modules import FoundModule, find_modules, payloads_of
from mmsupervisor.inventory.parts import PartName, part_names
from mmsupervisor.inventory.policies import describe_policy, is_policy_file, policy_section
from mmsupervisor.inventory.summary import NOT_FIRMWARE, summarise
from mmsupervisor.inventory.volumes import NumberedVolume, number_volumes
from mmsupervisor.pi.container import Capsule, ContainerKind, Image, read_image, read_image_file
from mmsupervisor.pi.limits import DEFAULT_LIMITS, Allowance, Limits
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import File, ProblemKind, SectionType, problems, sections, unopened


def survey(source: Path | bytes, limits: Limits = DEFAULT_LIMITS, name: str = "") -> ImageReport:
    """Report what an input holds for management mode. Damage is part of the report.

    Args:
        source: A file, or the bytes of one.
        limits: Bounds for hostile input.
        name: What the report calls the input; the path as it is given if empty.

    Raises:
        InputError: the file cannot be read.
        LimitError: the input is larger than the bounds allow, or holds more than they allow.
    """
    allowance = Allowance(limits)
    if isinstance(source, Path):
        name = name or str(source)
        image = read_image_file(source, allowance)
    else:
        name = name or "input"
        image = read_image(Reader(source, name), allowance)
    return _report(image, name, allowance)


def _report(image: Image, name: str, allowance: Allowance) -> ImageReport:
    part_name = part_names(image.part)
    executable = _lone_executable(image, allowance)
    volumes = number_volumes(image, part_name)
    modules = tuple(find_modules(volumes, allowance))
    policies = tuple(_policies(volumes, allowance))
    closed = tuple(_unopened(image, part_name))
    policy_reports = tuple(report for report, _ in policies)
    module_reports = tuple(module.report for module in modules)
    return ImageReport(
        name=name,
        size=image.size,
        sha256=hashlib.sha256(image.raw).hexdigest(),
        kind=image.kind.value,
        detail=image.detail,
        is_firmware=image.kind not in NOT_FIRMWARE,
        summary=summarise(
            image, executable, module_reports, policy_reports, unopened=len(closed), problems=problems(image)
        ),
        regions=tuple(_regions(image)),
        capsule=image.capsule.guid if image.capsule else None,
        capsule_items=tuple(_capsule_items(image.capsule, part_name)) if image.capsule else (),
        executable=executable,
        images=sum(1 for _ in sections(image, SectionType.PE32, SectionType.TE)),
        volumes=tuple(volume.report for volume in volumes),
        modules=module_reports,
        policies=policy_reports,
        remarks=remarks(Evidence(modules, policy_reports, not closed)),
        problems=(*_problems(image, part_name), *_beyond(allowance)),
        unopened=closed,
        payloads=tuple(_payloads(modules, policies)),
    )


def _lone_executable(image: Image, allowance: Allowance) -> ExecutableReport | None:
    if image.kind not in (ContainerKind.PE_IMAGE, ContainerKind.TE_IMAGE):
        return None
    return describe_executable(Reader(image.raw, image.part, image.offset), allowance)[0]


def _policies(volumes: tuple[NumberedVolume, ...], allowance: Allowance) -> Iterator[tuple[PolicyReport, File]]:
    for volume in volumes:
        for file in volume.place.node.files:
            if file.is_live and is_policy_file(file):
                yield describe_policy(file, volume.report.number, volume.report.part, allowance), file


def _payloads(modules: tuple[FoundModule, ...], policies: tuple[tuple[PolicyReport, File], ...]) -> Iterator[Payload]:
    for number, module in enumerate(modules):
        yield from payloads_of(module, number)
    for number, (_, file) in enumerate(policies, len(modules)):
        section = policy_section(file)
        if section is not None:
            yield Payload(file.label, number, "policy", section.data)


def _regions(image: Image) -> Iterator[RegionReport]:
    for region in image.descriptor.regions if image.descriptor else ():
        yield RegionReport(region.name, region.offset, region.size)


def _capsule_items(capsule: Capsule, part_name: PartName) -> Iterator[CapsuleItemReport]:
    if capsule.image is not None:
        body = capsule.image
        yield CapsuleItemReport(part_name(body.part), body.offset, body.size, body.label, None)
    for item in capsule.items:
        size = len(item.raw)
        yield CapsuleItemReport(part_name(item.part), item.offset, size, item.image.label, item.image_type)


def _problems(image: Image, part_name: PartName) -> Iterator[ProblemReport]:
    for problem in problems(image):
        place = part_name(problem.part)
        yield ProblemReport(problem.kind.word, problem.is_damage, place, problem.offset, problem.rule)


def _beyond(allowance: Allowance) -> Iterator[ProblemReport]:
    """What was refused after the image was read: each module or policy says so itself, and the whole must, too."""
    if allowance.is_exceeded:
        rule = "modules and policies ask for more than the bounds allow: not all of them are described in full"
        yield ProblemReport(ProblemKind.LIMIT.word, True, "", 0, rule)


def _unopened(image: Image, part_name: PartName) -> Iterator[UnopenedReport]:
    for place in unopened(image):
        section = place.node
        if section.unopened is not None:
            reason = section.unopened
            yield UnopenedReport(
                part_name(section.part), section.offset, _file_name(place.file), reason.why.value, reason.text
            )


def _file_name(file: File | None) -> str:
    return file.label if file else ""
