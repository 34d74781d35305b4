"""Why an emulator's engine came to a stop."""

from __future__ import annotations

from enum import Enum, auto


class Stop(Enum):
    """Why a run came to an end."""

    SYSCALL = auto()
    TRAPPED = auto()
    EXCEPTION = auto()
    INVALID = auto()
    DENIED = auto()
    BUDGET = auto()
    REACHED = auto()
    BROKEN = auto()
