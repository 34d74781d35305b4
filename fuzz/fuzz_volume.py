"""Firmware volumes: read, look at, build again, read again."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from fuzz.volume_parts import LIMITS, look_at, volumes
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import find_volumes, read_volume
from mmsupervisor.pi.volume.build_section import BuildError
from mmsupervisor.pi.volume.rebuild import rebuild_volume


def seeds() -> list[bytes]:
    """Volumes with files of each kind."""
    return volumes()


def target(data: bytes) -> None:
    """Everything that is done with a volume."""
    found, _ = find_volumes(Reader(data, "fuzz"), Allowance(LIMITS))
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
    first = read_volume(Reader(data, "fuzz"), Allowance(LIMITS))
    look_at(first)
    if found and found[0].offset == 0:
        assert len(first.files) == len(found[0].files)


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
