"""The memory policy: recorded at ready to lock, compared at every fetch (isolation-policy.md §12, §13)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.mmram import range_end
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.status import Status
from mmsupervisor.policy import memory_policy
from mmsupervisor.policy.memory_policy import PageLeaf, PolicyRequestError
from mmsupervisor.policy.model import PolicyBoundsError


def page_leaves(supervisor: Supervisor) -> Iterator[PageLeaf]:
    """Walk the live map as the reference walks its page table: present pages only, cut at MMRAM's borders."""
    borders = sorted(
        {edge for region in supervisor.mmram.ranges for edge in (region.physical_start, range_end(region))}
    )
    for piece in supervisor.memory.pages:
        attributes = piece.value.attributes
        if attributes & Attribute.RP:
            continue
        edges = [piece.start, *(edge for edge in borders if piece.start < edge < piece.end), piece.end]
        for start, end in pairwise(edges):
            writable = not attributes & Attribute.RO
            yield PageLeaf(start, end - start, writable, not attributes & Attribute.XP)


def take_snapshot(supervisor: Supervisor) -> None:
    """Record the memory policy.

    Raises:
        CoreError: OUT_OF_RESOURCES for more than 40 ranges, as in the reference.
    """
    try:
        supervisor.snapshot = memory_policy.memory_policy_snapshot(page_leaves(supervisor), supervisor.mmram.contains)
    except PolicyRequestError as error:
        raise CoreError(error.status, str(error)) from error


def fetch_policy(supervisor: Supervisor, destination: int, room: int) -> int:
    """Serve the fetch request: the firmware's policy, completed with the memory policy of now.

    Args:
        supervisor: The supervisor, locked.
        destination: Where the policy goes, in the supervisor's internal copy.
        room: Bytes there.

    Returns:
        Size of the policy written.

    Raises:
        CoreError: with the status of the step that failed (docs/reference/communicate.md §6.2).
    """
    channel = supervisor.supervisor
    if not channel.internal <= destination or destination + room > channel.internal + channel.size:
        raise CoreError(Status.SECURITY_VIOLATION, "the answer does not lie in the supervisor's comm buffer")
    if supervisor.policy_blob is None:
        raise CoreError(Status.SECURITY_VIOLATION, "there is no firmware policy")
    try:
        answer = memory_policy.fetch_policy(
            supervisor.policy_blob,
            supervisor.snapshot or b"",
            room,
            page_leaves(supervisor),
            supervisor.mmram.contains,
        )
    except PolicyRequestError as error:
        if error.status is Status.BUFFER_TOO_SMALL and room >= len(supervisor.policy_blob):
            supervisor.reference_bug("communicate.md §13.6", "24 bytes more are demanded than the policy takes")
        raise CoreError(error.status, str(error)) from error
    except (PolicyBoundsError, FormatError) as error:
        raise CoreError(Status.SECURITY_VIOLATION, str(error)) from error
    supervisor.memory.fill(destination, room)
    supervisor.memory.write(destination, answer)
    return len(answer)
