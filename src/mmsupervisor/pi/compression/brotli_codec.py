"""Brotli as firmware uses it, through an optional library: u64 expanded size, u64 scratch size, then the stream."""

from __future__ import annotations

from mmsupervisor.pi.errors import LimitError, MissingLibraryError
from mmsupervisor.pi.limits import MIB, Allowance
from mmsupervisor.pi.reader import Reader

_HEADER_SIZE = 16
_STEP = 4 * MIB


def decompress_brotli(reader: Reader, allowance: Allowance) -> bytes:
    """Expand a Brotli section's data, which begins with the sixteen-byte header.

    Raises:
        FormatError: the stream is damaged, cut, or expands to another size than it claims.
        LimitError: it expands to more than the allowance.
        MissingLibraryError: the extra ``brotli`` is not installed, or is too old to be bounded.
    """
    size = reader.u64(0, "Brotli: expanded size")
    stream = reader.copy(_HEADER_SIZE, len(reader) - _HEADER_SIZE, "Brotli: stream")
    if size > allowance.expandable:
        raise LimitError(reader.file, reader.base, f"Brotli stream claims {size:#x} bytes, above the bound")
    try:
        import brotli
    except ImportError as error:
        raise MissingLibraryError("Brotli decompression", "brotli") from error
    decoder = brotli.Decompressor()
    if not hasattr(decoder, "can_accept_more_data"):
        raise MissingLibraryError("Brotli decompression with a bound needs brotli 1.2", "brotli")
    chunks: list[bytes] = []
    produced = 0
    pending = stream
    try:
        while not decoder.is_finished() and produced <= size:
            chunk = decoder.process(pending, output_buffer_limit=max(min(_STEP, size - produced), 1))
            pending = b""
            if not chunk and decoder.can_accept_more_data():
                break
            chunks.append(chunk)
            produced += len(chunk)
            allowance.take_expanded(len(chunk), reader.file, reader.base)
    except brotli.error as error:
        raise reader.error(_HEADER_SIZE, f"Brotli stream is damaged ({error})") from error
    if produced != size or not decoder.is_finished():
        raise reader.error(_HEADER_SIZE, f"Brotli stream does not expand to the {size:#x} bytes it claims")
    return b"".join(chunks)
