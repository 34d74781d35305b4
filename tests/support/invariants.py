"""What must hold of a core's memory at every moment after its lock-down, dead or alive.

Each invariant is a generator of complaints over a core; :func:`broken_invariants` runs them all. They look at the
page map and at the supervisor's own records from outside and share no code with what keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from mmsupervisor.core.entry import Core
from mmsupervisor.core.pages import Owner, PageRecord, PageType
from mmsupervisor.core.unblocked import UnblockParameters
from mmsupervisor.machine.interval_map import Interval
from mmsupervisor.machine.memory import PAGE_SIZE, Access, Attribute, PageState

Invariant = Callable[[Core], Iterator[str]]

_RP, _XP, _RO, _SP = Attribute.RP, Attribute.XP, Attribute.RO, Attribute.SP
_PROTECTED = "protected region"


def broken_invariants(core: Core) -> list[str]:
    """Return what does not hold, one line each; empty for a sound core."""
    return [f"{check.__name__}: {complaint}" for check in INVARIANTS for complaint in check(core)]


def _has(core: Core, address: int, size: int, wanted: Attribute, unwanted: Attribute, what: str) -> Iterator[str]:
    """Complain of pages of a range that lack an attribute or have one too many."""
    for piece in core.supervisor.memory.slice(address, -(-size // PAGE_SIZE) * PAGE_SIZE):
        found = piece.value.attributes
        if found & wanted != wanted or found & unwanted:
            yield f"{what} at {piece.start:#x} is {found!r}"


def _in_mmram(core: Core) -> Iterator[tuple[int, int, PageState, PageRecord | None]]:
    """Iterate over runs of MMRAM with one page state and one record."""
    for region in core.supervisor.mmram.ranges:
        for state in core.supervisor.memory.slice(region.physical_start, region.physical_size):
            for record in core.supervisor.pages.records.slice(state.start, state.end):
                yield record.start, record.end, state.value, record.value


def null_page_is_not_present(core: Core) -> Iterator[str]:
    yield from _has(core, 0, PAGE_SIZE, _RP, Attribute.NONE, "page 0")


def guard_pages_are_not_present(core: Core) -> Iterator[str]:
    for page in sorted(core.supervisor.pages.guards):
        yield from _has(core, page, PAGE_SIZE, _RP, Attribute.NONE, "guard page")


def records_cover_mmram_and_nothing_else(core: Core) -> Iterator[str]:
    for start, _, _, record in _in_mmram(core):
        if record is None:
            yield f"{start:#x} is MMRAM without a record"
    for piece in core.supervisor.pages.records:
        if piece.value is not None and not core.supervisor.mmram.contains(piece.start, piece.size):
            yield f"{piece.start:#x} has a record and is no MMRAM"


def pages_are_as_recorded(core: Core) -> Iterator[str]:
    """Ring 3 reaches the pages that are recorded for it, present, and no others; data are not executable."""
    for start, _, state, record in _in_mmram(core):
        if record is None or start in core.supervisor.pages.guards:
            continue
        user = record.owner is Owner.USER and not record.free
        if bool(state.attributes & _SP) == user:
            yield f"{start:#x} ({state.use}) is recorded for {record.owner.value} and is {state.attributes!r}"
        if state.attributes & _RP:
            yield f"{start:#x} ({state.use}) is recorded and not present"
        if record.type is not PageType.RUNTIME_SERVICES_CODE and not state.attributes & _XP:
            executable = state.use.startswith(("core image", "SMI entry"))
            if user or not executable:
                yield f"{start:#x} ({state.use}) holds data and is executable"


def nothing_is_writable_and_executable(core: Core) -> Iterator[str]:
    for piece in core.supervisor.memory.pages:
        both = Access.WRITE | Access.EXECUTE
        if piece.value.ring3 & both == both:
            yield f"{piece.start:#x} ({piece.value.use})"


def ring3_executes_drivers_only(core: Core) -> Iterator[str]:
    modules = core.supervisor.modules
    for piece in core.supervisor.memory.pages:
        if piece.value.ring3 & Access.EXECUTE:
            module = modules.find(piece.start)
            if module is None or piece.end > module.base + module.size:
                yield f"{piece.start:#x} ({piece.value.use}) is executable and no driver's image"


def outside_only_what_was_unblocked(core: Core) -> Iterator[str]:
    supervisor = core.supervisor
    regions = supervisor.unblocked.regions
    ranges = [
        (region.physical_start, region.physical_start + region.physical_size) for region in supervisor.mmram.ranges
    ]
    cuts = {0, supervisor.memory.pages.limit, *(end for both in ranges for end in both)}
    cuts |= {end for region in regions for end in (region.start, region.end)}
    for first, last in pairwise(sorted(cuts)):
        if any(start <= first < end for start, end in ranges):
            continue
        entry = next((region for region in regions if region.start <= first < region.end), None)
        for piece in supervisor.memory.slice(first, last - first):
            yield from _judge_outside(piece, entry)


def _judge_outside(piece: Interval[PageState], entry: UnblockParameters | None) -> Iterator[str]:
    attributes, what = piece.value.attributes, f"{piece.start:#x} ({piece.value.use})"
    if attributes & _RP:
        return
    if entry is None and not (piece.value.use.startswith(_PROTECTED) and attributes & _RO):
        yield f"{what} is present and was never unblocked"
    if entry is not None and entry.supervisor != bool(attributes & _SP):
        yield f"{what} has another owner than its request"
    if not attributes & _XP:
        yield f"{what} is outside MMRAM and executable"


def hob_list_is_a_read_only_copy(core: Core) -> Iterator[str]:
    supervisor, raw = core.supervisor, core.inputs.raw
    yield from _has(core, supervisor.hob_list, len(raw), _RO | _XP, _SP | _RP, "HOB list")
    if supervisor.memory.read(supervisor.hob_list, len(raw)) != raw:
        yield "its content changed"


def policy_is_the_supervisors_and_read_only(core: Core) -> Iterator[str]:
    supervisor = core.supervisor
    blob = supervisor.policy_blob
    if blob is None:
        return
    yield from _has(core, supervisor.policy_address, len(blob), _RO | _XP | _SP, _RP, "policy")
    if supervisor.memory.read(supervisor.policy_address, len(blob)) != blob:
        yield "its content changed"


def handles_are_supervisor_memory(core: Core) -> Iterator[str]:
    supervisor = core.supervisor
    handles = [(handler.handle, f"handler of {handler.label}") for handler in supervisor.handlers.all()]
    modules = [(module.handle, f"image handle of {module.name}") for module in supervisor.modules.modules]
    for address, what in handles + modules:
        yield from _has(core, address & -PAGE_SIZE, PAGE_SIZE, _SP | _XP, _RP, what)
        record = supervisor.pages.records[address]
        if record is None or record.free:
            yield f"{what} at {address:#x} lies in no allocated page"
    addresses = [address for address, _ in handles + modules]
    if len(set(addresses)) != len(addresses):
        yield "two handles are the same"


def buffers_are_owned_right(core: Core) -> Iterator[str]:
    supervisor = core.supervisor
    user, other, stacks = supervisor.user, supervisor.supervisor, supervisor.stacks
    yield from _has(core, user.internal, user.size, _XP, _SP | _RO | _RP, "user comm buffer copy")
    yield from _has(core, other.internal, other.size, _XP | _SP, _RO | _RP, "supervisor comm buffer copy")
    yield from _has(core, supervisor.shared_page, PAGE_SIZE, _XP, _SP | _RO | _RP, "supervisor to user page")
    yield from _has(core, stacks.base, stacks.size * stacks.count, _XP, _SP | _RO | _RP, "ring-3 stacks")
    cache = supervisor.driver_cache
    if cache.pages:
        yield from _has(core, cache.address, cache.pages * PAGE_SIZE, _RO | _XP, _SP | _RP, "driver file cache")


INVARIANTS: tuple[Invariant, ...] = (
    null_page_is_not_present,
    guard_pages_are_not_present,
    records_cover_mmram_and_nothing_else,
    pages_are_as_recorded,
    nothing_is_writable_and_executable,
    ring3_executes_drivers_only,
    outside_only_what_was_unblocked,
    hob_list_is_a_read_only_copy,
    policy_is_the_supervisors_and_read_only,
    handles_are_supervisor_memory,
    buffers_are_owned_right,
)
"""All of them."""
