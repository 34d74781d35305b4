"""The two seccomp filters, as programs of the classic packet filter.

The first covers the whole stub: it hands every system call to the supervisor, except the few that are ordered through
the control page, at the one instruction that executes orders. The second covers the thread that is ring 3: whatever it
calls ends in a signal, except the return from the signal handler, at that one instruction. Of two filters the stricter
verdict counts, and a signal is stricter than a notification: so ring 3 cannot use the instruction that executes orders,
and the return from a signal still is a notification.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mmsupervisor.processor.native.layout import AUDIT_ARCH_X86_64

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06

_ALLOW, _NOTIFY, _TRAP = 0x7FFF_0000, 0x7FC0_0000, 0x0003_0000

_NUMBER, _ARCHITECTURE, _IP_LOW, _IP_HIGH = 0, 4, 8, 12
"""Offsets in what the filter is given."""

INSTRUCTION_SIZE = 8


def _program(address: int, numbers: Sequence[int], otherwise: int) -> bytes:
    """Allow the system calls ``numbers`` that return to ``address``; everything else gets the verdict ``otherwise``."""
    conditions = [
        (_ARCHITECTURE, AUDIT_ARCH_X86_64),
        (_IP_HIGH, address >> 32),
        (_IP_LOW, address & 0xFFFF_FFFF),
    ]
    length = 2 * len(conditions) + 1 + len(numbers)
    lines: list[tuple[int, int, int, int]] = []
    for field, value in conditions:
        lines.append((_LOAD, 0, 0, field))
        lines.append((_EQUAL, 0, length - len(lines) - 1, value))
    lines.append((_LOAD, 0, 0, _NUMBER))
    for number in numbers:
        lines.append((_EQUAL, length - len(lines), 0, number))
    lines.append((_RETURN, 0, 0, otherwise))
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


def stub_filter(orders_return: int, numbers: Sequence[int]) -> bytes:
    """Return the filter of the whole stub.

    Args:
        orders_return: Address behind the instruction that executes orders.
        numbers: System calls that may be ordered.
    """
    return _program(orders_return, numbers, _NOTIFY)


def ring3_filter(sigreturn_return: int, sigreturn: int) -> bytes:
    """Return the filter of the thread that is ring 3.

    Args:
        sigreturn_return: Address behind the instruction that returns from the signal handler.
        sigreturn: Number of that system call.
    """
    return _program(sigreturn_return, [sigreturn], _TRAP)
