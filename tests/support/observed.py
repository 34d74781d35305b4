"""Debian's OVMF with its variable store, booted with every relaxation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from mmsupervisor.dxe.phases import Phase
from mmsupervisor.platform.description import DeviceFacts, PlatformDescription
from mmsupervisor.session import Session, boot
from tests.support.ovmf import Ovmf

CODE, VARIABLES = "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"


def flash_platform(ovmf: Ovmf, variables: str = VARIABLES) -> PlatformDescription:
    """A platform whose flash holds a variable store, and above it the booted image."""
    return PlatformDescription(devices=DeviceFacts(flash_variables=ovmf.path(variables)))


def observe(
    ovmf: Ovmf,
    until: Phase = Phase.READY_TO_BOOT,
    variables: str = VARIABLES,
    prepare: Callable[[Session], None] | None = None,
) -> Session:
    """Boot the image with its traditional drivers."""
    description = flash_platform(ovmf, variables)
    return boot(ovmf.path(CODE), description=description, observe=True, until=until, prepare=prepare)


@cache
def settled_store(ovmf: Ovmf) -> bytes:
    """The variable store after a first boot.

    Releases from 2025.11 on ship one that holds keys alone, and OVMF's drivers add the variables that they always keep.
    """
    with observe(ovmf) as session:
        assert session.devices.variables is not None
        return session.devices.variables.content
