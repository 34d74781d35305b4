"""What this host allows, read from /proc without trying anything, and what can be done where it does not."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path

_DEFAULT_LOWEST = 0x1_0000
_PAGE = 0x1000

FIRST_KERNEL = (5, 9)
"""First Linux that hands descriptors through a filter's listener and closes ranges of them."""

ONE_PROCESSOR = (6, 6)
"""First Linux that wakes the other side of a crossing on the processor at hand."""

_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
_EXECUTABLE_MEMORY_FILES = Path("/proc/sys/vm/memfd_noexec")
_LOWEST = Path("/proc/sys/vm/mmap_min_addr")
_NEEDED_ACTIONS = ("user_notif", "trap")
_NEEDED_FUNCTIONS = ("memfd_create", "pidfd_open", "posix_spawn")

_ADVICE = (
    ("needs Linux", "nothing to do: the emulated processor runs on every system"),
    ("needs an x86-64", "nothing to do: the emulated processor runs on every machine"),
    ("this Python lacks", "use a Python that was built for Linux 5.9 or newer"),
    ("is too old", f"use Linux {FIRST_KERNEL[0]}.{FIRST_KERNEL[1]} or newer"),
    ("seccomp lacks", "use a kernel with CONFIG_SECCOMP_FILTER, or leave the sandbox that hides it"),
    ("no /proc", "mount /proc"),
    ("memfd_noexec", "sysctl vm.memfd_noexec=1: programs that ask for it may then be executed from memory"),
    ("resource busy", "leave the sandbox: it listens to seccomp notifications itself, and only one may"),
    ("Too many open files", "allow the program more descriptors (ulimit -n)"),
    ("Resource temporarily unavailable", "allow the user more processes (ulimit -u)"),
    ("not permitted", "allow seccomp and memfd_create: with Docker, --security-opt seccomp=unconfined"),
    ("denied", "allow seccomp and memfd_create: with Docker, --security-opt seccomp=unconfined"),
)


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def lowest_address() -> int:
    """Return the lowest address that an ordinary process may map; the page of address 0 is never one."""
    text = _read(_LOWEST)
    return max(int(text) if text.isdecimal() else _DEFAULT_LOWEST, _PAGE)


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
    missing = [name for name in _NEEDED_FUNCTIONS if not hasattr(os, name)]
    if missing:
        return f"this Python lacks os.{missing[0]}"
    if kernel_release() < FIRST_KERNEL:
        return f"Linux {platform.release()} is too old"
    if not Path("/proc/self/fd").is_dir():
        return "there is no /proc"
    actions = _read(_ACTIONS).split()
    lacking = [action for action in _NEEDED_ACTIONS if action not in actions]
    if lacking:
        return f"the kernel's seccomp lacks the action {lacking[0]}"
    if _read(_EXECUTABLE_MEMORY_FILES) == "2":
        return "vm.memfd_noexec is 2: nothing may be executed from memory"
    return ""


def advice(reason: str) -> str:
    """Return what can be done about a reason that :func:`refusal` or a start gave; empty if nothing is known."""
    return next((text for part, text in _ADVICE if part in reason), "")


def remarks() -> list[str]:
    """Return what the native processor does less well on this host than on others, with what can be done about it."""
    found = []
    lowest = lowest_address()
    if lowest > _PAGE:
        found.append(
            f"memory below {lowest:#x} is slow, and code there is not executed: sysctl vm.mmap_min_addr={_PAGE}"
        )
    if kernel_release() < ONE_PROCESSOR:
        found.append(f"crossings are slow on Linux {platform.release()}: run it on one processor (taskset -c 0)")
    return found
