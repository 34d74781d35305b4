#!/usr/bin/env python3
"""Build ring-3 drivers: gcc and GNU ld to PE32+, byte for byte the same in any directory.

Each driver is a folder with a ``driver.toml`` (README.md describes it). For each, three things come out:
``NAME.efi``, ``NAME.map`` (its symbols, see :func:`symbol_lines`) and an entry in ``record.json``: identity,
dependency expression, tool versions, and hashes of everything that went in and came out.

    python firmware/build.py                 build all drivers into src/mmsupervisor/prebuilt
    python firmware/build.py NAME...         build these only
    python firmware/build.py --check         build elsewhere and compare with what is shipped
    python firmware/build.py --elf DIR       also leave NAME.elf with DWARF in DIR, laid out as the driver

Needs Python 3.11, gcc and binutils for x86-64 ELF with ``ld -m i386pep``. Nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import tomllib
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

FIRMWARE = Path(__file__).resolve().parent
PREBUILT = FIRMWARE.parent / "src" / "mmsupervisor" / "prebuilt"
READY_PROTOCOL = "gMmRing3HandlerReadyProtocol"
PAGE = 0x1000

CFLAGS = (
    *("-std=c11", "-O2", "-march=x86-64", "-mabi=ms", "-mno-red-zone", "-Wall", "-Wextra", "-ffreestanding"),
    *("-fpie", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections", "-fno-common", "-fno-ident"),
    *("-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-fno-strict-aliasing"),
    "-fno-tree-loop-distribute-patterns",  # else memcpy's loop becomes a call of memcpy
)
LIBRARY = ("lib/entry.S", "lib/entry.c", "lib/hob.c", "lib/runtime.c", "lib/services.c", "lib/syscall.S")
DEPEX_OPCODES = {"BEFORE": 0, "AFTER": 1, "AND": 3, "OR": 4, "NOT": 5, "TRUE": 6, "FALSE": 7, "END": 8, "SOR": 9}
PUSH = 2


class BuildError(Exception):
    """The build cannot go on; the text is one line that says where and why."""


# --- what a driver is -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Driver:
    """One ``driver.toml``. Paths are relative to the firmware folder, with forward slashes."""

    name: str
    guid: uuid.UUID
    purpose: str
    folder: str
    sources: tuple[str, ...]
    depex: bytes
    mm_revision: int = 0x00010032
    image_version: str = "1.0"
    subsystem_version: str = "1.0"
    defines: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, guids: dict[str, uuid.UUID]) -> Driver:
        """Read one description; every key is checked, so that a misspelt one does not pass."""
        where = path.relative_to(FIRMWARE).as_posix()
        text: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        known = {"name", "guid", "purpose", "sources", "depex", "after_broker"} | {
            "mm_revision",
            "image_version",
            "subsystem_version",
            "defines",
        }
        unknown = sorted(set(text) - known)
        missing = sorted({"name", "guid", "purpose", "sources", "depex"} - set(text))
        if unknown or missing:
            raise BuildError(f"{where}: unknown keys {unknown}, missing keys {missing}")
        optional = {key: text[key] for key in ("mm_revision", "image_version", "subsystem_version") if key in text}
        return cls(
            name=text["name"],
            guid=uuid.UUID(text["guid"]),
            purpose=text["purpose"],
            folder=path.parent.relative_to(FIRMWARE).as_posix(),
            sources=tuple(text["sources"]),
            depex=compose_depex(text["depex"], text.get("after_broker", True), guids, where),
            defines={key: str(value) for key, value in text.get("defines", {}).items()},
            **optional,
        )


def header_guids() -> dict[str, uuid.UUID]:
    """The names and values that ``include/mm/guids.h`` defines."""
    found = {}
    header = (FIRMWARE / "include" / "mm" / "guids.h").read_text("utf-8")
    for name, values in re.findall(r"^MM_GUID\((\w+), (.*)\);$", header, re.MULTILINE):
        numbers = [int(value, 16) for value in values.split(",")]
        found[name] = uuid.UUID(bytes_le=struct.pack("<IHH8B", *numbers))
    return found


def compose_depex(words: list[str], after_broker: bool, guids: dict[str, uuid.UUID], where: str) -> bytes:
    """Encode postfix words (opcodes, GUIDs or their names for PUSH) and AND the broker's ready protocol to them.

    The order is that of files built against the reference's services-table library: what the driver asks for,
    then the ready protocol, then the ANDs (docs/reference/guids.md section 2). An expression that is TRUE alone
    becomes the ready protocol alone.
    """

    def push(word: str) -> bytes:
        try:
            value = guids[word] if word in guids else uuid.UUID(word)
        except ValueError:
            raise BuildError(f"{where}: depex word {word!r} is no opcode, GUID, or name in mm/guids.h") from None
        return bytes([PUSH]) + value.bytes_le

    body = b""
    for word in words:
        if body[-1:] in (b"\x00", b"\x01") and len(body) == 1:
            body += push(word)[1:]  # the operand of BEFORE or AFTER
        elif word in DEPEX_OPCODES:
            body += bytes([DEPEX_OPCODES[word]])
        else:
            body += push(word)
    if after_broker:
        body = push(READY_PROTOCOL) if words == ["TRUE"] else body + push(READY_PROTOCOL) + b"\x03"
    return body + bytes([DEPEX_OPCODES["END"]])


def all_drivers() -> list[Driver]:
    """Every driver under the firmware folder, by name."""
    guids = header_guids()
    drivers = [Driver.read(path, guids) for path in FIRMWARE.rglob("driver.toml")]
    names = [driver.name for driver in drivers]
    if len(set(names)) != len(names) or len({driver.guid for driver in drivers}) != len(drivers):
        raise BuildError("two driver.toml files share a name or a GUID")
    return sorted(drivers, key=lambda driver: driver.name)


# --- compiling and linking ------------------------------------------------------------------------------------


def run(*command: str | Path) -> str:
    """Run a tool in the firmware folder and return what it printed."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=FIRMWARE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BuildError(f"{words[0]}: not installed") from None
    if done.stderr:
        print(done.stderr, end="", file=sys.stderr)
    if done.returncode:
        raise BuildError(f"{words[0]} failed: {shlex.join(words)}")
    return done.stdout


def tool_versions() -> dict[str, str]:
    """What compiled and what linked: together with the sources they decide every byte."""
    return {tool: run(tool, "--version").splitlines()[0] for tool in ("gcc", "ld")}


@dataclass(frozen=True)
class Objects:
    """Compiled sources: object file by source path, and every file that was read."""

    by_source: dict[str, Path]
    inputs: frozenset[str]


def compile_sources(sources: tuple[str, ...], work: Path, *flags: str) -> Objects:
    """Compile into a folder of their own."""
    by_source = {}
    inputs: set[str] = set()
    work.mkdir(parents=True)
    for source in sources:
        stem = work / source.replace("/", "~").replace("..", "up")
        visible = ["-include", "lib/module.h"] if source.endswith(".c") else []
        run(
            *("gcc", *CFLAGS, *visible, *flags, "-Iinclude", f"-ffile-prefix-map={FIRMWARE}=."),
            *("-MMD", "-MF", f"{stem}.d", "-c", source, "-o", f"{stem}.o"),
        )
        depends = Path(f"{stem}.d").read_text("utf-8").replace("\\\n", " ").split(":", 1)[1]
        inputs |= {Path(name).as_posix() for name in depends.split()}
        by_source[source] = Path(f"{stem}.o")
    return Objects(by_source, frozenset(inputs))


@cache
def compile_library(session: Path, mm_revision: int, debug: bool) -> Objects:
    """Compile the library, once a session for all drivers that ask for the same revision of the table."""
    flags = [f"-DMM_REVISION={mm_revision:#x}", *(["-g"] if debug else [])]
    return compile_sources(LIBRARY, session / f"library-{mm_revision:x}-{debug:d}", *flags)


def compile_all(driver: Driver, session: Path, debug: bool) -> Objects:
    """Compile the driver's sources, with its defines, and the library, without them."""
    flags = [*(f"-D{key}={value}" for key, value in sorted(driver.defines.items())), *(["-g"] if debug else [])]
    own = tuple(Path(driver.folder, source).as_posix() for source in driver.sources)
    objects = compile_sources(own, session / f"{driver.name}-{debug:d}", *flags)
    library = compile_library(session, driver.mm_revision, debug)
    return Objects(objects.by_source | library.by_source, objects.inputs | library.inputs)


def needed_objects(objects: Objects, work: Path) -> list[Path]:
    """The driver's own objects and those of the library that something refers to.

    A PE link does not search an archive of ELF objects, so an ELF link is asked first which members it would take.
    """
    archive = work / "library.a"
    members = [objects.by_source[source] for source in LIBRARY]
    own = [path for path in objects.by_source.values() if path not in members]
    run("ar", "rcD", archive, *members)
    taken = run("ld", "-r", "--print-map", "-u", "_ModuleEntryPoint", "-o", work / "all.o", *own, archive)
    return own + [path for path in members if f"({path.name})" in taken]


def link_elf(objects: Objects, work: Path, target: Path) -> None:
    """Link to ELF with DWARF, laid out as the PE32+ image, for debuggers."""
    layout = ("--build-id=none", "--defsym", f"__section_alignment__={PAGE:#x}", "-T", "driver.ld")
    run("ld", "-m", "elf_x86_64", *layout, "-o", target, *needed_objects(objects, work))


def link(driver: Driver, objects: Objects, work: Path) -> tuple[bytes, str]:
    """Link to PE32+; returns the image and the linker's own map.

    No ``--gc-sections``: with ELF objects it makes this linker lose their symbols.
    """
    target = work / "driver.efi"
    image_major, image_minor = driver.image_version.split(".")
    run(
        *("ld", "-m", "i386pep", "-s", "--no-insert-timestamp", "--enable-reloc-section", "--image-base", "0"),
        *("--section-alignment", hex(PAGE), "--file-alignment", hex(PAGE)),
        *("--subsystem", f"11:{driver.subsystem_version}"),
        *("--major-image-version", image_major, "--minor-image-version", image_minor),
        *("-T", "driver.ld", "-Map", str(work / "ld.map"), "-o", str(target)),
        *needed_objects(objects, work),
    )
    return target.read_bytes(), (work / "ld.map").read_text("utf-8")


def verify_image(driver: Driver, image: bytes) -> None:
    """Refuse what the supervisor would refuse, or load without protection: docs/reference/boot-flow.md section 6.4."""
    coff = struct.unpack_from("<I", image, 0x3C)[0] + 4
    machine, sections, timestamp, _, _, optional_size, characteristics = struct.unpack_from("<HHIIIHH", image, coff)
    section_alignment, file_alignment = struct.unpack_from("<II", image, coff + 20 + 32)
    subsystem = struct.unpack_from("<H", image, coff + 20 + 68)[0]
    headers = [
        (image[at : at + 8].rstrip(b"\0").decode(), struct.unpack_from("<I", image, at + 36)[0])
        for at in range(coff + 20 + optional_size, coff + 20 + optional_size + 40 * sections, 40)
    ]
    code = [name for name, flags in headers if flags & 0x20]
    writable = [name for name, flags in headers if flags & 0x80000000]
    facts = {
        "machine X64": machine == 0x8664,
        "no time stamp": timestamp == 0,
        "relocations kept": not characteristics & 1,
        "page-aligned sections": section_alignment == file_alignment == PAGE,
        "subsystem 11": subsystem == 11,
        "one code section": code == [".text"],
        "only data writable": writable == [".data"],
    }
    broken = [fact for fact, holds in facts.items() if not holds]
    if broken:
        raise BuildError(f"{driver.name}: the linked image lacks: {', '.join(broken)} (sections {headers})")


# --- symbols --------------------------------------------------------------------------------------------------

_PLACED = re.compile(r"^ (\.\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (.+)$")
_SYMBOL = re.compile(r"^([0-9a-f]{16}) .{6}([FO ]) (\.\S+)\t([0-9a-f]{16}) (?:\.hidden )?(\S+)$")


def placements(map_text: str) -> dict[tuple[str, str], int]:
    """Where the linker put each input section: (object, section) to RVA. Long names wrap in the map."""
    found = {}
    joined = re.sub(r"^( \.\S+)\n +", r"\1 ", map_text.partition("Linker script and memory map")[2], flags=re.MULTILINE)
    for line in joined.splitlines():
        match = _PLACED.match(line)
        if match and int(match[3], 16):
            owner = match[4].rsplit("(", 1)[-1].rstrip(")")
            found[(Path(owner).name, match[1])] = int(match[2], 16)
    return found


def symbol_lines(driver: Driver, objects: Objects, map_text: str) -> str:
    """The symbol file: RVA, size, ``code`` or ``data``, source and name, in ascending RVA; hexadecimal, no paths."""
    placed = placements(map_text)
    rows = []
    for source, path in objects.by_source.items():
        for line in run("objdump", "-t", path).splitlines():
            match = _SYMBOL.match(line)
            if match and (path.name, match[3]) in placed and match[2] != " ":
                rva = placed[(path.name, match[3])] + int(match[1], 16)
                rows.append((rva, int(match[4], 16), "code" if match[2] == "F" else "data", source, match[5]))
    head = f"# {driver.name}.efi: rva size kind source symbol\n"
    return head + "".join(f"{rva:08x} {size:08x} {kind} {src} {name}\n" for rva, size, kind, src, name in sorted(rows))


# --- what is shipped ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """What one driver's build gives."""

    image: bytes
    symbols: str
    entry: dict[str, Any]


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def build(driver: Driver, versions: dict[str, str], session: Path, elf_folder: Path | None = None) -> Product:
    """Build one driver; ``session`` is a temporary folder that several drivers may share."""
    work = session / driver.name
    work.mkdir()
    objects = compile_all(driver, session, debug=False)
    image, map_text = link(driver, objects, work)
    verify_image(driver, image)
    symbols = symbol_lines(driver, objects, map_text)
    if elf_folder:
        link_elf(compile_all(driver, session, debug=True), work, elf_folder / f"{driver.name}.elf")
    inputs = sorted(objects.inputs | {"driver.ld", f"{driver.folder}/driver.toml"})
    shared = [name for name in inputs if name.startswith(("include/", "lib/")) or name == "driver.ld"]
    entry = {
        "guid": str(driver.guid).upper(),
        "purpose": driver.purpose,
        "depex": driver.depex.hex(),
        "mm_revision": driver.mm_revision,
        "image_version": driver.image_version,
        "subsystem_version": driver.subsystem_version,
        "tools": versions,
        "image": {"size": len(image), "sha256": digest(image)},
        "symbols": {"sha256": digest(symbols.encode())},
        "sources": {name: digest((FIRMWARE / name).read_bytes()) for name in inputs if name not in shared},
        "library": digest("".join(f"{name} {digest((FIRMWARE / name).read_bytes())}\n" for name in shared).encode()),
    }
    return Product(image, symbols, entry)


def read_record(folder: Path) -> dict[str, Any]:
    """The record beside the images, or an empty one."""
    path = folder / "record.json"
    record: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {"format": 1, "drivers": {}}
    return record


def ship(driver: Driver, product: Product, folder: Path) -> None:
    """Write image, symbols and the driver's entry of the record."""
    (folder / f"{driver.name}.efi").write_bytes(product.image)
    (folder / f"{driver.name}.map").write_bytes(product.symbols.encode())
    record = read_record(folder)
    record["drivers"][driver.name] = product.entry
    (folder / "record.json").write_bytes((json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def differences(driver: Driver, product: Product, folder: Path) -> list[str]:
    """Why what is shipped is not what the sources give; bytes count only where the tools are the recorded ones."""
    entry = read_record(folder)["drivers"].get(driver.name)
    if entry is None:
        return [f"{driver.name}: not in record.json"]
    image = (folder / f"{driver.name}.efi").read_bytes()
    symbols = (folder / f"{driver.name}.map").read_bytes()
    found = []
    if digest(image) != entry["image"]["sha256"] or digest(symbols) != entry["symbols"]["sha256"]:
        found.append(f"{driver.name}: shipped files are not the recorded ones")
    same_tools = entry["tools"] == product.entry["tools"]
    for key in sorted(set(entry) | set(product.entry)):
        decided_by_tools = key in ("tools", "image", "symbols")
        if entry.get(key) != product.entry.get(key) and (same_tools or not decided_by_tools):
            found.append(f"{driver.name}: {key} differs from the record: build it again")
    return found


def selected(names: list[str]) -> list[Driver]:
    """The drivers named, or all."""
    drivers = [driver for driver in all_drivers() if not names or driver.name in names]
    unknown = sorted(set(names) - {driver.name for driver in drivers})
    if unknown:
        raise BuildError(f"no such driver: {', '.join(unknown)}")
    return drivers


def work_off(options: argparse.Namespace) -> list[str]:
    """Build and ship, or build and compare; returns what is wrong."""
    problems = []
    versions = tool_versions()
    with tempfile.TemporaryDirectory() as session:
        for driver in selected(options.names):
            product = build(driver, versions, Path(session), options.elf.resolve() if options.elf else None)
            if options.check:
                problems += differences(driver, product, options.output)
            else:
                ship(driver, product, options.output)
                print(f"{driver.name}: {len(product.image)} bytes")
    return problems


def main(arguments: list[str]) -> int:
    """Build or check; returns the exit code."""
    parser = argparse.ArgumentParser(description="build the ring-3 drivers")
    parser.add_argument("names", nargs="*", metavar="NAME", help="drivers to build (all)")
    parser.add_argument("--check", action="store_true", help="change nothing; compare with what is shipped")
    parser.add_argument("--elf", type=Path, metavar="DIR", help="also write NAME.elf with DWARF there")
    parser.add_argument("--output", type=Path, metavar="DIR", default=PREBUILT, help="where the drivers go")
    try:
        problems = work_off(parser.parse_args(arguments))
    except BuildError as error:
        problems = [str(error)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
