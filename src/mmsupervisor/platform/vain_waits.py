"""Drivers that wait for what never comes: a dependency, or a milestone under its name in traditional SMM.

Facts: docs/reference/boot-flow.md §6.2, §11 and §12.10, developer-considerations.md §7 and its checker list, C12.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmsupervisor.core.entry import Core
from mmsupervisor.core.findings import Finding, make_finding
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.platform.driver_reports import read_protocols

_COME = frozenset(known_guid(name) for name in ("gEfiEventReadyToBootGuid", "gEfiEventExitBootServicesGuid"))
_NEVER_COME = tuple(
    known_guid(f"gEdkiiSmm{name}ProtocolGuid") for name in ("ReadyToBoot", "ExitBootServices", "LegacyBoot")
)


def never_dispatched(core: Core) -> Iterator[Finding]:
    """Find drivers whose dependency expression never became true."""
    for driver in core.dispatcher.never_dispatched():
        missing = [guid.label for guid in driver.depex.pushed if not core.dispatcher.sees(driver, guid)]
        detail = f"waits for {', '.join(missing)}" if missing else f"its expression is {driver.depex.infix}"
        yield make_finding("MM-2002", detail, subject=driver.name, rule="boot-flow.md §6.2")


def vain_waits(core: Core) -> Iterator[Finding]:
    """Find drivers that wait for traditional SMM's milestones and for none of the broker's own names for them.

    One that waits for both knows: source that is shared with a traditional driver does so. Beside traditional drivers,
    which a relaxation let in, both names come.
    """
    if core.supervisor.relaxations.outside is not None:
        return
    waits: dict[str, set[Guid]] = {}
    for protocol in read_protocols(core).protocols:
        for function in protocol.notifications:
            waits.setdefault(core.supervisor.modules.place(function).driver, set()).add(protocol.guid)
    for driver in core.dispatcher.drivers:
        wanted = waits.get(driver.name, set())
        if wanted & _COME:
            continue
        for guid in _NEVER_COME:
            if guid in wanted:
                detail = f"it waits for {guid.label}, which nobody installs"
                yield make_finding("MM-2012", detail, subject=driver.name, rule="boot-flow.md §11, §12.10")
