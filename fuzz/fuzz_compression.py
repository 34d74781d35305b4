"""Compressed streams: the first byte of an input chooses the method, the rest is the stream."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import brotli
from uefi_firmware import efi_compressor

from fuzz.format_harness import main
from mmsupervisor.pi.compression import (
    compress_lzma,
    decode_x86,
    decompress_brotli,
    decompress_lzma,
    decompress_standard,
    decompress_tiano,
    encode_x86,
)
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.reader import Reader

METHODS = (decompress_lzma, decompress_standard, decompress_tiano, decompress_brotli)
LIMITS = Limits(expanded_bytes=1 << 20)


def seeds() -> list[bytes]:
    """One stream of each method, of text that repeats and of code with calls in it."""
    text = b"".join(b"a line, number %d, that is much like the others\n" % number for number in range(60))
    code = b"".join(b"\xe8" + struct.pack("<i", -5 * number) + b"\x0f\x84" + bytes(4) for number in range(80))
    found = []
    for data in (text, code):
        streams = (
            compress_lzma(encode_x86(data)),
            efi_compressor.EfiCompress(data, len(data)),
            efi_compressor.TianoCompress(data, len(data)),
            struct.pack("<QQ", len(data), 0) + brotli.compress(data, quality=9),
        )
        found += [bytes([method]) + stream for method, stream in enumerate(streams)]
    return found


def target(data: bytes) -> None:
    """Expand within the bound; what comes out passes through the filter for code and back."""
    method = METHODS[data[0] % len(METHODS)] if data else decompress_lzma
    allowance = Allowance(LIMITS)
    expanded = method(Reader(data[1:], "fuzz"), allowance)
    assert len(expanded) <= allowance.expanded <= LIMITS.expanded_bytes
    assert decode_x86(encode_x86(expanded)) == expanded
    assert len(decode_x86(expanded)) == len(expanded)


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
