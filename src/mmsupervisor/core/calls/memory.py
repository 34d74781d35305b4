"""Pages, and questions about memory (docs/reference/syscall-abi.md §7.2, memory.md §2, §8)."""

from __future__ import annotations

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.gate import Service
from mmsupervisor.core.ownership import is_user_range
from mmsupervisor.core.pages import AllocateType, Owner, PageType
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.pi.status import Status

_GUID_SIZE = 16
_ADDRESS_LIMIT = 1 << 64
_ANY_PAGES = "Allocate with AllocateAnyPages: the address that a caller wants never reaches the supervisor."


def _allocate_pages(supervisor: Supervisor, kind: int, memory_type: int, pages: int) -> int:
    if supervisor.current_cpu != 0:
        raise CoreError(Status.ACCESS_DENIED, "called on an application processor")
    code = memory_type == PageType.RUNTIME_SERVICES_CODE
    if code and not supervisor.relaxations.permits(Relaxation.CODE_PAGES):
        raise CoreError(Status.UNSUPPORTED, "ring 3 cannot allocate RuntimeServicesCode")
    if not code and memory_type != PageType.RUNTIME_SERVICES_DATA:
        raise CoreError(Status.INVALID_PARAMETER, f"memory type {memory_type} is not RuntimeServicesData (6)")
    if pages << 12 >= _ADDRESS_LIMIT:
        raise CoreError(Status.OUT_OF_RESOURCES, f"{pages:#x} pages are more than there is")
    wants_address = kind in (AllocateType.MAX_ADDRESS, AllocateType.ADDRESS)
    if wants_address:
        supervisor.reference_bug("syscall-abi.md §11.2", "the address that the caller wants is never passed on")
    module = supervisor.log.driver or "ring 3"
    if code:
        detail = f"{pages} pages that are writable and executable"
        supervisor.relaxations.note(supervisor.log, Relaxation.CODE_PAGES, supervisor.place, detail)
    use = f"ring-3 {'code' if code else 'data'}, allocated by {module}"
    try:
        return supervisor.pages.allocate(pages, PageType(memory_type), Owner.USER, use, kind=kind)
    except CoreError as error:
        error.mend = _ANY_PAGES if wants_address else ""
        raise


def _free_pages(supervisor: Supervisor, address: int, pages: int, _a3: int) -> int:
    size = pages << 12
    if size >= _ADDRESS_LIMIT:
        raise CoreError(Status.SECURITY_VIOLATION, f"{pages:#x} pages wrap")
    try:
        user = is_user_range(supervisor.memory, address, size)
    except CoreError as error:
        raise CoreError(Status.SECURITY_VIOLATION, error.detail) from error
    if not user:
        raise CoreError(Status.SECURITY_VIOLATION, f"{pages} pages at {address:#x} are the supervisor's")
    if not supervisor.pages.free(address, pages, Owner.USER):
        supervisor.reference_bug(
            "memory.md surprise 11", f"pages at {address:#x} of another owner: success, nothing freed"
        )
    return 0


def _is_unblocked(supervisor: Supervisor, address: int, length: int, _a3: int) -> int:
    if not supervisor.unblocked.is_outside_and_open(address, length):
        return 0
    # The reference asks for the owner of the first 16 bytes only (memory.md, surprise 1).
    try:
        first = is_user_range(supervisor.memory, address, _GUID_SIZE)
    except CoreError:
        return 0
    if not first:
        return 0
    try:
        whole = is_user_range(supervisor.memory, address, length)
    except CoreError:
        whole = False
    if not whole:
        supervisor.reference_bug("memory.md surprise 1", f"{address:#x} + {length:#x}: 16 bytes were judged")
    return 1


def _is_comm_buffer(supervisor: Supervisor, address: int, length: int, _a3: int) -> int:
    channel = supervisor.user
    inside = channel.internal <= address and address + length <= channel.internal + channel.size
    return Status.SUCCESS if inside and channel.internal else Status.SECURITY_VIOLATION


SERVICES: dict[CallNumber, Service] = {
    CallNumber.SMM_ALOC_PAGE: _allocate_pages,
    CallNumber.SMM_FREE_PAGE: _free_pages,
    CallNumber.SMM_MM_UNBLOCKED: _is_unblocked,
    CallNumber.SMM_MM_IS_COMM_BUFF: _is_comm_buffer,
}
"""The page services and the two questions."""
