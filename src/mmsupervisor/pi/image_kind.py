"""What a blob is, before anything is parsed: a classification, never an error.

API: :func:`classify` gives an :class:`ImageClass` whose ``label`` says it in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.pe.constants import machine_name, subsystem_name
from mmsupervisor.pi.pe.headers import DOS_SIGNATURE, PE_SIGNATURE, parse_pe
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.te import TE_SIGNATURE, parse_te

_ELF_SIGNATURE = b"\x7fELF"
_ROM_SIGNATURE = b"\x55\xaa"


class ImageKind(Enum):
    """Kinds of executable that firmware files hold."""

    PE32_PLUS = "PE32+"
    PE32 = "PE32"
    TE = "TE"
    DAMAGED_PE = "damaged PE"
    DAMAGED_TE = "damaged TE"
    DOS = "DOS executable"
    ELF = "ELF"
    OPTION_ROM = "option ROM"
    EMPTY = "empty"
    UNKNOWN = "not an executable"


@dataclass(frozen=True, slots=True)
class ImageClass:
    """What a blob is.

    Attributes:
        kind: Its format.
        machine: Machine type where the format gives one.
        subsystem: Subsystem where the format gives one.
        reason: Why a damaged image could not be read, one line.
    """

    kind: ImageKind
    machine: int | None = None
    subsystem: int | None = None
    reason: str = ""

    @property
    def label(self) -> str:
        """One phrase, for example ``PE32+ X64, EFI boot service driver``."""
        if self.machine is None or self.subsystem is None:
            return self.kind.value
        return f"{self.kind.value} {machine_name(self.machine)}, {subsystem_name(self.subsystem)}"


def classify(reader: Reader) -> ImageClass:
    """Say what a blob is. Never raises."""
    head = bytes(reader.data[:4])
    if head[:2] == DOS_SIGNATURE or head == PE_SIGNATURE:
        return _classify_pe(reader, head == PE_SIGNATURE)
    if head[:2] == TE_SIGNATURE:
        return _classify_te(reader)
    if not head:
        return ImageClass(ImageKind.EMPTY)
    if head == _ELF_SIGNATURE:
        return ImageClass(ImageKind.ELF)
    if head[:2] == _ROM_SIGNATURE:
        return ImageClass(ImageKind.OPTION_ROM)
    return ImageClass(ImageKind.UNKNOWN)


def _classify_pe(reader: Reader, has_signature: bool) -> ImageClass:
    try:
        image = parse_pe(reader)
    except FormatError as error:
        kind = ImageKind.DAMAGED_PE if has_signature or _points_to_pe(reader) else ImageKind.DOS
        return ImageClass(kind, reason=str(error))
    kind = ImageKind.PE32_PLUS if image.optional_header.is_pe32_plus else ImageKind.PE32
    return ImageClass(kind, image.file_header.machine, image.optional_header.subsystem)


def _points_to_pe(reader: Reader) -> bool:
    try:
        offset = reader.u32(0x3C, "e_lfanew")
        return reader.copy(offset, 4, "PE signature") == PE_SIGNATURE
    except FormatError:
        return False


def _classify_te(reader: Reader) -> ImageClass:
    try:
        image = parse_te(reader)
    except FormatError as error:
        return ImageClass(ImageKind.DAMAGED_TE, reason=str(error))
    return ImageClass(ImageKind.TE, image.machine, image.subsystem)
