"""The services behind the system calls, one module a group.

:data:`SERVICES` is complete: a test holds it against the table of ``abi.system_calls``.
"""

from __future__ import annotations

from mmsupervisor.core.calls import handler_profile, hardware, memory, registration, save_state
from mmsupervisor.core.gate import Service

SERVICES: dict[int, Service] = {
    int(number): service
    for group in (
        hardware.SERVICES,
        memory.SERVICES,
        registration.SERVICES,
        save_state.SERVICES,
        handler_profile.SERVICES,
    )
    for number, service in group.items()
}
"""Every served call's service by number."""
