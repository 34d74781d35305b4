"""Ports and MSRs: who answers, and what an empty bus reads."""

from __future__ import annotations

import pytest

from mmsupervisor.machine.routing import MsrRouter, PortRouter, RegisterMsrs, UnknownMsrError


class Latch:
    def __init__(self) -> None:
        self.log: list[tuple[str, int, int, int]] = []

    def port_read(self, offset: int, width: int) -> int:
        self.log.append(("read", offset, width, 0))
        return 0x1234567890

    def port_write(self, offset: int, width: int, value: int) -> None:
        self.log.append(("write", offset, width, value))


def test_the_device_sees_offsets_and_values_cut_to_the_width() -> None:
    ports, latch = PortRouter(), Latch()
    ports.claim(0x70, 4, "latch", latch)
    assert ports.read(0x71, 2) == 0x7890
    ports.write(0x72, 1, 0x1FF)
    assert latch.log == [("read", 1, 2, 0), ("write", 2, 1, 0xFF)]
    assert ports.owner(0x73) == "latch"
    assert ports.owner(0x74) == ""


@pytest.mark.parametrize(("width", "value"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFF_FFFF)])
def test_an_empty_bus_reads_all_ones_and_swallows_writes(width: int, value: int) -> None:
    ports = PortRouter()
    ports.write(0x80, width, 0)
    assert ports.read(0x80, width) == value


def test_an_access_that_runs_out_of_a_device_does_not_reach_it() -> None:
    ports, latch = PortRouter(), Latch()
    ports.claim(0x70, 2, "latch", latch)
    assert ports.read(0x71, 2) == 0xFFFF
    ports.write(0x71, 2, 0)
    assert latch.log == []


@pytest.mark.parametrize(("first", "count"), [(0x70, 1), (0x6F, 2), (0x71, 5), (0xFFFF, 2), (-1, 1), (0, 0)])
def test_refuses_taken_and_impossible_ranges(first: int, count: int) -> None:
    ports = PortRouter()
    ports.claim(0x70, 4, "first", Latch())
    with pytest.raises(ValueError, match="ports"):
        ports.claim(first, count, "second", Latch())


def test_ranges_may_touch() -> None:
    ports, low, high = PortRouter(), Latch(), Latch()
    ports.claim(0x70, 2, "low", low)
    ports.claim(0x72, 2, "high", high)
    ports.read(0x72, 1)
    assert low.log == []
    assert high.log == [("read", 0, 1, 0)]


def test_msrs_are_kept_by_cpu() -> None:
    msrs, registers = MsrRouter(), RegisterMsrs({0x10: 7, 0x11: 8})
    for number in registers.numbers:
        msrs.claim(number, 1, registers)
    msrs.write(0x10, 1, 99)
    assert (msrs.read(0x10, 0), msrs.read(0x10, 1), msrs.read(0x11, 1)) == (7, 99, 8)


def test_an_unmodelled_msr_is_named() -> None:
    with pytest.raises(UnknownMsrError, match="0x12"):
        MsrRouter().read(0x12, 0)
    with pytest.raises(UnknownMsrError, match="0x12"):
        MsrRouter().write(0x12, 0, 1)


def test_written_msrs_are_a_state() -> None:
    registers = RegisterMsrs({0x10: 7, 0x11: 8})
    registers.msr_write(0x11, 2, 5)
    saved = registers.state()
    assert saved == {"values": [[0x11, 2, 5]]}
    registers.msr_write(0x11, 2, 6)
    registers.msr_write(0x10, 0, 6)
    registers.restore(saved)
    assert (registers.msr_read(0x11, 2), registers.msr_read(0x10, 0)) == (5, 7)
