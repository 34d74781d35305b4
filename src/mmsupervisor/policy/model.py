"""The isolation policy as values: header, roots, descriptors, and where each of them came from.

Facts: ``docs/reference/isolation-policy.md`` §1 and §2. Numbers that the format leaves free but the supervisor gives
no meaning to (an access attribute of 7, a root of type 9) stay plain integers here, because the reference takes them
as they are and decides something: a model that refused them could not say what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import ClassVar

from mmsupervisor.pi.errors import MmSupervisorError


class RootType(IntEnum):
    """What a policy root is about (``isolation-policy.md`` §1)."""

    MEM = 1
    IO = 2
    MSR = 3
    INSTRUCTION = 4
    SAVE_STATE = 5


class AccessAttr(IntEnum):
    """Whether a root is an allow list or a deny list."""

    ALLOW = 0
    DENY = 1


class Attribute(IntFlag):
    """Kinds of access that a descriptor names. Allow or deny is the root's word, not the descriptor's."""

    READ = 0x01
    WRITE = 0x02
    EXECUTE = 0x04
    STRICT_WIDTH = 0x08
    COND_READ = 0x10
    COND_WRITE = 0x20


_STRICT_WIDTH = int(Attribute.STRICT_WIDTH)  # an integer is tested much quicker than a flag

KNOWN_ATTRIBUTES = 0x3F
"""Every attribute bit that has a name."""


class Instruction(IntEnum):
    """Privileged instructions that ring 3 may ask for."""

    CLI = 0
    WBINVD = 1
    HLT = 2


class SaveStateField(IntEnum):
    """Parts of the save state that a policy can name."""

    RAX = 0
    IO_TRAP = 1


class AccessCondition(IntEnum):
    """When a conditional save-state entry applies."""

    UNCONDITIONAL = 0
    IO_RD = 1
    IO_WR = 2


class PolicyBoundsError(MmSupervisorError):
    """The reference would read a root or a descriptor beyond the policy's bytes here.

    Attributes:
        file: The policy's name.
        what: What lies outside, as one clause.
    """

    def __init__(self, file: str, what: str) -> None:
        """Record name and clause; see the class."""
        self.file = file
        self.what = what
        super().__init__(f"{file}: the walk runs beyond the policy: {what}")


class PolicyModelError(MmSupervisorError):
    """A root that was given descriptors of another type."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule was written down. Comparisons of rules leave it out: read from XML or from a blob, they are equal.

    Attributes:
        file: The blob's or the source file's name.
        offset: Byte offset in a blob, or None.
        line: Line in a source file, counted from 1, or None.
    """

    file: str
    offset: int | None = None
    line: int | None = None

    def __str__(self) -> str:
        """``file:line`` for text, ``file at 0x..`` for a blob, else the file alone."""
        if self.line is not None:
            return f"{self.file}:{self.line}"
        if self.offset is not None:
            return f"{self.file} at {self.offset:#x}"
        return self.file


@dataclass(frozen=True, slots=True)
class MemEntry:
    """A memory descriptor: ``size`` bytes at ``base_address``."""

    KIND: ClassVar[RootType] = RootType.MEM
    base_address: int
    size: int
    attributes: int
    reserved: int = 0
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class IoEntry:
    """An I/O descriptor: ``length_or_width`` ports from ``io_address``; with STRICT_WIDTH, one access of that width."""

    KIND: ClassVar[RootType] = RootType.IO
    io_address: int
    length_or_width: int
    attributes: int
    reserved: int = 0
    place: Place | None = field(default=None, compare=False)

    @property
    def end(self) -> int:
        """First port after the range; may be beyond 0x10000."""
        return self.io_address + self.length_or_width

    @property
    def is_strict(self) -> bool:
        """Whether only an access of exactly this address and width matches."""
        return bool(self.attributes & _STRICT_WIDTH)


@dataclass(frozen=True, slots=True)
class MsrEntry:
    """An MSR descriptor: ``length`` consecutive registers from ``msr_address``. It has no reserved field."""

    KIND: ClassVar[RootType] = RootType.MSR
    msr_address: int
    length: int
    attributes: int
    place: Place | None = field(default=None, compare=False)

    @property
    def end(self) -> int:
        """First register after the range; the reference computes it in 32 bits and lets it wrap."""
        return self.msr_address + self.length


@dataclass(frozen=True, slots=True)
class InstructionEntry:
    """An instruction descriptor; ``instruction_index`` is an :class:`Instruction` or a number without meaning."""

    KIND: ClassVar[RootType] = RootType.INSTRUCTION
    instruction_index: int
    attributes: int
    reserved: int = 0
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SaveStateEntry:
    """A save-state descriptor; the fields are a :class:`SaveStateField` and an :class:`AccessCondition`, or numbers."""

    KIND: ClassVar[RootType] = RootType.SAVE_STATE
    map_field: int
    attributes: int
    access_condition: int
    reserved: int = 0
    place: Place | None = field(default=None, compare=False)


Entry = MemEntry | IoEntry | MsrEntry | InstructionEntry | SaveStateEntry
"""Any descriptor."""

ENTRY_TYPES: dict[int, type[Entry]] = {
    kind.KIND: kind for kind in (MemEntry, IoEntry, MsrEntry, InstructionEntry, SaveStateEntry)
}
"""The descriptor of each root type."""

POLICY_ROOT_SIZE = 0x18
"""Size of a root in the blob, in bytes; also the value of its own size field."""


@dataclass(frozen=True, slots=True)
class PolicyRoot:
    """One list of descriptors.

    Attributes:
        type: A :class:`RootType`, or a number without meaning.
        access_attr: An :class:`AccessAttr`; with any other number the reference allows everything.
        entries: The descriptors in order, as far as they lie inside the blob.
        version: 1 in every blob that the tool writes.
        root_size: The root's own size field, in bytes.
        offset: Declared offset of the first descriptor, in bytes from the start of the blob.
        count: Declared number of descriptors; more than ``len(entries)`` if the list runs out of the blob.
        reserved: Three bytes.
        place: Where it stands.
    """

    type: int
    access_attr: int
    entries: tuple[Entry, ...] = ()
    version: int = 1
    root_size: int = POLICY_ROOT_SIZE
    offset: int = 0
    count: int = 0
    reserved: bytes = b"\0\0\0"
    place: Place | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse descriptors of another type, which no blob can hold.

        Raises:
            PolicyModelError: there is one.
        """
        for entry in self.entries:
            if self.type != entry.KIND:
                raise PolicyModelError(f"a {self.type_name} root cannot hold a {entry.KIND.name} descriptor")

    @property
    def type_name(self) -> str:
        """The type's name, or its number."""
        return RootType(self.type).name if self.type in ENTRY_TYPES else f"type {self.type:#x}"

    @property
    def has_legal_attr(self) -> bool:
        """Whether this is an allow list or a deny list and nothing else."""
        return self.access_attr in (AccessAttr.ALLOW, AccessAttr.DENY)

    @property
    def lies_outside(self) -> bool:
        """Whether descriptors of a known type are declared that are not in the blob."""
        return self.type in ENTRY_TYPES and self.count > len(self.entries)


@dataclass(frozen=True, slots=True)
class Extra:
    """Bytes of a blob that no field covers: gaps, a legacy memory list, whatever follows the policy."""

    offset: int
    data: bytes


POLICY_HEADER_SIZE = 0x28
"""Size of the v1.0 header, in bytes."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A v1.0 policy exactly as a blob declares it. :func:`mmsupervisor.policy.blob.assemble` fills the numbers in.

    Attributes:
        roots: The roots in order, as far as they lie inside the blob.
        version_major: 1.
        version_minor: 0.
        size: Declared bytes of header, roots and descriptors.
        memory_policy_offset: Offset of the legacy memory list; 0 if there is none.
        memory_policy_count: Entries of the legacy memory list.
        flags: 0 in every blob that the tool writes.
        capabilities: The same.
        reserved: The same; 64 bits.
        root_offset: Declared offset of the first root, in bytes.
        root_count: Declared number of roots; more than ``len(roots)`` if they run out of the blob.
        extras: Bytes that no field covers.
        file: Name of the blob in messages.
    """

    roots: tuple[PolicyRoot, ...]
    version_major: int = 1
    version_minor: int = 0
    size: int = 0
    memory_policy_offset: int = 0
    memory_policy_count: int = 0
    flags: int = 0
    capabilities: int = 0
    reserved: int = 0
    root_offset: int = POLICY_HEADER_SIZE
    root_count: int = 0
    extras: tuple[Extra, ...] = ()
    file: str = field(default="policy", compare=False)

    def first_root(self, kind: RootType) -> PolicyRoot | None:
        """The root that the reference uses for ``kind``: the first one; None if there is none.

        Raises:
            PolicyBoundsError: no root inside the blob is of that type, and the declared roots go on outside.
        """
        for root in self.roots:
            if root.type == kind:
                return root
        if self.root_count > len(self.roots):
            raise self.roots_beyond(f"looking for the {kind.name} root, ")
        return None

    def roots_of(self, kind: RootType) -> tuple[PolicyRoot, ...]:
        """All roots of one type, in order; a sound policy has one at most."""
        return tuple(root for root in self.roots if root.type == kind)

    def roots_beyond(self, doing: str = "") -> PolicyBoundsError:
        """Build (not raise) the error of a walk that passes the last root inside the blob."""
        where = f"of {self.root_count} roots at {self.root_offset:#x} only {len(self.roots)} are inside"
        return PolicyBoundsError(self.file, doing + where)

    def walk_beyond(self, root: PolicyRoot) -> PolicyBoundsError:
        """Build (not raise) the error of a walk that passes the last descriptor inside the blob."""
        return PolicyBoundsError(
            self.file,
            f"of {root.count} {root.type_name} descriptors at {root.offset:#x} only {len(root.entries)} are inside",
        )


def attribute_text(attributes: int) -> str:
    """Name attribute bits, for example ``READ|WRITE``; nameless bits are given in hexadecimal."""
    names = [bit.name or "" for bit in Attribute if attributes & bit]
    if rest := attributes & ~KNOWN_ATTRIBUTES:
        names.append(f"{rest:#x}")
    return "|".join(names) or "no attribute"


def _named(names: type[IntEnum], value: int) -> str:
    try:
        return names(value).name
    except ValueError:
        return f"{value:#x}"


def entry_text(entry: Entry) -> str:
    """Say in a few words what a descriptor names, for example ``IO 0xcf8..0xcfb WRITE|STRICT_WIDTH``."""
    match entry:
        case MemEntry():
            what = f"MEM {entry.size:#x} bytes at {entry.base_address:#x}"
        case IoEntry():
            what = f"IO {entry.io_address:#x}, length {entry.length_or_width:#x},"
        case MsrEntry():
            what = f"MSR {entry.msr_address:#x}, length {entry.length:#x},"
        case InstructionEntry():
            what = f"INSTRUCTION {_named(Instruction, entry.instruction_index)}"
        case SaveStateEntry():
            condition = _named(AccessCondition, entry.access_condition)
            what = f"SAVE_STATE {_named(SaveStateField, entry.map_field)} {condition}"
    return f"{what} {attribute_text(entry.attributes)}"
