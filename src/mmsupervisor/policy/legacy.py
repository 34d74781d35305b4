"""The legacy (version 2) policy blob, which the tool reads and writes and the supervisor does not understand.

Facts: ``docs/reference/isolation-policy.md`` §3, §5.3 and §5.4. Header, 0x28 bytes: ten u32, namely Version, Size, then
Offset and Count of the MEM, IO, MSR and INSTRUCTION lists. Every descriptor begins with u32 Version (1), u32 Type,
u32 size including these twelve bytes; then MEM u64 base, u64 size, u32 attributes; IO three u16; MSR u32 and two u16;
INSTRUCTION two u16. Lists are deny lists, but for the instructions, which are an allow list.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.policy.blob import FIRST_V1_0_VERSION, HEADER_SIZE_FIELD
from mmsupervisor.policy.layout import PolicyLayoutError, join_pieces, uncovered
from mmsupervisor.policy.model import (
    AccessAttr,
    Entry,
    Extra,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Place,
    PolicyRoot,
    RootType,
)

LEGACY_HEADER_SIZE = 0x28
"""Size of the version 2 header, in bytes."""

_SHEET = "isolation-policy.md §3"
_HEADER = struct.Struct("<10I")
_ENTRY_HEADER = struct.Struct("<III")
_ENTRY_VERSION = 1

LEGACY_LISTS = (RootType.MEM, RootType.IO, RootType.MSR, RootType.INSTRUCTION)
"""The lists in the order of the header. A save state cannot be expressed."""

ENTRY_LAYOUTS = {
    RootType.MEM: struct.Struct("<IIIQQI"),
    RootType.IO: struct.Struct("<IIIHHH"),
    RootType.MSR: struct.Struct("<IIIIHH"),
    RootType.INSTRUCTION: struct.Struct("<IIIHH"),
}
"""The descriptor of each list, with its header of twelve bytes."""


@dataclass(frozen=True, slots=True)
class LegacyList:
    """One list of a legacy policy.

    Attributes:
        kind: What its descriptors are.
        entries: The descriptors; their reserved fields do not exist here and are 0.
        offset: Declared offset of the first one, in bytes.
    """

    kind: RootType
    entries: tuple[Entry, ...] = ()
    offset: int = LEGACY_HEADER_SIZE


@dataclass(frozen=True, slots=True)
class LegacyPolicy:
    """A legacy policy exactly as its blob declares it.

    Attributes:
        lists: Four lists, in the order of :data:`LEGACY_LISTS`.
        version: The header's first u32; 2, but the tool takes every number below 0x00010000 for this form.
        size: Declared bytes of header and descriptors.
        extras: Bytes that no field covers, including those behind Size.
        file: Name of the blob in messages.
    """

    lists: tuple[LegacyList, ...]
    version: int = 2
    size: int = 0
    extras: tuple[Extra, ...] = ()
    file: str = field(default="policy", compare=False)

    def roots(self) -> tuple[PolicyRoot, ...]:
        """The lists as roots of a v1.0 policy, as the tool converts them: only those with entries, all deny lists.

        That turns the instruction list's meaning round; §5.4 of the sheet has it so.
        """
        return tuple(
            PolicyRoot(one.kind, AccessAttr.DENY, one.entries, offset=one.offset, count=len(one.entries))
            for one in self.lists
            if one.entries
        )

    def meant_roots(self) -> tuple[PolicyRoot, ...]:
        """The lists as roots of a v1.0 policy that decides alike: the instructions are an allow list (§3).

        Lists without an entry are kept: in v1.0 a list that is missing denies everything.
        """
        return tuple(
            PolicyRoot(
                one.kind,
                AccessAttr.ALLOW if one.kind is RootType.INSTRUCTION else AccessAttr.DENY,
                one.entries,
                offset=one.offset,
                count=len(one.entries),
            )
            for one in self.lists
            if one.entries or one.kind is not RootType.MEM
        )


def read_legacy_blob(data: bytes, file: str = "policy", allowance: Allowance | None = None) -> LegacyPolicy:
    """Read a legacy blob. What the tool refuses in offsets, lists and descriptor headers is refused here.

    Taken although the tool refuses it: attributes above 0x3F, and lists that do not add up to Size.

    Args:
        data: The blob. Bytes after its Size are kept.
        file: Its name in messages and places.
        allowance: Bounds for hostile input.

    Raises:
        FormatError: the first u32 is not below 0x00010000, a list lies outside Size or Size outside the bytes, or a
            descriptor's version, type or size is not the one that its list requires.
    """
    reader = Reader(data, file)
    allowance = allowance or Allowance()
    version, size, *lists = reader.unpack(_HEADER, 0, "legacy policy header")
    if version >= FIRST_V1_0_VERSION:
        raise reader.error(0, f"version {version:#x} is not a legacy policy", _SHEET)
    if size > len(data):
        raise reader.error(HEADER_SIZE_FIELD, f"Size {size:#x} is beyond the blob's {len(data):#x} bytes", _SHEET)
    window = reader.window(0, size, "legacy policy")
    read = []
    for number, kind in enumerate(LEGACY_LISTS):
        offset, count = lists[2 * number : 2 * number + 2]
        if offset >= size:
            raise reader.error(8 + 8 * number, f"the {kind.name} list's offset {offset:#x} is not below Size", _SHEET)
        view = window.view(offset, count * ENTRY_LAYOUTS[kind].size, f"{kind.name} list")
        allowance.take_items(count, file, 12 + 8 * number)
        read.append(LegacyList(kind, tuple(read_entries(view, kind, offset, window)), offset))
    policy = LegacyPolicy(tuple(read), version, size, (), file)
    return replace(policy, extras=_uncovered(policy, data))


def read_entries(view: memoryview, kind: RootType, offset: int, reader: Reader) -> Iterable[Entry]:
    """The descriptors of one list; both older forms have the same.

    Args:
        view: The list's bytes.
        kind: What they must be.
        offset: Where they lie in the blob.
        reader: The blob, for messages.

    Raises:
        FormatError: a descriptor's version, type or size is not the one that the list requires.
    """
    layout = ENTRY_LAYOUTS[kind]
    for number, (version, of_kind, size, *values) in enumerate(layout.iter_unpack(view)):
        at = offset + number * layout.size
        if version != _ENTRY_VERSION:
            raise reader.error(at, f"descriptor version {version:#x} is not 1 (the tool: Invalid Version)", _SHEET)
        if of_kind != kind:
            raise reader.error(at + 4, f"a descriptor of type {of_kind:#x} in the {kind.name} list", _SHEET)
        if size != layout.size:
            raise reader.error(at + 8, f"descriptor size {size:#x} is not {layout.size:#x}", _SHEET)
        yield _make(kind, values, Place(reader.file, at))


def _make(kind: RootType, values: list[int], place: Place) -> Entry:
    match kind:
        case RootType.MEM:
            base, size, attributes = values
            return MemEntry(base, size, attributes, place=place)
        case RootType.IO:
            address, length, attributes = values
            return IoEntry(address, length, attributes, place=place)
        case RootType.MSR:
            address, length, attributes = values
            return MsrEntry(address, length, attributes, place=place)
        case _:
            index, attributes = values
            return InstructionEntry(index, attributes, place=place)


def pack_entry(entry: Entry) -> bytes:
    """Write one descriptor in its legacy form.

    Raises:
        PolicyLayoutError: a value does not fit, or the descriptor is of a kind that has no legacy form.
    """
    values: tuple[int, ...]
    match entry:
        case MemEntry():
            values = (entry.base_address, entry.size, entry.attributes)
        case IoEntry():
            values = (entry.io_address, entry.length_or_width, entry.attributes)
        case MsrEntry():
            values = (entry.msr_address, entry.length, entry.attributes)
        case InstructionEntry():
            values = (entry.instruction_index, entry.attributes)
        case _:
            raise PolicyLayoutError(f"a legacy policy cannot hold a {entry.KIND.name} descriptor")
    layout = ENTRY_LAYOUTS[entry.KIND]
    try:
        return layout.pack(_ENTRY_VERSION, entry.KIND, layout.size, *values)
    except struct.error as error:
        raise PolicyLayoutError(f"{entry.KIND.name} descriptor {entry}: {error}") from error


def _uncovered(policy: LegacyPolicy, data: bytes) -> tuple[Extra, ...]:
    spans = [(one.offset, one.offset + len(one.entries) * ENTRY_LAYOUTS[one.kind].size) for one in policy.lists]
    return uncovered([(0, LEGACY_HEADER_SIZE), *spans], data)


def write_legacy_blob(policy: LegacyPolicy) -> bytes:
    """Write a legacy policy exactly as it declares itself; the inverse of :func:`read_legacy_blob`.

    Raises:
        PolicyLayoutError: a value does not fit its field, two lists disagree about a byte that both cover, or a byte
            inside the blob is covered by nothing.
    """
    header = [number for one in policy.lists for number in (one.offset, len(one.entries))]
    try:
        pieces = [(0, _HEADER.pack(policy.version, policy.size, *header))]
    except struct.error as error:
        raise PolicyLayoutError(f"{policy.file}: a header field does not fit: {error}") from error
    pieces += [(one.offset, b"".join(map(pack_entry, one.entries))) for one in policy.lists if one.entries]
    pieces += [(extra.offset, extra.data) for extra in policy.extras]
    return join_pieces(pieces, policy.file)


def assemble_legacy(roots: Iterable[PolicyRoot], version: int = 2, file: str = "policy") -> LegacyPolicy:
    """Lay out roots as the tool does when asked for a version below 0x00010000 (§5.3).

    Allow lists become deny lists without a word, as the tool has it. A MEM list always begins at 0x28; a list that is
    absent keeps that offset with count 0.

    Raises:
        PolicyLayoutError: a save-state root, which has no legacy form; two roots of one type; or a MEM root with
            entries behind another one, for which the tool writes a wrong offset.
    """
    lists = {kind: LegacyList(kind) for kind in LEGACY_LISTS}
    offset = LEGACY_HEADER_SIZE
    seen = set()
    for root in roots:
        if root.type not in LEGACY_LISTS:
            raise PolicyLayoutError(f"a legacy policy cannot hold a root of type {root.type}")
        kind = RootType(root.type)
        if kind in seen:
            raise PolicyLayoutError(f"a second {kind.name} root")
        seen.add(kind)
        if kind is RootType.MEM and root.entries and offset != LEGACY_HEADER_SIZE:
            raise PolicyLayoutError("the MEM root is not the first: the tool would point its list at other bytes")
        lists[kind] = LegacyList(kind, root.entries, LEGACY_HEADER_SIZE if kind is RootType.MEM else offset)
        offset += len(root.entries) * ENTRY_LAYOUTS[kind].size
    return LegacyPolicy(tuple(lists[kind] for kind in LEGACY_LISTS), version, offset, (), file)
