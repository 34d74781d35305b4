"""Devices of a wired platform, used by ring 3 through the policy, the gate and the page tables."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.devices.console import ConsoleLine
from mmsupervisor.devices.flash import READY
from mmsupervisor.machine.memory import Access
from mmsupervisor.pi.errors import MmSupervisorError, SourceError
from mmsupervisor.platform.description import AddressRange, DeviceFacts, PlatformDescription
from mmsupervisor.platform.devices import ResetRequested
from mmsupervisor.session import Session, boot
from tests.samples.support import boot_samples, handler_of

IO_MSR = struct.Struct("<QIIQQ")
UNBLOCKED = struct.Struct("<QIIQQQQ")
HEADER = 0x18
READ_PORT, WRITE_PORT, READ_MSR, WRITE_MSR = range(4)
WIDTHS = {1: 0, 2: 1, 4: 2}
FLASH = 0xFFC0_0000


class Machine:
    """A session with the samples IoMsr and Unblocked, seen as a driver sees the machine."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def _ask(self, sample: str, layout: struct.Struct, *values: int) -> tuple[int, ...]:
        answer = self.session.communicate(handler_of(sample), layout.pack(*values))
        found: tuple[int, ...] = layout.unpack(answer.data[HEADER : HEADER + layout.size])
        assert found[0] == 0, f"{sample} answers {found[0]:#x}"
        return found

    def read(self, port: int, width: int = 1) -> int:
        return self._ask("IoMsr", IO_MSR, 0, READ_PORT, WIDTHS[width], port, 0)[4]

    def write(self, port: int, value: int, width: int = 1) -> None:
        self._ask("IoMsr", IO_MSR, 0, WRITE_PORT, WIDTHS[width], port, value)

    def msr(self, number: int) -> int:
        return self._ask("IoMsr", IO_MSR, 0, READ_MSR, 0, number, 0)[4]

    def set_msr(self, number: int, value: int) -> None:
        self._ask("IoMsr", IO_MSR, 0, WRITE_MSR, 0, number, value)

    def peek(self, address: int, length: int = 1) -> int:
        """Sum of the bytes."""
        return self._ask("Unblocked", UNBLOCKED, 0, 0, 0, address, length, 0, 0)[5]

    def poke(self, address: int, *values: int) -> None:
        for value in values:
            self._ask("Unblocked", UNBLOCKED, 0, 1, value, address, 1, 0, 0)


@contextmanager
def machine(description: PlatformDescription | None = None) -> Iterator[Machine]:
    with boot_samples("IoMsr", "Unblocked", description=description) as session:
        assert session.stop is None
        assert session.launch_failure is None
        yield Machine(session)


def with_devices(**facts: object) -> PlatformDescription:
    return PlatformDescription(devices=replace(DeviceFacts(), **facts))  # type: ignore[arg-type]


def test_text_reaches_the_console_and_the_events() -> None:
    with machine() as it:
        assert it.read(0x402) == 0xE9
        for byte in b"from ring 3\nand":
            it.write(0x402, byte)
        it.write(0x3F8, ord("!"))
        assert it.session.console == "from ring 3\nand\n!"
        lines = [record for record in it.session.events if isinstance(record.event, ConsoleLine)]
        assert [line.event for line in lines] == [ConsoleLine("debug port", "from ring 3")]
        assert lines[0].position.driver == "IoMsr"
        assert not [line for line in it.session.log.canonical_lines() if '"console"' in line]


def test_ports_of_the_chipset() -> None:
    with machine() as it:
        it.write(0x70, 0x35)
        assert it.read(0x71) == 0x7F, "0x7F00 units of 64 KiB above 16 MiB"
        first, second = it.read(0x608, 4), it.read(0x608, 4)
        assert second - first == DeviceFacts().pm_timer_ticks
        assert it.read(0x634, 4) & 0x20, "a message is a software MMI"
        it.write(0xCF9, 0x06)
        assert [record.event for record in it.session.events if isinstance(record.event, ResetRequested)] == [
            ResetRequested(0xCF9, 6)  # type: ignore[arg-type]
        ]
        assert it.msr(0x1A0) == 1


def test_the_time_stamp_counter_is_the_clock_of_the_run() -> None:
    with machine(PlatformDescription(msrs={0x10: 1 << 40})) as it:
        first, second = it.msr(0x10), it.msr(0x10)
        assert first > 1 << 40, "it begins where the platform says"
        clock = it.session.core.supervisor.machine.clock if it.session.core else None
        assert clock is not None
        assert second < clock.read() < it.msr(0x10)
        it.set_msr(0x10, (1 << 64) - 1)
        assert it.msr(0x10) < 1 << 20, "64 bits"


def test_there_are_as_many_mtrrs_as_are_announced() -> None:
    with machine() as it:
        capabilities = it.msr(0xFE)
        pairs, fixed = capabilities & 0xFF, capabilities >> 8 & 1
        for number in range(0x200, 0x200 + 2 * pairs):
            it.msr(number)
        for number in (0x250, 0x258, 0x259, *range(0x268, 0x270)) if fixed else ():
            it.msr(number)
        with pytest.raises(SystemStopError, match="MSR 0x210 is not modelled"):
            it.msr(0x200 + 2 * pairs)


def test_configuration_space_as_memory() -> None:
    with machine() as it:
        assert it.peek(0xB000_0000, 4) == 0x29 + 0xC0 + 0x80 + 0x86
        assert it.peek(0xB000_0000 + (31 << 15), 4) == 0x29 + 0x18 + 0x80 + 0x86
        assert it.peek(0xB000_0000 + (5 << 15), 2) == 2 * 0xFF
        it.poke(0xB00F_8060, 0x0B)
        assert it.peek(0xB00F_8060) == 0x0B
        assert it.peek(0xFED0_0000, 8) == 8 * 0xFF, "an HPET is reported, and none is modelled"


@pytest.fixture
def flash(tmp_path: Path) -> PlatformDescription:
    """A platform with flash: variables of two sectors, code of one."""
    (tmp_path / "vars.fd").write_bytes(bytes(range(256)) * 32)
    (tmp_path / "code.fd").write_bytes(b"\x5a" * 0x1000)
    return with_devices(flash_code=tmp_path / "code.fd", flash_variables=tmp_path / "vars.fd")


def test_ring_3_erases_and_programs_flash_which_is_written_back_when_asked(flash: PlatformDescription) -> None:
    store = flash.devices.flash_variables
    assert store is not None
    before = store.read_bytes()
    base = (1 << 32) - 0x3000
    with machine(flash) as it:
        assert it.peek(base + 0x10, 4) == 0x10 + 0x11 + 0x12 + 0x13
        assert it.peek((1 << 32) - 16) == 0x5A
        assert it.peek(FLASH) == 0xFF, "reported as flash, and nothing there"
        it.poke(base + 0x1000, 0x20, 0xD0)
        assert it.peek(base) == READY, "status, wherever it is read"
        it.poke(base + 0x1004, 0x10, 0x42)
        it.poke(base, 0xFF)
        assert it.peek(base + 0x1000, 6) == 5 * 0xFF + 0x42
        assert store.read_bytes() == before, "not before it is asked for"
        assert it.session.devices.write_back() is True
        assert it.session.devices.write_back() is False
        it.poke((1 << 32) - 0x1000, 0x10, 0x00, 0xFF)
        assert it.peek((1 << 32) - 0x1000) == 0x5A, "the code is write-protected"
    assert store.read_bytes() == before[:0x1000] + b"\xff" * 4 + b"\x42" + b"\xff" * 0xFFB


def test_the_booted_image_is_the_flash_code_where_only_variables_are_named(tmp_path: Path) -> None:
    (tmp_path / "vars.fd").write_bytes(bytes(0x1000))
    description = with_devices(flash_variables=tmp_path / "vars.fd")
    with boot(description=description) as session:
        image = session.firmware.image
        assert session.memory.read((1 << 32) - len(image), len(image)) == image
        assert session.devices.variables is not None
        assert session.devices.variables.bank.end == (1 << 32) - len(image)


def test_a_store_without_contents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vars.fd").write_bytes(b"")
    with pytest.raises(MmSupervisorError, match=r"vars\.fd: is empty; .* has to be a file"):
        boot(description=with_devices(flash_variables=tmp_path / "vars.fd"))


def test_a_flash_whose_file_is_odd_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vars.fd").write_bytes(bytes(0x1001))
    with pytest.raises(MmSupervisorError, match="4097 bytes is not whole sectors"):
        boot(description=with_devices(flash_variables=tmp_path / "vars.fd"))


def test_two_devices_in_one_place_are_refused() -> None:
    with pytest.raises(MmSupervisorError, match="overlap"):
        boot(description=with_devices(debug_port=0x3F8))


MINE = """
from mmsupervisor.devices.api import Access, device

@device.io(0x80)
@device.mmio(0xFED4_0000, 0x1000)
@device.msr(0x1A0)
class Mine:
    value = 0x21
    def port_read(self, offset, width): return self.value
    def port_write(self, offset, width, value): self.value = value
    def mmio_read(self, offset, width): return offset & 0xFF
    def mmio_write(self, offset, width, value): 1 / 0
    def msr_read(self, number, cpu): return number + cpu
    def msr_write(self, number, cpu, value): pass
"""


def test_devices_of_the_user_answer_ring_3(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    description = with_devices(files=(path,))
    ranges = (*description.ranges[:5], replace(description.ranges[5], start=0xFED4_0000), *description.ranges[6:])
    with machine(replace(description, ranges=ranges)) as it:
        it.write(0x80, 0x77)
        assert it.read(0x80) == 0x77
        assert it.peek(0xFED4_0003, 2) == 7
        assert it.msr(0x1A0) == 0x1A0, "in the place of the platform's own"
        saved = it.session.devices.state()
        assert saved["mine.py: Mine"] == {"value": 0x77}
        it.write(0x80, 1)
        it.session.devices.restore(saved)
        assert it.read(0x80) == 0x77
        with pytest.raises(SourceError, match=r"mine\.py:12: device `Mine`: ZeroDivisionError"):
            it.poke(0xFED4_0000, 1)


def test_state_of_all_devices_comes_back() -> None:
    with machine() as it:
        saved = it.session.devices.state()
        assert {"console", "APM", "CMOS", "MSRs", "power management", "serial port", "host bridge"} <= set(saved)
        first = it.read(0x608, 4)
        it.write(0x402, ord("x"))
        it.session.devices.restore(saved)
        assert it.session.console == ""
        assert it.read(0x608, 4) == first


def test_what_is_0_is_not_there() -> None:
    with machine(with_devices(debug_port=0, serial_port=0, pm_base=0, ecam=0)) as it:
        assert [it.read(port) for port in (0x402, 0x3FD, 0x608)] == [0xFF] * 3
        assert it.peek(0xB000_0000) == 0xFF


def test_runs_are_equal(flash: PlatformDescription) -> None:
    def trace() -> list[str]:
        with machine(flash) as it:
            it.poke((1 << 32) - 0x3000, 0x20, 0xD0)
            it.read(0x608, 4)
            return list(it.session.log.canonical_lines())

    assert trace() == trace()


def test_protected_regions_are_read_only() -> None:
    region = 0xFED9_0000
    with machine(PlatformDescription(protected=(AddressRange(region, 0x1000),))) as it:
        assert it.session.memory.state(region).ring3 == Access.READ
        assert it.session.memory.state(region + 0x1000).ring3 is Access.NONE


def test_erased_flash_needs_no_file() -> None:
    with machine(with_devices(flash_erased=0x2000)) as it:
        flash = it.session.devices.variables
        assert flash is not None
        assert flash.bank.end == (1 << 32) - len(it.session.firmware.image)
        assert it.peek(flash.bank.base, 16) == 16 * 0xFF
        it.poke(flash.bank.base, 0x10, 0x00, 0xFF)
        assert it.peek(flash.bank.base, 2) == 0xFF
        assert it.session.devices.write_back() is False
