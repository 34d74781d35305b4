"""Every kind of finding, once: its number, its name, what it means and what mends it.

Numbers are stable: reports, documentation and tests name them. MM-1xxx is a violation that ends the
system, MM-2xxx a broken rule of the design, MM-3xxx a bug of the reference that this run met.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FindingKind:
    """One kind of finding.

    Attributes:
        number: Stable identifier, for example ``MM-1001``.
        title: Its name, a few words.
        meaning: What it means, one sentence.
        mend: What to change, one sentence.
    """

    number: str
    title: str
    meaning: str
    mend: str


_TABLE = (
    FindingKind(
        "MM-1001", "system call denied by policy",
        "A driver asked for a port, MSR, instruction or save-state access that the isolation policy denies.",
        "Allow the access in the isolation policy, or take it out of the driver.",
    ),
    FindingKind(
        "MM-1002", "system call with a bad argument",
        "A system call was given an argument that the supervisor refuses; on the device that is fatal.",
        "Pass what the call's declaration asks for; pointers must lie wholly in ring-3 pages of one kind.",
    ),
    FindingKind(
        "MM-1003", "unknown system call",
        "A driver used a system-call number that does not exist or is not served.",
        "Link the driver with the supervisor's own libraries; check for a wild jump into SYSCALL.",
    ),
    FindingKind(
        "MM-1004", "system call failed",
        "The supervisor could not do what was asked, and the reference makes every such error fatal.",
        "Ask for less, or check before asking: ring 3 never sees the error.",
    ),
    FindingKind(
        "MM-1101", "direct port access",
        "A driver executed IN, OUT, INS or OUTS in ring 3.",
        "Use IoLib from the supervisor's BaseIoLibIntrinsicSysCall, which asks by system call.",
    ),
    FindingKind(
        "MM-1102", "privileged instruction",
        "A driver executed an instruction that only ring 0 may execute.",
        "Use the supervisor's BaseLib (BaseLibSysCall), or leave the work to the supervisor.",
    ),
    FindingKind(
        "MM-1103", "unknown instruction",
        "A driver executed an instruction that does not exist or is switched off in MM (AVX, XSAVE, FSGSBASE).",
        "Build without the instruction set extension; check for a jump into data.",
    ),
    FindingKind(
        "MM-1104", "software interrupt",
        "A driver executed INT n or INT3; all interrupt gates belong to ring 0. A failed ASSERT ends so.",
        "Find the ASSERT or breakpoint that was hit.",
    ),
    FindingKind(
        "MM-1105", "illegal return from ring 3",
        "A driver left its entry point or handler by RET, IRET or a far transfer that is not the call gate.",
        "Link the entry point from MmSupervisorPkg: it returns by a far call through R15.",
    ),
    FindingKind(
        "MM-1106", "arithmetic or other exception",
        "A driver raised an exception that is no memory access, for example a division by zero.",
        "Mend the computation at the place named.",
    ),
    FindingKind(
        "MM-1201", "access to memory that was never unblocked",
        "A driver touched memory outside MMRAM that nobody asked to unblock: it is not present in MM.",
        "Call MmUnblockMemoryRequest for the pages, in PEI or before ready to lock.",
    ),
    FindingKind(
        "MM-1202", "access to a supervisor page",
        "A driver touched a page that belongs to the supervisor.",
        "Handles from the supervisor (ImageHandle, DispatchHandle) are opaque: never dereference them.",
    ),
    FindingKind(
        "MM-1203", "write to a read-only page",
        "A driver wrote to code, read-only data or the HOB list.",
        "Keep what changes in a writable section; copy HOB data before changing it.",
    ),
    FindingKind(
        "MM-1204", "execution of data",
        "A driver executed from a page that holds data.",
        "Do not run code from pool, stack or data sections; check the image's section characteristics.",
    ),
    FindingKind(
        "MM-1205", "NULL pointer access",
        "A driver touched the first page of memory.",
        "Check the pointer; MmiManage, WriteSaveState and MMST before the broker are NULL in ring 3.",
    ),
    FindingKind(
        "MM-1206", "access to a page that is not present",
        "A driver touched a page of MMRAM that is not present: a guard page or beyond a stack.",
        "Check the buffer's bounds and the depth of the stack.",
    ),
    FindingKind(
        "MM-1207", "access to an address without memory",
        "A driver touched an address behind which there is nothing: no memory and no device.",
        "Check the pointer; MMIO needs a resource descriptor HOB.",
    ),
    FindingKind(
        "MM-1208", "non-canonical or wrapping address",
        "A driver used an address that no x64 processor can translate.",
        "Check the pointer arithmetic.",
    ),
    FindingKind(
        "MM-1209", "device access that is not understood",
        "A driver touched a device's memory with an instruction that this tool cannot carry out.",
        "Use plain moves for MMIO; report the instruction to this project.",
    ),
    FindingKind(
        "MM-1301", "budget spent",
        "A driver did not come back within the instructions allowed for one entry: on the device it would hang.",
        "Bound the loop; raise the budget if the work is honest.",
    ),
    FindingKind(
        "MM-1302", "supervisor fault",
        "What the driver asked makes the reference's own ring 0 fault; on the device that is a reset.",
        "See the detail; it names the reference's bug where it is one.",
    ),
    FindingKind(
        "MM-1303", "assertion of a DEBUG build",
        "An ASSERT of the supervisor failed: a DEBUG build stands still there, a RELEASE build goes on.",
        "See the rule named; the profile newest-release shows what a RELEASE build does next.",
    ),
    FindingKind(
        "MM-2001", "driver refused",
        "A driver's image breaks a load rule, so the dispatcher never starts it.",
        "See the rule named; most are linker settings.",
    ),
    FindingKind(
        "MM-2002", "driver never dispatched",
        "A driver's dependency expression never became true.",
        "Provide the protocols named, or take them out of the expression.",
    ),
    FindingKind(
        "MM-2003", "driver invisible to the core",
        "A file lies where the core's one scan does not find it, or has no dependency section.",
        "Put it into the core's firmware volume with a PE32 and an MM DEPEX section.",
    ),
    FindingKind(
        "MM-2004", "driver entry point failed",
        "A driver's entry point returned an error; its pages are freed but what it registered stays.",
        "Mend the cause named by the status; unregister before returning an error.",
    ),
    FindingKind(
        "MM-2005", "driver before the broker",
        "A driver can start before the broker has installed gMmRing3HandlerReadyProtocol.",
        "Link StandaloneMmServicesTableLib from MmSupervisorPkg, or add the protocol to the DEPEX.",
    ),
    FindingKind(
        "MM-2006", "policy missing or broken",
        "No isolation policy was found in the core's volume, or it fails the security check.",
        "Add the FREEFORM file gMmSupervisorPolicyFileGuid with one RAW section to the core's volume.",
    ),
    FindingKind(
        "MM-2007", "request refused",
        "A supervisor request (unblock, fetch policy, comm buffer update) was refused.",
        "See the rule named; unblock before ready to lock, with equal descriptors.",
    ),
    FindingKind(
        "MM-2008", "message without a handler",
        "A message's GUID has no handler that takes it, or its size is wrong.",
        "Check the GUID, the channel and the length; a length of zero never reaches a handler.",
    ),
    FindingKind(
        "MM-2009", "launch failed",
        "The core or its launcher could not become operational.",
        "See the step named; mend the HOB or the range it asks for.",
    ),
    FindingKind(
        "MM-2010", "service that MM does not have",
        "A driver looked for something that does not exist in management mode, such as a dynamic PCD.",
        "Use fixed PCDs, HOB data, or a message from a DXE relay.",
    ),
    FindingKind(
        "MM-2011", "traditional driver",
        "A file is a traditional SMM driver: the supervisor loads MM_STANDALONE files only, and there is no EFI system "
        "table in MM.",
        "Convert it to MM_STANDALONE (developer-considerations.md §8); observe it to see what it uses.",
    ),
    FindingKind(
        "MM-3001", "reference bug",
        "The run met a decision that is a bug of the reference, and reproduced it.",
        "Do not rely on it; see the fact sheet named.",
    ),
)  # fmt: skip

FINDING_KINDS: dict[str, FindingKind] = {kind.number: kind for kind in _TABLE}
"""All kinds by number."""
