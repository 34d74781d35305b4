"""MM Supervisor in Python: management mode run, policed and explained on an ordinary computer.

:func:`boot` is where to begin. What stands here is loaded when it is first used, so that ``import mmsupervisor`` costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsupervisor.core.findings import SystemStopError
    from mmsupervisor.dxe.phases import Phase
    from mmsupervisor.pi.errors import MmSupervisorError
    from mmsupervisor.pi.guid import Guid
    from mmsupervisor.session import Session, boot, boot_driver

__version__ = "0.1.0"

__all__ = [
    "Guid",
    "MmSupervisorError",
    "Phase",
    "Session",
    "SystemStopError",
    "__version__",
    "boot",
    "boot_driver",
]

_HOMES = {
    "Guid": "mmsupervisor.pi.guid",
    "MmSupervisorError": "mmsupervisor.pi.errors",
    "Phase": "mmsupervisor.dxe.phases",
    "Session": "mmsupervisor.session",
    "SystemStopError": "mmsupervisor.core.findings",
    "boot": "mmsupervisor.session",
    "boot_driver": "mmsupervisor.session",
}
"""Where what stands here is from."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
