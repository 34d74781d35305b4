"""PE and TE images: classify, parse, judge; an image without problems must load."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor import prebuilt
from mmsupervisor.pi.image_kind import ImageKind, classify
from mmsupervisor.pi.pe import load_image, load_problems, module_name, parse_pe, plan_protection
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.te import map_te, parse_te


def seeds() -> list[bytes]:
    """Shipped drivers, and a small TE header with one section."""
    stripped = 0x1A8
    te = struct.pack("<2sHBBHIIQIIII", b"VZ", 0x8664, 1, 11, stripped, 0x220, 0x220, 0, 0, 0, 0, 0)
    te += struct.pack("<8s6IHHI", b".text", 16, 0x220, 16, 0x220, 0, 0, 0, 0, 0x6000_0020)
    te = te.ljust(0x220 - stripped + 40, b"\0") + b"\xc3" * 16
    return [*(prebuilt.image(name) for name in sorted(prebuilt.names())[:4]), te]


def target(data: bytes) -> None:
    """Everything that is done with an image before it runs."""
    reader = Reader(data, "fuzz")
    kind = classify(reader).kind
    if kind is ImageKind.TE:
        map_te(parse_te(reader))
        return
    image = parse_pe(reader)
    module_name(image)
    if not load_problems(image, 0x10_0000):
        load_image(image, 0x10_0000)
        plan = plan_protection(image)
        assert sum(span.length for span in plan.spans) == plan.pages * 0x1000


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
