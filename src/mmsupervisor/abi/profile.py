"""Profiles: the reference exists in generations that differ where a driver or a message can see it.

One value chooses among them and is named in every report (docs/architecture.md, "Profiles").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Launch(Enum):
    """By which launcher the core is started."""

    PEI = "pei"
    DXE = "dxe"


@dataclass(frozen=True, slots=True)
class Profile:
    """One generation of the reference, as a platform built it.

    Attributes:
        name: How it is chosen and named in reports.
        launch: The launcher.
        debug: Whether ASSERTs stop the system (DEBUG build).
        vectors: Exception vectors with a handler: 256 in the newest, 32 before.
        mmst_revision: Revision of ring 3's system table.
        closes_supervisor_channel: Whether ExitBootServices closes the supervisor channel.
        stack_pages: Pages of one ring-3 stack (docs/reference/syscall-abi.md §4).
        supervisor_comm_pages: Pages of the supervisor's comm buffer.
        user_comm_pages: Pages of the user's comm buffer.
        handler_profile: Bit 0 of PcdSmiHandlerProfilePropertyMask.
        block_startup_this_ap: PcdCpuSmmBlockStartupThisAp.
        max_request_level: Highest supervisor request.
        core_version: What the version request answers as Version.
        core_patch_level: What it answers as PatchLevel.
        core_image_pages: Pages set aside for the core's image, for which a placeholder stands.
    """

    name: str
    launch: Launch = Launch.PEI
    debug: bool = False
    vectors: int = 256
    mmst_revision: int = 0x0001_0050
    closes_supervisor_channel: bool = True
    stack_pages: int = 5
    supervisor_comm_pages: int = 16
    user_comm_pages: int = 16
    handler_profile: bool = False
    block_startup_this_ap: bool = False
    max_request_level: int = 4
    core_version: int = 0x0001_0000
    core_patch_level: int = 0x0001_0001
    core_image_pages: int = 0x60


NEWEST_RELEASE = Profile("newest-release")
"""The default: branch head of the fact sheet, RELEASE build, PEI launch."""

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        NEWEST_RELEASE,
        Profile("newest-debug", debug=True),
        Profile("q35", vectors=32, closes_supervisor_channel=False, stack_pages=7),
        Profile("dxe-launch", launch=Launch.DXE, vectors=32, closes_supervisor_channel=False, max_request_level=3),
    )
}
"""All profiles by name."""
