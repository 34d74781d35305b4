"""Makes small PE images for tests, with every field open to lies."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

CODE, DATA, WRITE, EXECUTE, READ = 0x20, 0x40, 0x8000_0000, 0x2000_0000, 0x4000_0000
TEXT = CODE | EXECUTE | READ
RODATA = DATA | READ
RWDATA = DATA | READ | WRITE


@dataclass
class BuiltSection:
    name: str
    data: bytes
    flags: int
    address: int | None = None
    virtual_size: int | None = None
    raw_size: int | None = None
    raw_offset: int | None = None


@dataclass
class PeBuilder:
    """Builds PE32+ (or PE32) images with 4 KiB alignment unless told otherwise."""

    sections: list[BuiltSection] = field(default_factory=list)
    relocations: bytes = b""
    plus: bool = True
    machine: int = 0x8664
    subsystem: int = 11
    image_base: int = 0
    alignment: int = 0x1000
    characteristics: int = 0x222E
    entry: int = 0x1000
    directories: int = 16
    overrides: dict[str, int] = field(default_factory=dict)

    def build(self) -> bytes:
        page = max(self.alignment, 1)
        sections = list(self.sections)
        if self.relocations:
            sections.append(BuiltSection(".reloc", self.relocations, RODATA | 0x0200_0000))
        fixed = 112 if self.plus else 96
        table = 0x80 + 24 + fixed + 8 * self.directories
        headers = -(-(table + 40 * len(sections)) // page) * page if page > 1 else table + 40 * len(sections)
        headers = max(headers, 0x200)
        address, offset = headers, headers
        rows, blobs, directory = [], [], (0, 0)
        for item in sections:
            place = address if item.address is None else item.address
            virtual = len(item.data) if item.virtual_size is None else item.virtual_size
            raw = -(-len(item.data) // page) * page if item.raw_size is None else item.raw_size
            at = offset if item.raw_offset is None else item.raw_offset
            rows.append(struct.pack("<8s6IHHI", item.name.encode(), virtual, place, raw, at, 0, 0, 0, 0, item.flags))
            stored = len(item.data) if item.raw_size is not None else raw
            blobs.append(item.data.ljust(stored, b"\0"))
            if item.name == ".reloc":
                directory = (place, len(item.data))
            address = max(address, place + -(-max(virtual, 1) // page) * page)
            offset += len(blobs[-1])
        values = {
            "entry": self.entry,
            "size_of_image": address,
            "size_of_headers": headers,
            "optional_size": fixed + 8 * self.directories,
            "directory_count": self.directories,
            "section_count": len(sections),
        } | self.overrides
        dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
        coff = struct.pack(
            "<HHIIIHH", self.machine, values["section_count"], 0, 0, 0, values["optional_size"], self.characteristics
        )
        out = dos.ljust(0x80, b"\0") + b"PE\0\0" + coff + self._optional(values, directory) + b"".join(rows)
        return out.ljust(headers, b"\0") + b"".join(blobs)

    def _optional(self, values: dict[str, int], relocation_directory: tuple[int, int]) -> bytes:
        standard = struct.pack("<HBBIIIII", 0x20B if self.plus else 0x10B, 1, 2, 0, 0, 0, values["entry"], 0x1000)
        base = struct.pack("<Q", self.image_base) if self.plus else struct.pack("<II", 0, self.image_base)
        windows = struct.pack(
            "<IIHHHHHHIIIIHH", self.alignment, self.alignment, 0, 0, 1, 2, 3, 4, 0,
            values["size_of_image"], values["size_of_headers"], 0, self.subsystem, 0x140,
        )  # fmt: skip
        tail = struct.pack("<QQQQII" if self.plus else "<IIIIII", 0, 0, 0, 0, 0, values["directory_count"])
        directories = [(0, 0)] * self.directories
        if self.directories > 5:
            directories[5] = relocation_directory
        return standard + base + windows + tail + b"".join(struct.pack("<II", *item) for item in directories)


def relocation_block(page: int, *entries: tuple[int, int]) -> bytes:
    """A block for one page; entries are (type, offset in the page)."""
    if len(entries) % 2:
        entries += ((0, 0),)
    words = b"".join(struct.pack("<H", kind << 12 | offset) for kind, offset in entries)
    return struct.pack("<II", page, 8 + len(words)) + words


def driver(**changes: object) -> bytes:
    """A sound small driver: code at 0x1000, writable data at 0x2000 with one pointer, relocations at 0x3000."""
    values: dict[str, object] = {
        "sections": [BuiltSection(".text", b"\xc3" * 16, TEXT), BuiltSection(".data", bytes(64), RWDATA)],
        "relocations": relocation_block(0x2000, (10, 8)),
    }
    return PeBuilder(**(values | changes)).build()  # type: ignore[arg-type]
