"""All findings of a session, in the order in which they are told."""

from __future__ import annotations

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.findings import Finding, make_finding
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.ipl.steps import LaunchFailedError
from mmsupervisor.platform.firmware import Firmware
from mmsupervisor.platform.traditional import refusals
from mmsupervisor.platform.vain_waits import never_dispatched, vain_waits
from mmsupervisor.platform.wiring import Platform

_OBSERVE = "The image has no MM Supervisor core. Observed (--observe), its traditional drivers run under ours."
_NOTHING = "The image has neither an MM Supervisor core nor traditional drivers; `mmsup info` says what it holds."


def all_findings(
    platform: Platform, stop: Finding | None, launch_failure: LaunchFailedError | None
) -> tuple[Finding, ...]:
    """Return the findings so far; what was in vain comes last: drivers never dispatched, waits never over.

    Args:
        platform: The platform.
        stop: What ended the system, or None.
        launch_failure: Why the launcher gave up, or None.
    """
    core = platform.core
    found = [] if core is None else list(core.supervisor.findings)
    if core is None and stop is not None:  # it died before it came up
        found.append(stop)
    if launch_failure is not None:
        found.append(_launch_failed(platform, launch_failure))
    if platform.firmware.damage:
        found.append(_damaged(platform.firmware))
    if Relaxation.TRADITIONAL_ENTRY not in platform.relaxations.active:
        found += refusals(platform.firmware.traditional)
    # A system that died while drivers were started had no time for the others.
    if core is not None and Phase.LAUNCHED in platform.world.reached:
        found += never_dispatched(core)
        found += vain_waits(core)
    return tuple(found)


def _launch_failed(platform: Platform, failure: LaunchFailedError) -> Finding:
    firmware, cause = platform.firmware, platform.core_failure
    detail = f"{failure}; the core: {cause}" if cause else str(failure)
    mend = ""
    if firmware.core is None:
        mend = _OBSERVE if firmware.traditional else _NOTHING
    return make_finding("MM-2009", detail, subject=firmware.name, rule=failure.rule, mend=mend, status=failure.status)


def _damaged(firmware: Firmware) -> Finding:
    first, *more = firmware.damage
    place = f"{first.part.removeprefix(firmware.name).lstrip('!')} {first.offset:#x}".strip()
    detail = f"at {place}: {first.rule}" + (f", and {len(more)} more" if more else "")
    return make_finding("MM-2013", detail, subject=firmware.name, rule=first.kind.source)
