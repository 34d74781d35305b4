"""Kinds of findings: what ring 3 may not touch. All are fatal."""

from __future__ import annotations

from mmsupervisor.abi.finding_kind import FindingKind

MEMORY_KINDS = (
    FindingKind(
        "MM-1201",
        "access to memory that was never unblocked",
        "A driver touched memory outside MMRAM that nobody asked to unblock: it is not present in MM.",
        "Call MmUnblockMemoryRequest for the pages, in PEI or before ready to lock.",
        text="""\
Outside MMRAM only two sorts of pages are mapped: MMIO that a resource descriptor HOB tells of, and what was unblocked
on request. A pointer out of a message is normal memory and faults, unless the sender had its pages unblocked first.

`MmIsCommBufferValid` and its relatives do not help here: they judge ranges, not what was asked for. The report of a run
lists every region that is open, with who asked and when.""",
        wrong="CopyMem (Buffer, (VOID *)Message->Address, Message->Size);   // where the operating system says",
        right="""\
// in PEI or DXE, before ready to lock, for the pages that hold the buffer:
MmUnblockMemoryRequest (BufferBase, EFI_SIZE_TO_PAGES (BufferSize));
// in MM:
if (!MmIsNonPrimaryBufferValid (Message->Address, Message->Size)) {
  return EFI_SECURITY_VIOLATION;
}""",
        facts=("memory.md §7, §8", "unblock.md"),
        sample="UnblockedUnchecked",
        case="Read",
        values=(("Address", 0x200_0000), ("Length", 16)),
    ),
    FindingKind(
        "MM-1202",
        "access to a supervisor page",
        "A driver touched a page that belongs to the supervisor.",
        "Handles from the supervisor (ImageHandle, DispatchHandle) are opaque: never dereference them.",
        text="""\
Page tables give ring 3 its own pages only. Handles of the supervisor are addresses in its pages: they may be passed
back, not looked into. The mailboxes and communication buffers outside MMRAM are mapped for the supervisor only, too: a
handler is given a copy of the message, inside MMRAM, which nobody outside can change under its hands.""",
        wrong="LoadedImage = (EFI_LOADED_IMAGE_PROTOCOL *)ImageHandle;   // a handle is no pointer",
        right="gMmst->MmHandleProtocol (ImageHandle, &gMyProtocolGuid, &Interface);   // pass it back",
        facts=("memory.md §4", "gmmst.md §6"),
        sample="Offender",
        case="ReadImageHandle",
    ),
    FindingKind(
        "MM-1203",
        "write to a read-only page",
        "A driver wrote to code, read-only data or the HOB list.",
        "Keep what changes in a writable section; copy HOB data before changing it.",
        text="""\
The page attributes follow the image's sections: code is read-only and executable, sections without the write flag are
read-only, and so is the copy of the HOB list that ring 3 is given. The detail says which it was.

PEI and traditional SMM drivers could change HOBs in place; here the list is shared by all drivers and closed.""",
        wrong="((MY_HOB *)GET_GUID_HOB_DATA (Hob))->Used = TRUE;",
        right="CopyMem (&mMyHob, GET_GUID_HOB_DATA (Hob), sizeof mMyHob);\nmMyHob.Used = TRUE;",
        facts=("memory.md §4, §5",),
        sample="Offender",
        case="WriteHob",
    ),
    FindingKind(
        "MM-1204",
        "execution of data",
        "A driver executed from a page that holds data.",
        "Do not run code from pool, stack or data sections; check the image's section characteristics.",
        text="""\
Pool, stack, data sections and all memory outside MMRAM are never executable. Where a driver's own function is named,
the image is at fault: only a section whose characteristics say "code" (0x20) is executable, and of two code sections
that follow each other the reference protects the second as data.

A function pointer out of a message or an unblocked buffer would run the operating system's code in MM: the call stack
shows who called it.""",
        wrong="((CALLBACK)Message->Callback) (Message);",
        right="mCallbacks[Message->Index % ARRAY_SIZE (mCallbacks)] (Message);   // functions of the driver",
        facts=("memory.md §4, §5",),
        sample="Offender",
        case="ExecutePool",
    ),
    FindingKind(
        "MM-1205",
        "NULL pointer access",
        "A driver touched the first page of memory.",
        "Check the pointer; MmiManage, WriteSaveState and MMST before the broker are NULL in ring 3.",
        text="""\
Page 0 is never present. What is NULL more often than in a traditional driver: `gMmst->MmiManage`, the MM CPU
protocol's `WriteSaveState`, the MM system table of a driver that starts before the broker, and the context of handlers
([MM-2005](MM-2005.md) tells of the third).""",
        wrong="gMmst->MmiManage (NULL, NULL, NULL, NULL);",
        right="""\
if (gMmst->MmiManage != NULL) {
  gMmst->MmiManage (NULL, NULL, NULL, NULL);
}""",
        facts=("memory.md §6", "gmmst.md §13"),
        sample="Offender",
        case="ReadNull",
    ),
    FindingKind(
        "MM-1206",
        "access to a guard page",
        "A driver touched a page of MMRAM that is not present: a guard before or behind an allocation.",
        "Check the buffer's bounds: the access ran over the end of an allocation, or before its start.",
        text="""\
The memory protection HOB can ask for guards: every page allocation of the types it names then has a page on either
side that is not present. A pool of the broker's is made of such pages, so that an overrun is seen at the end of the
page and not at the end of the buffer.""",
        wrong="for (Index = 0; Index <= Count; Index++) {\n  Table[Index] = 0;\n}",
        right="for (Index = 0; Index < Count; Index++) {\n  Table[Index] = 0;\n}",
        facts=("memory.md §6",),
    ),
    FindingKind(
        "MM-1207",
        "access to an address without memory",
        "A driver touched an address behind which there is nothing: no memory and no device.",
        "Check the pointer arithmetic, and the base address that was read from a BAR, a HOB or a PCD.",
        text="""\
Nothing of the platform answers there, so that no unblock request could help. An address made of all ones or of a base
that was never assigned is the usual cause. If the platform does have something there, describe it: a platform file
(`mmsup platform init`) adds memory and devices.""",
        wrong="Base = PciRead32 (Bar);   // 0xFFFFFFFF: the device is hidden by now\nMmioRead32 (Base + 4);",
        right="if (Base == MAX_UINT32) {\n  return EFI_NOT_FOUND;\n}",
        facts=("memory.md §7",),
        sample="Offender",
        case="ReadAddress",
        values=(("Argument", 0x10_0000_0000),),
    ),
    FindingKind(
        "MM-1208",
        "non-canonical or wrapping address",
        "A driver used an address that no x64 processor can translate.",
        "Check the pointer arithmetic.",
        text="""\
Bits 63 to 47 of an address must be alike, else the processor raises #GP, or #SS through the stack pointer, without an
address in CR2; an SSE operand that is not aligned raises the same. A pointer that was poisoned, overwritten by text or
shifted gives such addresses.""",
        wrong="Next = (NODE *)(UINTN)(Node->Link ^ mSecret);",
        right="Next = (NODE *)(UINTN)Node->Link;",
        facts=("syscall-abi.md §9",),
        sample="Offender",
        case="ReadNonCanonical",
    ),
    FindingKind(
        "MM-1209",
        "device access that is not understood",
        "A driver touched a device's memory with an instruction that this tool cannot carry out.",
        "Use plain moves for MMIO; report the instruction to this project.",
        text="""\
This is a limit of the tool, not a rule of the device. Accesses to device memory are carried out one by one, from the
instruction: moves, arithmetic, strings and bit operations of general registers are known, vector instructions of 16
bytes and the like are not. No device defines what those would do.""",
        wrong="_mm_store_si128 ((__m128i *)Mmio, Value);",
        right="MmioWrite64 (Mmio, Low);\nMmioWrite64 (Mmio + 8, High);",
        facts=("memory.md §7",),
    ),
    FindingKind(
        "MM-1210",
        "access to a device without a resource HOB",
        "A driver touched a device's memory that no resource descriptor HOB of type MMIO tells of.",
        "Build the HOB in PEI (BuildResourceDescriptorHob, EFI_RESOURCE_MEMORY_MAPPED_IO) for the device's range.",
        text="""\
The core maps MMIO and firmware devices from the resource descriptor HOBs that it is launched with, once, and page by
page. A device that gets its address later, or that nobody described, is not mapped. MmUnblockMemoryRequest takes memory
that is in the UEFI memory map; for MMIO the HOB is the way.""",
        wrong="MmioRead32 (0xFD6F0000);   // nobody told the core of it",
        right="""\
// in PEI, before the launch:
BuildResourceDescriptorHob (EFI_RESOURCE_MEMORY_MAPPED_IO, Attributes, 0xFD000000, SIZE_16MB);""",
        facts=("memory.md §7", "q35-platform.md"),
    ),
    FindingKind(
        "MM-1211",
        "access beyond unblocked memory",
        "A driver touched a page that is not open, right beside pages that were unblocked.",
        "Unblock all pages that the buffer touches: round the start down, the end up.",
        text="""\
The buffer was unblocked in part: the request counted its pages from the size alone, while the buffer begins within a
page, or it was given the size of the payload and not that of the whole. The detail names the request that stopped
short, with the driver that made it.""",
        wrong="MmUnblockMemoryRequest (Base & ~EFI_PAGE_MASK, EFI_SIZE_TO_PAGES (Size));",
        right="MmUnblockMemoryRequest (Base & ~EFI_PAGE_MASK, EFI_SIZE_TO_PAGES ((Base & EFI_PAGE_MASK) + Size));",
        facts=("unblock.md §5", "memory.md §7"),
    ),
    FindingKind(
        "MM-1212",
        "stack overflow",
        "A driver's stack grew over the end of all ring-3 stacks.",
        "Bound the recursion; keep large buffers in pool or in the image; the stack's size is in the detail.",
        text="""\
Every CPU has one ring-3 stack, and they lie side by side without a guard page: an overflow of the first CPU's faults
at the page below, that of any other CPU silently reaches its neighbour's stack. That only the first is seen is the
reference's layout, not a choice of this tool.""",
        wrong="UINT8 Scratch[SIZE_64KB];",
        right="UINT8 *Scratch = AllocatePool (SIZE_64KB);",
        facts=("syscall-abi.md §4",),
        sample="Offender",
        case="Recurse",
    ),
    FindingKind(
        "MM-1213",
        "access to freed memory",
        "A driver touched a page of MMRAM that was given back.",
        "Set pointers to NULL where their pages are freed, and take the code that uses them out of reach.",
        text="""\
Pages that are given back become the supervisor's at once, so that the next use faults. The detail says what they were
before. Pool is cut from pages inside ring 3: freed pool is caught only where its whole page went back, else the bytes
are still there and may be somebody else's by now.

A driver whose entry point returned an error is such memory as well, with its handlers still registered
([MM-2004](MM-2004.md)).""",
        wrong="gMmst->MmFreePages (Page, 1);\nreturn *(UINT64 *)Page;",
        right="Value = *(UINT64 *)Page;\ngMmst->MmFreePages (Page, 1);\nreturn Value;",
        facts=("memory.md §2, §4", "gmmst.md §5"),
        sample="EntryError",
        case="Message",
    ),
    FindingKind(
        "MM-1214",
        "access to a table of DXE",
        "A driver touched the EFI system table, or its boot, runtime or DXE services, from MM.",
        "Use gMmst and protocols of MM; what only DXE knows must come by HOB or message.",
        text="""\
gST, gBS, gRT and gDS lie in normal memory and are not present in MM: what the operating system can overwrite must
never be called from here. A library that was written for DXE, or a pointer kept from the entry point of a traditional
driver, leads here. The table is recognised by its signature.

`mmsup run --observe` lets a traditional driver in and counts what it asks of DXE, service by service.""",
        wrong="gBS->LocateProtocol (&gMyProtocolGuid, NULL, &Interface);",
        right="gMmst->MmLocateProtocol (&gMyMmProtocolGuid, NULL, &Interface);",
        facts=("developer-considerations.md §8", "memory.md §7"),
    ),
)
