"""Kinds of findings: mistakes that the supervisor lets pass, and that only an audit of handlers sees."""

from __future__ import annotations

from mmsupervisor.abi.finding_kind import FindingKind

AUDIT_KINDS = (
    FindingKind(
        "MM-4001",
        "double fetch",
        "A driver read the same bytes outside MMRAM twice during one MMI; in between the outside may change them.",
        "Copy what is to be judged into MMRAM once, and judge and use the copy.",
        text="""\
Other processors and devices write to normal memory while management mode runs. What was judged by the first read need
not be what the second one gets. The message itself is safe, since a handler is given a copy in MMRAM; memory that was
unblocked is not. That it was read twice is a fact, whether it matters is for a reader to judge.""",
        wrong="if (Shared->Length <= sizeof mData) {\n  CopyMem (mData, Shared->Data, Shared->Length);\n}",
        right="Length = Shared->Length;\nif (Length <= sizeof mData) {\n  CopyMem (mData, Shared->Data, Length);\n}",
        facts=("communicate.md §3", "memory.md §8"),
    ),
    FindingKind(
        "MM-4002",
        "unvalidated pointer in a message",
        "A driver touched memory at an address that a message gave it, and had not asked whether it may.",
        "Ask MmIsBufferOutsideMmValid about all bytes before the first one is touched.",
        text="""\
Where the memory happens to be unblocked, or the driver's own, the access goes through: the sender then reads or writes
for its purposes with the driver's rights. The validator asks the supervisor whether every byte lies in one region that
was unblocked. Where the address leads to a closed page the system dies of it, [MM-1201](MM-1201.md).""",
        wrong="CopyMem (Reply->Data, (VOID *)Message->Address, Message->Length);",
        right="""\
if (!MmIsBufferOutsideMmValid (Message->Address, Message->Length)) {
  return EFI_SECURITY_VIOLATION;
}
CopyMem (Reply->Data, (VOID *)Message->Address, Message->Length);""",
        facts=("memory.md §8",),
    ),
    FindingKind(
        "MM-4003",
        "wrong validator",
        "A driver asked the validator of messages about memory outside MMRAM, or the other one about a message.",
        "MmCommBufferValid is for the message itself, MmIsBufferOutsideMmValid for what lies outside MMRAM.",
        text="""\
Two system calls judge buffers: 0x10022 memory outside MMRAM, 0x10023 the copy of the message. Each says no to what the
other is for, so that the wrong one refuses every sound message, or, where its answer is ignored, lets every bad one
through.""",
        wrong="MmCommBufferValid (Message->Address, Message->Length);   // an address outside MMRAM",
        right="MmIsBufferOutsideMmValid (Message->Address, Message->Length);",
        facts=("memory.md §8", "syscall-abi.md §7.2"),
    ),
    FindingKind(
        "MM-4004",
        "callout",
        "A driver jumped out of MMRAM while it served an MMI.",
        "Call only what was loaded into MMRAM; keep no pointers of boot services for later.",
        text="""\
Code outside MMRAM is the operating system's to write. Here the processor refuses to execute it and the system dies,
[MM-1204](MM-1204.md) or [MM-1201](MM-1201.md); in traditional SMM it would have run with all rights.""",
        wrong="gBS->Stall (10);   // kept from the entry point of a traditional driver",
        right="MicroSecondDelay (10);   // a library that was linked into the driver",
        facts=("developer-considerations.md §8",),
    ),
    FindingKind(
        "MM-4005",
        "code pointer outside MMRAM",
        "A driver read the address of code where the outside may change it.",
        "Keep function pointers in MMRAM.",
        text="""\
A table of functions in unblocked memory, or a structure with callbacks that is shared with DXE. Who writes to it
chooses what the driver calls next, though only among code in MMRAM: enough to skip a check.""",
        wrong="Shared->Notify (Shared);",
        right="mNotify[Shared->Kind % ARRAY_SIZE (mNotify)] (Shared);",
        facts=("memory.md §4", "memory.md §7"),
    ),
    FindingKind(
        "MM-4006",
        "uninitialised bytes in a reply",
        "What a reply holds depends on stack, pool or pages that the driver never wrote: others' data may leave so.",
        "Clear a reply before it is filled, padding included, and return no more bytes than were written.",
        text="""\
The audit sends the same message again with other bytes in all memory that nobody has written: what differs in the reply
came from there. Padding between the members of a structure and the tail of a buffer are the usual places.""",
        wrong="REPLY Reply;\nReply.Status = Status;\nCopyMem (Message, &Reply, sizeof Reply);",
        right="REPLY Reply;\nZeroMem (&Reply, sizeof Reply);\nReply.Status = Status;\n"
        "CopyMem (Message, &Reply, sizeof Reply);",
        facts=("communicate.md §3",),
    ),
    FindingKind(
        "MM-4007",
        "address of MMRAM in a reply",
        "A reply holds an address in MMRAM, which tells the outside where things lie.",
        "Return an index or a handle of your own.",
        text="""\
Where pools and images lie in MMRAM is worth knowing to an attacker who looks for a place to write to. Pointers leave
with structures that are copied out whole, list links and handles among them.""",
        wrong="CopyMem (Message, Entry, sizeof *Entry);   // Entry->Link goes out with it",
        right="Message->Value = Entry->Value;",
        facts=("gmmst.md §6",),
    ),
)
