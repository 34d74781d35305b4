"""What this host allows: read from /proc, without trying anything."""

from __future__ import annotations

import platform
import re
import sys
from contextlib import suppress
from pathlib import Path

_DEFAULT_LOWEST = 0x1_0000


def lowest_address() -> int:
    """Return the lowest address that an ordinary process may map; the page of address 0 is never one."""
    lowest = _DEFAULT_LOWEST
    with suppress(OSError, ValueError):
        lowest = int(Path("/proc/sys/vm/mmap_min_addr").read_text())
    return max(lowest, 0x1000)


def kernel_release() -> tuple[int, int]:
    """Return the first two numbers of the kernel's release; zeros if it does not say."""
    numbers = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def refusal() -> str:
    """Return why this host cannot run the native processor at all; empty if it is worth a try."""
    if sys.platform != "linux":
        return f"needs Linux, and this is {sys.platform}"
    if platform.machine() != "x86_64":
        return f"needs an x86-64 processor, and this is {platform.machine()}"
    return ""
