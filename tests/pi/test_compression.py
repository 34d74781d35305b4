"""Codecs: against independent implementations, on damaged streams, and against bombs."""

from __future__ import annotations

import builtins
import lzma
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uefi_firmware import efi_compressor

from mmsupervisor.pi.compression import (
    compress_lzma,
    decode_x86,
    decompress_brotli,
    decompress_lzma,
    decompress_standard,
    decompress_tiano,
    encode_x86,
)
from mmsupervisor.pi.container import read_image_file
from mmsupervisor.pi.errors import FormatError, LimitError, MissingLibraryError
from mmsupervisor.pi.limits import MIB, Allowance, Limits
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import SectionType, files
from tests.pi.volume_samples import patched

TEXT = b"".join(b"line %d of a text that compresses well\n" % i for i in range(400))


def reader(data: bytes) -> Reader:
    return Reader(data, "stream")


def small(expanded: int) -> Allowance:
    return Allowance(Limits(expanded_bytes=expanded))


def unknown_size(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


def standard(data: bytes) -> bytes:
    return efi_compressor.EfiCompress(data, len(data))


def tiano(data: bytes) -> bytes:
    return efi_compressor.TianoCompress(data, len(data))


def brotli_section(data: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("<QQ", len(data) if claimed is None else claimed, 0) + brotli.compress(data, quality=5)


CODECS = {
    "LZMA": (compress_lzma, decompress_lzma),
    "LZMA without size": (unknown_size, decompress_lzma),
    "standard": (standard, decompress_standard),
    "Tiano": (tiano, decompress_tiano),
    "Brotli": (brotli_section, decompress_brotli),
}


@pytest.fixture(params=CODECS, ids=lambda name: name)
def codec(request):
    return CODECS[request.param]


@pytest.mark.parametrize("data", [b"a", TEXT, bytes(100_000), bytes(range(256)) * 64])
def test_round_trip_and_what_is_charged(codec, data):
    compress, decompress = codec
    allowance = Allowance()
    assert decompress(reader(compress(data)), allowance) == data
    assert allowance.expanded == len(data)


def test_the_bound_is_exact(codec):
    compress, decompress = codec
    stream = compress(TEXT)
    with pytest.raises(LimitError):
        decompress(reader(stream), small(len(TEXT) - 1))
    assert decompress(reader(stream), small(len(TEXT) + 1)) == TEXT


def test_cut_streams_are_refused(codec):
    compress, decompress = codec
    stream = compress(TEXT)
    for cut in (0, 1, 7, 8, 12, 13, 16, 17, len(stream) // 2, len(stream) - 40):
        with pytest.raises(FormatError):
            decompress(reader(stream[:cut]), Allowance())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(CODECS)), st.integers(0, 4000), st.binary(min_size=1, max_size=6))
def test_damaged_streams_give_bytes_or_one_format_error(name, offset, new):
    compress, decompress = CODECS[name]
    stream = bytearray(compress(TEXT))
    offset %= len(stream)
    stream[offset : offset + len(new)] = new
    allowance = small(MIB)
    try:
        result = decompress(reader(bytes(stream)), allowance)
    except FormatError:
        result = b""
    assert len(result) <= MIB


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["LZMA", "LZMA without size", "Brotli"])
def test_a_bomb_stops_at_the_bound_without_using_more_memory(name):
    compress, decompress = CODECS[name]
    bomb = compress(bytes(64 * MIB))
    assert len(bomb) < 16 * 1024
    bound = 4 * MIB
    # Where a size is claimed, claim one that the bound allows, so that the claim does not give it away.
    claim = {"LZMA": (5, bound), "Brotli": (0, bound)}.get(name)
    if claim:
        bomb = patched(bomb, claim[0], struct.pack("<Q", claim[1]))
    allowance = small(bound)
    with peak_memory() as peak:
        with pytest.raises(FormatError):
            decompress(reader(bomb), allowance)
        assert peak() < 4 * bound


def test_claimed_sizes_and_dictionaries_are_not_allocated():
    stream = compress_lzma(TEXT)
    huge_dictionary = stream[:1] + b"\xff\xff\xff\xff" + stream[5:]
    assert decompress_lzma(reader(huge_dictionary), Allowance()) == TEXT
    with peak_memory() as peak:
        for size in (len(TEXT) + 1, 512 * MIB, (1 << 64) - 2):
            with pytest.raises(FormatError):
                decompress_lzma(reader(patched(stream, 5, struct.pack("<Q", size))), Allowance())
        assert peak() < 64 * MIB


def test_failing_streams_are_charged():
    """Many small streams that expand far and then fail must not cost nothing."""
    stream = bytearray(compress_lzma(bytes(4 * MIB) + bytes(range(256)) * 40))
    stream[-300:-100] = bytes(200)
    stream[5:13] = b"\xff" * 8
    allowance = Allowance()
    with pytest.raises(FormatError):
        decompress_lzma(reader(bytes(stream)), allowance)
    assert allowance.expanded >= 4 * MIB


def test_bytes_after_an_lzma_stream_are_ignored():
    assert decompress_lzma(reader(compress_lzma(TEXT) + b"\x00" * 9), Allowance()) == TEXT
    assert decompress_lzma(reader(unknown_size(TEXT) + b"\xff" * 9), Allowance()) == TEXT


@pytest.mark.parametrize(
    ("module", "decompress", "stream", "extra"),
    [
        ("brotli", decompress_brotli, brotli_section(TEXT), "brotli"),
        ("uefi_firmware", decompress_tiano, tiano(TEXT), "tiano"),
        ("uefi_firmware", decompress_standard, standard(TEXT), "tiano"),
    ],
)
def test_missing_libraries_are_named(monkeypatch, module, decompress, stream, extra):
    real_import = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name.split(".")[0] == module:
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingLibraryError) as caught:
        decompress(reader(stream), Allowance())
    assert caught.value.extra == extra


def test_a_brotli_library_that_cannot_be_bounded_is_not_used(monkeypatch):
    class OldDecompressor:
        def process(self, data):
            raise AssertionError("unbounded")

    monkeypatch.setattr(brotli, "Decompressor", OldDecompressor)
    with pytest.raises(MissingLibraryError, match=r"brotli 1\.2"):
        decompress_brotli(reader(brotli_section(TEXT)), Allowance())


# The x86 filter: liblzma has one of its own, reachable through a raw LZMA2 chain.

_XZ_CHAIN = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 0}]
_PLAIN_CHAIN = _XZ_CHAIN[1:]


def xz_encode_x86(data: bytes) -> bytes:
    filtered = lzma.compress(data, format=lzma.FORMAT_RAW, filters=_XZ_CHAIN)
    return lzma.decompress(filtered, format=lzma.FORMAT_RAW, filters=_PLAIN_CHAIN)


branches = st.lists(
    st.sampled_from([b"\xe8", b"\xe9", b"\0", b"\xff", b"\1", b"\x90", b"\xe8\0\0\0\0", b"\xe9\x12\x34\0\xff"]),
    max_size=80,
).map(b"".join)


@settings(max_examples=600, deadline=None)
@given(st.one_of(branches, st.binary(max_size=64)))
def test_x86_filter_equals_xz_and_is_undone(data):
    encoded = encode_x86(data)
    assert encoded == xz_encode_x86(data)
    assert decode_x86(encoded) == data
    assert encode_x86(decode_x86(data)) == data


def test_x86_filter_on_real_code(ovmf):
    image = read_image_file(ovmf.path("OVMF_CODE_4M.secboot.fd"))
    code = b"".join(bytes(place.node.first_section(SectionType.PE32).data) for place in files(image, 0x0A, 0x0D))
    encoded = encode_x86(code)
    assert encoded == xz_encode_x86(code)
    assert encoded != code
    assert decode_x86(encoded) == code
