"""Compression of firmware sections, bounded against hostile streams.

Every ``decompress`` function takes a :class:`~mmsupervisor.pi.reader.Reader` of the stream and the
:class:`~mmsupervisor.pi.limits.Allowance` of the parse. It never produces more than the allowance leaves, charges
what it produced (also when it then fails), and raises

* :class:`~mmsupervisor.pi.errors.FormatError` for a damaged stream,
* :class:`~mmsupervisor.pi.errors.LimitError` where the bound stopped it,
* :class:`~mmsupervisor.pi.errors.MissingLibraryError` where an optional library is not installed.

=====================  ===============================  ========================================
codec                  functions                        needs
=====================  ===============================  ========================================
LZMA ("LZMA alone")    decompress_lzma, compress_lzma   nothing (``lzma`` of the standard library)
x86 branch filter      decode_x86, encode_x86           nothing
UEFI standard, Tiano   decompress_standard,             extra ``tiano``
                       decompress_tiano
Brotli                 decompress_brotli                extra ``brotli``
=====================  ===============================  ========================================
"""

from mmsupervisor.pi.compression.brotli_codec import decompress_brotli
from mmsupervisor.pi.compression.lzma_codec import compress_lzma, decompress_lzma
from mmsupervisor.pi.compression.tiano_codec import decompress_standard, decompress_tiano
from mmsupervisor.pi.compression.x86_filter import decode_x86, encode_x86

__all__ = [
    "compress_lzma",
    "decode_x86",
    "decompress_brotli",
    "decompress_lzma",
    "decompress_standard",
    "decompress_tiano",
    "encode_x86",
]
