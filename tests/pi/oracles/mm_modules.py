"""The MM modules of an image as other people's libraries see them: files by ``uefi-firmware``, images by ``pefile``.

What holds for one release of real firmware need not hold for the next; what these libraries say of it does. Tests
compare with them whatever the release, and with exact facts where the release is one that facts are known of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pefile
from uefi_firmware import uefi

from tests.pi.oracles.uefi_firmware_oracle import all_files

MM_TYPES = (0x0A, 0x0D, 0x0E, 0x0F)
_PE32, _UI, _MM_DEPEX = 0x10, 0x15, 0x1C
_ABSOLUTE = 0


@dataclass(frozen=True)
class OracleModule:
    """One file of an MM type."""

    guid: str
    type: int
    name: str
    image: bytes
    relocations: int
    depex: tuple[str, ...] | None
    """Operations in their order; a GUID stands for pushing it."""

    @property
    def pushed(self) -> tuple[str, ...] | None:
        return None if self.depex is None else tuple(step for step in self.depex if "-" in step)


@cache
def mm_modules(path: Path) -> tuple[OracleModule, ...]:
    """All MM modules of the image, in its order."""
    return tuple(_module(*found) for found in all_files(path.read_bytes()) if found[1] in MM_TYPES)


def depex_operations(data: bytes) -> tuple[str, ...]:
    return tuple(
        step["guid"] if step["op"] == "PUSH" else " ".join(filter(None, (step["op"], step.get("guid"))))
        for step in uefi.parse_depex(data)
    )


def count_relocations(image: bytes) -> int:
    directory = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_BASERELOC"]
    parsed = pefile.PE(data=image, fast_load=True)
    parsed.parse_data_directories([directory])
    blocks = getattr(parsed, "DIRECTORY_ENTRY_BASERELOC", [])
    return sum(entry.type != _ABSOLUTE for block in blocks for entry in block.entries)


def _module(guid: str, type_: int, sections: list[tuple[int, bytes]]) -> OracleModule:
    image = _only(data for kind, data in sections if kind == _PE32)
    depexes = [data for kind, data in sections if kind == _MM_DEPEX]
    name = _only(data for kind, data in sections if kind == _UI).decode("utf-16-le").rstrip("\0")
    return OracleModule(
        guid, type_, name, image, count_relocations(image), depex_operations(_only(iter(depexes))) if depexes else None
    )


def _only(found: Iterator[bytes]) -> bytes:
    (one,) = found
    return one
