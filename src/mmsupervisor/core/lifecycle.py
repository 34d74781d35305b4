"""The supervisor's own lifecycle handlers: ready to lock, ExitBootServices (docs/reference/boot-flow.md §11)."""

from __future__ import annotations

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import CoreStep
from mmsupervisor.core.memory_policy import take_snapshot
from mmsupervisor.core.pages import Owner
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.pi.status import Status


def lock(supervisor: Supervisor) -> Status:
    """Do what ready to lock does, and return the handler's status.

    The dispatch and ready-to-lock handlers go, the cache of driver files is freed, the memory policy is
    recorded. The flag is set whatever the recording's status (docs/reference/boot-flow.md §11).
    """
    for handler in supervisor.lock_time_handlers:
        supervisor.handlers.unregister(handler.handle, user=False)
    supervisor.lock_time_handlers.clear()
    cache = supervisor.driver_cache
    if cache.pages:
        supervisor.pages.free(cache.address, cache.pages, Owner.USER)
        cache.pages = 0
    try:
        take_snapshot(supervisor)
        status = Status.SUCCESS
    except CoreError as error:
        supervisor.reference_bug("communicate.md §13.7", f"locking failed ({error}), and the flag is set anyway")
        status = error.status
    supervisor.lifecycle.ready_to_lock = True
    supervisor.log.emit(CoreStep(0, "ready to lock: unblocking and dispatch have ended"))
    return status


def serve_ready_to_lock(supervisor: Supervisor, _buffer: int, size: int) -> tuple[int, int]:
    """Serve the supervisor's ready-to-lock message."""
    return lock(supervisor), size


def serve_exit_boot_services(supervisor: Supervisor, _buffer: int, size: int) -> tuple[int, int]:
    """Serve the supervisor's ExitBootServices message; a second one changes nothing."""
    supervisor.lifecycle.runtime = True
    supervisor.log.emit(CoreStep(0, "ExitBootServices: the supervisor channel is closed"))
    return Status.SUCCESS, size
