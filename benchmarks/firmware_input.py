"""Real firmware for the benchmark, where it is there: Debian's OVMF, as the tests use it."""

from __future__ import annotations

import os
from pathlib import Path

from mmsupervisor.platform.description import DeviceFacts, PlatformDescription

_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "ovmf"
_CODE, _VARIABLES = "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"
ABSENT = "no OVMF here: run scripts/fetch-ovmf, or set MMSUP_OVMF"


def ovmf_image() -> Path | None:
    """The image, or None."""
    folder = Path(os.environ.get("MMSUP_OVMF", _CACHE))
    return next(iter(sorted(folder.rglob(_CODE))), None) if folder.is_dir() else None


def with_variables(image: Path) -> PlatformDescription:
    """A platform with a variable store in its flash."""
    return PlatformDescription(devices=DeviceFacts(flash_variables=image.with_name(_VARIABLES)))
