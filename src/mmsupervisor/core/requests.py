"""The supervisor's request handler (docs/reference/communicate.md §6, unblock.md §4 to §6)."""

from __future__ import annotations

from collections.abc import Callable

from mmsupervisor.abi.requests import (
    HEADER,
    HEADER_SIZE,
    REQUESTS,
    RESULT_OFFSET,
    REVISION,
    SIGNATURE,
    VERSION_INFO,
    Request,
)
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import RequestServed
from mmsupervisor.core.findings import make_finding
from mmsupervisor.core.lifecycle import lock
from mmsupervisor.core.memory_policy import fetch_policy
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.core.unblocked import UnblockParameters
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.status import Status, status_name

_COMM_ATTRIBUTES = Attribute.XP | Attribute.SP
_RUNTIME_DATA = 6


def serve_request(supervisor: Supervisor, buffer: int, size: int) -> tuple[int, int]:
    """Serve one request.

    Args:
        supervisor: The supervisor.
        buffer: Address of the payload in the supervisor's internal copy.
        size: Bytes of the payload.

    Returns:
        The handler's status and the payload's new size.
    """
    memory = supervisor.memory
    if size < HEADER_SIZE:
        return _answer(
            supervisor, "request", Status.INVALID_PARAMETER, size, f"a payload of {size} bytes has no header"
        )
    signature, revision, number, _, _ = HEADER.unpack(memory.read(buffer, HEADER_SIZE))
    if signature != SIGNATURE or revision != REVISION:
        memory.write_u64(buffer + RESULT_OFFSET, Status.INVALID_PARAMETER)
        _answer(supervisor, "request", Status.INVALID_PARAMETER, size, f"signature {signature:#x}, revision {revision}")
        return Status.SUCCESS, size
    memory.write_u64(buffer + RESULT_OFFSET, Status.ABORTED)
    declaration = REQUESTS.get(number) if number <= supervisor.profile.max_request_level else None
    if declaration is None:
        memory.write_u64(buffer + RESULT_OFFSET, Status.UNSUPPORTED)
        _answer(supervisor, f"request {number}", Status.UNSUPPORTED, size, "there is no such request")
        return Status.SUCCESS, size
    name = declaration.request.name
    if size < HEADER_SIZE + declaration.parameters:
        detail = f"{size - HEADER_SIZE} bytes of parameters, {declaration.parameters} are needed"
        return _answer(supervisor, name, Status.INVALID_PARAMETER, size, detail)
    try:
        size, detail = _SERVICES[declaration.request](supervisor, buffer, size)
        result = Status.SUCCESS
    except CoreError as error:
        result, detail = error.status, error.detail
    memory.write_u64(buffer + RESULT_OFFSET, result)
    _answer(supervisor, name, result, size, detail)
    return Status.SUCCESS, size


def _answer(supervisor: Supervisor, name: str, result: Status, size: int, detail: str) -> tuple[int, int]:
    supervisor.log.emit(RequestServed(name, status_name(result), detail))
    if result is not Status.SUCCESS:
        supervisor.report(make_finding("MM-2007", f"{detail} ({status_name(result)})", subject=name, status=result))
    return result, size


def _version(supervisor: Supervisor, buffer: int, size: int) -> tuple[int, str]:
    if not supervisor.lifecycle.initialised:
        raise CoreError(Status.ACCESS_DENIED, "the core is not initialised")
    profile = supervisor.profile
    info = VERSION_INFO.pack(profile.core_version, profile.core_patch_level, profile.max_request_level)
    supervisor.memory.write(buffer + HEADER_SIZE, info)
    return size, f"version {profile.core_version:#x}"


def _unblock(supervisor: Supervisor, buffer: int, size: int) -> tuple[int, str]:
    parameters = UnblockParameters.parse(supervisor.memory.read(buffer + HEADER_SIZE, UnblockParameters.SIZE))
    what = f"{parameters.pages} pages at {parameters.start:#x} for {parameters.identifier.label}"
    return size, f"{what}: {supervisor.unblocked.request(parameters)}"


def _fetch(supervisor: Supervisor, buffer: int, size: int) -> tuple[int, str]:
    if not supervisor.lifecycle.ready_to_lock:
        supervisor.reference_bug("isolation-policy.md §17.9", "fetching the policy locks the supervisor")
        status = lock(supervisor)
        if status is not Status.SUCCESS:
            raise CoreError(status, "locking failed")
    policy_size = fetch_policy(supervisor, buffer + HEADER_SIZE, size - HEADER_SIZE)
    return HEADER_SIZE + policy_size, f"policy of {policy_size} bytes"


def _update(supervisor: Supervisor, buffer: int, size: int) -> tuple[int, str]:
    if supervisor.lifecycle.ready_to_lock or supervisor.lifecycle.comm_moved:
        cause = "the supervisor is locked" if supervisor.lifecycle.ready_to_lock else "the buffers were moved before"
        raise CoreError(Status.ACCESS_DENIED, cause)
    raw = supervisor.memory.read(buffer + HEADER_SIZE, 4 * UnblockParameters.SIZE)
    blocks = [UnblockParameters.parse(raw[n : n + UnblockParameters.SIZE]) for n in range(0, len(raw), 56)]
    supervisor_status, user_status, supervisor_buffer, user_buffer = blocks
    for channel, wanted in ((supervisor.supervisor, supervisor_buffer), (supervisor.user, user_buffer)):
        _move(supervisor, wanted, channel.external, channel.pages)
        channel.external = wanted.start
    _move(supervisor, user_status, supervisor.user.status, 1)
    _move(supervisor, supervisor_status, supervisor.supervisor.status, 1)
    supervisor.user.status = user_status.start
    supervisor.supervisor.status = supervisor_status.start
    supervisor.lifecycle.comm_moved = True
    return size, "the comm buffers were moved"


def _move(supervisor: Supervisor, wanted: UnblockParameters, old: int, pages: int) -> None:
    """Open the new region by all unblock rules, then close the old one. Earlier moves stay if a later one fails."""
    if wanted.pages != pages or wanted.attribute != _COMM_ATTRIBUTES or wanted.type != _RUNTIME_DATA:
        raise CoreError(
            Status.SECURITY_VIOLATION,
            f"region at {wanted.start:#x}: pages {wanted.pages}, attribute {wanted.attribute:#x}, type {wanted.type}; "
            f"needed are {pages}, {int(_COMM_ATTRIBUTES):#x}, {_RUNTIME_DATA}",
        )
    supervisor.unblocked.request(wanted)
    supervisor.unblocked.block(old, pages)


_SERVICES: dict[Request, Callable[[Supervisor, int, int], tuple[int, str]]] = {
    Request.UNBLOCK_MEM: _unblock,
    Request.FETCH_POLICY: _fetch,
    Request.VERSION_INFO: _version,
    Request.COMM_UPDATE: _update,
}
