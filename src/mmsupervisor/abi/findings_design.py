"""Kinds of findings: what does not fit the design, and bugs of the reference. The system lives on."""

from __future__ import annotations

from mmsupervisor.abi.finding_kind import FindingKind

DESIGN_KINDS = (
    FindingKind(
        "MM-2001",
        "driver refused",
        "A driver's image breaks a load rule, so the dispatcher never starts it.",
        "See the rule named; most are linker settings.",
        text="""\
The loader wants a PE32+ image for X64 with relocations, an entry point and sections that are aligned to pages, so that
code, constants and data can be protected apart. A refused driver counts as done and is never tried again: on a device
nothing but a line of the debug log tells. `mmsup info` applies the same rules without a run.""",
        wrong="LINK_FLAGS = /ALIGN:32",
        right="[BuildOptions.common.EDKII.MM_STANDALONE]\n  MSFT:*_*_*_DLINK_FLAGS = /ALIGN:4096\n"
        "  GCC:*_*_*_DLINK_FLAGS = -z common-page-size=0x1000",
        facts=("boot-flow.md §6.4", "memory.md §5"),
    ),
    FindingKind(
        "MM-2002",
        "driver never dispatched",
        "A driver's dependency expression never became true.",
        "Provide the protocols named, or take them out of the expression.",
        text="""\
Only protocols of MM count: those that MM drivers install, and the few that the supervisor mirrors from DXE. A
dependency on a DXE protocol never comes true, and neither does SOR, which nothing in MM clears.""",
        wrong="[Depex]\n  gEfiPciRootBridgeIoProtocolGuid",
        right="[Depex]\n  gEfiMmCpuIoProtocolGuid",
        facts=("boot-flow.md §6.2",),
        sample="NeedsDxeProtocol",
    ),
    FindingKind(
        "MM-2003",
        "driver invisible to the core",
        "A file lies where the core's one scan does not find it, or has no dependency section.",
        "Put it into the core's firmware volume with a PE32 and an MM DEPEX section.",
        text="""\
The core looks once, into the volumes that a HOB tells of, and at files of type MM_STANDALONE (0x0E). It does not
decompress, does not open nested volumes, and passes over files without a dependency section. The detail says which of
these it was.""",
        wrong="FILE MM_STANDALONE = ... {\n  SECTION PE32 = MyDriver.efi\n}",
        right="FILE MM_STANDALONE = ... {\n  SECTION MM_DEPEX = MyDriver.depex\n  SECTION PE32 = MyDriver.efi\n}",
        facts=("boot-flow.md §5",),
    ),
    FindingKind(
        "MM-2004",
        "driver entry point failed",
        "A driver's entry point returned an error; its pages are freed but what it registered stays.",
        "Mend the cause named by the status; unregister before returning an error.",
        text="""\
The image's pages go back at once, but handlers, protocols and notifications that it registered stay and point into
them: the next message is an [MM-1213](MM-1213.md).""",
        wrong="gMmst->MmiHandlerRegister (Handler, &gMyGuid, &Handle);\nreturn InitializeDevice ();",
        right="""\
Status = InitializeDevice ();
if (EFI_ERROR (Status)) {
  return Status;
}
return gMmst->MmiHandlerRegister (Handler, &gMyGuid, &Handle);""",
        facts=("boot-flow.md §6.5",),
        sample="EntryError",
    ),
    FindingKind(
        "MM-2005",
        "driver before the broker",
        "A driver can start before the broker has installed gMmRing3HandlerReadyProtocol.",
        "Link StandaloneMmServicesTableLib from MmSupervisorPkg, or add the protocol to the DEPEX.",
        text="""\
Until the broker has come up there is no MM system table in ring 3: a driver that is started before is given NULL. The
supervisor's instance of the services-table library adds the protocol to the dependency expression of every driver that
links it; a driver with the plain instance, or with BEFORE in its expression, has no such protection. The broker's own
library constructors, too, may do no more than ask for the HOB list and talk to a serial port: any other system call
before the broker has registered itself is told.""",
        wrong="MmServicesTableLib | MdePkg/Library/StandaloneMmServicesTableLib/...",
        right="MmServicesTableLib | MmSupervisorPkg/Library/StandaloneMmServicesTableLib/...",
        facts=("boot-flow.md §6.3", "developer-considerations.md §6"),
    ),
    FindingKind(
        "MM-2006",
        "policy missing or broken",
        "No isolation policy was found in the core's volume, or it fails the security check.",
        "Add the FREEFORM file gMmSupervisorPolicyFileGuid with one RAW section to the core's volume.",
        text="""\
Without a policy nobody is asked and nobody is answered: the first hardware call makes ring 0 read address 0
([MM-1302](MM-1302.md)). A policy that the security check refuses is not used either. `mmsup policy check` applies the
same check to a file.""",
        wrong="mmsup run MyDriver.efi --policy broken.bin",
        right="mmsup policy check policy.xml && mmsup run MyDriver.efi --policy policy.xml",
        facts=("boot-flow.md §4.3", "isolation-policy.md §10"),
    ),
    FindingKind(
        "MM-2007",
        "request refused",
        "A supervisor request (unblock, fetch policy, comm buffer update) was refused.",
        "See the rule named; unblock before ready to lock, with equal descriptors.",
        text="""\
Requests to the supervisor come as messages on its own channel, and from HOBs at the launch. Unblocking ends at ready to
lock; a region may be asked for again only with the very same descriptor; a part of a region, or one that overlaps, is
refused. The requester sees a status; a driver that then uses the memory meets [MM-1201](MM-1201.md).""",
        wrong="MmUnblockMemoryRequest (Base, 2);\nMmUnblockMemoryRequest (Base, 4);   // overlaps",
        right="MmUnblockMemoryRequest (Base, 4);",
        facts=("unblock.md §5", "communicate.md §6"),
    ),
    FindingKind(
        "MM-2008",
        "message without a handler",
        "A message's GUID has no handler that takes it, or its size is wrong.",
        "Check the GUID, the channel and the length; a length of zero never reaches a handler.",
        text="""\
The sender sees EFI_NOT_FOUND for all of it: nobody registered the GUID, the handler belongs to the other channel, the
message's length is zero, or the handlers returned that they did not take it. The detail says which. A handler that
returns an error looks to the sender as if there were none: put the status into the message.""",
        wrong="return EFI_INVALID_PARAMETER;          // the sender sees EFI_NOT_FOUND",
        right="Message->Status = EFI_INVALID_PARAMETER;\nreturn EFI_SUCCESS;",
        facts=("boot-flow.md §10.2", "communicate.md §3"),
    ),
    FindingKind(
        "MM-2009",
        "launch failed",
        "The core or its launcher could not become operational.",
        "See the step named; mend the HOB or the range it asks for.",
        text="""\
The launcher wants a core in a visible volume, MMRAM that is large enough, the HOBs of the communication buffers and of
the processors, and a resource descriptor map that nests. Each step that fails is named by its number in
[boot-flow.md](../reference/boot-flow.md).""",
        wrong="[mmram]\nsize = 0x1_0000",
        right="[mmram]\nsize = 0x80_0000",
        facts=("boot-flow.md §2 to §4",),
    ),
    FindingKind(
        "MM-2010",
        "service that MM does not have",
        "A driver looked for something that does not exist in management mode, such as a dynamic PCD.",
        "Use fixed PCDs, HOB data, or a message from a DXE relay.",
        text="""\
Seen under the relaxation `traditional-entry`: a traditional driver asked the stand-in for DXE for something that nobody
here can know, for example a PCD whose value neither the image nor the platform file has. Nothing is made up. Give the
value in the platform file, or convert the driver.""",
        wrong="PcdGet64 (PcdMyDynamicBase)",
        right="GET_GUID_HOB_DATA (GetFirstGuidHob (&gMyBaseHobGuid))",
        facts=("developer-considerations.md §8",),
    ),
    FindingKind(
        "MM-2011",
        "traditional driver",
        "A file is a traditional SMM driver: the supervisor loads MM_STANDALONE files only, and there is no EFI system "
        "table in MM.",
        "Convert it to MM_STANDALONE (developer-considerations.md §8); observe it to see what it uses.",
        text="""\
DXE_SMM_DRIVER (0x0A) files are DXE drivers that are loaded into MMRAM. The supervisor's core does not look at them at
all. `--observe`, or `--relax traditional-entry`, lets them in with a stand-in for the EFI system table, and the report
lists what each one asked for.""",
        wrong="MODULE_TYPE = DXE_SMM_DRIVER",
        right="MODULE_TYPE = MM_STANDALONE",
        facts=("developer-considerations.md §8",),
    ),
    FindingKind(
        "MM-2012",
        "wait for a milestone that never comes",
        "A driver waits for a protocol by which traditional SMM announces a milestone; here nobody installs it.",
        "Wait for gEfiEventReadyToBootGuid or gEfiEventExitBootServicesGuid; legacy boot is not announced at all.",
        text="""\
The broker announces ReadyToBoot and ExitBootServices as protocols whose GUIDs are those of the *events*
([boot-flow.md](../reference/boot-flow.md) §11). The protocols that PiSmmCore installs for them in traditional SMM do
not come, and the driver's notification is never called. A driver that waits for both names is not reported.""",
        wrong="gMmst->MmRegisterProtocolNotify (&gEdkiiSmmReadyToBootProtocolGuid, Notify, &Registration)",
        right="gMmst->MmRegisterProtocolNotify (&gEfiEventReadyToBootGuid, Notify, &Registration)",
        facts=("boot-flow.md §11", "developer-considerations.md §7"),
    ),
    FindingKind(
        "MM-2013",
        "damaged image",
        "The firmware image breaks its format: it is cut, a checksum is wrong, sizes contradict each other.",
        "Build or fetch the image anew; `mmsup info` lists every place.",
        text="""\
What could be read of the image was booted. What lies at the damaged places, or behind them in the same volume, may be
missing from the boot without any other trace: a driver that no scan finds is not told as missing.""",
        wrong="head -c 300000 bios.fd > part.fd && mmsup boot part.fd",
        right="mmsup info bios.fd && mmsup boot bios.fd",
        facts=("boot-flow.md §5",),
    ),
    FindingKind(
        "MM-3001",
        "reference bug",
        "The run met a decision that is a bug of the reference, and reproduced it.",
        "Do not rely on it; see the fact sheet named.",
        text="""\
Decisions and statuses of the reference are reproduced even where they are wrong, its corruption of memory never is.
Each one is an event, `reference-bug`, and reports list them at their end with how often they were met: they are no
findings about a driver.""",
        wrong="// a message of length 0: the sender is told EFI_NOT_FOUND, whatever the handlers are",
        right="// send at least one byte",
        facts=("boot-flow.md §12", "communicate.md §13"),
    ),
)
