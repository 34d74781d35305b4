"""MM Supervisor in Python: management mode run, policed and explained on an ordinary computer.

:func:`boot` is where to begin; it is loaded when it is first used, so that ``import mmsupervisor`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsupervisor.session import Session, boot, boot_driver

__version__ = "0.1.0"

__all__ = ["Session", "__version__", "boot", "boot_driver"]


def __getattr__(name: str) -> Any:
    if name in ("Session", "boot", "boot_driver"):
        from mmsupervisor import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
