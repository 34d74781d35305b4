"""Both channels' buffers, mailboxes and copies in MMRAM, at the core's entry (boot-flow.md §4 step 12).

Each step that fails ends the core's entry point. The SMI handlers are in place by then: MMIs go on to reach the core.
It knows the mailboxes that it has adopted so far and takes both buffers for empty, so that every message is too long.
"""

from __future__ import annotations

from mmsupervisor.core.errors import CoreError, LaunchError
from mmsupervisor.core.inputs import CoreInputs
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.supervisor import CommChannel, Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.status import Status

_MOST_PAGES = 4096
"""More than 16 MiB is not allocated, whatever MMRAM there is."""

_DATA = PageType.RUNTIME_SERVICES_DATA


def prepare_comm_buffers(supervisor: Supervisor, inputs: CoreInputs) -> None:
    """Adopt the buffers that the HOBs name.

    Raises:
        LaunchError: a HOB is missing or wrong.
        CoreError: MMRAM is too small for the copies.
        SystemStopError: an ASSERT failed in a DEBUG build.
    """
    try:
        _prepare(supervisor, inputs)
    except CoreError:
        supervisor.supervisor.pages = supervisor.user.pages = 0
        raise


def _prepare(supervisor: Supervisor, inputs: CoreInputs) -> None:
    other = inputs.supervisor_comm()
    supervisor.reference_bug("boot-flow.md §12.3", "the comm buffers' place is judged by an address that is still 0")
    channel = supervisor.supervisor
    channel.external, channel.pages = other.address, other.pages
    channel.internal = _allocate_copy(supervisor, channel, Owner.SUPERVISOR, "supervisor comm buffer copy")
    if supervisor.slot is None:
        _adopt_mailbox(supervisor, channel, other.status, "supervisor")
    user = inputs.user_comm()
    if supervisor.slot is None:
        _judge_user_buffer(supervisor, user.address, user.pages)
    channel = supervisor.user
    channel.external, channel.pages = user.address, user.pages
    channel.internal = _allocate_copy(supervisor, channel, Owner.USER, "user comm buffer copy")
    if supervisor.slot is None:
        _adopt_mailbox(supervisor, channel, user.status, "user")
    supervisor.shared_page = supervisor.pages.allocate(1, _DATA, Owner.USER, "supervisor to user data")
    supervisor.memory.fill(supervisor.shared_page, PAGE_SIZE)


def _allocate_copy(supervisor: Supervisor, channel: CommChannel, owner: Owner, use: str) -> int:
    if not 0 < channel.pages <= _MOST_PAGES:
        raise LaunchError(Status.INVALID_PARAMETER, f"{use}: {channel.pages} pages")
    address = supervisor.pages.allocate(channel.pages, _DATA, owner, use)
    supervisor.memory.fill(address, channel.size)
    return address


def _is_outside(supervisor: Supervisor, address: int, size: int) -> bool:
    return address + size <= supervisor.memory.pages.limit and not supervisor.mmram.touches(address, size)


def _judge_user_buffer(supervisor: Supervisor, address: int, pages: int) -> None:
    if address == 0 or pages == 0:
        _fail(supervisor, Status.NOT_FOUND, f"gMmCommBufferHobGuid names {pages} pages at {address:#x}")
    if not _is_outside(supervisor, address, pages * PAGE_SIZE):
        _fail(supervisor, Status.BAD_BUFFER_SIZE, f"the user comm buffer at {address:#x} is not outside MMRAM")


def _fail(supervisor: Supervisor, status: Status, detail: str) -> None:
    supervisor.failed_assert("boot-flow.md §4 step 12", detail, subject="user comm buffer")
    raise LaunchError(status, detail)


def _adopt_mailbox(supervisor: Supervisor, channel: CommChannel, address: int, whose: str) -> None:
    if address == 0:
        raise LaunchError(Status.INVALID_PARAMETER, f"the {whose} mailbox has no address")
    if not _is_outside(supervisor, address, CommBufferStatus.SIZE):
        raise LaunchError(Status.SECURITY_VIOLATION, f"the {whose} mailbox at {address:#x} is not outside MMRAM")
    channel.status = address
