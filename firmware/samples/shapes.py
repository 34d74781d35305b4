#!/usr/bin/env python3
"""Unsound images, made of the sound ``ShapeSubject`` by changing what its headers say.

The build refuses to link such images (``build.py``: ``verify_image``), so they are patched afterwards. They are made
where they are needed and not shipped; as a program this writes them for a closer look:

    python firmware/samples/shapes.py DIRECTORY
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CNT_CODE = 0x00000020
MEM_EXECUTE = 0x20000000
MEM_WRITE = 0x80000000
RELOCATIONS_STRIPPED = 0x0001


class ShapeError(Exception):
    """The image that was given is not the one that the shapes are made of."""


class Headers:
    """Places of header fields in a PE32+ image that is to be changed (PE format, section "Optional Header")."""

    def __init__(self, image: bytes) -> None:
        """Find the headers; the image is copied."""
        self.image = bytearray(image)
        self.coff = struct.unpack_from("<I", image, 0x3C)[0] + 4
        self.optional = self.coff + 20
        if image[:2] != b"MZ" or struct.unpack_from("<H", image, self.optional)[0] != 0x20B:
            raise ShapeError("not a PE32+ image")

    def set(self, at: int, layout: str, value: int) -> None:
        """Write one field."""
        struct.pack_into(layout, self.image, at, value)

    def get(self, at: int, layout: str) -> int:
        """Read one field."""
        value: int = struct.unpack_from(layout, self.image, at)[0]
        return value

    def section(self, name: str) -> int:
        """Offset of a section's header."""
        count = self.get(self.coff + 2, "<H")
        first = self.optional + self.get(self.coff + 16, "<H")
        for at in range(first, first + 40 * count, 40):
            if self.image[at : at + 8].rstrip(b"\0").decode() == name:
                return at
        raise ShapeError(f"no section {name}")

    def flags(self, name: str, add: int = 0, remove: int = 0) -> None:
        """Change a section's characteristics."""
        at = self.section(name) + 36
        self.set(at, "<I", self.get(at, "<I") & ~remove | add)


def section_alignment_small(headers: Headers) -> None:
    """SectionAlignment 0x200."""
    headers.set(headers.optional + 32, "<I", 0x200)


def section_alignment_large(headers: Headers) -> None:
    """SectionAlignment 0x2000, of which not every section's address is a multiple."""
    headers.set(headers.optional + 32, "<I", 0x2000)


def no_code_section(headers: Headers) -> None:
    """No section says that it holds code."""
    headers.flags(".text", remove=CNT_CODE)


def adjacent_code_sections(headers: Headers) -> None:
    """A second code section, .rdata, right behind .text."""
    headers.flags(".rdata", add=CNT_CODE | MEM_EXECUTE)


def separate_code_sections(headers: Headers) -> None:
    """A second code section, .data, with .rdata between: the twin of the adjacent ones."""
    headers.flags(".data", add=CNT_CODE | MEM_EXECUTE, remove=MEM_WRITE)


def writable_code_section(headers: Headers) -> None:
    """A .text that asks to be writable as well as executable."""
    headers.flags(".text", add=MEM_WRITE)


def executable_data_section(headers: Headers) -> None:
    """A .data that asks to be executable without saying that it is code."""
    headers.flags(".data", add=MEM_EXECUTE)


def code_outside_image(headers: Headers) -> None:
    """A code section that runs past SizeOfImage."""
    headers.set(headers.section(".text") + 8, "<I", headers.get(headers.optional + 56, "<I"))


def relocations_stripped(headers: Headers) -> None:
    """No relocations: it could only run at address 0."""
    headers.set(headers.coff + 18, "<H", headers.get(headers.coff + 18, "<H") | RELOCATIONS_STRIPPED)
    headers.set(headers.optional + 112 + 8 * 5, "<Q", 0)


def relocation_type_unknown(headers: Headers) -> None:
    """The first relocation entry is of type 9."""
    block = headers.get(headers.optional + 112 + 8 * 5, "<I")  # addresses are file offsets in these images
    entry = headers.get(block + 8, "<H")
    headers.set(block + 8, "<H", 9 << 12 | entry & 0xFFF)


def machine_i386(headers: Headers) -> None:
    """Machine I386 in the header of 64-bit code."""
    headers.set(headers.coff, "<H", 0x014C)


def machine_unknown(headers: Headers) -> None:
    """Machine ARM (0x01C0), which the loader does not know."""
    headers.set(headers.coff, "<H", 0x01C0)


@dataclass(frozen=True)
class Shape:
    """One change and what must follow.

    Attributes:
        change: Makes it; its docstring says what.
        outcome: What the supervisor must do.
        rule: File of ``docs/reference/`` and section.
    """

    change: Callable[[Headers], None]
    outcome: str
    rule: str

    @property
    def name(self) -> str:
        """The change's name."""
        return self.change.__name__


_REFUSED = "not started: SECURITY_VIOLATION"
_LOAD = "boot-flow.md section 6.4"
_PAGES = "memory.md section 5"

SHAPES = (
    Shape(section_alignment_small, _REFUSED, _LOAD),
    Shape(section_alignment_large, "not started when rounding moves the image", _LOAD),
    Shape(no_code_section, _REFUSED, _PAGES),
    Shape(code_outside_image, "not started: a section ends past the image", _LOAD),
    Shape(adjacent_code_sections, "started; case 1: vector 14 (0x15), .rdata is RW and not executable", _PAGES),
    Shape(separate_code_sections, "started; case 2: Value 0 is 0x44", _PAGES),
    Shape(writable_code_section, "started; case 3: vector 14 (0x7), code is read-only all the same", _PAGES),
    Shape(executable_data_section, "started; case 2: vector 14 (0x15), only CNT_CODE decides", _PAGES),
    Shape(relocations_stripped, "not started: the image base is not where it was loaded", _LOAD),
    Shape(relocation_type_unknown, "not started: relocation refused", _LOAD),
    Shape(machine_i386, "started: the loader knows I386 and looks no further", _LOAD),
    Shape(machine_unknown, "not started: machine refused", _LOAD),
)


def make(shape: Shape, image: bytes) -> bytes:
    """The image in that shape.

    Raises:
        ShapeError: it is not ShapeSubject's.
    """
    headers = Headers(image)
    shape.change(headers)
    return bytes(headers.image)


def main(arguments: list[str]) -> int:
    """Write all shapes of the shipped ShapeSubject."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    prebuilt = Path(__file__).resolve().parents[2] / "src" / "mmsupervisor" / "prebuilt"
    for shape in SHAPES:
        (folder / f"{shape.name}.efi").write_bytes(make(shape, (prebuilt / "ShapeSubject.efi").read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
