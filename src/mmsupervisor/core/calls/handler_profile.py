"""The handler-profile calls: one registration told in two calls (docs/reference/syscall-abi.md §7.2).

All four share one global holder; the second call of a pair must name an equal GUID.
"""

from __future__ import annotations

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.gate import Service
from mmsupervisor.core.ownership import is_user_range
from mmsupervisor.core.ring0 import read_as_ring0
from mmsupervisor.core.supervisor import ProfileRecord, ProfileRequest, Supervisor
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.status import Status


def _require_enabled(supervisor: Supervisor) -> None:
    if not supervisor.profile.handler_profile:
        raise CoreError(Status.UNSUPPORTED, "the handler profile is switched off")


def _begin(call: CallNumber) -> Service:
    def serve(supervisor: Supervisor, guid: int, handler: int, caller: int) -> int:
        _require_enabled(supervisor)
        name = Guid(read_as_ring0(supervisor.memory, guid, GUID_SIZE))
        supervisor.profile_request = ProfileRequest(call, name, handler, caller)
        return 0

    return serve


def _take_request(supervisor: Supervisor, first: CallNumber, guid: int) -> ProfileRequest:
    _require_enabled(supervisor)
    request = supervisor.profile_request
    if (
        request is None
        or request.call is not first
        or request.guid.raw != read_as_ring0(supervisor.memory, guid, GUID_SIZE)
    ):
        raise CoreError(Status.NOT_STARTED, f"not after {first.name} with an equal GUID")
    supervisor.profile_request = None
    return request


def _require_context(supervisor: Supervisor, context: int, size: int) -> None:
    """Refuse a context that is not ring 3's, and one without a size or a size without one."""
    if context and not is_user_range(supervisor.memory, context, size):
        raise CoreError(Status.SECURITY_VIOLATION, f"the context at {context:#x} + {size:#x} is not ring 3's")
    if size and not context:
        raise CoreError(Status.INVALID_PARAMETER, f"a context of {size} bytes at address 0")


def _complete_registration(supervisor: Supervisor, guid: int, context: int, size: int) -> int:
    request = _take_request(supervisor, CallNumber.SMM_MM_HDL_REG_1, guid)
    _require_context(supervisor, context, size)
    data = read_as_ring0(supervisor.memory, context, size) if context else b""
    supervisor.profile_records.append(ProfileRecord(request.guid, request.handler, request.caller, data))
    return 0


def _complete_removal(supervisor: Supervisor, guid: int, context: int, size: int) -> int:
    """Remove the first record of a handler with the context; without one, whatever its context is."""
    request = _take_request(supervisor, CallNumber.SMM_MM_HDL_UNREG_1, guid)
    _require_context(supervisor, context, size)
    for record in supervisor.profile_records:
        if (record.guid, record.handler) != (request.guid, request.handler):
            continue
        if context and (
            len(record.context) != size or read_as_ring0(supervisor.memory, context, size) != record.context
        ):
            continue
        supervisor.profile_records.remove(record)
        return 0
    raise CoreError(Status.NOT_FOUND, f"no handler-profile record of {request.guid.label} has that handler and context")


SERVICES: dict[CallNumber, Service] = {
    CallNumber.SMM_MM_HDL_REG_1: _begin(CallNumber.SMM_MM_HDL_REG_1),
    CallNumber.SMM_MM_HDL_REG_2: _complete_registration,
    CallNumber.SMM_MM_HDL_UNREG_1: _begin(CallNumber.SMM_MM_HDL_UNREG_1),
    CallNumber.SMM_MM_HDL_UNREG_2: _complete_removal,
}
"""The two pairs."""
