"""Where one kind of memory finding ends and the next begins: beside regions, behind tables, by the kind of access."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.machine.memory import PAGE_SIZE
from tests.hostile.scripts import Operation, Scene, Script, scene, step
from tests.report.planted import table

Address = Callable[[Scene], int]
TABLE_SIZE = 0x78


def lone_table(here: Scene) -> int:
    """Put a table of DXE into a page with nothing unblocked beside it."""
    here.session.allocate(2)
    return table(here)


def stop(operation: Operation, address: Address) -> Finding:
    with scene() as here:
        script = Script([step(operation, address(here))])
        with pytest.raises(SystemStopError) as caught:
            here.run(script)
        return caught.value.finding


@pytest.mark.parametrize(
    ("address", "number", "says"),
    [
        (lambda here: here.outside - 8, "MM-1211", "just before the 2 pages"),
        (lambda here: here.outside - PAGE_SIZE, "MM-1211", "just before the 2 pages"),
        (lambda here: here.outside - PAGE_SIZE - 8, "MM-1201", ""),
        (lambda here: here.outside + 3 * PAGE_SIZE - 8, "MM-1211", "just behind the 2 pages"),
        (lambda here: lone_table(here) + TABLE_SIZE - 8, "MM-1214", "in the EFI system table"),
        (lambda here: lone_table(here) + TABLE_SIZE, "MM-1201", ""),
        (lambda here: lone_table(here) - 8, "MM-1201", ""),
    ],
)
def test_a_read_outside_mmram_is_told_by_what_is_near(address: Address, number: str, says: str) -> None:
    finding = stop(Operation.READ, address)
    assert finding.kind.number == number, str(finding)
    assert says in finding.detail
    assert says or " pages at " not in finding.detail


def test_code_outside_mmram_is_not_mended_by_unblocking() -> None:
    """Unblocked pages are not executable: who follows a wild call must not be told to open them."""
    finding = stop(Operation.JUMP, lambda _: 0x200_0000)
    assert finding.kind.number == "MM-1201"
    assert "MmUnblockMemoryRequest" not in finding.mend
    assert "Code runs from MMRAM only" in finding.mend
    assert "MmUnblockMemoryRequest" in stop(Operation.READ, lambda _: 0x200_0000).mend
