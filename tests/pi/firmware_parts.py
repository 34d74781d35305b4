"""Parts of real firmware for tests: the leaf sections of Debian's OVMF images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mmsupervisor.pi.container import read_image_file
from mmsupervisor.pi.volume import SectionType, sections
from tests.support.ovmf import locate

X64_IMAGE = "OVMF_CODE_4M.secboot.fd"
IA32_IMAGE = "OVMF32_CODE_4M.secboot.fd"
IMAGES = tuple(path.name for path in locate().files() if path.name in (X64_IMAGE, IA32_IMAGE))
"""Releases from 2025.11 on have none for IA32."""

PE32, TE, RAW = SectionType.PE32, SectionType.TE, SectionType.RAW
DXE_DEPEX, PEI_DEPEX, MM_DEPEX = SectionType.DXE_DEPEX, SectionType.PEI_DEPEX, SectionType.MM_DEPEX


@dataclass(frozen=True)
class Part:
    """One leaf section: the file it is in, the file's type, and the section's type and data."""

    file_guid: str
    file_type: int
    section_type: int
    data: bytes


@cache
def parts(name: str) -> tuple[Part, ...]:
    """All leaf sections of one image, in image order."""
    found = tuple(
        Part(str(place.file.guid).lower(), place.file.type, place.node.type, bytes(place.node.data))
        for place in sections(read_image_file(locate().path(name)))
        if place.file is not None and not place.node.is_encapsulation
    )
    # A reader that finds nothing must not turn every test over its parts into one that cannot fail.
    assert len(found) > 300, f"{name}: only {len(found)} sections"
    return found
