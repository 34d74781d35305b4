"""What is shipped: the drivers' identities, images and symbols.

The record is ``record.json``; the symbol file has one line a symbol: RVA and size in hexadecimal, ``code`` or
``data``, the source file under ``firmware/``, the name. Functions of two sources may share a name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid

_RECORD_FORMAT = 1


class PrebuiltError(MmSupervisorError):
    """No such driver or symbol, or shipped files that are not the recorded ones."""


@dataclass(frozen=True, slots=True)
class PrebuiltDriver:
    """A driver that is shipped, as its entry in the record says.

    Attributes:
        name: Its name, also the stem of its files.
        guid: FILE_GUID, the name of its file in a firmware volume.
        purpose: What it is for, one line.
        depex: The body of its MM_DEPEX section, ready protocol included (docs/reference/guids.md section 2).
        mm_revision: Revision of the MM system table it asks for; 0 asks for none.
        image_size: Size of the PE32+ image in bytes.
        image_sha256: SHA-256 of the image, hexadecimal.
    """

    name: str
    guid: Guid
    purpose: str
    depex: bytes
    mm_revision: int
    image_size: int
    image_sha256: str


@dataclass(frozen=True, slots=True, order=True)
class Symbol:
    """A function or a variable of a shipped image.

    Attributes:
        rva: Offset from the image's base, in bytes; also its offset in the file, since both are aligned alike.
        size: Size in bytes.
        kind: ``code`` or ``data``.
        source: Source file, relative to ``firmware/``.
        name: Name in C or assembler.
    """

    rva: int
    size: int
    kind: Literal["code", "data"]
    source: str
    name: str


def _read(file_name: str) -> bytes:
    return files(__package__).joinpath(file_name).read_bytes()


@cache
def _drivers() -> Mapping[str, PrebuiltDriver]:
    record: dict[str, Any] = json.loads(_read("record.json"))
    if record["format"] != _RECORD_FORMAT:
        raise PrebuiltError(f"prebuilt/record.json: format {record['format']}, not {_RECORD_FORMAT}")
    return {
        name: PrebuiltDriver(
            name=name,
            guid=Guid.parse(entry["guid"]),
            purpose=entry["purpose"],
            depex=bytes.fromhex(entry["depex"]),
            mm_revision=entry["mm_revision"],
            image_size=entry["image"]["size"],
            image_sha256=entry["image"]["sha256"],
        )
        for name, entry in sorted(record["drivers"].items())
    }


def names() -> tuple[str, ...]:
    """Names of all shipped drivers, sorted."""
    return tuple(_drivers())


def driver(name: str) -> PrebuiltDriver:
    """The driver of this name.

    Raises:
        PrebuiltError: none is shipped.
    """
    found = _drivers().get(name)
    if found is None:
        raise PrebuiltError(f"no driver {name!r} is shipped; there are: {', '.join(names())}")
    return found


@cache
def image(name: str) -> bytes:
    """A driver's PE32+ image.

    Raises:
        PrebuiltError: no such driver, or the file is not the recorded one.
    """
    described = driver(name)
    content = _read(f"{name}.efi")
    if hashlib.sha256(content).hexdigest() != described.image_sha256:
        raise PrebuiltError(f"prebuilt/{name}.efi: not the image that record.json describes")
    return content


@cache
def symbols(name: str) -> tuple[Symbol, ...]:
    """A driver's symbols in ascending RVA.

    Raises:
        PrebuiltError: no such driver.
    """
    driver(name)
    found = []
    for line in _read(f"{name}.map").decode().splitlines():
        if not line.startswith("#"):
            rva, size, kind, source, symbol = line.split()
            found.append(Symbol(int(rva, 16), int(size, 16), "code" if kind == "code" else "data", source, symbol))
    return tuple(found)


def patched_image(name: str, settings: Mapping[str, bytes]) -> bytes:
    """A driver's image with variables set otherwise, as a build with other defaults would have them.

    Args:
        name: The driver.
        settings: New bytes by name of the variable; fewer than it holds leave its tail alone.

    Raises:
        PrebuiltError: no such driver; no variable of that name, or several; more bytes than it holds.
    """
    content = bytearray(image(name))
    for variable, value in sorted(settings.items()):
        found = [symbol for symbol in symbols(name) if symbol.name == variable and symbol.kind == "data"]
        if len(found) != 1 or len(value) > found[0].size:
            sizes = ", ".join(f"{symbol.size} bytes in {symbol.source}" for symbol in found) or "no such variable"
            raise PrebuiltError(f"{name}: {variable} cannot be set to {len(value)} bytes: {sizes}")
        content[found[0].rva : found[0].rva + len(value)] = value
    return bytes(content)
