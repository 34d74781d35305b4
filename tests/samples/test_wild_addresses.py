"""Ring 3 at addresses of every kind that are not its own: read, written, executed, used as a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mmsupervisor.machine.memory import PAGE_SIZE
from tests.samples.stage import SAMPLES, Stage, staged, symbol

PRESENT, WRITE, USER, FETCH = 1, 2, 4, 0x10
ACTS = {"ReadAddress": USER, "WriteAddress": USER | WRITE, "ExecuteAddress": USER | FETCH, "Push": USER | WRITE}
LABELS = {"ReadAddress": "AtRead", "WriteAddress": "AtWrite", "Push": "AtPush"}


@dataclass(frozen=True)
class Kind:
    """A kind of address and what must be said of it.

    Attributes:
        name: What it is.
        find: Where there is one in a booted platform.
        number: Number of the finding.
        rule: What its rule begins with.
        present: Whether the page is present: bit 0 of the error code.
        acts: Which acts are refused.
    """

    name: str
    find: Callable[[Stage], int]
    number: str
    rule: str
    present: bool
    acts: tuple[str, ...] = tuple(ACTS)


def free_page(stage: Stage) -> int:
    return next(piece.start for piece in stage.core.supervisor.pages.records if piece.value and piece.value.free)


SUPERVISORS = ("MM-1202", "memory.md §4: a supervisor page", True)
READ_ONLY = ("MM-1203", "memory.md §4: the page is read-only", True, ("WriteAddress", "Push"))
NOT_CODE = ("MM-1204", "memory.md §4: the page is not executable", True, ("ExecuteAddress",))
NOTHING = ("MM-1207", "memory.md §7", False)

KINDS = (
    Kind("NULL page", lambda stage: 0x800, "MM-1205", "memory.md §6: page 0 is never present", False),
    Kind("supervisor pool", lambda stage: stage.module.handle, *SUPERVISORS),
    Kind("isolation policy", lambda stage: stage.core.supervisor.policy_address, *SUPERVISORS),
    Kind("free MMRAM", free_page, *SUPERVISORS),
    Kind("core image", lambda stage: stage.core.supervisor.core_base, *SUPERVISORS),
    Kind("SMI entry code", lambda stage: stage.core.supervisor.cpus[0].smbase + 0x8000, *SUPERVISORS),
    Kind("save state", lambda stage: stage.core.supervisor.cpus[1].smbase + 0xFE00, *SUPERVISORS),
    Kind("supervisor comm buffer copy", lambda stage: stage.core.supervisor.supervisor.internal, *SUPERVISORS),
    Kind("user comm buffer outside", lambda stage: stage.core.supervisor.user.external, *SUPERVISORS),
    Kind("user mailbox", lambda stage: stage.core.supervisor.user.status, *SUPERVISORS),
    Kind("HOB list", lambda stage: stage.core.supervisor.hob_list, *READ_ONLY),
    Kind("own code", lambda stage: stage.module.base + PAGE_SIZE, *READ_ONLY),
    Kind("broker's code", lambda stage: stage.core.supervisor.modules.modules[0].entry & -PAGE_SIZE, *READ_ONLY),
    Kind("broker's table", lambda stage: stage.core.supervisor.jumps.user_table, *NOT_CODE),
    Kind("HOB list as code", lambda stage: stage.core.supervisor.hob_list, *NOT_CODE),
    Kind("open device as code", lambda stage: 0xFEC0_0000, *NOT_CODE),
    Kind("memory never unblocked", lambda stage: 0x200_0000, "MM-1201", "memory.md §7: outside MMRAM", False),
    Kind("hole", lambda stage: stage.session.description.memory_top + 0x1000, *NOTHING),
    Kind("beyond the address width", lambda stage: 1 << 45, *NOTHING),
)


@pytest.mark.parametrize(
    ("kind", "act"),
    [pytest.param(kind, act, id=f"{act}, {kind.name}") for kind in KINDS for act in kind.acts],
)
def test_refused(kind: Kind, act: str) -> None:
    with staged("Offender") as stage:
        address = kind.find(stage) + 8
        # PUSH writes the 8 bytes below the stack pointer that it is given.
        argument = address + 8 if act == "Push" else address
        finding = stage.stopped(Case=SAMPLES["Offender"].case(act).number, Argument=(argument,))
        assert (finding.kind.number, finding.vector) == (kind.number, 14), str(finding)
        assert finding.rule.startswith(kind.rule)
        assert finding.error_code == ACTS[act] | (PRESENT if kind.present else 0)
        assert finding.address == address
        assert stage.variable("gOffenderTarget") == argument
        assert finding.place is not None
        assert finding.place.driver == "Offender"
        if act in LABELS:
            stage.assert_place(finding.place, LABELS[act])
        elif kind.name == "broker's table":  # blamed on the driver, at the instruction after its call
            assert finding.place.offset == symbol("Offender", "AtExecute").rva + 2
        else:
            assert finding.place.address == address
        stage.assert_dead(finding)


def test_device_that_a_hob_describes_is_open() -> None:
    """MMIO ranges of resource descriptor HOBs are ring 3's to read and write, never to execute (memory.md §7)."""
    with staged("Offender") as stage:
        for act in ("ReadAddress", "WriteAddress"):
            number = SAMPLES["Offender"].case(act).number
            assert stage.send(Case=number, Argument=(0xFEC0_0000,)).status == 0
        assert stage.session.findings == ()
