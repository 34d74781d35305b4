"""The report of one image, as frozen values.

Offsets and sizes are in bytes. An offset counts from the start of its *part*: the input itself (``""``), or bytes
that were decompressed from it, named by the way to them (``LZMA@0x78``). Tuples are in the order of the image.
The fields and their order are the JSON that ``mmsup info --json`` prints: see
:mod:`mmsupervisor.inventory.document`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from mmsupervisor.pi.guid import Guid


class Role(Enum):
    """What a module is to management mode; the value is what a report says."""

    SUPERVISOR_CORE = "MM Supervisor core"
    STANDALONE_CORE = "other MM_STANDALONE core"
    TRADITIONAL_CORE = "PI SMM core"
    BROKER = "ring-3 broker"
    STANDALONE_DRIVER = "MM_STANDALONE driver"
    TRADITIONAL_DRIVER = "traditional SMM driver"
    COMBINED_DRIVER = "combined SMM/DXE driver"

    @property
    def is_traditional(self) -> bool:
        """Whether this belongs to the design before MM_STANDALONE: no MM core can load it."""
        return self in (Role.TRADITIONAL_CORE, Role.TRADITIONAL_DRIVER, Role.COMBINED_DRIVER)

    @property
    def is_core(self) -> bool:
        """Whether this is a core of any kind."""
        return self in (Role.SUPERVISOR_CORE, Role.STANDALONE_CORE, Role.TRADITIONAL_CORE)

    @property
    def is_standalone(self) -> bool:
        """Whether this is what the supervisor's core dispatches: an MM_STANDALONE driver, the broker among them."""
        return self in (Role.BROKER, Role.STANDALONE_DRIVER)


class Visibility(Enum):
    """Whether an MM core finds what is in a volume, as far as the image alone decides it."""

    IN_FLASH = "top level"
    """Stands in flash as it is: seen if a HOB reports it before the core is launched."""
    FROM_MAIN_VOLUME = "nested in a top-level volume"
    """In a volume image file of a top-level volume: seen if PEI takes it out and reports it before the launch."""
    TOO_DEEP = "nested deeper"
    """Nested more than once, or not in a volume image file: nothing takes it out before the launch."""

    @property
    def is_reachable(self) -> bool:
        """Whether a HOB can report the volume before the core is launched."""
        return self is not Visibility.TOO_DEEP


class Severity(Enum):
    """How much a remark matters, worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class SectionReport:
    """A section of a PE or TE image.

    Attributes:
        name: Name in the section table.
        virtual_address: Start in memory, from the image's base.
        virtual_size: Bytes in memory.
        raw_size: Bytes in the file.
        characteristics: Flags as they stand in the table.
        access: The flags in letters: ``r``, ``w``, ``x``, or ``-`` where one is not set.
        is_code: Whether CNT_CODE is set, the flag that the MM core goes by.
    """

    name: str
    virtual_address: int
    virtual_size: int
    raw_size: int
    characteristics: int
    access: str
    is_code: bool


@dataclass(frozen=True, slots=True)
class ExecutableReport:
    """A PE or TE image.

    Attributes:
        format: ``PE32+``, ``PE32`` or ``TE``; for what is no readable image, what it is instead.
        machine: Machine type by name; empty if not readable.
        subsystem: Subsystem in words; empty if not readable.
        size: Bytes in the file.
        image_size: Bytes in memory (SizeOfImage).
        image_base: Address that it was linked for.
        entry_point: Entry point, from the image's base.
        section_alignment: Alignment of sections in memory; 0 for TE images, which do not say.
        relocations: Number of relocations without padding ones; None if they cannot be read.
        relocations_stripped: Whether it says that it works at its base only.
        linker_name: Name of the module from the debug data; None if there is none.
        sections: Section table.
        trouble: Why it cannot be read, one line; empty if it can.
    """

    format: str
    machine: str
    subsystem: str
    size: int
    image_size: int = 0
    image_base: int = 0
    entry_point: int = 0
    section_alignment: int = 0
    relocations: int | None = None
    relocations_stripped: bool = False
    linker_name: str | None = None
    sections: tuple[SectionReport, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class DependencyReport:
    """A dependency expression.

    Attributes:
        size: Bytes.
        text: The expression with names where they are known; empty if it cannot be read.
        guids: GUIDs in it, in order, each once.
        trouble: What is wrong with it, one line; empty if nothing.
    """

    size: int
    text: str
    guids: tuple[Guid, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class FileReport:
    """A file of a volume.

    Attributes:
        offset: Offset of the file's header in the volume's part.
        guid: Name.
        name: Name from its user interface section; None without one.
        type: Type by its name in the PI specification.
        size: Size with header.
        state: State by its name in the PI specification.
        sections: Types of its outermost sections.
    """

    offset: int
    guid: Guid
    name: str | None
    type: str
    size: int
    state: str
    sections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """A firmware volume.

    Attributes:
        number: Number in this report, from 0; outer volumes before those nested in them.
        part: See the module.
        offset: See the module.
        size: Size, as far as the bytes are there.
        claimed_size: Size as its header gives it.
        guid: Name (FvName); None without one.
        file_system: File system.
        free: Bytes after the last file.
        checksum_holds: Whether the checksum of its header holds.
        parent: Number of the volume that it is nested in; None at top level.
        holder: GUID of the file that it is in; None at top level.
        encapsulations: How that file wraps it, outermost first, for example ``LZMA``.
        visibility: Whether an MM core finds it.
        variable_store: What kind of variables it holds; None for a volume of files.
        files: All files, padding and deleted ones among them.
    """

    number: int
    part: str
    offset: int
    size: int
    claimed_size: int
    guid: Guid | None
    file_system: Guid
    free: int
    checksum_holds: bool
    parent: int | None
    holder: Guid | None
    encapsulations: tuple[str, ...]
    visibility: Visibility
    variable_store: str | None
    files: tuple[FileReport, ...]


@dataclass(frozen=True, slots=True)
class ModuleReport:
    """A module of management mode: a core, the broker or a driver.

    Attributes:
        name: Name from its user interface section, else the name of its GUID, else the GUID.
        guid: Name of its file.
        role: What it is.
        type: File type by its name in the PI specification.
        version: Text of its version section; None without one.
        volume: Number of its volume.
        part: See the module.
        offset: Offset of its file.
        size: Size of its file.
        executable: Its image; None if it has none.
        dependency: Its MM dependency expression; None if it has none.
        is_found: Whether the MM core's scan of its volume reaches it; None where no core looks for its type.
    """

    name: str
    guid: Guid
    role: Role
    type: str
    version: str | None
    volume: int
    part: str
    offset: int
    size: int
    executable: ExecutableReport | None
    dependency: DependencyReport | None
    is_found: bool | None


@dataclass(frozen=True, slots=True)
class PolicyRootReport:
    """One list of a policy.

    Attributes:
        type: What it is about.
        access: ``allow``, ``deny``, or the number where it is neither.
        entries: Number of descriptors.
    """

    type: str
    access: str
    entries: int


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """An isolation policy file.

    Attributes:
        volume: Number of its volume.
        part: See the module.
        offset: Offset of its file.
        size: Bytes of the policy's section; 0 if there is none.
        version: Version of the format; empty if it cannot be read.
        roots: Its lists.
        trouble: What the supervisor would refuse, one line; empty if nothing.
    """

    volume: int
    part: str
    offset: int
    size: int
    version: str
    roots: tuple[PolicyRootReport, ...]
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a check has to say.

    Attributes:
        check: Identifier of the check, see :data:`mmsupervisor.inventory.checks.CHECKS`.
        severity: How much it matters.
        module: Name of the module that it is about; None if it is about the image.
        volume: Number of the volume; None if it is about the image.
        text: What was found, one line.
    """

    check: str
    severity: Severity
    module: str | None
    volume: int | None
    text: str


@dataclass(frozen=True, slots=True)
class ProblemReport:
    """What is wrong or remarkable in the format of the image.

    Attributes:
        kind: Kind of finding, a word.
        is_damage: Whether the format is broken, as opposed to something worth noting.
        part: See the module.
        offset: See the module.
        text: What was found, one line.
    """

    kind: str
    is_damage: bool
    part: str
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class UnopenedReport:
    """A section whose content is not in this report.

    Attributes:
        part: See the module.
        offset: See the module.
        file: Name of the file that it is in; empty without one.
        why: The reason: ``unknown GUID``, ``missing library``, ``damaged`` and the like.
        text: The reason in words, with the GUID, library or rule by name.
    """

    part: str
    offset: int
    file: str
    why: str
    text: str


@dataclass(frozen=True, slots=True)
class RegionReport:
    """A region of a flash dump.

    Attributes:
        name: What it is used for.
        offset: Offset in the dump.
        size: Size.
    """

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class CapsuleItemReport:
    """What a capsule carries: the body of a capsule, or an item of an FMP capsule.

    Attributes:
        part: See the module.
        offset: See the module.
        size: Size.
        kind: What it is, in words.
        image_type: Which device's firmware it updates; None where the capsule does not say.
    """

    part: str
    offset: int
    size: int
    kind: str
    image_type: Guid | None


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes of the image that can be written to a file of their own.

    Attributes:
        owner: Name of the module or policy.
        file: Number of its file among those with payloads; payloads of one file have the same.
        suffix: What it is, as the ending of a file name: ``efi``, ``te``, ``depex``, ``policy``.
        data: The bytes.
    """

    owner: str
    file: int
    suffix: str
    data: memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImageReport:
    """What one input holds for management mode.

    Attributes:
        name: The input, as the caller named it.
        size: Bytes.
        sha256: SHA-256 in lower-case hexadecimal.
        kind: What it is.
        detail: What more can be said of that, in a few words; empty if nothing.
        is_firmware: Whether it is something firmware is made of.
        summary: What it holds for management mode, in sentences.
        regions: Regions of a flash dump.
        capsule: GUID of a capsule; None for other inputs.
        capsule_items: What the capsule carries.
        executable: The image, for an input that is nothing but one.
        images: Number of PE and TE sections that could be reached.
        volumes: Volumes, outer before inner.
        modules: Cores, broker and drivers.
        policies: Isolation policies.
        remarks: What the checks say, worst first.
        problems: What is wrong with the format.
        unopened: What could not be looked into.
        payloads: Bytes for :mod:`mmsupervisor.inventory.payloads`; not part of the document.
    """

    name: str
    size: int
    sha256: str
    kind: str
    detail: str
    is_firmware: bool
    summary: tuple[str, ...]
    regions: tuple[RegionReport, ...]
    capsule: Guid | None
    capsule_items: tuple[CapsuleItemReport, ...]
    executable: ExecutableReport | None
    images: int
    volumes: tuple[VolumeReport, ...]
    modules: tuple[ModuleReport, ...]
    policies: tuple[PolicyReport, ...]
    remarks: tuple[Remark, ...]
    problems: tuple[ProblemReport, ...]
    unopened: tuple[UnopenedReport, ...]
    payloads: tuple[Payload, ...] = field(default=(), repr=False, compare=False)

    @property
    def is_damaged(self) -> bool:
        """Whether the format of the image is broken somewhere."""
        return any(problem.is_damage for problem in self.problems)

    def modules_of(self, *roles: Role) -> Iterator[ModuleReport]:
        """Modules of the given roles, in order."""
        return (module for module in self.modules if module.role in roles)
