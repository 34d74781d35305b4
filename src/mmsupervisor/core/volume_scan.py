"""The core's one scan of firmware volumes: the reference's own walk (docs/reference/boot-flow.md §5).

It is far less than the reader of :mod:`mmsupervisor.pi.volume`: no nested volumes, no encapsulations, no
large files, no checksums but the file header's. What it misses, MM never sees; that is why it is written
anew here, over the bytes that lie in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mmsupervisor.pi.guid import Guid

MM_STANDALONE = 0x0E
MM_CORE_STANDALONE = 0x0F
FREEFORM = 0x02
SECTION_PE32 = 0x10
SECTION_RAW = 0x19
SECTION_MM_DEPEX = 0x1C
SECTION_USER_INTERFACE = 0x15

_VOLUME_HEADER = struct.Struct("<16s16sQ4sIHHHBB")
_FILE_HEADER_SIZE = 24
_SECTION_HEADER_SIZE = 4
_ERASE_POLARITY = 0x800
_HEADER_INVALID = 0x20
_DELETED = 0x10
_MARKED_FOR_UPDATE = 0x08
_DATA_VALID = 0x04


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file that the walk accepts.

    Attributes:
        offset: Offset of its header in the volume, in bytes.
        guid: Its name.
        type: Its type.
        data: Header and contents, as long as the 3-byte Size field says.
    """

    offset: int
    guid: Guid
    type: int
    data: bytes

    def section(self, kind: int) -> bytes | None:
        """Return the data of the first top-level section of a type, or None."""
        position = _FILE_HEADER_SIZE
        while position + _SECTION_HEADER_SIZE <= len(self.data):
            size = int.from_bytes(self.data[position : position + 3], "little")
            if size < _SECTION_HEADER_SIZE:
                return None
            if self.data[position + 3] == kind:
                return self.data[position + _SECTION_HEADER_SIZE : position + size]
            position += -(-size // 4) * 4
        return None

    @property
    def name(self) -> str:
        """Its user-interface name, else its GUID's label."""
        raw = self.section(SECTION_USER_INTERFACE)
        text = raw.decode("utf-16-le", errors="replace").split("\0")[0] if raw else ""
        return text if text.isprintable() and text else self.guid.label


@dataclass(frozen=True, slots=True)
class VolumeIdentity:
    """By what a volume is recognised as seen before.

    Attributes:
        address: Address of its header.
        name: Its FvName, where the header's checksum is valid and there is an extended header.
    """

    address: int
    name: Guid | None


def identify(address: int, volume: bytes) -> VolumeIdentity:
    """Return a volume's identity."""
    if len(volume) < _VOLUME_HEADER.size:
        return VolumeIdentity(address, None)
    fields = _VOLUME_HEADER.unpack_from(volume)
    header_length, extended = fields[5], fields[7]
    words = volume[: header_length & ~1]
    valid = len(words) >= _VOLUME_HEADER.size and sum(struct.unpack(f"<{len(words) // 2}H", words)) & 0xFFFF == 0
    if not valid or not extended or extended + 16 > len(volume):
        return VolumeIdentity(address, None)
    return VolumeIdentity(address, Guid(volume[extended : extended + 16]))


def scan_files(volume: bytes) -> Iterator[ScannedFile]:
    """Walk a volume as the reference's FfsFindNextFile does.

    The walk ends at free space, at a bad header checksum and at the end of the volume; a size of less than
    a header ends it too (the reference would loop).
    """
    if len(volume) < _VOLUME_HEADER.size:
        return
    fields = _VOLUME_HEADER.unpack_from(volume)
    length, attributes, header_length, extended = fields[2], fields[4], fields[5], fields[7]
    end = min(length, len(volume))
    position = header_length
    if extended:
        if extended + 20 > len(volume):
            return
        position = extended + struct.unpack_from("<I", volume, extended + 16)[0]
    position = -(-position // 8) * 8
    polarity = 0xFF if attributes & _ERASE_POLARITY else 0
    while position + _FILE_HEADER_SIZE <= end:
        header = volume[position : position + _FILE_HEADER_SIZE]
        state = _highest_state(header[23] ^ polarity)
        if state == _HEADER_INVALID:
            position += _FILE_HEADER_SIZE
            continue
        size = int.from_bytes(header[20:23], "little")
        if state not in (_DELETED, _DATA_VALID, _MARKED_FOR_UPDATE) or size < _FILE_HEADER_SIZE:
            return
        if state != _DELETED:
            if not _header_checksum_is_good(header) or position + size > end:
                return
            yield ScannedFile(position, Guid(header[:16]), header[18], volume[position : position + size])
        position += -(-size // 8) * 8


def _highest_state(state: int) -> int:
    bit = 0x80
    while bit and not state & bit:
        bit >>= 1
    return bit


def _header_checksum_is_good(header: bytes) -> bool:
    """All bytes but the state and the data checksum add up to zero."""
    return (sum(header) - header[17] - header[23]) & 0xFF == 0
