"""From file to memory: map an image, relocate it.

Sources: Microsoft PE and COFF specification; docs/reference/boot-flow.md §6.4. The decisions are those of the
loader of the reference; bytes it leaves as they were (gaps between sections) are zero here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.limits import MIB, Allowance
from mmsupervisor.pi.pe.constants import Directory, RelocationType
from mmsupervisor.pi.pe.headers import PeImage
from mmsupervisor.pi.pe.relocations import Relocation, iter_relocations
from mmsupervisor.pi.reader import Reader

MAX_IMAGE_SIZE = 64 * MIB
"""Largest SizeOfImage that is mapped, in bytes: far above any real module, and what a test machine can bear."""

_SOURCE = "docs/reference/boot-flow.md §6.4"
_IMAGE_BASE_32 = 28
_IMAGE_BASE_64 = 24
_OPTIONAL_HEADER = 24


def map_image(image: PeImage) -> bytearray:
    """Lay an image out as in memory: headers, sections at their addresses, zeros elsewhere.

    Returns:
        SizeOfImage bytes, not relocated.

    Raises:
        LimitError: SizeOfImage is beyond :data:`MAX_IMAGE_SIZE`.
        FormatError: headers or a section do not lie in the file or in the image.
    """
    header = image.optional_header
    reader = image.reader
    size = header.size_of_image
    if size > MAX_IMAGE_SIZE:
        rule = f"SizeOfImage {size:#x} is larger than {MAX_IMAGE_SIZE:#x}"
        raise LimitError(image.file, image.base + image.header_offset, rule)
    if header.size_of_headers > size:
        rule = f"SizeOfHeaders {header.size_of_headers:#x} is larger than SizeOfImage {size:#x}"
        raise reader.error(image.header_offset, rule, _SOURCE)
    # Sections that overlap could otherwise ask for the whole image again and again.
    if sum(section.memory_size for section in image.sections) > 2 * MAX_IMAGE_SIZE:
        rule = f"sections of more than {2 * MAX_IMAGE_SIZE:#x} bytes in all"
        raise LimitError(image.file, image.base + image.section_table_offset, rule)
    headers = reader.view(0, header.size_of_headers, "headers (SizeOfHeaders)")
    mapped = bytearray(size)
    mapped[: len(headers)] = headers
    for index, section in enumerate(image.sections):
        count = section.copied_size
        start = section.virtual_address
        if count == 0 and section.virtual_size == 0:
            continue
        if start + section.memory_size > size:
            rule = f"section {section.name!r} ends at {start + section.memory_size:#x}, the image at {size:#x}"
            raise reader.error(image.section_table_offset + 40 * index, rule, _SOURCE)
        raw = reader.view(section.pointer_to_raw_data, count, f"data of section {section.name!r}")
        mapped[start : start + count] = raw
        # A section may lie over the headers or another section: what it does not fill is zeroed, as loaders do.
        mapped[start + count : start + section.memory_size] = bytes(section.memory_size - count)
    return mapped


def image_relocations(
    image: PeImage, mapped: bytes | bytearray, allowance: Allowance | None = None
) -> Iterator[Relocation]:
    """Walk the relocations of a mapped image, ABSOLUTE ones (padding) included.

    Args:
        image: The image.
        mapped: What :func:`map_image` made of it.
        allowance: Bounds the number of relocations; a fresh one if None.

    Raises:
        RelocationError: a block or a relocation is malformed; those before it have been yielded.
        LimitError: more relocations than ``allowance`` leaves.
    """
    directory = image.directory(Directory.BASE_RELOCATION)
    if directory is None or image.relocations_stripped:
        return iter(())
    reader = Reader(mapped, f"{image.file}!mapped")
    return iter_relocations(reader, directory.virtual_address, directory.size, allowance or Allowance())


def relocate(image: PeImage, mapped: bytearray, new_base: int) -> int:
    """Apply the relocations in place, and write the new base to the mapped header as the reference does.

    An image at its own base is left alone, whatever its relocations are; so is one whose relocations are stripped:
    whether such an image may be used at ``new_base`` is for the load rules to say.

    Args:
        image: The image.
        mapped: What :func:`map_image` made of it, not yet relocated. Left unchanged if an error is raised.
        new_base: Address of the first byte.

    Returns:
        Number of relocations applied, ABSOLUTE ones not counted.

    Raises:
        RelocationError: a block or a relocation is malformed.
        LimitError: more relocations than the bounds for hostile input allow.
    """
    header = image.optional_header
    delta = new_base - header.image_base
    if delta == 0 or image.relocations_stripped:
        return 0
    # Relocations are read from the image while they change it, as the reference does; an error must undo all.
    work = bytearray(mapped)
    applied = sum(_apply(work, relocation, delta) for relocation in image_relocations(image, work))
    within, layout = (_IMAGE_BASE_64, "<Q") if header.is_pe32_plus else (_IMAGE_BASE_32, "<I")
    offset = image.header_offset + _OPTIONAL_HEADER + within
    size = struct.calcsize(layout)
    # SizeOfHeaders may lie and leave the field out of the mapped image.
    Reader(work, f"{image.file}!mapped").view(offset, size, "ImageBase")
    struct.pack_into(layout, work, offset, new_base & ((1 << 8 * size) - 1))
    mapped[:] = work
    return applied


def load_image(image: PeImage, base: int) -> bytearray:
    """Map and relocate in one step; see :func:`map_image` and :func:`relocate`."""
    mapped = map_image(image)
    relocate(image, mapped, base)
    return mapped


def _apply(mapped: bytearray, relocation: Relocation, delta: int) -> int:
    address = relocation.virtual_address
    match relocation.type:
        case RelocationType.ABSOLUTE:
            return 0
        case RelocationType.DIR64:
            _add(mapped, "<Q", address, delta)
        case RelocationType.HIGHLOW:
            _add(mapped, "<I", address, delta)
        case RelocationType.HIGH:
            _add(mapped, "<H", address, (delta & 0xFFFF_FFFF) >> 16)
        case RelocationType.LOW:
            _add(mapped, "<H", address, delta)
    return 1


def _add(mapped: bytearray, layout: str, address: int, delta: int) -> None:
    (value,) = struct.unpack_from(layout, mapped, address)
    bits = 8 * struct.calcsize(layout)
    struct.pack_into(layout, mapped, address, (value + delta) & ((1 << bits) - 1))
