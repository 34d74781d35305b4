"""The phases of a boot, in the order of a device (docs/reference/boot-flow.md §0, §11)."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """How far a boot has come. Members are in the order of today's launch; see :data:`DXE_LAUNCH_ORDER`.

    Attributes:
        LAUNCHED: The core is up, every driver that could start has started.
        END_OF_PEI: PEI is over; ring 3 was told, if it was there.
        DXE: The DXE side of the supervisor is up; comm buffers are where they stay.
        END_OF_DXE: All DXE drivers that matter have run.
        READY_TO_LOCK: The supervisor is locked: nothing more is unblocked.
        READY_TO_BOOT: The boot manager chooses.
        EXIT_BOOT_SERVICES: The operating system runs; the supervisor channel is closed.
    """

    LAUNCHED = "launched"
    END_OF_PEI = "end-of-pei"
    DXE = "dxe"
    END_OF_DXE = "end-of-dxe"
    READY_TO_LOCK = "ready-to-lock"
    READY_TO_BOOT = "ready-to-boot"
    EXIT_BOOT_SERVICES = "exit-boot-services"

    @property
    def order(self) -> int:
        """Position in the order of today's launch, from 0."""
        return list(Phase).index(self)


PEI_LAUNCH_ORDER = tuple(Phase)
"""The phases of today's launch, in PEI."""

DXE_LAUNCH_ORDER = (
    Phase.END_OF_PEI,
    Phase.LAUNCHED,
    *(phase for phase in Phase if phase not in (Phase.END_OF_PEI, Phase.LAUNCHED)),
)
"""The phases of the old launch: PEI is over when it begins (docs/reference/dxe-launch.md)."""
