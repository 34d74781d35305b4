"""Cut, damaged and invented input: a tree or one FormatError, in bounded time and memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsupervisor.pi.container import Image
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.volume import problems, raise_damage, walk
from tests.pi.test_build import NESTED
from tests.pi.test_container import AUTHENTICATED, capsule, flash_dump, fmp, payload, signed, variable_volume, versioned
from tests.pi.volume_samples import image_of, sample_volume

VOLUME = sample_volume()
SECONDS = 60.0
"""No input here may take more processor time; all of them take milliseconds, or a second."""
EXTREMES = (b"\0" * 3, b"\xff" * 3, b"\0" * 8, b"\xff" * 8)


def read_all(data: bytes) -> Image | None:
    """Read and look at everything; only a FormatError may come out, and only for reaching a bound."""
    started = time.process_time()
    try:
        image = image_of(data, items=20_000, expanded_bytes=1 << 24)
    except FormatError:
        return None
    for place in walk(image):
        node = place.node
        assert len(node.raw) >= 0
        assert node.part
        label = getattr(node, "label", None) or getattr(node, "text", None) or ""
        label.encode("utf-8")
        getattr(node, "version", None)
    for problem in problems(image):
        assert problem.offset >= 0
        assert str(problem)
    assert time.process_time() - started < SECONDS
    return image


def boundaries(image: Image) -> set[int]:
    """Where structures of the outermost part begin and end."""
    found: set[int] = set()
    for place in walk(image):
        node = place.node
        if node.part == image.part:
            header = getattr(node, "header_size", 0)
            found |= {node.offset, node.offset + header, node.offset + len(node.raw)}
    return found


@pytest.fixture(scope="module")
def security_volume(ovmf) -> bytes:
    """A real volume of 208 KiB: padding, a security core with its sections, a raw reset vector."""
    return ovmf.path("OVMF_CODE_4M.secboot.fd").read_bytes()[0x348000:]


def test_cuts_at_every_boundary(security_volume):
    for data in (security_volume, NESTED, fmp(payload(signed(versioned(VOLUME))), payload(VOLUME))):
        places = boundaries(image_of(data))
        assert len(places) > 10
        for place in sorted(places):
            for cut in (place - 1, place, place + 1):
                if 0 <= cut < len(data):
                    cut_image = read_all(data[:cut])
                    assert cut_image is not None
                    if cut_image.volumes:
                        with pytest.raises(FormatError):
                            raise_damage(cut_image)


def test_cuts_at_seeded_offsets(security_volume):
    chance = random.Random(1)
    for _ in range(2000):
        assert read_all(security_volume[: chance.randrange(len(security_volume))]) is not None


def test_cuts_of_a_whole_image(ovmf):
    data = ovmf.path("OVMF_CODE_4M.secboot.fd").read_bytes()
    chance = random.Random(2)
    for _ in range(12):
        assert read_all(data[: chance.randrange(len(data))]) is not None


def test_damage_at_seeded_offsets(security_volume):
    chance = random.Random(3)
    for data, count in ((security_volume, 700), (NESTED, 2000), (VOLUME, 2000)):
        interesting = sorted(boundaries(image_of(data)))
        for _ in range(count):
            damaged = bytearray(data)
            for _ in range(chance.randrange(1, 4)):
                near = chance.choice(interesting) + chance.randrange(-4, 64)
                offset = min(max(near if chance.random() < 0.8 else chance.randrange(len(data)), 0), len(data) - 8)
                new = chance.choice((*EXTREMES, chance.randbytes(1), chance.randbytes(4)))
                damaged[offset : offset + len(new)] = new
            read_all(bytes(damaged))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(str.encode)))
def test_random_bytes_and_text_hold_no_volume(data):
    image = read_all(data)
    assert image is not None
    assert image.volumes == ()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [
            VOLUME,
            capsule(VOLUME),
            fmp(payload(signed(VOLUME))),
            bytes(flash_dump({0: (0, 0), 1: (1, 7)})),
            variable_volume(AUTHENTICATED),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 0x1100), st.binary(min_size=1, max_size=9)), max_size=5),
)
def test_patched_input_gives_a_tree_or_a_format_error(data, patches):
    damaged = bytearray(data)
    for offset, new in patches:
        start = offset % len(damaged)
        damaged[start : start + len(new)] = new[: len(damaged) - start]
    read_all(bytes(damaged))


@pytest.mark.parametrize("value", [b"\0", b"\xff"])
@pytest.mark.parametrize(
    ("offset", "size"),
    [(0x20, 8), (0x30, 2), (0x34, 2), (0x38, 8), (0x38, 16), (0x60, 20), (0x78 + 0x14, 3), (0x78 + 24, 3)],
)
def test_sizes_of_zero_and_all_ones(value, offset, size):
    damaged = bytearray(VOLUME)
    damaged[offset : offset + size] = value * size
    assert read_all(bytes(damaged)) is not None


def many_signatures() -> bytes:
    return b"_FVH" * (1 << 18)


def many_block_maps() -> bytes:
    """Signatures whose headers claim the longest block map."""
    header = bytearray(VOLUME[:56])
    struct.pack_into("<H", header, 0x30, 0xFFFE)
    return bytes(header) * 20_000


def many_headers() -> bytes:
    """Volume headers without files, one in every 72 bytes, each claiming to reach to the end."""
    header = bytearray(VOLUME[:72])
    return bytes(header) * 10_000


def many_file_states() -> bytes:
    """A volume in which each byte could be the state of a sound file."""
    return VOLUME[:0x78] + b"\xf8" * (len(VOLUME) - 0x78)


def many_empty_files() -> bytes:
    file = VOLUME[0x78 : 0x78 + 24]
    return VOLUME[:0x78] + file * 160 + VOLUME[0x78 + 160 * 24 :]


@pytest.mark.parametrize("make", [many_signatures, many_block_maps, many_headers, many_file_states, many_empty_files])
def test_input_made_to_be_slow_is_not(make):
    data = make()
    tracemalloc.start()
    try:
        read_all(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_a_large_damaged_volume_is_searched_in_linear_time():
    """Bad headers all over four MiB: the search for the next good one must not start over each time."""
    size = 4 << 20
    header = bytearray(VOLUME[:72])
    struct.pack_into("<Q", header, 0x20, size)
    struct.pack_into("<II", header, 0x38, size // 0x1000, 0x1000)
    struct.pack_into("<HH", header, 0x32, 0, 0)
    checksum = -sum(struct.unpack("<36H", bytes(header))) & 0xFFFF
    struct.pack_into("<H", header, 0x32, checksum)
    good = VOLUME[0x78 : 0x78 + 24]
    bad = good[:0x14] + b"\1\0\0" + good[0x17:]
    body = (bad + bytes(8)) * ((size - 72) // 32)
    data = bytes(header) + body + b"\xff" * (size - 72 - len(body))
    started = time.process_time()
    image = image_of(data)
    assert len(image.volumes) == 1
    assert time.process_time() - started < SECONDS
