"""What an input file is, and what was found in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.volume.model import Volume
from mmsupervisor.pi.volume.problem import Problem


class ContainerKind(Enum):
    """Kinds of input; the value is what a report says."""

    FIRMWARE_VOLUME = "firmware volume"
    FLASH_IMAGE = "flash image"
    FLASH_DUMP = "flash dump with an Intel flash descriptor"
    VARIABLE_STORE = "variable store"
    CAPSULE = "capsule"
    PE_IMAGE = "PE image"
    TE_IMAGE = "TE image"
    OTHER_FORMAT = "file of another format"
    ERASED = "erased flash"
    TEXT = "text"
    EMPTY = "empty file"
    UNKNOWN = "no firmware known here"


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of an image that belong to no volume.

    Attributes:
        offset: Offset within the part, in bytes.
        size: Size in bytes.
        is_erased: Whether all bytes are 0xFF, or all are 0x00.
    """

    offset: int
    size: int
    is_erased: bool


@dataclass(frozen=True, slots=True)
class FlashRegion:
    """A region of the flash descriptor.

    Attributes:
        number: Position in the descriptor's table.
        name: What the position is used for.
        offset: Offset of the first byte in the dump.
        size: Size in bytes.
        is_bios: Whether the region is one where host firmware lives, so that volumes are searched in it.
    """

    number: int
    name: str
    offset: int
    size: int
    is_bios: bool


@dataclass(frozen=True, slots=True)
class FlashDescriptor:
    """An Intel flash descriptor.

    Attributes:
        offset: Offset of the signature in the dump.
        components: Number of flash chips it describes.
        regions: Regions in use, in the table's order.
    """

    offset: int
    components: int
    regions: tuple[FlashRegion, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CapsuleItem:
    """An item of an FMP capsule: a driver that goes with it, or a payload.

    Attributes:
        part: Name of the part, see :class:`mmsupervisor.pi.volume.model.Node`.
        offset: Offset of the item within the part, in bytes.
        raw: All bytes of the item.
        number: Position in the capsule's item list.
        image_type: Which device's firmware it updates; None for an embedded driver.
        hardware_instance: Which of several such devices, 0 for any; None where the item's version has no such field.
        is_authenticated: Whether a signature stands before the payload.
        firmware_version: Version from the payload's own header; None without one.
        image: The payload, read as an input of its own.
        problems: What was found.
    """

    part: str
    offset: int
    raw: memoryview
    number: int
    image_type: Guid | None
    hardware_instance: int | None
    is_authenticated: bool
    firmware_version: int | None
    image: Image
    problems: tuple[Problem, ...] = ()

    @property
    def children(self) -> tuple[Image, ...]:
        """The payload."""
        return (self.image,)


@dataclass(frozen=True, slots=True, eq=False)
class Capsule:
    """A UEFI capsule.

    Attributes:
        part: Name of the part, see :class:`mmsupervisor.pi.volume.model.Node`.
        offset: Offset within the part, in bytes.
        raw: All bytes of the capsule.
        guid: What kind of capsule.
        header_size: Size of the header, in bytes.
        flags: Flags of the header.
        image_size: Size with header as claimed, in bytes.
        items: Items of an FMP capsule.
        image: The body of any other capsule, read as an input of its own.
        problems: What was found.
    """

    part: str
    offset: int
    raw: memoryview
    guid: Guid
    header_size: int
    flags: int
    image_size: int
    items: tuple[CapsuleItem, ...] = ()
    image: Image | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def is_fmp(self) -> bool:
        """Whether this is a firmware management capsule, with items."""
        return self.image is None

    @property
    def children(self) -> tuple[CapsuleItem | Image, ...]:
        """The items, or the body."""
        return self.items if self.image is None else (self.image,)


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An input file, or a payload inside one.

    Attributes:
        part: Name of the part, see :class:`mmsupervisor.pi.volume.model.Node`.
        offset: Offset within the part, in bytes.
        raw: All bytes.
        kind: What it is.
        detail: What more can be said of the kind in a few words; empty if nothing.
        volumes: Top-level volumes in order of their offsets.
        gaps: What lies before, between and after them, where volumes were searched.
        descriptor: The flash descriptor of a flash dump.
        capsule: The capsule.
        problems: What was found.
    """

    part: str
    offset: int
    raw: memoryview
    kind: ContainerKind
    detail: str = ""
    volumes: tuple[Volume, ...] = ()
    gaps: tuple[Gap, ...] = ()
    descriptor: FlashDescriptor | None = None
    capsule: Capsule | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.raw)

    @property
    def label(self) -> str:
        """What it is, in one phrase."""
        return f"{self.kind.value} ({self.detail})" if self.detail else self.kind.value

    @property
    def children(self) -> tuple[Capsule | Volume, ...]:
        """The capsule, or the volumes."""
        return self.volumes if self.capsule is None else (self.capsule,)
