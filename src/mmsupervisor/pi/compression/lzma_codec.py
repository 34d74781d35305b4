"""LZMA as firmware uses it: the "LZMA alone" format, bounded.

======  ====  ==========================================================
offset  size  field
======  ====  ==========================================================
0x00    1     properties: (pb * 5 + lp) * 9 + lc
0x01    4     dictionary size, u32
0x05    8     size when expanded, u64; all ones: not said, an end marker follows
0x0D    ...   stream
======  ====  ==========================================================
"""

from __future__ import annotations

import lzma
import struct

from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.limits import MIB, Allowance
from mmsupervisor.pi.reader import Reader

_HEADER = struct.Struct("<BIQ")
_SIZE_UNKNOWN = (1 << 64) - 1
_SMALLEST_DICTIONARY = 4096
_DEFAULT_DICTIONARY = 1 << 23
_STEP = 16 * MIB


def decompress_lzma(reader: Reader, allowance: Allowance) -> bytes:
    """Expand an LZMA stream. Bytes after its end are ignored: sections may be padded.

    Args:
        reader: The stream with its 13-byte header.
        allowance: What may be produced; what was produced is charged to it.

    Raises:
        FormatError: the stream is damaged, cut, or shorter than it claims.
        LimitError: it expands to more than the allowance.
    """
    properties, dictionary, size = reader.unpack(_HEADER, 0, "LZMA header")
    bound = allowance.expandable
    if size != _SIZE_UNKNOWN and size > bound:
        raise LimitError(reader.file, reader.base, f"LZMA stream claims {size:#x} bytes, {bound:#x} are allowed")
    # A dictionary larger than the output is of no use, but the decoder would allocate what the header claims.
    dictionary = max(min(dictionary, size if size != _SIZE_UNKNOWN else bound), _SMALLEST_DICTIONARY)
    decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
    chunks: list[bytes] = []
    pending: bytes | memoryview = b""
    produced = 0
    try:
        decoder.decompress(_HEADER.pack(properties, dictionary, size), max_length=0)
        pending = reader.data[_HEADER.size :]
        while not decoder.eof and produced < bound:
            chunk = decoder.decompress(pending, max_length=min(_STEP, bound - produced))
            pending = b""
            if not chunk and not decoder.eof:
                break
            chunks.append(chunk)
            produced += len(chunk)
            allowance.take_expanded(len(chunk), reader.file, reader.base)
    except lzma.LZMAError as error:
        # What the failed step produced is unknown: charge it whole, or many damaged streams would cost nothing.
        allowance.take_expanded(min(_STEP, bound - produced), reader.file, reader.base)
        raise reader.error(0, f"LZMA stream is damaged ({error})") from error
    if size == _SIZE_UNKNOWN and not decoder.eof:
        if produced >= bound:
            raise LimitError(reader.file, reader.base, f"LZMA stream expands to more than {bound:#x} bytes")
        raise reader.error(0, f"LZMA stream is cut after {produced:#x} expanded bytes")
    if size not in (_SIZE_UNKNOWN, produced):
        raise reader.error(0, f"LZMA stream expands to {produced:#x} bytes and claims {size:#x}")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def compress_lzma(data: bytes | memoryview, dictionary: int = _DEFAULT_DICTIONARY) -> bytes:
    """Compress to an "LZMA alone" stream with its size in the header, as firmware's decoders need it.

    The result depends on ``data`` and the version of liblzma only.

    Args:
        data: What to compress.
        dictionary: Dictionary size in bytes.
    """
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9, "dict_size": dictionary}]
    encoded = lzma.compress(data, format=lzma.FORMAT_ALONE, filters=filters)
    properties, dictionary, _ = _HEADER.unpack_from(encoded)
    return _HEADER.pack(properties, dictionary, len(data)) + encoded[_HEADER.size :]
