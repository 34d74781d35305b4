"""What the broker may do before it has registered itself (docs/reference/developer-considerations.md §6).

Until SMM_REG_HDL_JMP there is no MM system table and no pool: library constructors may ask for the HOB list
and talk to a serial port by system call, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmsupervisor.abi.system_calls import CallNumber

REGISTRATION = CallNumber.SMM_REG_HDL_JMP
"""The call that ends the constructors' time."""

ALLOWED_BEFORE = frozenset({CallNumber.SMM_QRY_HOB, CallNumber.SMM_SC_IO_READ, CallNumber.SMM_SC_IO_WRITE})
"""Calls that library constructors may make."""


def early_calls(calls: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the broker's calls before its registration that the design does not allow.

    Args:
        calls: Names of all its system calls, in order.
    """
    allowed = {call.name for call in ALLOWED_BEFORE}
    early = []
    for call in calls:
        if call == REGISTRATION.name:
            break
        if call not in allowed:
            early.append(call)
    return tuple(early)
