"""The UEFI standard compression and its Tiano variant, through an optional library.

Both have an eight-byte header: u32 compressed size, u32 expanded size (UEFI 2.10 §19.2). They differ in the width
of one field of the stream, which nothing in the header tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from mmsupervisor.pi.errors import LimitError, MissingLibraryError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader

_HEADER_SIZE = 8


def decompress_standard(reader: Reader, allowance: Allowance) -> bytes:
    """Expand a stream of the UEFI standard algorithm (compression section type 1).

    Raises:
        FormatError: the stream is damaged or cut.
        LimitError: it claims to expand to more than the allowance.
        MissingLibraryError: the extra ``tiano`` is not installed.
    """
    return _decompress(reader, allowance, "EfiDecompress", "UEFI standard compression")


def decompress_tiano(reader: Reader, allowance: Allowance) -> bytes:
    """Expand a stream of the Tiano variant; raises as :func:`decompress_standard` does."""
    return _decompress(reader, allowance, "TianoDecompress", "Tiano compression")


def _decompress(reader: Reader, allowance: Allowance, function: str, name: str) -> bytes:
    compressed = reader.u32(0, f"{name}: compressed size")
    expanded = reader.u32(4, f"{name}: expanded size")
    stream = reader.copy(0, _HEADER_SIZE + compressed, f"{name}: stream")
    if expanded > allowance.expandable:
        raise LimitError(reader.file, reader.base, f"{name} claims {expanded:#x} bytes, above the bound")
    try:
        from uefi_firmware import efi_compressor
    except ImportError as error:
        raise MissingLibraryError(name, "tiano") from error
    allowance.take_expanded(expanded, reader.file, reader.base)
    decompress = cast(Callable[[bytes, int], bytes | None], getattr(efi_compressor, function))
    try:
        result = decompress(stream, len(stream))
    except Exception as error:
        # The library documents no exception type; whatever it raises on such input means that it refused it.
        raise reader.error(0, f"{name}: stream is damaged ({type(error).__name__}: {error})") from error
    if result is None or len(result) != expanded:
        raise reader.error(0, f"{name}: stream does not expand to the {expanded:#x} bytes it claims")
    return bytes(result)
