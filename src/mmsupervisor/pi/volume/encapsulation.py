"""Opening encapsulating sections: compression, GUID-defined and disposable.

Which GUIDs are known is declared once, in ``_GUIDED``. What cannot be opened is said by name in the tree; it
never ends the reading of the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from mmsupervisor.pi.compression import (
    decode_x86,
    decompress_brotli,
    decompress_lzma,
    decompress_standard,
    decompress_tiano,
)
from mmsupervisor.pi.errors import FormatError, LimitError, MissingLibraryError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.layout import COMPRESSION_HEADER, CompressionType
from mmsupervisor.pi.volume.model import Closed, CompressionHeader, GuidedHeader, Unopened
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at

LZMA_GUID = known_guid("gLzmaCustomDecompressGuid")
"""Section is compressed with LZMA."""
LZMA_X86_GUID = known_guid("gLzmaF86CustomDecompressGuid")
"""Section went through the x86 branch filter, then LZMA."""
CRC32_GUID = known_guid("gEfiCrc32GuidedSectionExtractionGuid")
"""Section carries a CRC-32 of its data."""
TIANO_GUID = known_guid("gTianoCustomDecompressGuid")
"""Section is compressed with the Tiano variant of the UEFI standard algorithm."""
BROTLI_GUID = known_guid("gBrotliCustomDecompressGuid")
"""Section is compressed with Brotli."""

_Decoder = Callable[[Reader, Allowance], bytes]


def _decompress_lzma_x86(reader: Reader, allowance: Allowance) -> bytes:
    return decode_x86(decompress_lzma(reader, allowance))


@dataclass(frozen=True, slots=True)
class _Codec:
    word: str
    decode: _Decoder


_GUIDED: dict[Guid, _Codec] = {
    LZMA_GUID: _Codec("LZMA", decompress_lzma),
    LZMA_X86_GUID: _Codec("LZMA-x86", _decompress_lzma_x86),
    TIANO_GUID: _Codec("Tiano", decompress_tiano),
    BROTLI_GUID: _Codec("Brotli", decompress_brotli),
}
_STANDARD = _Codec("EFI", decompress_standard)


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening an encapsulation gave.

    Attributes:
        content: Reader of the section stream inside, or None.
        unopened: Why there is none, or None.
        problems: What was found on the way.
    """

    content: Reader | None = None
    unopened: Unopened | None = None
    problems: tuple[Problem, ...] = ()


def open_guided(header: GuidedHeader, data: Reader, offset: int, allowance: Allowance) -> Opened:
    """Open a GUID-defined section.

    Args:
        header: Its header.
        data: Reader of the bytes from the header's data offset on.
        offset: Offset of the section within its part, for the name of a new part.
        allowance: What decompression may produce.
    """
    codec = _GUIDED.get(header.guid)
    if codec is not None:
        return _decode(codec, data, offset, allowance)
    if header.guid == CRC32_GUID:
        return Opened(data, problems=_check_crc32(header, data))
    if header.needs_processing:
        return Opened(unopened=Unopened(Closed.UNKNOWN_GUID, f"no decoder for GUID {_guid_text(header.guid)}"))
    # The data is a stream of sections as it stands; what the extra bytes vouch for is not checked here.
    return Opened(data)


def open_compression(header: CompressionHeader, data: Reader, offset: int, allowance: Allowance) -> Opened:
    """Open a compression section; arguments as for :func:`open_guided`."""
    if header.compression_type == CompressionType.NOT_COMPRESSED:
        opened = Opened(data)
    elif header.compression_type == CompressionType.STANDARD:
        opened = _decode(_STANDARD, data, offset, allowance)
    else:
        text = f"compression type {header.compression_type} is not of the PI specification"
        return Opened(unopened=Unopened(Closed.UNKNOWN_COMPRESSION, text))
    if opened.content is not None and len(opened.content) != header.expanded_size:
        rule = f"claims {header.expanded_size:#x} bytes when expanded and has {len(opened.content):#x}"
        # The size that is claimed stands at the start of the header, right before the data.
        problem = problem_at(ProblemKind.EXPANDED_SIZE, data, -COMPRESSION_HEADER.size, rule)
        return Opened(opened.content, problems=(*opened.problems, problem))
    return opened


def _decode(codec: _Codec, data: Reader, offset: int, allowance: Allowance) -> Opened:
    try:
        content = codec.decode(data, allowance)
    except MissingLibraryError as error:
        return Opened(unopened=Unopened(Closed.MISSING_LIBRARY, str(error)))
    except LimitError as error:
        return _refused(Closed.LIMIT, ProblemKind.LIMIT, error)
    except FormatError as error:
        return _refused(Closed.DAMAGED, ProblemKind.ENCAPSULATION, error)
    return Opened(data.part(content, f"{codec.word}@{offset:#x}"))


def _refused(why: Closed, kind: ProblemKind, error: FormatError) -> Opened:
    problem = Problem(kind, error.file, error.offset, error.rule)
    return Opened(unopened=Unopened(why, error.rule), problems=(problem,))


def _check_crc32(header: GuidedHeader, data: Reader) -> tuple[Problem, ...]:
    if len(header.extra) < 4:
        return (problem_at(ProblemKind.CRC32, data, 0, "CRC-32 section has no room for its CRC-32"),)
    expected = int.from_bytes(header.extra[:4], "little")
    actual = zlib.crc32(data.data)
    if actual == expected:
        return ()
    rule = f"CRC-32 is {actual:#010x}, the section says {expected:#010x}"
    return (problem_at(ProblemKind.CRC32, data, -len(header.extra), rule),)


def _guid_text(guid: Guid) -> str:
    return f"{guid} ({guid.name})" if guid.name else str(guid)
