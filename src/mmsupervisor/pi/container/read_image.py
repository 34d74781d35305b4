"""Saying what an input is, and reading what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmsupervisor.pi.container.capsule import looks_like_capsule, read_capsule
from mmsupervisor.pi.container.flash_descriptor import has_flash_descriptor, read_flash_descriptor
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.container.model import ContainerKind, FlashDescriptor, Gap, Image
from mmsupervisor.pi.container.other_formats import kind_without_volumes
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.erased import first_other
from mmsupervisor.pi.volume.layout import NVRAM_GUID
from mmsupervisor.pi.volume.model import Volume
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at
from mmsupervisor.pi.volume.read_volume import find_volumes


def read_image_file(path: Path, allowance: Allowance | None = None) -> Image:
    """Read an input file; see :func:`read_image`.

    Args:
        path: The file.
        allowance: Bounds of the parse; the default ones if None.

    Raises:
        InputError: the file cannot be read.
        LimitError: the file is larger than the bounds allow, or holds more than they allow.
    """
    allowance = allowance or Allowance()
    data = read_input_file(path, allowance.limits.input_bytes)
    return read_image(Reader(data, str(path)), allowance)


def read_image(reader: Reader, allowance: Allowance | None = None, depth: int = 0) -> Image:
    """Say what an input is and read its volumes.

    Whatever the input is, it gets a kind; nothing found is a kind as well.

    Args:
        reader: The whole input.
        allowance: Bounds of the parse; the default ones if None.
        depth: Levels of nesting around the input, for payloads.

    Raises:
        LimitError: it holds more than the bounds allow.
    """
    allowance = allowance or Allowance()
    reader = Reader(reader.data.toreadonly(), reader.file, reader.base)
    if has_flash_descriptor(reader):
        return _read_flash_dump(reader, allowance, depth)
    if looks_like_capsule(reader):
        capsule = read_capsule(reader, allowance, depth, read_image)
        return Image(reader.file, reader.base, reader.data, ContainerKind.CAPSULE, capsule.guid.label, capsule=capsule)
    volumes, problems = find_volumes(reader, allowance, depth)
    kind, detail = _kind_of_volumes(reader, volumes) if volumes else kind_without_volumes(reader)
    gaps = _gaps(reader, volumes) if volumes else ()
    problems += tuple(_gap_problems(reader, gaps))
    return Image(reader.file, reader.base, reader.data, kind, detail, volumes, gaps, problems=problems)


def _kind_of_volumes(reader: Reader, volumes: tuple[Volume, ...]) -> tuple[ContainerKind, str]:
    first = volumes[0]
    if all(volume.file_system == NVRAM_GUID for volume in volumes):
        return ContainerKind.VARIABLE_STORE, first.variable_store.kind if first.variable_store else ""
    if len(volumes) == 1 and first.offset == reader.base and first.length >= len(reader):
        return ContainerKind.FIRMWARE_VOLUME, first.name.label if first.name else ""
    return ContainerKind.FLASH_IMAGE, f"{len(volumes)} volume{'s' if len(volumes) > 1 else ''}"


def _gaps(reader: Reader, volumes: tuple[Volume, ...]) -> tuple[Gap, ...]:
    gaps = []
    position = reader.base
    for start, size in [*((v.offset, len(v.raw)) for v in volumes), (reader.base + len(reader), 0)]:
        if start > position:
            data = reader.view(position - reader.base, start - position, "gap")
            is_erased = data[0] in (0x00, 0xFF) and first_other(data, data[0]) is None
            gaps.append(Gap(position, start - position, is_erased))
        position = start + size
    return tuple(gaps)


def _gap_problems(reader: Reader, gaps: tuple[Gap, ...]) -> Iterator[Problem]:
    """Bytes that somebody put there and that nothing here reads: whatever is in them, a report must not deny it."""
    for gap in gaps:
        if not gap.is_erased:
            rule = f"{gap.size:#x} bytes that are in no volume and are not erased"
            yield Problem(ProblemKind.OUTSIDE_VOLUMES, reader.file, gap.offset, rule)


def _read_flash_dump(reader: Reader, allowance: Allowance, depth: int) -> Image:
    problems: list[Problem] = []
    descriptor = _read_descriptor(reader, problems)
    volumes: list[Volume] = []
    gaps: list[Gap] = []
    for window in _bios_windows(reader, descriptor, problems):
        in_window, more = find_volumes(window, allowance, depth)
        volumes += in_window
        problems += more
        between = _gaps(window, in_window)
        gaps += between
        problems += _gap_problems(window, between)
    return Image(
        reader.file,
        reader.base,
        reader.data,
        ContainerKind.FLASH_DUMP,
        f"{len(volumes)} volume{'' if len(volumes) == 1 else 's'} in the BIOS region",
        tuple(volumes),
        tuple(gaps),
        descriptor,
        problems=tuple(problems),
    )


def _read_descriptor(reader: Reader, problems: list[Problem]) -> FlashDescriptor | None:
    try:
        descriptor, found = read_flash_descriptor(reader)
    except FormatError as error:
        problems.append(Problem(ProblemKind.FLASH_DESCRIPTOR, error.file, error.offset, error.rule))
        return None
    problems += found
    return descriptor


def _bios_windows(reader: Reader, descriptor: FlashDescriptor | None, problems: list[Problem]) -> list[Reader]:
    """Where the host's firmware is in a dump; all of it where the descriptor does not say."""
    windows = [
        reader.window(region.offset - reader.base, region.size, f"{region.name} region")
        for region in (descriptor.regions if descriptor else ())
        if region.is_bios
    ]
    if windows:
        return windows
    rule = "flash descriptor has no BIOS region: the whole dump is searched for volumes"
    problems.append(problem_at(ProblemKind.FLASH_DESCRIPTOR, reader, 0, rule))
    return [reader]
