"""Shipped drivers built again with DWARF: as ELF beside the driver, and as a PE image that carries it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from firmware import build

BASE = 0x1_4000_0000
"""ImageBase of the images with DWARF in them: what MinGW's linker gives by default."""


def _driver(name: str) -> build.Driver:
    return next(driver for driver in build.all_drivers() if driver.name == name)


@cache
def elf(name: str) -> bytes:
    """The driver as ELF, laid out as the shipped image."""
    with tempfile.TemporaryDirectory() as folder:
        session = Path(folder)
        (session / name).mkdir()
        objects = build.compile_all(_driver(name), session, debug=True)
        build.link_elf(objects, session / name, session / "driver.elf")
        return (session / "driver.elf").read_bytes()


@cache
def pe_with_dwarf(name: str, base: int = BASE) -> bytes:
    """The driver as a PE image with DWARF sections, linked for an address."""
    with tempfile.TemporaryDirectory() as folder:
        session = Path(folder)
        (session / name).mkdir()
        objects = build.compile_all(_driver(name), session, debug=True)
        placed = ".text __image_base__ + __section_alignment__ :"
        layout = (build.FIRMWARE / "driver.ld").read_text("utf-8").replace(".text __section_alignment__ :", placed)
        (session / "layout.ld").write_text(layout, "utf-8")
        build.run(
            *("ld", "-m", "i386pep", "--no-insert-timestamp", "--enable-reloc-section", "--image-base", hex(base)),
            *("--section-alignment", "0x1000", "--file-alignment", "0x1000", "--subsystem", "11:1.0"),
            *("-T", session / "layout.ld", "-o", session / "driver.efi"),
            *build.needed_objects(objects, session / name),
        )
        return (session / "driver.efi").read_bytes()
