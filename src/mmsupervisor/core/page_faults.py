"""What a page fault of ring 3 means: whose page it is, why it is closed, and what to change.

Facts: docs/reference/memory.md §4, §6, §7; syscall-abi.md §4; unblock.md §5.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.core.findings import Finding, Place, make_finding
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.core.unblocked import UnblockParameters
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Access, Attribute, PageState, PhysicalMemory
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.processor.interface import Fault

_CORE_GUID = known_guid("gMmSupervisorCoreGuid")
_VERBS = {Access.READ: "read", Access.WRITE: "write", Access.EXECUTE: "execute"}
_FREED = "free MMRAM, was "

_TABLES = {
    b"IBI SYST": "the EFI system table",
    b"BOOTSERV": "the EFI boot services table",
    b"RUNTSERV": "the EFI runtime services table",
    b"DXE_SERV": "the DXE services table",
}
"""Tables of DXE by their signature (UEFI 2.10 §4.3 to §4.5, PI 1.8 vol. 2 §3.4)."""

_MEND_CODE = "Code runs from MMRAM only: never call into memory that the operating system can write."
"""Unblocking would not help: pages outside MMRAM are never executable."""

_HEADER_SIZE_OFFSET = 12
_LARGEST_TABLE = 0x200
_STACK_END = 0x200


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What a page fault comes to.

    Attributes:
        number: The finding.
        rule: The rule, with its place in the fact sheets.
        more: What is to be said beside the access, or empty.
        mend: What to change, where that is more exact than the kind's own, or empty.
    """

    number: str
    rule: str
    more: str = ""
    mend: str = ""


def explain_page_fault(supervisor: Supervisor, fault: Fault, address: int, caller: Place | None) -> Finding:
    """Explain a page fault.

    Args:
        supervisor: The supervisor.
        fault: The exception.
        address: The address that was touched.
        caller: What follows the call that led outside all images, if there was one.
    """
    state = supervisor.memory.state(address)
    judgement = _judge(supervisor, fault, address, state)
    words = [f"{_VERBS.get(fault.access, 'touch')} at {address:#x}"]
    if state.use and address >= PAGE_SIZE:
        words.append(state.use)
    if caller is not None:
        words.append(f"called just before {caller}")
    if judgement.more:
        words.append(judgement.more)
    return make_finding(
        judgement.number,
        ", ".join(words),
        place=supervisor.place,
        rule=judgement.rule,
        mend=judgement.mend,
        vector=fault.vector,
        error_code=fault.error_code,
        address=address,
    )


def _judge(supervisor: Supervisor, fault: Fault, address: int, state: PageState) -> _Judgement:
    if address < PAGE_SIZE:
        return _Judgement("MM-1205", "memory.md §6: page 0 is never present")
    if _is_below_stacks(supervisor, address):
        rule = "syscall-abi.md §4: the ring-3 stacks have no guard page"
        size = supervisor.stacks.size
        return _Judgement("MM-1212", rule, f"just below the ring-3 stacks of {size:#x} bytes each: a stack overflowed")
    if not supervisor.mmram.touches(address, 1):
        return _judge_outside(supervisor, fault, address, state)
    if state.attributes & Attribute.RP:
        return _Judgement("MM-1206", "memory.md §6: the page is not present")
    if state.use.startswith(_FREED):
        return _Judgement("MM-1213", "memory.md §4: a supervisor page since it was freed")
    return _judge_present(fault, state)


def _is_below_stacks(supervisor: Supervisor, address: int) -> bool:
    """Whether a stack that grew beyond all ring-3 stacks would touch the address; nothing guards their end.

    A stack that came that far has left something at its end; a wild stack pointer has not.
    """
    base = supervisor.stacks.base
    rsp = supervisor.processor.registers().rsp
    if not base - PAGE_SIZE <= address < base or abs(rsp - address) >= PAGE_SIZE:
        return False
    return any(supervisor.memory.read(base, _STACK_END))


def _judge_present(fault: Fault, state: PageState) -> _Judgement:
    if state.attributes & Attribute.SP:
        return _Judgement("MM-1202", "memory.md §4: a supervisor page")
    if fault.access is Access.EXECUTE:
        return _Judgement("MM-1204", "memory.md §4: the page is not executable")
    if fault.access is Access.WRITE and state.attributes & Attribute.RO:
        return _Judgement("MM-1203", "memory.md §4: the page is read-only", mend=_mend_write(state))
    rule = "memory.md §7: the page is open, but the instruction is not one that this tool carries out"
    return _Judgement("MM-1209", rule)


def _mend_write(state: PageState) -> str:
    if not state.attributes & Attribute.XP:
        return "Code is never written to: find the wild pointer, or take the patching of code out."
    if "HOB" in state.use:
        return "Copy what the HOB holds into the driver's own memory and change the copy."
    return "Keep what changes in a writable section: take const away, or find the wild pointer."


def _judge_outside(supervisor: Supervisor, fault: Fault, address: int, state: PageState) -> _Judgement:
    if not state.attributes & Attribute.RP:
        return _judge_open(fault, state)
    if state.bank is None:
        return _Judgement("MM-1207", "memory.md §7: there is nothing at that address")
    if state.bank.backing is None:
        rule = "memory.md §7: no MMIO resource descriptor HOB covers it"
        return _Judgement("MM-1210", rule, f"device {state.bank.name}")
    closed = "memory.md §7: outside MMRAM only unblocked pages are present"
    table = _table_at(supervisor.memory, address)
    if table:
        return _Judgement("MM-1214", closed, f"in {table}")
    neighbour = _neighbour(supervisor, address)
    if neighbour is not None and fault.access is not Access.EXECUTE:
        return _Judgement("MM-1211", closed, _beside(neighbour, address), _mend_neighbour(neighbour))
    return _Judgement("MM-1201", closed, mend=_MEND_CODE if fault.access is Access.EXECUTE else "")


def _judge_open(fault: Fault, state: PageState) -> _Judgement:
    """Judge a page outside MMRAM that is open, but not for this."""
    if state.attributes & Attribute.SP:
        mend = "Use the copy of the message that the handler is given; what lies outside may change at any time."
        return _Judgement("MM-1202", "memory.md §4: a supervisor page", "open to the supervisor only", mend)
    if fault.access is Access.EXECUTE:
        return _Judgement("MM-1204", "memory.md §4: the page is not executable", mend=_MEND_CODE)
    return _judge_present(fault, state)


def _neighbour(supervisor: Supervisor, address: int) -> UnblockParameters | None:
    """Return the region that a driver asked for and that ends just before the page, or begins just behind it."""
    page = address & ~PAGE_MASK
    asked_for = (
        region for region in supervisor.unblocked.regions if region.identifier != _CORE_GUID and not region.supervisor
    )
    return next((region for region in asked_for if page in (region.end, region.start - PAGE_SIZE)), None)


def _beside(region: UnblockParameters, address: int) -> str:
    where = "just behind" if address >= region.end else "just before"
    pages = f"{region.pages} page{'s' if region.pages > 1 else ''}"
    return f"{where} the {pages} at {region.start:#x} unblocked for {region.identifier.label}"


def _mend_neighbour(region: UnblockParameters) -> str:
    return (
        f"Unblock all pages that the buffer touches: the request covered {region.start:#x} to {region.end - 1:#x}; "
        "round the start down, the end up."
    )


def _table_at(memory: PhysicalMemory, address: int) -> str:
    """Return the name of the table of DXE that holds an address, or an empty string."""
    for start in range(address & ~7, max(address - _LARGEST_TABLE, 0), -8):
        bank = memory.state(start).bank
        if bank is None or bank.backing is None or start + 16 > bank.end:
            return ""
        header = memory.read(start, 16)
        name = _TABLES.get(header[:8])
        if name is not None:
            size = int.from_bytes(header[_HEADER_SIZE_OFFSET:], "little")
            return name if address - start < min(size, _LARGEST_TABLE) else ""
    return ""
