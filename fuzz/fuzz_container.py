"""Input of unknown kind: flash dumps, capsules, variable stores, executables, volumes, text."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from fuzz.volume_parts import LIMITS, look_at, volumes
from mmsupervisor.pi.container import read_image
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import NVRAM_GUID
from mmsupervisor.pi.volume.build import VolumeSpec, build_volume

FMP_CAPSULE = Guid.parse("6DCBD5ED-E82D-4C44-BDA1-7194199AD92A")
VARIABLES = Guid.parse("AAF32C78-947B-439A-A180-2E144EC37792")


def capsule(body: bytes, guid: Guid = FMP_CAPSULE) -> bytes:
    return guid.raw + struct.pack("<III", 28, 0, 28 + len(body)) + body


def payload(image: bytes) -> bytes:
    signed = struct.pack("<QIHH16s", 1, 24, 0x0200, 0x0EF1, bytes(16)) + b"MSS1" + struct.pack("<III", 16, 2, 1) + image
    return struct.pack("<I16sB3xIIQQ", 3, bytes(16), 1, len(signed), 0, 0, 1) + signed


def fmp(*items: bytes) -> bytes:
    offsets, position = b"", 8 + 8 * len(items)
    for item in items:
        offsets += struct.pack("<Q", position)
        position += len(item)
    return capsule(struct.pack("<IHH", 1, 0, len(items)) + offsets + b"".join(items))


def flash_dump(volume: bytes) -> bytes:
    data = bytearray(b"\xff" * 0x4000)
    struct.pack_into("<III", data, 0x10, 0x0FF0A55A, 0x0004_0000, 0x08)
    for number in range(16):
        struct.pack_into("<I", data, 0x40 + 4 * number, {0: 0, 1: 0x0003_0001}.get(number, 0x7FFF))
    data[0x1800 : 0x1800 + len(volume)] = volume
    return bytes(data)


def seeds() -> list[bytes]:
    """Sound input of each kind to bend."""
    first, second, third = volumes()
    store = bytearray(build_volume(VolumeSpec(file_system=NVRAM_GUID, size=0x1000)))
    store[0x48 : 0x48 + 22] = VARIABLES.raw + struct.pack("<IBB", 0x800, 0x5A, 0xFE)
    return [
        first + b"\xff" * 100 + second,
        flash_dump(first),
        capsule(first, VARIABLES),
        fmp(payload(first), payload(fmp(payload(third)))),
        bytes(store),
        b"MZ" + bytes(100),
        b"VZ" + bytes(100),
        b"some text\n" * 9,
    ]


def target(data: bytes) -> None:
    """Read and look at."""
    image = read_image(Reader(data, "fuzz"), Allowance(LIMITS))
    assert image.label
    look_at(image)
    position = -1
    for gap in image.gaps:
        assert gap.size > 0
        assert gap.offset > position or image.descriptor is not None
        position = gap.offset


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
