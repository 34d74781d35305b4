"""Throw bent volumes, and bent section streams inside intact compression, at the reader and the builder.

Usage: ``python fuzz/fuzz_volume.py [--seconds N] [--seed N]`` bends the seeds below. With the library ``atheris``
installed, ``python fuzz/fuzz_volume.py --atheris [its arguments]`` lets it find inputs by coverage. Ends with exit
code 1 at the first surprise and prints the input in hexadecimal. The same seed gives the same inputs in the same order.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from random import Random

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import Node, SectionType, find_volumes, problems, read_sections, walk
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import (
    BuildError,
    build_compression_section,
    build_crc32_section,
    build_lzma_section,
    build_section,
    build_subtype_section,
    build_ui_section,
    build_version_section,
    build_volume_image_section,
    join_sections,
)
from mmsupervisor.pi.volume.rebuild import rebuild_volume

LIMITS = Limits(input_bytes=1 << 20, expanded_bytes=1 << 22, items=20_000)
SECONDS_PER_INPUT = 20.0
NAME = Guid.parse("11111111-2222-3333-4444-555555555555")


def streams() -> list[bytes]:
    """Sound section streams to bend."""
    leaves = join_sections(
        (
            build_section(SectionType.MM_DEPEX, b"\x06\x08"),
            build_section(SectionType.PE32, bytes(range(200)), large=True),
            build_ui_section("Name"),
            build_version_section("1.0", 7),
            build_subtype_section(NAME, b"data"),
        )
    )
    wrapped = join_sections(
        (
            build_crc32_section(leaves),
            build_compression_section(leaves),
            build_lzma_section(leaves),
            build_lzma_section(leaves, x86=True),
        )
    )
    return [leaves, wrapped, build_volume_image_section(volume_of(leaves))]


def volume_of(stream: bytes, attributes: int = 0x40) -> bytes:
    """A volume with that stream in a file, a large file and a named header."""
    files = (
        FileSpec(NAME, 0x0E, stream, attributes),
        FileSpec(NAME, 0x0E, stream, 1),
        FileSpec.aligned(NAME, 0x01, b"raw", 256),
    )
    return build_volume(VolumeSpec(files, name=NAME, block_size=0x200))


def seeds() -> list[bytes]:
    """Sound volumes to bend."""
    return [volume_of(stream) for stream in streams()]


def bend(data: bytes, random: Random) -> bytes:
    """Overwrite a few bytes with telling values, cut, repeat or append."""
    out = bytearray(data)
    for _ in range(random.randrange(1, 6)):
        if len(out) < 9:
            break
        at = random.randrange(len(out) - 8)
        size = random.choice((1, 1, 2, 3, 4, 8))
        value = random.choice((0, 1, 0xFF, len(out), random.getrandbits(8 * size), (1 << 64) - 1))
        out[at : at + size] = (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little")
    match random.randrange(8):
        case 0:
            del out[random.randrange(len(out) + 1) :]
        case 1:
            out += random.randbytes(random.randrange(64))
        case 2:
            at = random.randrange(len(out) + 1)
            out[at:at] = out[at : at + random.choice((8, 24, 72, 512))]
    return bytes(out)


def look_at(root: Node) -> None:
    """Touch everything a report would show."""
    for place in walk(root):
        node = place.node
        for name in ("label", "text", "version", "type_name", "build_number", "guid", "state", "free_space"):
            str(getattr(node, name, "")).encode("utf-8")
        assert len(place.encapsulations) <= LIMITS.nesting
    for problem in problems(root):
        assert problem.offset >= 0
        assert "\n" not in str(problem)


def try_volume(data: bytes) -> None:
    """Read, look at, build again and read again; raises on a surprise."""
    try:
        found, _ = find_volumes(Reader(data, "fuzz"), Allowance(LIMITS))
    except FormatError:
        return
    for volume in found:
        look_at(volume)
        try:
            again = rebuild_volume(volume)
        except BuildError:
            continue
        read_again, _ = find_volumes(Reader(again, "again"), Allowance(LIMITS))
        assert len(read_again) == 1, "what was built is not read as one volume"
        # Empty files and such are kept; only what damage hid may come into sight when sizes are made right.
        assert len(read_again[0].files) >= len(volume.files), "a file was lost in building"


def try_stream(data: bytes) -> None:
    """Read a stream of sections as it is, and behind intact compression; raises on a surprise."""
    for stream in (data, build_lzma_section(data), build_crc32_section(data)):
        try:
            found, _ = read_sections(Reader(stream, "fuzz"), Allowance(LIMITS))
        except FormatError:
            continue
        for section in found:
            look_at(section)


def run(tries: list[tuple[Callable[[bytes], None], list[bytes]]]) -> int:
    """Bend seeds until the time is over; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random = Random(options.seed)
    end = time.monotonic() + options.seconds
    count = 0
    while time.monotonic() < end:
        function, corpus = random.choice(tries)
        data = bend(random.choice(corpus), random)
        started = time.monotonic()
        try:
            function(data)
            assert time.monotonic() - started < SECONDS_PER_INPUT, "took too long"
        except Exception as error:
            print(f"{function.__name__}: {type(error).__name__}: {error}\n{data.hex()}")
            return 1
        count += 1
    print(f"{count} inputs, no surprise")
    return 0


def run_atheris(function: Callable[[bytes], None]) -> int:
    """Hand over to atheris, which must be installed."""
    import atheris

    atheris.instrument_all()
    atheris.Setup([argument for argument in sys.argv if argument != "--atheris"], function)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    if "--atheris" in sys.argv:
        sys.exit(run_atheris(try_volume))
    sys.exit(run([(try_volume, seeds()), (try_stream, streams())]))
