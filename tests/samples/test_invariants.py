"""Each invariant of memory is shown to notice what it is for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmsupervisor.core.entry import Core
from mmsupervisor.core.pages import Owner, PageRecord, PageType
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.session import boot
from tests.samples.stage import staged
from tests.support import invariants

RP, XP, RO, SP = Attribute.RP, Attribute.XP, Attribute.RO, Attribute.SP


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
def test_they_hold_in_every_phase(phase: Phase) -> None:
    with boot(until=phase) as session:
        assert session.core is not None
        assert invariants.broken_invariants(session.core) == []


def code_page(core: Core) -> int:
    module = core.supervisor.modules.modules[-1]
    return module.entry & -PAGE_SIZE


def free_page(core: Core) -> int:
    return next(piece.start for piece in core.supervisor.pages.records if piece.value and piece.value.free)


def spoil_byte(core: Core, address: int) -> None:
    old = core.supervisor.memory.read(address, 1)[0]
    core.supervisor.memory.write(address, bytes([old ^ 1]))


def share_handle(core: Core) -> None:
    first, second, *_ = core.supervisor.handlers.all()
    second.handle = first.handle


def guard_that_is_present(core: Core) -> None:
    core.supervisor.pages.guards.add(core.supervisor.shared_page)


def move_handle(core: Core) -> None:
    core.supervisor.handlers.all()[0].handle = free_page(core)


def assign(find: Callable[[Core], int], attributes: Attribute) -> Callable[[Core], None]:
    return lambda core: core.supervisor.memory.assign(find(core), PAGE_SIZE, attributes)


def record(find: Callable[[Core], int], entry: PageRecord | None) -> Callable[[Core], None]:
    def plant(core: Core) -> None:
        address = find(core)
        core.supervisor.pages.records.update(address, address + PAGE_SIZE, lambda _: entry)

    return plant


FAULTS: dict[str, tuple[Callable[[Core], None], invariants.Invariant]] = {
    "page 0 is present": (assign(lambda core: 0, XP), invariants.null_page_is_not_present),
    "a guard is present": (guard_that_is_present, invariants.guard_pages_are_not_present),
    "MMRAM without a record": (record(free_page, None), invariants.records_cover_mmram_and_nothing_else),
    "a record outside MMRAM": (
        record(lambda core: 0x10_0000, PageRecord(PageType.RUNTIME_SERVICES_DATA, Owner.USER)),
        invariants.records_cover_mmram_and_nothing_else,
    ),
    "free memory is ring 3's": (assign(free_page, XP), invariants.pages_are_as_recorded),
    "the shared page is the supervisor's": (
        assign(lambda core: core.supervisor.shared_page, XP | SP),
        invariants.pages_are_as_recorded,
    ),
    "a recorded page is not present": (
        assign(lambda core: core.supervisor.shared_page, XP | RP),
        invariants.pages_are_as_recorded,
    ),
    "a stack is executable": (assign(lambda core: core.supervisor.stacks.base, RO), invariants.pages_are_as_recorded),
    "code is writable": (assign(code_page, Attribute.NONE), invariants.nothing_is_writable_and_executable),
    "ring 3 executes the HOB list": (
        assign(lambda core: core.supervisor.hob_list, RO),
        invariants.ring3_executes_drivers_only,
    ),
    "normal memory is open": (assign(lambda core: 0x100_0000, XP), invariants.outside_only_what_was_unblocked),
    "a comm buffer is ring 3's": (
        assign(lambda core: core.supervisor.user.external, XP),
        invariants.outside_only_what_was_unblocked,
    ),
    "the HOB list is writable": (
        assign(lambda core: core.supervisor.hob_list, XP),
        invariants.hob_list_is_a_read_only_copy,
    ),
    "the HOB list changed": (
        lambda core: spoil_byte(core, core.supervisor.hob_list + 9),
        invariants.hob_list_is_a_read_only_copy,
    ),
    "the policy is writable": (
        assign(lambda core: core.supervisor.policy_address, XP | SP),
        invariants.policy_is_the_supervisors_and_read_only,
    ),
    "the policy changed": (
        lambda core: spoil_byte(core, core.supervisor.policy_address + 9),
        invariants.policy_is_the_supervisors_and_read_only,
    ),
    "two handlers share a handle": (share_handle, invariants.handles_are_supervisor_memory),
    "a handle points into free memory": (move_handle, invariants.handles_are_supervisor_memory),
    "the comm buffer copy is read-only": (
        assign(lambda core: core.supervisor.user.internal, XP | RO),
        invariants.buffers_are_owned_right,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_noticed(name: str) -> None:
    plant, invariant = FAULTS[name]
    with staged("Offender") as stage:
        plant(stage.core)
        assert list(invariant(stage.core)) != []


def test_every_invariant_has_a_planted_fault() -> None:
    assert {invariant for _, invariant in FAULTS.values()} == set(invariants.INVARIANTS)
