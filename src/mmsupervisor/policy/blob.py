"""The v1.0 policy blob: three readers, one writer, and the tool's layout.

Header, 0x28 bytes, little-endian (``docs/reference/isolation-policy.md`` §2.1):

======  ====  ==================
offset  size  field
======  ====  ==================
0x00    2     VersionMinor
0x02    2     VersionMajor
0x04    4     Size
0x08    4     MemoryPolicyOffset
0x0C    4     MemoryPolicyCount
0x10    4     Flags
0x14    4     Capabilities
0x18    8     Reserved
0x20    4     PolicyRootOffset
0x24    4     PolicyRootCount
======  ====  ==================

Root, 0x18 bytes (§2.2): u32 Version, u32 PolicyRootSize, u32 Type, u32 Offset, u32 Count, u8 AccessAttr, 3 reserved.

Descriptors (§2.3): MEM u64 base, u64 size, u32 attributes, u32 reserved; IO u16 port, u16 length, u16 attributes,
u16 reserved; MSR u32 address, u16 length, u16 attributes; INSTRUCTION u16 index, u16 attributes, u32 reserved;
SAVE_STATE u32 field, u32 attributes, u32 condition, u32 reserved.

A blob says where its roots and descriptors are, and the supervisor believes it. So lists may share bytes, leave gaps
or run out of the blob; the model keeps all of it and :func:`write_blob` puts every byte back.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from operator import attrgetter

from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.policy.layout import PolicyLayoutError, join_pieces, uncovered
from mmsupervisor.policy.model import (
    ENTRY_TYPES,
    POLICY_HEADER_SIZE,
    POLICY_ROOT_SIZE,
    AccessAttr,
    Entry,
    Extra,
    MemEntry,
    Place,
    Policy,
    PolicyRoot,
    RootType,
)

_SHEET = "isolation-policy.md §2"
_HEADER = struct.Struct("<HHIIIIIQII")
_ROOT = struct.Struct("<IIIIIB3s")
_LEGACY_MEM = struct.Struct("<IIIQQI")

ENTRY_LAYOUTS: dict[int, struct.Struct] = {
    RootType.MEM: struct.Struct("<QQII"),
    RootType.IO: struct.Struct("<HHHH"),
    RootType.MSR: struct.Struct("<IHH"),
    RootType.INSTRUCTION: struct.Struct("<HHI"),
    RootType.SAVE_STATE: struct.Struct("<IIII"),
}
"""Layout of each descriptor; the values are in the order of the model's fields."""

_VALUES = {
    kind: attrgetter(*(one.name for one in fields(made) if one.name != "place")) for kind, made in ENTRY_TYPES.items()
}

FIRST_V1_0_VERSION = 0x0001_0000
"""The first u32 of a v1.0 blob is at least this; anything smaller is a legacy blob."""

HEADER_SIZE_FIELD = 0x04
ROOT_OFFSET_FIELD = 0x20
MEMORY_OFFSET_FIELD = 0x08
"""Offsets of header fields that messages and patches point at, in bytes."""


def read_blob(data: bytes, file: str = "policy", allowance: Allowance | None = None) -> Policy:
    """Read a v1.0 blob and refuse one whose lists do not lie inside it.

    Args:
        data: The blob. Bytes after its Size are kept.
        file: Its name in messages and places.
        allowance: Bounds for hostile input.

    Raises:
        FormatError: the header is cut short, the blob is a legacy one, or Size, the roots or a list of descriptors
            lie outside the bytes given.
    """
    reader = Reader(data, file)
    if reader.u32(0, "policy version") < FIRST_V1_0_VERSION:
        raise reader.error(0, f"version {reader.u32(0, 'version'):#x} is a legacy policy, not v1.0", _SHEET)
    policy = read_within(reader, len(data), allowance)
    if policy.size > len(data):
        raise reader.error(
            HEADER_SIZE_FIELD, f"Size {policy.size:#x} is beyond the blob's {len(data):#x} bytes", _SHEET
        )
    if len(policy.roots) < policy.root_count:
        raise reader.error(
            ROOT_OFFSET_FIELD, f"{policy.root_count} roots at {policy.root_offset:#x} run out of the blob", _SHEET
        )
    for root in policy.roots:
        if root.lies_outside:
            place = root.place.offset if root.place and root.place.offset is not None else 0
            raise reader.error(place + 12, f"{root.count} descriptors at {root.offset:#x} run out of the blob", _SHEET)
    return policy


def read_blob_as_runtime(section: bytes, file: str = "policy", allowance: Allowance | None = None) -> Policy:
    """Read a blob as the supervisor at run time sees it: any version, offsets and counts believed.

    Lists are read as far as they lie within Size; a decision that would walk further raises
    :class:`~mmsupervisor.policy.model.PolicyBoundsError`.

    Args:
        section: Content of the firmware file's RAW section; bytes after Size are ignored by walks, and kept.
        file: Its name in messages and places.
        allowance: Bounds for hostile input.

    Raises:
        FormatError: fewer than 40 bytes; or Size is larger than the section, which the reference answers with
            EFI_BAD_BUFFER_SIZE (``isolation-policy.md`` §11); or Size does not even cover the header.
    """
    reader = Reader(section, file)
    size = reader.u32(HEADER_SIZE_FIELD, "policy Size")
    if size > len(section):
        raise reader.error(
            HEADER_SIZE_FIELD,
            f"Size {size:#x} is beyond the section's {len(section):#x} bytes: EFI_BAD_BUFFER_SIZE",
            "isolation-policy.md §11",
        )
    if size < POLICY_HEADER_SIZE:
        raise reader.error(HEADER_SIZE_FIELD, f"Size {size:#x} does not cover the header", _SHEET)
    return read_within(reader, size, allowance)


def read_within(reader: Reader, bound: int, allowance: Allowance | None = None) -> Policy:
    """Read everything that lies below ``bound``; what is declared beyond stays declared.

    Args:
        reader: The blob.
        bound: End of the policy in bytes, not beyond the blob's end.
        allowance: Bounds for hostile input.

    Raises:
        FormatError: the blob does not hold a header.
    """
    allowance = allowance or Allowance()
    minor, major, size, mem_offset, mem_count, flags, caps, reserved, root_offset, root_count = reader.unpack(
        _HEADER, 0, "policy header"
    )
    inside = _fit(root_offset, root_count, POLICY_ROOT_SIZE, bound)
    allowance.take_items(inside, reader.file, ROOT_OFFSET_FIELD)
    roots = tuple(_read_root(reader, root_offset + i * POLICY_ROOT_SIZE, bound, allowance) for i in range(inside))
    policy = Policy(
        roots,
        major,
        minor,
        size,
        mem_offset,
        mem_count,
        flags,
        caps,
        reserved,
        root_offset,
        root_count,
        (),
        reader.file,
    )
    return replace(policy, extras=uncovered(_spans(policy), bytes(reader.data)))


def _fit(offset: int, count: int, size: int, bound: int) -> int:
    """How many of ``count`` items of ``size`` bytes at ``offset`` end at or below ``bound``."""
    return min(count, max(bound - offset, 0) // size)


def _read_root(reader: Reader, at: int, bound: int, allowance: Allowance) -> PolicyRoot:
    version, root_size, kind, offset, count, access, reserved = reader.unpack(_ROOT, at, "policy root")
    entries: tuple[Entry, ...] = ()
    if kind in ENTRY_LAYOUTS:
        layout = ENTRY_LAYOUTS[kind]
        inside = _fit(offset, count, layout.size, bound)
        allowance.take_items(inside, reader.file, at + 16)
        entries = tuple(_read_entries(reader, kind, offset, inside))
    place = Place(reader.file, at)
    return PolicyRoot(kind, access, entries, version, root_size, offset, count, reserved, place)


def _read_entries(reader: Reader, kind: int, offset: int, count: int) -> Iterable[Entry]:
    if not count:  # an empty list may point anywhere
        return
    layout = ENTRY_LAYOUTS[kind]
    make: Callable[..., Entry] = ENTRY_TYPES[kind]
    view = reader.view(offset, count * layout.size, "policy descriptors")
    for index, values in enumerate(layout.iter_unpack(view)):
        yield make(*values, Place(reader.file, offset + index * layout.size))


def _pieces(policy: Policy) -> Iterable[tuple[int, bytes]]:
    """The blob's fields as (offset, bytes), header first."""
    yield (
        0,
        _HEADER.pack(
            policy.version_minor,
            policy.version_major,
            policy.size,
            policy.memory_policy_offset,
            policy.memory_policy_count,
            policy.flags,
            policy.capabilities,
            policy.reserved,
            policy.root_offset,
            policy.root_count,
        ),
    )
    for index, root in enumerate(policy.roots):
        packed = _ROOT.pack(
            root.version, root.root_size, root.type, root.offset, root.count, root.access_attr, root.reserved
        )
        yield policy.root_offset + index * POLICY_ROOT_SIZE, packed
        if root.entries:
            yield root.offset, pack_entries(root.entries)


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """The descriptors' bytes, one behind the other, in their v1.0 form.

    Raises:
        PolicyLayoutError: a value does not fit its field.
    """
    chunks = []
    for entry in entries:
        try:
            chunks.append(ENTRY_LAYOUTS[entry.KIND].pack(*_VALUES[entry.KIND](entry)))
        except struct.error as error:
            raise PolicyLayoutError(f"{entry.KIND.name} descriptor {entry}: {error}") from error
    return b"".join(chunks)


def _spans(policy: Policy) -> Iterable[tuple[int, int]]:
    """What the fields cover, as (start, end) byte ranges."""
    yield 0, POLICY_HEADER_SIZE
    yield policy.root_offset, policy.root_offset + len(policy.roots) * POLICY_ROOT_SIZE
    for root in policy.roots:
        if root.entries:
            yield root.offset, root.offset + len(root.entries) * ENTRY_LAYOUTS[root.type].size


def write_blob(policy: Policy) -> bytes:
    """Write a policy exactly as it declares itself; the inverse of every reader here.

    Use :func:`assemble` first for a policy whose offsets, counts and Size are not filled in.

    Raises:
        PolicyLayoutError: a value does not fit its field, two lists disagree about a byte that both cover, or a byte
            inside the blob is covered by nothing.
    """
    try:
        pieces = list(_pieces(policy))
    except struct.error as error:
        raise PolicyLayoutError(f"{policy.file}: a header or root field does not fit: {error}") from error
    pieces += [(extra.offset, extra.data) for extra in policy.extras]
    return join_pieces(pieces, policy.file)


def assemble(roots: Iterable[PolicyRoot], version: int = FIRST_V1_0_VERSION, file: str = "policy") -> Policy:
    """Lay out roots as the reference's tool does (``isolation-policy.md`` §5.1 and §5.2).

    A MEM root (deny, empty) is appended if there is none. Memory entries are written twice, the second time behind
    Size in the legacy form: that is what the tool does, and neither its own decoder nor the supervisor takes the
    result.

    Args:
        roots: Type, access attribute and entries of each; offsets and counts are computed.
        version: The first u32: major in the upper half.
        file: Name of the policy in messages.

    Raises:
        PolicyLayoutError: a memory entry does not fit its fields.
    """
    kept = list(roots)
    if all(root.type != RootType.MEM for root in kept):
        kept.append(PolicyRoot(RootType.MEM, AccessAttr.DENY))
    offset = POLICY_HEADER_SIZE + POLICY_ROOT_SIZE * len(kept)
    placed = []
    for root in kept:
        placed.append(replace(root, offset=offset, count=len(root.entries)))
        if root.entries:
            offset += ENTRY_LAYOUTS[root.type].size * len(root.entries)
    memory = [entry for root in kept for entry in root.entries if isinstance(entry, MemEntry)]
    return Policy(
        roots=tuple(placed),
        version_major=version >> 16,
        version_minor=version & 0xFFFF,
        size=offset,
        memory_policy_offset=offset if memory else 0,
        memory_policy_count=len(memory),
        root_count=len(placed),
        extras=(Extra(offset, legacy_memory_list(memory)),) if memory else (),
        file=file,
    )


def legacy_memory_list(entries: Iterable[MemEntry]) -> bytes:
    """Memory descriptors in the legacy 32-byte form (``isolation-policy.md`` §3).

    Raises:
        PolicyLayoutError: a value does not fit its field.
    """
    try:
        return b"".join(
            _LEGACY_MEM.pack(1, RootType.MEM, _LEGACY_MEM.size, entry.base_address, entry.size, entry.attributes)
            for entry in entries
        )
    except struct.error as error:
        raise PolicyLayoutError(f"a memory descriptor does not fit the legacy form: {error}") from error
