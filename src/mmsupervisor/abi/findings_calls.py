"""Kinds of findings: system calls, instructions, time and the supervisor itself. All are fatal."""

from __future__ import annotations

from mmsupervisor.abi.finding_kind import FindingKind

CALL_KINDS = (
    FindingKind(
        "MM-1001",
        "system call denied by policy",
        "A driver asked for a port, MSR, instruction or save-state access that the isolation policy denies.",
        "Allow the access in the isolation policy, or take it out of the driver.",
        text="""\
Ring 3 reaches ports, MSRs, three instructions and save states by system calls only, and each of them is put to the
isolation policy. What the policy denies is not answered with an error: ring 0 stops at a breakpoint and the machine
resets. The error report then names the core, vector 3, and not the driver: on a device nobody learns who asked.

The report names the driver that called the stub, the access, the list and the entry that decided, and the file and
line of that entry where the policy was given as XML or TOML (`--policy`). `mmsup policy explain` answers the same
question without a run, and `mmsup learn` writes the rules that a driver needs.

A deny list allows what it does not name, an allow list denies what it does not name; an entry that asks for a strict
width matches only accesses that begin where it begins and are as wide as it is.""",
        wrong="IoWrite32 (0xCF8, 0x80000000);   // the default policy denies writes of 32 bits to 0xCF8",
        right="PciSegmentRead32 (Address);      // memory-mapped configuration space needs no port",
        facts=("isolation-policy.md §5 to §9", "syscall-abi.md §7.1", "telemetry.md, surprise 1"),
        sample="Offender",
        case="PortDenied",
    ),
    FindingKind(
        "MM-1002",
        "system call with a bad argument",
        "A system call was given an argument that the supervisor refuses; on the device that is fatal.",
        "Pass what the call's declaration asks for; pointers must lie wholly in ring-3 pages of one kind.",
        text="""\
Before it serves a system call, ring 0 asks of every pointer whose pages it points to: all of them must be ring 3's,
and alike. It also refuses numbers out of range, and a second time of a call that may be made only once. Each refusal
is fatal: ring 3 never sees the status that the report names.

Three calls may be made once in the life of the system, each by the driver it was made for: registering the jump
routines and the MM system table are the broker's (`MmSupervisorRing3Broker`), registering the routine that is told of
violations is the error reporter's (`MmSupervisorErrorReport`). A driver that makes one of them links a library of
those two, or there are two of them in the volume.

[system-calls.md](../system-calls.md) lists what is checked for each call, in order.""",
        wrong="gMmst->MmInstallConfigurationTable (gMmst, &mGuid, NULL, 0);   // ring 3 has no way to delete a table",
        right="gMmst->MmInstallConfigurationTable (gMmst, &mGuid, mTable, sizeof mTable);",
        facts=("syscall-abi.md §5, §7", "gmmst.md §8"),
        sample="Offender",
        case="ConfigurationGuid",
    ),
    FindingKind(
        "MM-1003",
        "unknown system call",
        "A driver used a system-call number that does not exist or is not served.",
        "Link the driver with the supervisor's own libraries; check for a wild jump into SYSCALL.",
        text="""\
Numbers below 0x10000 are the hardware calls, those from 0x10000 to 0x10023 the supervisor's services, with gaps. Any
other number is fatal, and so are the two pool calls and the two save-state calls that early versions had: pool is the
broker's affair, in ring 3.

A driver that was linked against libraries of another generation of the supervisor ends here.""",
        wrong="SysCall (SMM_ALOC_POOL, Type, Size, 0);   // gone: pool lives in ring 3",
        right="gMmst->MmAllocatePool (EfiRuntimeServicesData, Size, &Buffer);",
        facts=("syscall-abi.md §7",),
        sample="Offender",
        case="NumberPastEnd",
    ),
    FindingKind(
        "MM-1004",
        "system call failed",
        "The supervisor could not do what was asked, and the reference makes every such error fatal.",
        "Ask for less, or check before asking: ring 3 never sees the error.",
        text="""\
The arguments were in order, but the service could not be done: no pages left, no such handler. The reference asserts
on the status of most services instead of returning it, so that `if (EFI_ERROR (Status))` behind the call never runs.

Allocate early, once, and bounded by a constant; free exactly what was allocated.""",
        wrong="Status = gMmst->MmAllocatePages (AllocateAnyPages, EfiRuntimeServicesData, Message->Pages, &Page);",
        right="""\
if (Message->Pages > MY_MOST_PAGES) {
  return EFI_INVALID_PARAMETER;
}
Status = gMmst->MmAllocatePages (AllocateAnyPages, EfiRuntimeServicesData, Message->Pages, &Page);""",
        facts=("syscall-abi.md §7.2", "gmmst.md §5"),
        sample="Offender",
        case="AllocateTooMany",
    ),
)

INSTRUCTION_KINDS = (
    FindingKind(
        "MM-1101",
        "direct port access",
        "A driver executed IN, OUT, INS or OUTS in ring 3.",
        "Use IoLib from the supervisor's BaseIoLibIntrinsicSysCall, which asks by system call.",
        text="""\
Drivers run at privilege level 3 with IOPL 0 and without an I/O bitmap, so that every port instruction raises #GP.
The driver links an IoLib that uses the instructions; the supervisor's instance makes a system call of each access,
which the isolation policy then judges ([MM-1001](MM-1001.md)).

`mmsup info` finds such instructions without running the driver; `--relax direct-io` carries them out and counts what
the policy would have said.""",
        wrong="IoLib | MdePkg/Library/BaseIoLibIntrinsic/BaseIoLibIntrinsic.inf",
        right="IoLib | MmSupervisorPkg/Library/BaseIoLibIntrinsicSysCall/BaseIoLibIntrinsic.inf",
        facts=("syscall-abi.md §9", "developer-considerations.md"),
        sample="Offender",
        case="In",
    ),
    FindingKind(
        "MM-1102",
        "privileged instruction",
        "A driver executed an instruction that only ring 0 may execute.",
        "Use the supervisor's BaseLib (BaseLibSysCall), or leave the work to the supervisor.",
        text="""\
RDMSR and WRMSR, CLI, HLT and WBINVD have system calls, which the isolation policy judges. Control and debug registers,
descriptor tables, INVLPG and the like have none: page tables, interrupts and processor modes are ring 0's alone.
SGDT and its relatives are barred by UMIP, RDPMC by CR4.PCE.""",
        wrong="AsmReadCr0 ();                        // no system call stands for this",
        right="AsmReadMsr64 (MSR_IA32_APIC_BASE);    // BaseLibSysCall asks for it, if the policy allows",
        facts=("syscall-abi.md §9", "developer-considerations.md"),
        sample="Offender",
        case="Cli",
    ),
    FindingKind(
        "MM-1103",
        "unknown instruction",
        "A driver executed an instruction that does not exist or is switched off in MM (AVX, XSAVE, FSGSBASE).",
        "Build without the instruction set extension; check for a jump into data.",
        text="""\
#UD. The supervisor sets CR4 to 0x668 and a few bits more: SSE works, AVX, XSAVE, XGETBV and RDFSBASE do not, since
OSXSAVE and FSGSBASE are clear. UD2 is what compilers put where control must never come, and what a failed ASSERT of
some libraries ends in.""",
        wrong="GCC:*_*_*_CC_FLAGS = -march=native   // uses AVX",
        right="GCC:*_*_*_CC_FLAGS = -march=x86-64   // SSE2 at the most",
        facts=("syscall-abi.md §1, §9",),
        sample="Offender",
        case="Avx",
    ),
    FindingKind(
        "MM-1104",
        "software interrupt",
        "A driver executed INT n or INT3; all interrupt gates belong to ring 0. A failed ASSERT ends so.",
        "Find the ASSERT or breakpoint that was hit.",
        text="""\
Every gate of the interrupt table has privilege level 0, so that INT3 in ring 3 is not a breakpoint but #GP with an
error code that names the vector. DebugLib's `CpuBreakpoint` behind a failed ASSERT is the usual cause: the call stack
shows the function whose ASSERT it is.""",
        wrong="ASSERT (Message->Count < MAX_COUNT);   // a message from outside can make it fail",
        right="""\
if (Message->Count >= MAX_COUNT) {
  return EFI_INVALID_PARAMETER;
}""",
        facts=("syscall-abi.md §9",),
        sample="Offender",
        case="Breakpoint",
    ),
    FindingKind(
        "MM-1105",
        "illegal return from ring 3",
        "A driver left its entry point or handler by RET, IRET or a far transfer that is not the call gate.",
        "Link the entry point from MmSupervisorPkg: it returns by a far call through R15.",
        text="""\
Ring 0 enters a driver without a return address: the stack's first slot holds nothing of use. The way back is a far
call to selector 0x63, whose pointer R15 holds at entry. edk2's own `StandaloneMmDriverEntryPoint` ends in RET; the
supervisor's instance of the library does not. Handlers may return by RET, since the broker calls them.""",
        wrong="StandaloneMmDriverEntryPoint | MdePkg/Library/StandaloneMmDriverEntryPoint/...",
        right="StandaloneMmDriverEntryPoint | MmSupervisorPkg/Library/StandaloneMmDriverEntryPoint/...",
        facts=("syscall-abi.md §3.3", "developer-considerations.md"),
        sample="ReturnsByRet",
    ),
    FindingKind(
        "MM-1106",
        "arithmetic or other exception",
        "A driver raised an exception that is no memory access, for example a division by zero.",
        "Mend the computation at the place named.",
        text="""\
#DE, #DB, #MF, #XM, #NP, #SS with a selector and the rest: every vector of ring 3 leads to the same handler of ring 0,
which reports and resets. There is no handler of one's own, and no way to go on.""",
        wrong="Average = Sum / Message->Count;",
        right="Average = Message->Count == 0 ? 0 : Sum / Message->Count;",
        facts=("telemetry.md §5", "syscall-abi.md §9"),
        sample="Offender",
        case="Divide",
    ),
)

END_KINDS = (
    FindingKind(
        "MM-1301",
        "budget spent",
        "A driver did not come back within the instructions allowed for one entry: on the device it would hang.",
        "Bound the loop; raise the budget if the work is honest.",
        text="""\
A device has no such budget: there the processor stays in management mode and the machine stands still. Here a run
ends after `--budget` instructions of one entry into ring 3, 200 million if nothing else is said. The trace names what
had been entered and no more: where the code was by then differs between processors. The report tells it, with callers
and registers, where Unicorn counts; a longer or shorter budget shows other places of the loop.""",
        wrong="while ((MmioRead32 (Base + STATUS) & BUSY) != 0) {\n}",
        right="""\
for (Tries = 0; Tries < 1000; Tries++) {
  if ((MmioRead32 (Base + STATUS) & BUSY) == 0) {
    break;
  }
}""",
        facts=(),
        sample="LoopsForever",
        stands_still=True,
    ),
    FindingKind(
        "MM-1302",
        "supervisor fault",
        "What the driver asked makes the reference's own ring 0 fault; on the device that is a reset.",
        "See the detail; it names the reference's bug where it is one.",
        text="""\
The checks of the supervisor ask whose a page is, not whether it is present or writable. A pointer to a page that
ring 3 owns and ring 0 cannot use passes them, and ring 0 itself takes the page fault. The same happens where there is
no isolation policy at all: ring 0 reads it at address 0; and where the policy allows an MSR that the processor does not
have: ring 0 executes the instruction and takes the #GP. All are the reference's behaviour, reproduced as far as a
device shows it: a report in the core's name, and a reset.""",
        wrong="MmiHandlerRegister (Handler, (EFI_GUID *)UnblockedAndBlockedAgain, &Handle);",
        right="MmiHandlerRegister (Handler, &gMyHandlerGuid, &Handle);   // in the driver's own image",
        facts=("syscall-abi.md §5, §7.1, §11", "boot-flow.md §4.3"),
        sample="IoMsr",
        case="ReadMsr",
        values=(("Address", 0xCF8),),
    ),
    FindingKind(
        "MM-1303",
        "assertion of a DEBUG build",
        "An ASSERT of the supervisor failed: a DEBUG build stands still there, a RELEASE build goes on.",
        "See the rule named; the profile newest-release shows what a RELEASE build does next.",
        text="""\
The reference asserts on much that a RELEASE build takes as it comes: messages that are too long, unblock requests that
overlap, dependency expressions that are out of order. Under a DEBUG profile the run ends at the first of them, as a
device with a DEBUG build does: without a report and without a reset.""",
        wrong="mmsup run MyDriver.efi --profile newest-debug",
        right="mmsup run MyDriver.efi --profile newest-release",
        facts=("telemetry.md §7",),
        stands_still=True,
    ),
)
