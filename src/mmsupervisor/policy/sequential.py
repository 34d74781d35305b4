"""The oldest (version 1) policy blob, whose lists follow one another without offsets. No tool is left that reads it.

Facts: ``docs/reference/isolation-policy.md`` §3: u32 Version (1), then for MEM, IO, MSR and INSTRUCTION in turn a u32
count and that many descriptors, which are those of version 2 (:mod:`mmsupervisor.policy.legacy`). The reference's tool
takes any version below 0x00010000 for version 2, and so misreads this form.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.policy.layout import PolicyLayoutError
from mmsupervisor.policy.legacy import (
    ENTRY_LAYOUTS,
    LEGACY_LISTS,
    LegacyList,
    LegacyPolicy,
    pack_entry,
    read_entries,
)
from mmsupervisor.policy.model import PolicyRoot, RootType

SEQUENTIAL_VERSION = 1

_U32 = struct.Struct("<I")
_SHEET = "isolation-policy.md §3"


def is_sequential(data: bytes) -> bool:
    """Whether bytes are of this form: the version, and four lists that end where the bytes end.

    A blob of the version 2 layout never passes: its Size would be a number of memory descriptors beyond its bytes.
    """
    if data[: _U32.size] != _U32.pack(SEQUENTIAL_VERSION):
        return False
    offset = _U32.size
    for kind in LEGACY_LISTS:
        if offset + _U32.size > len(data):
            return False
        offset += _U32.size + _U32.unpack_from(data, offset)[0] * ENTRY_LAYOUTS[kind].size
    return offset == len(data)


def read_sequential_blob(data: bytes, file: str = "policy", allowance: Allowance | None = None) -> LegacyPolicy:
    """Read a version 1 blob.

    Args:
        data: The blob; nothing may follow it.
        file: Its name in messages and places.
        allowance: Bounds for hostile input.

    Raises:
        FormatError: the version is not 1, a list runs out of the bytes, bytes follow the last one, or a descriptor's
            version, type or size is not the one that its list requires.
    """
    reader = Reader(data, file)
    allowance = allowance or Allowance()
    (version,) = reader.unpack(_U32, 0, "policy version")
    if version != SEQUENTIAL_VERSION:
        raise reader.error(0, f"version {version:#x} is not 1", _SHEET)
    offset = _U32.size
    read = []
    for kind in LEGACY_LISTS:
        (count,) = reader.unpack(_U32, offset, f"number of {kind.name} descriptors")
        allowance.take_items(count, file, offset)
        offset += _U32.size
        view = reader.view(offset, count * ENTRY_LAYOUTS[kind].size, f"{kind.name} list")
        read.append(LegacyList(kind, tuple(read_entries(view, kind, offset, reader)), offset))
        offset += len(view)
    if offset != len(data):
        raise reader.error(offset, f"{len(data) - offset} bytes follow the last list", _SHEET)
    return LegacyPolicy(tuple(read), version, offset, (), file)


def write_sequential_blob(roots: Sequence[PolicyRoot]) -> bytes:
    """Write lists as a version 1 blob, in its own order.

    Args:
        roots: At most one of each kind; a kind that is missing becomes an empty list.

    Raises:
        PolicyLayoutError: a save-state root or an unknown one, two of one type, or a value that does not fit.
    """
    lists: dict[int, PolicyRoot] = {}
    for root in roots:
        if root.type not in LEGACY_LISTS:
            raise PolicyLayoutError(f"a version 1 policy cannot hold a root of type {root.type}")
        if root.type in lists:
            raise PolicyLayoutError(f"a second {RootType(root.type).name} root")
        lists[root.type] = root
    pieces = [_U32.pack(SEQUENTIAL_VERSION)]
    for kind in LEGACY_LISTS:
        entries = lists[kind].entries if kind in lists else ()
        pieces += [_U32.pack(len(entries)), *map(pack_entry, entries)]
    return b"".join(pieces)
