"""The named relaxations: what strictness may be loosened, one by one, so that an author can converge to it.

Strict is the default and behaves as the device. A relaxation permits one kind of violation, and every use of it is
counted with its driver and offset (docs/architecture.md, "Strict, and named relaxations"). Command line, reports
and documentation take names and texts from :data:`RELAXATIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.errors import MmSupervisorError


class Relaxation(Enum):
    """A relaxation; the value is its name."""

    TRADITIONAL_ENTRY = "traditional-entry"
    RETURN_BY_RET = "return-by-ret"
    DIRECT_IO = "direct-io"
    PRIVILEGED_INSTRUCTIONS = "privileged-instructions"
    OUTSIDE_MEMORY = "outside-memory"
    EXTERNAL_COMM_BUFFER = "external-comm-buffer"
    CONFIGURATION_TABLES = "configuration-tables"
    CODE_PAGES = "code-pages"
    DRIVER_REMOVAL = "driver-removal"


class UnknownRelaxationError(MmSupervisorError):
    """A name that no relaxation has."""


@dataclass(frozen=True, slots=True)
class RelaxationDeclaration:
    """What a relaxation is.

    Attributes:
        relaxation: Which.
        title: What reports call it.
        permits: What it permits.
        needed: Why unconverted firmware needs it.
        replaces: Numbers of the findings that would end the system, or keep a driver out, without it.
        mend: What to change in the driver so that it is needed no more.
    """

    relaxation: Relaxation
    title: str
    permits: str
    needed: str
    replaces: tuple[str, ...]
    mend: str

    @property
    def name(self) -> str:
        """How it is chosen."""
        return self.relaxation.value


_R = Relaxation
_TABLE = (
    RelaxationDeclaration(
        _R.TRADITIONAL_ENTRY, "traditional entry",
        "Files of type 0x0A and 0x0C are dispatched, and their entry points are given a stand-in for the EFI "
        "system table.",
        "The supervisor loads MM_STANDALONE files only.",
        ("MM-2011",),
        "Convert the driver to MM_STANDALONE (developer-considerations.md §8).",
    ),
    RelaxationDeclaration(
        _R.RETURN_BY_RET, "return by ret",
        "An entry point may come back by RET.",
        "Entry stubs of other packages than the supervisor's end in RET.",
        ("MM-1105",),
        "Link the entry point from MmSupervisorPkg: it returns by a far call through R15.",
    ),
    RelaxationDeclaration(
        _R.DIRECT_IO, "direct I/O",
        "IN, OUT, INS and OUTS are carried out. The policy is asked all the same, and what it denies is counted.",
        "IoLib of other packages executes port instructions.",
        ("MM-1101", "MM-1001"),
        "Use IoLib from BaseIoLibIntrinsicSysCall, and allow the port in the policy.",
    ),
    RelaxationDeclaration(
        _R.PRIVILEGED_INSTRUCTIONS, "privileged instructions",
        "RDMSR, WRMSR, CLI, STI, HLT, WBINVD and reads of CR0 and CR4 are carried out. The policy is asked all the "
        "same, and what it denies is counted.",
        "BaseLib of other packages executes them.",
        ("MM-1102", "MM-1001"),
        "Use BaseLib from BaseLibSysCall, and allow the access in the policy.",
    ),
    RelaxationDeclaration(
        _R.OUTSIDE_MEMORY, "memory outside MMRAM",
        "A page outside MMRAM that nobody unblocked is mapped for ring 3 when it is touched.",
        "Traditional drivers see all of memory.",
        ("MM-1201", "MM-1207"),
        "Ask for the pages with MmUnblockMemoryRequest, or take the data by value in a message.",
    ),
    RelaxationDeclaration(
        _R.EXTERNAL_COMM_BUFFER, "external communication buffer",
        "Handlers of traditional drivers are given the message where it lies outside MMRAM, not its copy.",
        "Their checks drop a message whose buffer lies in MMRAM.",
        ("MM-1202",),
        "Check the buffer with MmCommBufferValid.",
    ),
    RelaxationDeclaration(
        _R.CONFIGURATION_TABLES, "visible configuration tables",
        "Ring 3's system table shows the configuration tables.",
        "The reference keeps the number of tables at 0 for ring 3; some drivers look for their own table there.",
        ("MM-1205", "MM-1208"),
        "Ask for the HOB list by system call; find other drivers' data by protocol.",
    ),
    RelaxationDeclaration(
        _R.CODE_PAGES, "code pages",
        "SmmAllocatePages and SmmAllocatePool serve RuntimeServicesCode: writable pages that may be executed.",
        "The supervisor gives ring 3 data pages only.",
        ("MM-1002",),
        "Do not make code at run time; keep it in the image.",
    ),
    RelaxationDeclaration(
        _R.DRIVER_REMOVAL, "removal of a driver",
        "A traditional driver whose entry point breaks a rule that nothing relaxes is removed, and the boot goes on.",
        "On the device the system resets, and no later driver could be looked at.",
        (),
        "Mend what the finding names.",
    ),
)  # fmt: skip

RELAXATIONS: dict[Relaxation, RelaxationDeclaration] = {item.relaxation: item for item in _TABLE}
"""All relaxations; observing is all of them."""


def relaxations_by_name(names: Iterable[str]) -> frozenset[Relaxation]:
    """Return the relaxations of some names.

    Raises:
        UnknownRelaxationError: a name is not one; the text lists those there are.
    """
    found = set()
    known = {item.value: item for item in Relaxation}
    for name in names:
        if name not in known:
            raise UnknownRelaxationError(f"{name!r} is no relaxation; there are {', '.join(known)}")
        found.add(known[name])
    return frozenset(found)
