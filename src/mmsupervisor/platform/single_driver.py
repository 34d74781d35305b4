"""A driver that comes as a file by itself: what it is called, and what it asks for, in a volume of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID, uuid5

from mmsupervisor import prebuilt
from mmsupervisor.debuginfo.read import embedded_symbols
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.pi.depex import TRUE, encode, encode_after, encode_before, parse_expression
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.image_kind import ImageClass, ImageKind, classify
from mmsupervisor.pi.pe.constants import Machine
from mmsupervisor.pi.reader import Reader
from mmsupervisor.platform.firmware import symbols_of_shipped
from mmsupervisor.platform.sample import ready_depex

_NAMESPACE = UUID("6f3c7f0e-9d0b-4f4c-8a55-3c1f3f0c7a10")
"""Of the GUIDs that drivers without one are given, by name."""

_LOADABLE = (Machine.X64, Machine.IA32)
"""Machines that the core's loader knows in a PE32+ image (docs/reference/boot-flow.md §6.4)."""

_ORDERS = {"BEFORE": encode_before, "AFTER": encode_after}


class NoDriverError(MmSupervisorError):
    """A file that is no image which the supervisor could load."""


@dataclass(frozen=True, slots=True)
class SingleDriver:
    """A driver and its identity.

    Attributes:
        image: Its PE32+ image.
        name: User-interface name.
        guid: File GUID.
        depex: Dependency section.
        symbols: Names in it.
        shipped_as: Name of the shipped driver that it is to the byte, or None.
    """

    image: bytes
    name: str
    guid: Guid
    depex: bytes
    symbols: Symbols
    shipped_as: str | None


def describe_driver(
    image: bytes,
    file: str,
    stem: str,
    *,
    name: str | None = None,
    guid: Guid | None = None,
    depex: str | None = None,
    symbols: Symbols | None = None,
    traditional: bool = False,
) -> SingleDriver:
    """Complete what the user said of a driver by what is known of it.

    A shipped driver has its own GUID and dependencies. Any other is named after its file, gets a GUID that is made
    of its name, and asks for the broker and nothing else; a traditional one, which knows no broker, for nothing.

    Args:
        image: Content of the file.
        file: Its name in messages.
        stem: Its name without folder and extension.
        name: The name to be used.
        guid: The GUID to be used.
        depex: The dependency expression to be used, as text; also ``BEFORE`` or ``AFTER`` and a GUID.
        symbols: The symbols to be used; None takes those of a shipped driver, or the DWARF in the image.
        traditional: Whether it is a traditional SMM driver.

    Raises:
        NoDriverError: the file is no image that the supervisor could load.
        DepexSyntaxError: the expression cannot be read.
        GuidSyntaxError: a GUID in it cannot be read.
    """
    kind = classify(Reader(image, file))
    if kind.kind is not ImageKind.PE32_PLUS or kind.machine not in _LOADABLE:
        raise NoDriverError(f"{file}: {_refusal(kind)}")
    digest = hashlib.sha256(image).hexdigest()
    shipped = next((one for one in map(prebuilt.driver, prebuilt.names()) if one.image_sha256 == digest), None)
    name = name or (shipped.name if shipped else stem)
    if guid is None:
        guid = shipped.guid if shipped else Guid(uuid5(_NAMESPACE, name).bytes_le)
    if depex is not None:
        section = encode_depex(depex)
    elif shipped:
        section = shipped.depex
    else:
        section = encode(TRUE) if traditional else ready_depex()
    if symbols is None:
        symbols = symbols_of_shipped(shipped.name) if shipped else embedded_symbols(image, file)
    return SingleDriver(image, name, guid, section, symbols, shipped.name if shipped else None)


def encode_depex(text: str) -> bytes:
    """Encode a dependency expression; raises as :func:`describe_driver` does."""
    word, _, rest = text.strip().partition(" ")
    order = _ORDERS.get(word.upper())
    return order(Guid.parse(rest)) if order else encode(parse_expression(text))


def _refusal(kind: ImageClass) -> str:
    if kind.reason:
        return f"{kind.kind.value}: {kind.reason}"
    if kind.kind is ImageKind.TE:
        return f"{kind.label}: the core loads PE32+ images only"
    return f"{kind.label}: a driver is a PE32+ image for X64"
