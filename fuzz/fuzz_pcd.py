"""PCD databases."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.pi.pcd_database import SIGNATURE, parse_pcd_database
from mmsupervisor.pi.reader import Reader


def seeds() -> list[bytes]:
    """One database with a number, a string, a variable, a VPD value, an extended token and names."""
    tokens = (0x0400_0070, 0x1000_0074, 0x8100_0078, 0x4200_008C, 0x0800_0200)
    tables = (0x50, 0x90, 0x98, 0xA8, 0xC8, 0, 0xD0)
    body = b"".join(
        (
            struct.pack("<5I12x", *tokens),
            struct.pack("<II", 0x1234_5678, 8),
            struct.pack("<IIHHIHH", 0, 0x70, 0, 0, 7, 0, 0),
            struct.pack("<I", 0x10),
            struct.pack("<IHH", 0x30006, 1, 0),
            bytes(range(16)),
            "name".encode("utf-16-le").ljust(32, b"\0"),
            struct.pack("<4H", 8, 8, 0, 0),
            struct.pack("<10I", *([0, 8] * 5)),
        )
    )
    length = 0x50 + len(body)
    header = struct.pack("<16sIIQII", SIGNATURE.raw, 7, length, 0, length, 0x200)
    return [header + struct.pack("<7I3H6x", *tables, 5, 1, 1) + body]


def target(data: bytes) -> None:
    """Read a database and look at every value."""
    for pcd in parse_pcd_database(Reader(data, "fuzz")).pcds:
        assert pcd.size >= 0
        assert pcd.number is None or pcd.number >= 0


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
