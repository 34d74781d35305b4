"""Lock-down: every page gets its final attributes (docs/reference/boot-flow.md §4.2, memory.md §4)."""

from __future__ import annotations

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import CoreStep
from mmsupervisor.core.findings import make_finding
from mmsupervisor.core.inputs import CORE_GUID, CoreInputs
from mmsupervisor.core.mmram import range_end
from mmsupervisor.core.outside_map import special_ranges
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.core.unblocked import UnblockParameters
from mmsupervisor.machine.memory import PAGE_MASK, PAGE_SIZE, Attribute
from mmsupervisor.machine.save_state import SAVE_STATE_OFFSET
from mmsupervisor.pi.memory_types import pages_for
from mmsupervisor.pi.supervisor_hobs import ProtectedRegion, ProtectedRegionType

_RO, _XP, _SP = Attribute.RO, Attribute.XP, Attribute.SP
_RUNTIME_DATA = 6
_ENTRY_OFFSET = 0x8000
_NOT_PRESENT = Attribute.RP | _XP


def lock_down(supervisor: Supervisor, inputs: CoreInputs) -> None:
    """Apply the whole map.

    Raises:
        SystemStopError: the memory map does not nest; the reference resets the machine.
    """
    _close_outside(supervisor)
    _open_special(supervisor, inputs)
    _open_comm_buffers(supervisor)
    _open_requested(supervisor, inputs)
    for region in inputs.protected_regions():
        if not _open_protected(supervisor, region):
            break
    _protect_mmram(supervisor, inputs)
    supervisor.log.emit(CoreStep(19, "locked down"))


def _close_outside(supervisor: Supervisor) -> None:
    """Everything outside MMRAM becomes not present; the stale entry still says ring 3 (syscall-abi.md §11.10)."""
    memory = supervisor.memory
    position = 0
    for region in sorted(supervisor.mmram.ranges, key=lambda item: item.physical_start):
        if region.physical_start > position:
            memory.assign(position, region.physical_start - position, _NOT_PRESENT)
        position = max(position, range_end(region))
    memory.assign(position, memory.pages.limit - position, _NOT_PRESENT)


def _open_special(supervisor: Supervisor, inputs: CoreInputs) -> None:
    try:
        special = special_ranges(inputs.resources(), supervisor.mmram)
    except CoreError as error:
        supervisor.failed_assert("memory.md §7", error.detail, subject="resource descriptor HOBs")
        finding = make_finding("MM-2009", error.detail, subject="resource descriptor HOBs", rule="memory.md §7")
        raise supervisor.die(finding, "cold") from error
    for region in special:
        if region.start & PAGE_MASK:
            detail = f"MMIO at {region.start:#x} is not rounded down"
            supervisor.failed_assert("memory.md surprise 9", detail)
            supervisor.reference_bug("memory.md surprise 9", detail)
        wanted = UnblockParameters.make(region.start, pages_for(region.size), CORE_GUID)
        _request(supervisor, wanted, "MMIO resource descriptor HOB")


def _open_comm_buffers(supervisor: Supervisor) -> None:
    other, user = supervisor.supervisor, supervisor.user
    places = [(other.external, other.pages, "supervisor comm buffer"), (user.external, user.pages, "user comm buffer")]
    if supervisor.slot is not None:
        places.append((supervisor.slot.address, 1, "mailbox"))
    else:
        places += [(other.status, 1, "supervisor mailbox"), (user.status, 1, "user mailbox")]
    for start, pages, what in places:
        wanted = UnblockParameters.make(start, pages, CORE_GUID, memory_type=_RUNTIME_DATA, attribute=int(_XP | _SP))
        if not _request(supervisor, wanted, what):
            break
        supervisor.memory.set_use(start, pages * PAGE_SIZE, what)


def _open_requested(supervisor: Supervisor, inputs: CoreInputs) -> None:
    for raw in inputs.unblock_requests():
        _request(supervisor, UnblockParameters.parse(raw), "unblock HOB")


def _request(supervisor: Supervisor, wanted: UnblockParameters, what: str) -> bool:
    """Open a region; a refusal is an ASSERT that a RELEASE build passes over."""
    try:
        supervisor.unblocked.request(wanted)
    except CoreError as error:
        supervisor.report(
            make_finding("MM-2007", f"{what}: {error.detail}", subject=what, rule="unblock.md §5", status=error.status)
        )
        supervisor.failed_assert("unblock.md §3", f"{what}: {error.detail}", subject=what)
        return False
    return True


def _open_protected(supervisor: Supervisor, region: ProtectedRegion) -> bool:
    """Open a protected region read-only; return whether the reference goes on with the next one."""
    subject = f"protected region at {region.address:#x}"
    if region.type != ProtectedRegionType.IOMMU:
        detail = f"its type {region.type} is not supported, and all later ones are skipped"
        if region.type not in tuple(ProtectedRegionType):
            supervisor.failed_assert("isolation-policy.md §14", detail, subject=subject)
        supervisor.report(make_finding("MM-2007", detail, subject=subject, rule="isolation-policy.md §14"))
        return False
    size = region.pages * PAGE_SIZE
    if region.address & PAGE_MASK or region.address + size > supervisor.memory.pages.limit:
        supervisor.report(
            make_finding("MM-2007", "it is not whole pages in range", subject=subject, rule="isolation-policy.md §14")
        )
        return False
    supervisor.memory.clear_attributes(region.address, size, Attribute.RP | _SP)
    supervisor.memory.set_attributes(region.address, size, _RO | _XP)
    supervisor.memory.set_use(region.address, size, "protected region (IOMMU)")
    return True


def _protect_mmram(supervisor: Supervisor, inputs: CoreInputs) -> None:
    pages, memory = supervisor.pages, supervisor.memory
    tables = pages.allocate(1, PageType.RUNTIME_SERVICES_DATA, Owner.SUPERVISOR, "descriptor tables (IDT, GDT, TSS)")
    pages.protect_all()
    memory.set_attributes(tables, PAGE_SIZE, _RO)
    size = pages_for(len(inputs.raw)) * PAGE_SIZE
    memory.assign(supervisor.hob_list, size, _RO | _XP)
    if supervisor.policy_blob is not None:
        memory.assign(supervisor.policy_address, pages_for(len(supervisor.policy_blob)) * PAGE_SIZE, _RO | _XP | _SP)
    if supervisor.driver_cache.pages:
        cache = supervisor.driver_cache
        memory.assign(cache.address, cache.pages * PAGE_SIZE, _RO | _XP)
    image = inputs.core_image()
    if image is not None and not image.base & PAGE_MASK:
        length = pages_for(image.length) * PAGE_SIZE
        memory.assign(image.base, length, _RO | _SP, use="core image (placeholder)")
    for cpu in supervisor.cpus:
        if supervisor.mmram.range_at(cpu.smbase + _ENTRY_OFFSET):
            memory.assign(cpu.smbase + _ENTRY_OFFSET, PAGE_SIZE, _RO | _SP, use=f"SMI entry code of CPU {cpu.index}")
            area = (cpu.smbase + SAVE_STATE_OFFSET) & ~PAGE_MASK
            memory.assign(area, PAGE_SIZE, _XP | _SP, use=f"save state of CPU {cpu.index}")
