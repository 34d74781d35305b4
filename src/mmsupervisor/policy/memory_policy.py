"""The memory part of the policy: made from the page table, kept as a snapshot, compared when it is fetched.

Facts: ``docs/reference/isolation-policy.md`` §12 and §13. All functions are pure: bytes and an abstract page walk in,
bytes out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import ENTRY_LAYOUTS, read_blob_as_runtime
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.model import (
    POLICY_HEADER_SIZE,
    POLICY_ROOT_SIZE,
    AccessAttr,
    Attribute,
    PolicyBoundsError,
    RootType,
)

SNAPSHOT_SIZE = 0x400
"""Bytes of the snapshot's buffer."""

SNAPSHOT_CAPACITY = 40
"""Memory descriptors that a snapshot holds; one more is EFI_OUT_OF_RESOURCES."""

NO_MEMORY_BASE = 0xDEAD_BEEF
"""Base address of the one descriptor of a memory policy that reports nothing."""

REQUEST_HEADER_SIZE = 24
"""Bytes of the supervisor request header, which the fetch adds to what it asks of the buffer."""

_MEM = ENTRY_LAYOUTS[RootType.MEM]
_U32 = struct.Struct("<I")
_SIZE, _MEMORY_COUNT, _ROOT_OFFSET, _ROOT_COUNT = 0x04, 0x0C, 0x20, 0x24
_ROOT_HEAD = struct.Struct("<IIIIIB")


class PolicyRequestError(MmSupervisorError):
    """Making, comparing or fetching the memory policy failed as it does in the reference.

    Attributes:
        status: What the reference returns.
    """

    def __init__(self, status: Status, why: str) -> None:
        """Record status and clause."""
        self.status = status
        super().__init__(f"{status.efi_name}: {why}")


@dataclass(frozen=True, slots=True)
class PageLeaf:
    """A leaf of the page table, in the order of the walk (PML4, PDPT, PD, PT index ascending).

    Attributes:
        address: Physical address that the leaf maps.
        size: 4 KiB, 2 MiB or 1 GiB, in bytes.
        writable: R/W is set at every level.
        executable: NX is clear at every level.
        present: The leaf and all tables above it are present.
    """

    address: int
    size: int
    writable: bool
    executable: bool
    present: bool = True

    @property
    def attributes(self) -> int:
        """The access that it allows, as descriptor attributes: reading always."""
        writing = Attribute.WRITE if self.writable else 0
        return Attribute.READ | writing | (Attribute.EXECUTE if self.executable else 0)


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """One memory descriptor: ``size`` bytes at ``base`` with the same attributes."""

    base: int
    size: int
    attributes: int


_ZEROED_BYTES = 0x10_0000
"""How much of the zeroed room behind a fetched policy is modelled at once; descriptors make more as they need it."""

InsideMmram = Callable[[int, int], bool]
"""IsBufferInsideMmram of an address and a length in bytes, with the quirks of ``memory.md`` §8.1."""


def memory_ranges(leaves: Iterable[PageLeaf], inside_mmram: InsideMmram) -> Iterator[MemoryRange]:
    """Merge the leaves that are reported into ranges (§12).

    Left out is what is not present or lies fully inside MMRAM. A leaf extends the range before it only if it follows
    it at once, in the walk and in memory, with the same attributes.
    """
    current: MemoryRange | None = None
    for leaf in leaves:
        if not leaf.present or inside_mmram(leaf.address, leaf.size):
            continue
        attributes = int(leaf.attributes)
        if current and current.base + current.size == leaf.address and current.attributes == attributes:
            current = MemoryRange(current.base, current.size + leaf.size, attributes)
            continue
        if current:
            yield current
        current = MemoryRange(leaf.address, leaf.size, attributes)
    if current:
        yield current


def populate_memory_policy(
    buffer: bytes, max_size: int, leaves: Iterable[PageLeaf], inside_mmram: InsideMmram
) -> bytes:
    """Fill in the MEM root of a policy (PopulateMemoryPolicyEntries).

    The reference writes where the MEM root's Offset says, even over other descriptors (§17.8), and lets the last
    descriptor stick out of the buffer by up to 22 bytes; so the result may be longer than ``max_size``.

    Args:
        buffer: The policy and whatever room follows it.
        max_size: What the caller says the buffer holds, in bytes.
        leaves: The page walk.
        inside_mmram: Whether a leaf lies in MMRAM.

    Returns:
        The buffer, as long as it was or longer; its policy ends at the new Size.

    Raises:
        PolicyRequestError: EFI_NOT_FOUND without a MEM root; EFI_OUT_OF_RESOURCES when the descriptors do not fit.
        PolicyBoundsError: the roots or the MEM root's Offset lie outside the buffer, or the descriptors would overwrite
            the header or the roots.
    """
    out = bytearray(buffer)
    at = _find_mem_root(out)
    if at is None:
        raise PolicyRequestError(Status.NOT_FOUND, "the policy has no MEM root")
    offset = _get(out, at + 12) or _get(out, _SIZE)
    ranges = list(memory_ranges(leaves, inside_mmram))
    _check_room(out, offset, len(ranges), max_size)
    count = max(len(ranges), 1)
    out.extend(bytes(max(offset + count * _MEM.size - len(out), 0)))
    struct.pack_into("<Q", out, offset, NO_MEMORY_BASE)
    for number, one in enumerate(ranges):
        _MEM.pack_into(out, offset + number * _MEM.size, one.base, one.size, one.attributes, 0)
    _ROOT_HEAD.pack_into(out, at, 1, POLICY_ROOT_SIZE, RootType.MEM, offset, count, AccessAttr.ALLOW)
    _U32.pack_into(out, _SIZE, offset + _MEM.size * count)
    _U32.pack_into(out, _MEMORY_COUNT, 0)
    return bytes(out)


def _check_room(data: bytearray, offset: int, count: int, max_size: int) -> None:
    """Refuse descriptors that do not fit, and those that would change the header or the roots under the walk.

    The reference finds that a descriptor does not fit after it has written it. Nothing is written here.

    Raises:
        PolicyRequestError: EFI_OUT_OF_RESOURCES.
        PolicyBoundsError: the descriptors would overwrite the header or the roots, or the one of an empty memory policy
            would lie outside the buffer.
    """
    boundary = max_size - 1
    last = offset + (count - 1) * _MEM.size
    if count and last >= boundary:
        raise PolicyRequestError(
            Status.OUT_OF_RESOURCES, f"{count} memory descriptors at {offset:#x} of a buffer of {max_size:#x} bytes"
        )
    if not count and offset >= boundary:
        raise PolicyBoundsError("policy", f"a memory descriptor at {offset:#x} of a buffer of {max_size:#x} bytes")
    roots_end = _get(data, _ROOT_OFFSET) + _get(data, _ROOT_COUNT) * POLICY_ROOT_SIZE
    if offset < max(POLICY_HEADER_SIZE, roots_end) and (
        offset < POLICY_HEADER_SIZE or offset + max(count, 1) * _MEM.size > _get(data, _ROOT_OFFSET)
    ):
        raise PolicyBoundsError("policy", f"memory descriptors at {offset:#x} lie over the header or the roots")


def _get(data: bytes | bytearray, offset: int) -> int:
    if offset + 4 > len(data):
        raise PolicyBoundsError("policy", f"a field at {offset:#x} of {len(data):#x} bytes")
    return int(_U32.unpack_from(data, offset)[0])


def _find_mem_root(data: bytes | bytearray) -> int | None:
    """Offset of the first MEM root; None if there is none."""
    first, count = _get(data, _ROOT_OFFSET), _get(data, _ROOT_COUNT)
    for number in range(count):
        at = first + number * POLICY_ROOT_SIZE
        if at + POLICY_ROOT_SIZE > len(data):
            raise PolicyBoundsError("policy", f"root {number} at {at:#x} of {len(data):#x} bytes")
        if _get(data, at + 8) == RootType.MEM:
            return at
    return None


def memory_policy_snapshot(leaves: Iterable[PageLeaf], inside_mmram: InsideMmram) -> bytes:
    """The snapshot that ready to lock takes (§13): a header with nothing but its root, and the memory descriptors.

    Returns:
        The whole buffer of :data:`SNAPSHOT_SIZE` bytes.

    Raises:
        PolicyRequestError: EFI_OUT_OF_RESOURCES beyond :data:`SNAPSHOT_CAPACITY` descriptors.
    """
    buffer = bytearray(SNAPSHOT_SIZE)
    _U32.pack_into(buffer, _ROOT_COUNT, 1)
    _U32.pack_into(buffer, _ROOT_OFFSET, POLICY_HEADER_SIZE)
    _U32.pack_into(buffer, _SIZE, POLICY_HEADER_SIZE + POLICY_ROOT_SIZE)
    _U32.pack_into(buffer, POLICY_HEADER_SIZE + 8, RootType.MEM)
    return populate_memory_policy(bytes(buffer), SNAPSHOT_SIZE, leaves, inside_mmram)


def same_memory_policy(one: bytes, other: bytes) -> bool:
    """Whether two policies agree about memory (CompareMemoryPolicy).

    Both need a MEM root; Version, PolicyRootSize, AccessAttr and Count are compared, then the descriptors' bytes.

    Raises:
        PolicyBoundsError: roots or descriptors lie outside the bytes given.
    """
    roots = []
    for data in (one, other):
        at = _find_mem_root(data)
        if at is None:
            return False
        version, size, _, offset, count, access = _ROOT_HEAD.unpack_from(data, at)
        roots.append(((version, size, access, count), data, offset))
    (fields, left, left_at), (other_fields, right, right_at) = roots
    if fields != other_fields:
        return False
    length = fields[3] * _MEM.size
    if max(left_at + length - len(left), right_at + length - len(right)) > 0:
        raise PolicyBoundsError("policy", f"{fields[3]} memory descriptors do not lie inside")
    return left[left_at : left_at + length] == right[right_at : right_at + length]


def fetch_policy(
    firmware: bytes, snapshot: bytes, max_size: int, leaves: Iterable[PageLeaf], inside_mmram: InsideMmram
) -> bytes:
    """Steps 5 to 8 of the fetch request (§13): the firmware's policy completed with today's memory policy.

    Args:
        firmware: The firmware policy, at least Size bytes.
        snapshot: What ready to lock kept.
        max_size: Bytes that the caller's buffer holds for the policy.
        leaves: The page walk of now.
        inside_mmram: Whether a leaf lies in MMRAM.

    Returns:
        The policy, Size bytes of it.

    Raises:
        PolicyRequestError: EFI_BUFFER_TOO_SMALL, the errors of :func:`populate_memory_policy`, or
            EFI_SECURITY_VIOLATION when memory is not what the snapshot says or the policy does not pass the check.
        PolicyBoundsError: a list lies outside the policy.
        FormatError: the firmware policy's Size is beyond its bytes.
    """
    size = read_blob_as_runtime(firmware).size
    if max_size < REQUEST_HEADER_SIZE + size:
        raise PolicyRequestError(Status.BUFFER_TOO_SMALL, f"a policy of {size:#x} bytes, room for {max_size:#x}")
    room = firmware[:size] + bytes(min(max_size - size, _ZEROED_BYTES))
    combined = populate_memory_policy(room, max_size, leaves, inside_mmram)
    if not same_memory_policy(combined, snapshot):
        raise PolicyRequestError(Status.SECURITY_VIOLATION, "the memory policy changed since ready to lock")
    if violation := security_policy_check(read_blob_as_runtime(combined)):
        raise PolicyRequestError(Status.SECURITY_VIOLATION, str(violation))
    return combined[: _get(combined, _SIZE)]
