"""Layouts, numbers and names of firmware volumes, files and sections.

PI 1.8 volume 3 chapters 2 and 3; docs/reference/guids.md §9. All numbers are little-endian.

Volume header (``EFI_FIRMWARE_VOLUME_HEADER``):

======  ====  ==================================================================
offset  size  field
======  ====  ==================================================================
0x00    16    zero vector (a reset vector may live here)
0x10    16    file system GUID
0x20    8     length of the volume, u64
0x28    4     signature ``_FVH``
0x2C    4     attributes, u32
0x30    2     header length with the block map, u16
0x32    2     checksum: all 16-bit words of the header add up to zero
0x34    2     offset of the extended header, or 0, u16
0x36    1     reserved, 0
0x37    1     revision, 2
0x38    8*n   block map: pairs (number of blocks, length of a block), ends with (0, 0)
======  ====  ==================================================================

Extended header: 16 bytes volume name GUID, u32 size with all entries; entries: u16 size, u16 type, data.

File header (``EFI_FFS_FILE_HEADER``, and ``..._HEADER2`` for large files):

======  ====  ==================================================================
offset  size  field
======  ====  ==================================================================
0x00    16    name GUID
0x10    1     header checksum: header bytes, without state and file checksum, add up to zero
0x11    1     file checksum: over the data if attribute 0x40 is set, else 0xAA
0x12    1     type
0x13    1     attributes
0x14    3     size with header, u24; 0 in a large file
0x17    1     state bits, inverted if the volume's erase polarity is 1
0x18    8     size with header, u64, in large files only
======  ====  ==================================================================

Section header: u24 size with header, u8 type; if the size is 0xFFFFFF, a u32 size follows.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

from mmsupervisor.pi.guid import Guid

VOLUME_HEADER = struct.Struct("<16s16sQ4sIHHHBB")
"""Fixed part of a volume header, 56 bytes."""
BLOCK = struct.Struct("<II")
"""One entry of the block map."""
EXTENDED_HEADER = struct.Struct("<16sI")
"""Fixed part of a volume's extended header."""
EXTENDED_ENTRY = struct.Struct("<HH")
"""Header of an entry in the extended header: size with this header, type."""
FILE_HEADER = struct.Struct("<16sBBBB3sB")
"""File header, 24 bytes."""
LARGE_FILE_HEADER_SIZE = FILE_HEADER.size + 8
"""Size of the header of a large file."""
SECTION_HEADER_SIZE = 4
"""Size of a section's common header."""
LARGE_SECTION_HEADER_SIZE = 8
"""Size of a section's common header with an extended size."""
GUIDED_HEADER = struct.Struct("<16sHH")
"""GUID-defined section, after the common header: GUID, offset of the data from the section's start, attributes."""
COMPRESSION_HEADER = struct.Struct("<IB")
"""Compression section, after the common header: size when expanded, compression type."""

SIGNATURE = b"_FVH"
"""Signature of a volume header."""
SIGNATURE_OFFSET = 0x28
"""Where the signature stands in the header."""
CHECKSUM_OFFSET = 0x32
"""Where the checksum stands in the volume header."""
SIZE_ESCAPE = 0xFFFFFF
"""Section size that says: the size is in the extended field."""
FIXED_CHECKSUM = 0xAA
"""File checksum of a file without a data checksum."""
FILE_ALIGNMENT = 8
"""Files begin at multiples of this within the volume."""
SECTION_ALIGNMENT = 4
"""Sections begin at multiples of this within the stream."""

FFS2_GUID = Guid.parse("8C8CE578-8A3D-4F1C-9935-896185C32DD3")
"""File system with files below 16 MiB."""
FFS3_GUID = Guid.parse("5473C07A-3DCB-4DCA-BD6F-1E9689E7349A")
"""File system that allows larger files."""
FFS1_GUID = Guid.parse("7A9354D9-0468-444A-81CE-0BF617D890DF")
"""The file system before PI; named here, not read."""
NVRAM_GUID = Guid.parse("FFF12B8D-7696-4C8B-A985-2747075B4F50")
"""A volume that holds variables and no files (gEfiSystemNvDataFvGuid)."""
PAD_GUID = Guid(b"\xff" * 16)
"""Name that build tools give padding files."""


class VolumeAttribute(IntFlag):
    """The volume attribute that matters for reading (PI 1.8 vol. 3 §3.2.1.1)."""

    ERASE_POLARITY = 0x800


VOLUME_ALIGNMENT_SHIFT = 16
"""The volume's own alignment, as a power of two, is in bits 16 to 20 of its attributes."""
DEFAULT_VOLUME_ATTRIBUTES = 0x0004_FEFF
"""What build tools set for a volume in flash: all capabilities, erase polarity 1, alignment 16."""


class FileType(IntEnum):
    """File types (PI 1.8 vol. 3 §2.1.4.1)."""

    RAW = 0x01
    FREEFORM = 0x02
    SECURITY_CORE = 0x03
    PEI_CORE = 0x04
    DXE_CORE = 0x05
    PEIM = 0x06
    DRIVER = 0x07
    COMBINED_PEIM_DRIVER = 0x08
    APPLICATION = 0x09
    MM = 0x0A
    FIRMWARE_VOLUME_IMAGE = 0x0B
    COMBINED_MM_DXE = 0x0C
    MM_CORE = 0x0D
    MM_STANDALONE = 0x0E
    MM_CORE_STANDALONE = 0x0F
    PAD = 0xF0


SECTIONED_TYPES = frozenset(range(FileType.FREEFORM, FileType.MM_CORE_STANDALONE + 1))
"""Types whose data is a stream of sections; the data of all others is opaque."""


def file_type_name(value: int) -> str:
    """Name of a file type; a number outside the list is named by its range."""
    try:
        return FileType(value).name
    except ValueError:
        pass
    for first, last, name in ((0xC0, 0xDF, "OEM"), (0xE0, 0xEF, "DEBUG"), (0xF1, 0xFF, "FFS")):
        if first <= value <= last:
            return f"{name}_{value:#04x}"
    return f"UNKNOWN_{value:#04x}"


class FileAttribute(IntFlag):
    """File attributes (PI 1.8 vol. 3 §3.2.3.1)."""

    LARGE_FILE = 0x01
    DATA_ALIGNMENT_2 = 0x02
    FIXED = 0x04
    DATA_ALIGNMENT = 0x38
    CHECKSUM = 0x40


_ALIGNMENTS = (
    (1, 16, 128, 512, 1 << 10, 4 << 10, 32 << 10, 64 << 10),
    (128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20, 8 << 20, 16 << 20),
)


def data_alignment(attributes: int) -> int:
    """Alignment in bytes, from the volume's start, that a file's attributes ask for its data."""
    wide = 1 if attributes & FileAttribute.DATA_ALIGNMENT_2 else 0
    return _ALIGNMENTS[wide][(attributes & FileAttribute.DATA_ALIGNMENT) >> 3]


def alignment_attributes(alignment: int) -> int:
    """Attribute bits for the smallest alignment the format knows that is at least ``alignment`` bytes.

    Raises:
        ValueError: more than 16 MiB.
    """
    for wide, row in enumerate(_ALIGNMENTS):
        for index, value in enumerate(row):
            if value >= alignment:
                return (index << 3) | (FileAttribute.DATA_ALIGNMENT_2 if wide else 0)
    raise ValueError(f"files cannot ask for an alignment of {alignment:#x} bytes")


class FileState(IntEnum):
    """State of a file: the highest bit set, after inversion (PI 1.8 vol. 3 §3.2.3.1)."""

    NONE = 0x00
    HEADER_CONSTRUCTION = 0x01
    HEADER_VALID = 0x02
    DATA_VALID = 0x04
    MARKED_FOR_UPDATE = 0x08
    DELETED = 0x10
    HEADER_INVALID = 0x20


VALID_STATE_BITS = 0x07
"""State bits, before inversion, of a file that was written to its end."""


def file_state(byte: int, erase_polarity: bool) -> FileState:
    """The state that a state byte stands for in a volume of the given erase polarity."""
    bits = (byte ^ 0xFF if erase_polarity else byte) & 0x3F
    return FileState(1 << (bits.bit_length() - 1)) if bits else FileState.NONE


class SectionType(IntEnum):
    """Section types (PI 1.8 vol. 3 §2.1.5.1)."""

    COMPRESSION = 0x01
    GUID_DEFINED = 0x02
    DISPOSABLE = 0x03
    PE32 = 0x10
    PIC = 0x11
    TE = 0x12
    DXE_DEPEX = 0x13
    VERSION = 0x14
    USER_INTERFACE = 0x15
    COMPATIBILITY16 = 0x16
    FIRMWARE_VOLUME_IMAGE = 0x17
    FREEFORM_SUBTYPE_GUID = 0x18
    RAW = 0x19
    PEI_DEPEX = 0x1B
    MM_DEPEX = 0x1C


def section_type_name(value: int) -> str:
    """Name of a section type; a number outside the list is given in hexadecimal."""
    try:
        return SectionType(value).name
    except ValueError:
        return f"UNKNOWN_{value:#04x}"


class GuidedAttribute(IntFlag):
    """Attributes of a GUID-defined section (PI 1.8 vol. 3 §2.1.5.3)."""

    PROCESSING_REQUIRED = 0x01
    AUTH_STATUS_VALID = 0x02


class CompressionType(IntEnum):
    """Compression types of a compression section (PI 1.8 vol. 3 §2.1.5.2)."""

    NOT_COMPRESSED = 0
    STANDARD = 1


def align_up(value: int, alignment: int) -> int:
    """The first multiple of ``alignment`` that is not below ``value``."""
    return -(-value // alignment) * alignment
