"""The system-call table: one declaration for each number (docs/reference/syscall-abi.md §7).

Dispatch, argument checks, trace text, the page ``docs/system-calls.md`` and the tests that nothing is
missing are made from :data:`SYSTEM_CALLS`; nothing about a call is written down twice.

A call's checks are made in the order given. Unless a declaration says otherwise, a failed check or an
error of the service kills the system (§6): the status named is the reference's internal one, which ring 3
never sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TypeAlias

from mmsupervisor.pi.status import Status


class CallNumber(IntEnum):
    """System-call numbers, as they stand in RAX."""

    SMM_SC_RDMSR = 0x0000
    SMM_SC_WRMSR = 0x0001
    SMM_SC_CLI = 0x0002
    SMM_SC_IO_READ = 0x0003
    SMM_SC_IO_WRITE = 0x0004
    SMM_SC_WBINVD = 0x0005
    SMM_SC_HLT = 0x0006
    SMM_SC_SVST_READ = 0x0007
    SMM_SC_PROC_READ = 0x0008
    SMM_SC_PROC_WRITE = 0x0009
    SMM_SC_LEGACY_MAX = 0xFFFF
    SMM_REG_HDL_JMP = 0x10000
    SMM_INST_CONF_T = 0x10001
    SMM_ALOC_POOL = 0x10002
    SMM_FREE_POOL = 0x10003
    SMM_ALOC_PAGE = 0x10004
    SMM_FREE_PAGE = 0x10005
    SMM_START_AP_PROC = 0x10006
    SMM_REG_HNDL = 0x10007
    SMM_UNREG_HNDL = 0x10018
    SMM_SET_CPL3_TBL = 0x10019
    SMM_INST_PROT = 0x1001A
    SMM_QRY_HOB = 0x1001B
    SMM_ERR_RPT_JMP = 0x1001C
    SMM_MM_HDL_REG_1 = 0x1001D
    SMM_MM_HDL_REG_2 = 0x1001E
    SMM_MM_HDL_UNREG_1 = 0x1001F
    SMM_MM_HDL_UNREG_2 = 0x10020
    SMM_SC_SVST_READ_2 = 0x10021
    SMM_MM_UNBLOCKED = 0x10022
    SMM_MM_IS_COMM_BUFF = 0x10023


class Kind(Enum):
    """What an argument is: decides how a trace shows it."""

    NUMBER = "number"
    MSR = "msr"
    PORT = "port"
    WIDTH = "width"
    VALUE = "value"
    POINTER = "pointer"
    GUID = "guid"
    CODE = "code"
    PAGES = "pages"
    BYTES = "bytes"
    CPU = "cpu"
    HANDLE = "handle"
    REGISTER = "register"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call.

    Attributes:
        name: What it is called in traces and pages.
        kind: What it is.
    """

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class UserRange:
    """A check that memory named by an argument is ring 3's own (docs/reference/syscall-abi.md §5).

    Attributes:
        argument: Index of the argument that holds the address, 0 to 2.
        size: Bytes, or None where ``size_argument`` gives them.
        size_argument: Index of the argument that holds the number of bytes, or None.
        unless_zero: Whether an address of zero passes unchecked.
        status: The internal status of a failure.
    """

    argument: int
    size: int | None = None
    size_argument: int | None = None
    unless_zero: bool = False
    status: Status = Status.SECURITY_VIOLATION


@dataclass(frozen=True, slots=True)
class NonZero:
    """A check that an argument is not zero.

    Attributes:
        argument: Index of the argument, 0 to 2.
        status: The internal status of a failure.
    """

    argument: int
    status: Status = Status.INVALID_PARAMETER


@dataclass(frozen=True, slots=True)
class Once:
    """A check that the call was not made before.

    Attributes:
        made_by: The driver whose call it is.
        status: The internal status of a failure.
    """

    made_by: str
    status: Status = Status.ALREADY_STARTED


Check: TypeAlias = UserRange | NonZero | Once
"""What the gate checks before a service sees the call."""


class Support(Enum):
    """What becomes of a call."""

    SERVED = "served"
    DEPRECATED = "deprecated: fatal in the reference too"
    ABSENT = "not implemented in the reference: fatal"


@dataclass(frozen=True, slots=True)
class SystemCallDeclaration:
    """All that is to be known of one call.

    Attributes:
        number: The number in RAX.
        arguments: Up to three, in RDX, R8 and R9.
        purpose: What it does, one clause.
        result: What RAX holds on success.
        checks: What the gate checks, in order.
        gate: What the isolation policy is asked, or empty.
        failures: Internal statuses of failures beside those of ``checks``, with their causes.
        returns_errors: Whether the service's errors are returned to ring 3 instead of being fatal.
        support: Whether it is served at all.
        source: Where the facts stand.
    """

    number: CallNumber
    arguments: tuple[Argument, ...]
    purpose: str
    result: str
    checks: tuple[Check, ...] = ()
    gate: str = ""
    failures: tuple[tuple[Status, str], ...] = ()
    returns_errors: bool = False
    support: Support = Support.SERVED
    source: str = "syscall-abi.md §7.2"

    @property
    def name(self) -> str:
        """The reference's name of the call."""
        return self.number.name


_A = Argument
_S = Status
_C = CallNumber
_LEGACY = "syscall-abi.md §7.1"
_GUID16 = 16
_BROKER, _REPORTER = "the broker (MmSupervisorRing3Broker)", "the error reporter (MmSupervisorErrorReport)"
_POINTER8 = 8
_MMST_SIZE = 0xF0

_GUID = _A("Guid", Kind.GUID)
_DENIED = ((_S.ACCESS_DENIED, "the isolation policy does not allow it"),)
_IO_FAILURES = (
    (_S.INVALID_PARAMETER, "width is not 0, 1 or 2, or the access runs beyond port 0xFFFF"),
    *_DENIED,
)
_HANDLER_PROFILE_OFF = (_S.UNSUPPORTED, "the handler profile is switched off (PcdSmiHandlerProfilePropertyMask bit 0)")
_CONTEXT_FAILURES = (
    (_S.SECURITY_VIOLATION, "Context is the supervisor's"),
    (_S.INVALID_PARAMETER, "a Context without a Size, or a Size without a Context"),
    (_S.NO_MAPPING, "the pages of Context are not of one kind"),
)

# fmt: off
_DECLARATIONS = (
    SystemCallDeclaration(
        _C.SMM_SC_RDMSR, (_A("Msr", Kind.MSR),), "read an MSR", "the 64-bit value",
        gate="MSR read", failures=_DENIED, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_WRMSR, (_A("Msr", Kind.MSR), _A("Value", Kind.VALUE)), "write an MSR", "0",
        gate="MSR write", failures=_DENIED, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_CLI, (), "clear ring 0's interrupt flag", "0",
        gate="instruction CLI", failures=_DENIED, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_IO_READ, (_A("Port", Kind.PORT), _A("Width", Kind.WIDTH)), "read a port", "the value, zero-extended",
        gate="I/O read", failures=_IO_FAILURES, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_IO_WRITE, (_A("Port", Kind.PORT), _A("Width", Kind.WIDTH), _A("Value", Kind.VALUE)),
        "write a port", "0", gate="I/O write", failures=_IO_FAILURES, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_WBINVD, (), "write back and invalidate caches", "0",
        gate="instruction WBINVD", failures=_DENIED, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_HLT, (), "halt until the next interrupt", "0",
        gate="instruction HLT", failures=_DENIED, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_SVST_READ,
        (_A("Cookie", Kind.POINTER), _A("Register", Kind.REGISTER), _A("Cpu", Kind.CPU)),
        "name the save-state register to read next", "0",
        checks=(NonZero(0),), failures=((_S.INVALID_PARAMETER, "register above 514, or no such CPU"),), source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_PROC_READ, (), "read a processor register", "never returns",
        failures=((_S.INVALID_PARAMETER, "not implemented"),), support=Support.ABSENT, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_PROC_WRITE, (), "write a processor register", "never returns",
        failures=((_S.INVALID_PARAMETER, "not implemented"),), support=Support.ABSENT, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_SC_LEGACY_MAX, (), "mark the end of the legacy group", "never returns",
        failures=((_S.INVALID_PARAMETER, "a marker, not a call"),), support=Support.ABSENT, source=_LEGACY,
    ),
    SystemCallDeclaration(
        _C.SMM_REG_HDL_JMP, (_A("CentralJump", Kind.CODE), _A("ApJump", Kind.CODE)),
        "register the two routines through which ring 3 is called", "0",
        checks=(Once(_BROKER), UserRange(0, _POINTER8), UserRange(1, _POINTER8)),
    ),
    SystemCallDeclaration(
        _C.SMM_INST_CONF_T, (_GUID, _A("Table", Kind.POINTER), _A("Size", Kind.BYTES)),
        "install a configuration table in the supervisor's own table", "0",
        checks=(UserRange(0, _GUID16), UserRange(1, size_argument=2)),
        failures=((_S.OUT_OF_RESOURCES, "no pool left"),),
    ),
    SystemCallDeclaration(
        _C.SMM_ALOC_POOL, (), "allocate pool", "never returns",
        failures=((_S.UNSUPPORTED, "pool is ring 3's own affair"),), support=Support.DEPRECATED,
    ),
    SystemCallDeclaration(
        _C.SMM_FREE_POOL, (), "free pool", "never returns",
        failures=((_S.UNSUPPORTED, "pool is ring 3's own affair"),), support=Support.DEPRECATED,
    ),
    SystemCallDeclaration(
        _C.SMM_ALOC_PAGE,
        (_A("AllocateType", Kind.NUMBER), _A("MemoryType", Kind.NUMBER), _A("Pages", Kind.PAGES)),
        "allocate pages of MMRAM for ring 3", "the physical address",
        failures=(
            (_S.ACCESS_DENIED, "called on an application processor"),
            (_S.UNSUPPORTED, "memory type 5, RuntimeServicesCode"),
            (_S.INVALID_PARAMETER, "memory type is neither 5 nor 6"),
            (_S.OUT_OF_RESOURCES, "no free range is large enough"),
            (_S.NOT_FOUND, "AllocateMaxAddress or AllocateAddress: the wanted address is never passed on"),
        ),
    ),
    SystemCallDeclaration(
        _C.SMM_FREE_PAGE, (_A("Address", Kind.POINTER), _A("Pages", Kind.PAGES)), "free pages of MMRAM", "0",
        failures=(
            (_S.SECURITY_VIOLATION, "the range wraps or is not wholly ring 3's"),
            (_S.NOT_FOUND, "the range was not allocated"),
            (_S.INVALID_PARAMETER, "the address is not page aligned"),
        ),
    ),
    SystemCallDeclaration(
        _C.SMM_START_AP_PROC, (_A("Procedure", Kind.CODE), _A("Cpu", Kind.CPU), _A("Argument", Kind.POINTER)),
        "run a procedure in ring 3 on another processor", "0",
        checks=(UserRange(0, _POINTER8), UserRange(2, 1, unless_zero=True)),
        failures=(
            (_S.SECURITY_VIOLATION, "no such CPU"),
            (_S.INVALID_PARAMETER, "the CPU is the calling one, absent or busy"),
        ),
    ),
    SystemCallDeclaration(
        _C.SMM_REG_HNDL, (_A("Handler", Kind.CODE), _GUID), "register an MMI handler", "the handler's handle",
        checks=(UserRange(0, _POINTER8), UserRange(1, _GUID16, unless_zero=True)),
        failures=((_S.OUT_OF_RESOURCES, "no pool left"),),
    ),
    SystemCallDeclaration(
        _C.SMM_UNREG_HNDL, (_A("Handle", Kind.HANDLE),), "unregister an MMI handler", "0",
        failures=((_S.INVALID_PARAMETER, "no such handle, or not ring 3's"),),
    ),
    SystemCallDeclaration(
        _C.SMM_SET_CPL3_TBL, (_A("Mmst", Kind.POINTER),), "register ring 3's MM system table", "0",
        checks=(UserRange(0, _MMST_SIZE), Once(_BROKER)),
    ),
    SystemCallDeclaration(
        _C.SMM_INST_PROT, (_GUID,), "make a protocol known to dependency expressions", "0",
        checks=(UserRange(0, _GUID16),), failures=((_S.OUT_OF_RESOURCES, "no pool left"),),
    ),
    SystemCallDeclaration(_C.SMM_QRY_HOB, (), "ask for the HOB list", "address of the read-only copy, or 0"),
    SystemCallDeclaration(
        _C.SMM_ERR_RPT_JMP, (_A("Function", Kind.CODE),), "register the routine that is told of violations", "0",
        checks=(UserRange(0, _POINTER8), Once(_REPORTER)),
    ),
    SystemCallDeclaration(
        _C.SMM_MM_HDL_REG_1, (_GUID, _A("Handler", Kind.CODE), _A("Caller", Kind.CODE)),
        "handler profile: begin a registration", "0",
        checks=(UserRange(0, _GUID16),), failures=(_HANDLER_PROFILE_OFF,),
    ),
    SystemCallDeclaration(
        _C.SMM_MM_HDL_REG_2, (_GUID, _A("Context", Kind.POINTER), _A("Size", Kind.BYTES)),
        "handler profile: complete a registration", "0",
        checks=(UserRange(0, _GUID16),),
        failures=(
            _HANDLER_PROFILE_OFF,
            (_S.NOT_STARTED, "not after SMM_MM_HDL_REG_1 with an equal GUID"),
            *_CONTEXT_FAILURES,
        ),
    ),
    SystemCallDeclaration(
        _C.SMM_MM_HDL_UNREG_1, (_GUID, _A("Handler", Kind.CODE)), "handler profile: begin a removal", "0",
        checks=(UserRange(0, _GUID16),), failures=(_HANDLER_PROFILE_OFF,),
    ),
    SystemCallDeclaration(
        _C.SMM_MM_HDL_UNREG_2, (_GUID, _A("Context", Kind.POINTER), _A("Size", Kind.BYTES)),
        "handler profile: complete a removal", "0",
        checks=(UserRange(0, _GUID16),),
        failures=(
            _HANDLER_PROFILE_OFF,
            (_S.NOT_STARTED, "not after SMM_MM_HDL_UNREG_1 with an equal GUID"),
            *_CONTEXT_FAILURES,
            (_S.NOT_FOUND, "no such record"),
        ),
    ),
    SystemCallDeclaration(
        _C.SMM_SC_SVST_READ_2, (_A("Cookie", Kind.POINTER), _A("Width", Kind.BYTES), _A("Buffer", Kind.POINTER)),
        "read the save-state register named before", "an EFI_STATUS",
        checks=(NonZero(0), UserRange(2, size_argument=1)), gate="save-state read", returns_errors=True,
    ),
    SystemCallDeclaration(
        _C.SMM_MM_UNBLOCKED, (_A("Address", Kind.POINTER), _A("Length", Kind.BYTES)),
        "ask whether memory outside MMRAM is unblocked", "1 or 0", returns_errors=True,
    ),
    SystemCallDeclaration(
        _C.SMM_MM_IS_COMM_BUFF, (_A("Address", Kind.POINTER), _A("Length", Kind.BYTES)),
        "ask whether memory lies in the copy of the comm buffer", "EFI_SUCCESS or EFI_SECURITY_VIOLATION",
        returns_errors=True,
    ),
)

# fmt: on

SYSTEM_CALLS: dict[int, SystemCallDeclaration] = {int(call.number): call for call in _DECLARATIONS}
"""All declared calls by number. Any other number is fatal with INVALID_PARAMETER."""

EARLY_CALLS = frozenset({_C.SMM_QRY_HOB, _C.SMM_SC_IO_READ, _C.SMM_SC_IO_WRITE, _C.SMM_REG_HDL_JMP})
"""Calls that may come before the broker has registered itself, by the last of them: its library constructors may ask
for the HOB list and talk to a serial port (docs/reference/developer-considerations.md §6)."""

FIRST_SUPERVISOR_CALL = 0x10000
"""Numbers from here on are the supervisor's own group."""
