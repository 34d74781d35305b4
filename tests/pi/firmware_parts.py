"""Parts of real firmware for tests: sections of Debian's OVMF images, taken out by another project's parser."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import uefi_firmware

from tests.support.ovmf import locate

X64_IMAGE = "OVMF_CODE_4M.secboot.fd"
IA32_IMAGE = "OVMF32_CODE_4M.secboot.fd"

PE32, TE, DXE_DEPEX, RAW, PEI_DEPEX, MM_DEPEX = 0x10, 0x12, 0x13, 0x19, 0x1B, 0x1C


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
    found: list[Part] = []
    root = uefi_firmware.AutoParser(locate().path(name).read_bytes()).parse()

    def walk(node, guid: str, kind: int) -> None:
        word = type(node).__name__
        if word == "FirmwareFile":
            guid, kind = uefi_firmware.utils.sguid(node.guid).lower(), node.type
        elif word == "FirmwareFileSystemSection":
            found.append(Part(guid, kind, node.type, bytes(node.data)))
        for child in node.objects or []:
            if child is not None:
                walk(child, guid, kind)

    walk(root, "", 0)
    # A parser that finds nothing must not turn every test over its parts into one that cannot fail.
    assert found, f"no section was found in {name}"
    return tuple(found)


def section(name: str, file_guid: str, section_type: int) -> bytes:
    """Data of the only section of a type in a file."""
    (data,) = {p.data for p in parts(name) if p.file_guid == file_guid and p.section_type == section_type}
    return data
