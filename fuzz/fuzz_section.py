"""Streams of sections: as they are, and inside intact compression, where a bent stream has whole bytes around it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from fuzz.volume_parts import LIMITS, look_at, streams
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import read_sections
from mmsupervisor.pi.volume.build_section import build_crc32_section, build_lzma_section


def seeds() -> list[bytes]:
    """Leaves of each type, and each kind of encapsulation."""
    return streams()


def target(data: bytes) -> None:
    """Read and look at."""
    for stream in (data, build_lzma_section(data), build_lzma_section(data, x86=True), build_crc32_section(data)):
        try:
            found, _ = read_sections(Reader(stream, "fuzz"), Allowance(LIMITS))
        except FormatError:
            continue
        for section in found:
            look_at(section)


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
