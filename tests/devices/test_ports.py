"""Devices behind ports: what their registers give, and what they keep."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from mmsupervisor.devices import acpi_pm, host_bridge, lpc_bridge
from mmsupervisor.devices.acpi_pm import AcpiPm
from mmsupervisor.devices.apm import ApmRegisters
from mmsupervisor.devices.cmos import Cmos
from mmsupervisor.devices.console import LONGEST_LINE, Console, ConsoleLine
from mmsupervisor.devices.debug_port import DebugPort
from mmsupervisor.devices.pci import Ecam, PciBus, PciConfigurationPorts, PciFunction
from mmsupervisor.devices.serial import SerialPort
from mmsupervisor.machine.events import Event

MIB = 1 << 20


# Text


def test_lines_become_events_when_they_end() -> None:
    told: list[Event] = []
    console = Console(told.append)
    debug, serial = DebugPort(console), SerialPort(console)
    for left, right in zip(b"Loading\r\nnot yet", b"serial\n---------", strict=True):
        debug.port_write(0, 1, left)
        serial.port_write(0, 1, right)
    assert told == [ConsoleLine("serial port", "serial"), ConsoleLine("debug port", "Loading")]
    assert console.text == "serial\nLoading\n---------\nnot yet"
    assert console.lines[-1] == ("debug port", "not yet")


def test_text_that_is_no_text_and_lines_without_end() -> None:
    console = Console()
    for byte in b"\xffa\xc3\xa9\n" + b"x" * (LONGEST_LINE + 1):
        console.put("debug port", byte)
    assert console.lines[0] == ("debug port", "\\xffa\u00e9")
    assert [len(text) for _, text in console.lines[1:]] == [LONGEST_LINE, 1]


def test_console_lines_are_no_part_of_the_canonical_trace() -> None:
    assert not ConsoleLine.canonical


def test_debug_port_is_found() -> None:
    assert DebugPort(Console()).port_read(0, 1) == 0xE9


def test_serial_port_as_a_library_uses_it() -> None:
    console = Console()
    port = SerialPort(console)
    for register, value in ((3, 0x80), (0, 0x01), (1, 0x00), (3, 0x03), (1, 0), (2, 0x07), (4, 0x03)):
        port.port_write(register, 1, value)
    assert console.text == "", "the divisor is not printed"
    for byte in b"Hi":
        assert port.port_read(5, 1) & 0x20, "holding register empty"
        port.port_write(0, 1, byte)
    assert port.port_read(5, 1) & 0x40, "all sent"
    assert console.text == "Hi"
    assert [port.port_read(register, 1) for register in (0, 1, 2, 3, 4, 6)] == [0, 0, 0xC1, 3, 3, 0xB0]
    port.port_write(7, 1, 0x5A)
    assert port.port_read(7, 1) == 0x5A
    port.port_write(3, 1, 0x83)
    assert port.port_read(0, 2) == 1
    port.port_write(3, 1, 3)
    port.port_write(4, 1, 0x10)
    port.port_write(0, 1, ord("!"))
    assert console.text == "Hi", "in loop-back nothing goes out"


# CMOS


@pytest.fixture
def cmos() -> Cmos:
    return Cmos(
        datetime(2031, 12, 25, 23, 59, 58),  # noqa: DTZ001  (a wall clock has no zone)
        base_memory=0xA0000,
        memory_top=0x8000_0000,
        above_4g=6 << 30,
    )


def cmos_byte(cmos: Cmos, index: int) -> int:
    port = 0 if index < 0x80 else 2
    cmos.port_write(port, 1, index & 0x7F | (0x80 if port == 0 else 0))
    return cmos.port_read(port + 1, 1)


def test_the_clock_stands_still_at_its_date(cmos: Cmos) -> None:
    for _ in range(2):
        assert [cmos_byte(cmos, index) for index in (0, 2, 4, 6, 7, 8, 9, 0x32)] == [
            0x58, 0x59, 0x23, 5, 0x25, 0x12, 0x31, 0x20,
        ]  # fmt: skip
        assert [cmos_byte(cmos, index) for index in (0x0A, 0x0B, 0x0C, 0x0D)] == [0x26, 2, 0, 0x80]


def test_memory_sizes_are_where_ovmf_reads_them(cmos: Cmos) -> None:
    below = (cmos_byte(cmos, 0x35) << 8 | cmos_byte(cmos, 0x34)) << 16
    assert below + 16 * MIB == 0x8000_0000
    above = (cmos_byte(cmos, 0x5D) << 16 | cmos_byte(cmos, 0x5C) << 8 | cmos_byte(cmos, 0x5B)) << 16
    assert above == 6 << 30
    assert cmos_byte(cmos, 0x16) << 8 | cmos_byte(cmos, 0x15) == 640
    assert cmos_byte(cmos, 0x31) << 8 | cmos_byte(cmos, 0x30) == 0xFFFF


def test_cmos_bytes_are_kept_in_two_banks(cmos: Cmos) -> None:
    for port, value in ((0, 0x11), (2, 0x22)):
        cmos.port_write(port, 1, 0x40)
        cmos.port_write(port + 1, 1, value)
    assert cmos_byte(cmos, 0x40) == 0x11
    assert cmos_byte(cmos, 0xC0) == 0x22
    assert cmos.port_read(2, 1) == 0x40
    assert cmos.port_read(0, 1) == 0xFF
    cmos.port_write(0, 2, 0x33_41)
    assert cmos_byte(cmos, 0x41) == 0x33, "index and data in one access"
    cmos.port_write(0, 2, 0x00_0D)
    assert cmos_byte(cmos, 0x0D) == 0x80


# Power management


def test_the_timer_advances_by_reads_and_wraps() -> None:
    device = AcpiPm(0x40_0000)
    readings = [device.port_read(acpi_pm.TIMER, 4) for _ in range(5)]
    assert readings == [0x40_0000, 0x80_0000, 0xC0_0000, 0, 0x40_0000]
    device.port_write(acpi_pm.TIMER, 4, 0x1234)
    device.port_read(0, 4)
    assert device.port_read(acpi_pm.TIMER, 4) == 0x80_0000


def test_mmi_enables_hold_and_status_clears_by_ones() -> None:
    device = AcpiPm(1)
    assert device.port_read(4, 2) & 1, "ACPI mode"
    device.port_write(0x30, 4, 0)
    assert device.port_read(0x30, 4) == 1
    device.software_mmi()
    assert device.port_read(0x34, 4) == 0x20
    device.port_write(0x34, 4, 0x10)
    assert device.port_read(0x34, 4) == 0x20
    device.port_write(0x34, 4, 0x20)
    assert device.port_read(0x34, 4) == 0
    device.port_write(0x28, 4, 0xA5)
    assert device.port_read(0x28, 1) == 0xA5


# PCI


@pytest.fixture
def bus() -> PciBus:
    bridge = host_bridge.host_bridge(
        mmram_base=0x7E00_0000, mmram_size=32 * MIB, memory_top=0x8000_0000, above_4g=0, ecam=0xB000_0000
    )
    isa = lpc_bridge.lpc_bridge(pm_base=0x600, root_complex=0xFED1_C000)
    return PciBus({host_bridge.ADDRESS: bridge, lpc_bridge.ADDRESS: isa})


def config(ports: PciConfigurationPorts, device: int, register: int, width: int = 4) -> int:
    ports.port_write(0, 4, 0x8000_0000 | device << 11 | register & 0xFC)
    return ports.port_read(4 + (register & 3), width)


def test_both_ways_lead_to_the_same_registers(bus: PciBus) -> None:
    ports, ecam = PciConfigurationPorts(bus), Ecam(bus)
    assert config(ports, 0, 0) == 0x29C0_8086
    assert config(ports, 31, 2, 2) == 0x2918
    for device in (0, 31):
        for register in range(0, 0x100, 4):
            assert config(ports, device, register) == ecam.mmio_read(device << 15 | register, 4)
    assert config(ports, 5, 0) == 0xFFFF_FFFF
    assert ecam.mmio_read(5 << 15, 2) == 0xFFFF
    assert ecam.mmio_read(0xFFC, 8) == 0xFFFF_FFFF_0000_0000
    ecam.mmio_write(31 << 15 | 0x60, 1, 0x0A)
    assert config(ports, 31, 0x60, 1) == 0x0A
    ports.port_write(0, 4, 0)
    assert ports.port_read(4, 4) == 0xFFFF_FFFF, "not enabled"


def test_bridges_agree_with_the_machine(bus: PciBus) -> None:
    ports = PciConfigurationPorts(bus)
    assert config(ports, 0, 0x60) == 0xB000_0001
    assert config(ports, 0, 0x9C) >> 8 & 0xFFFF == 0x3F1A
    assert config(ports, 0, 0x50, 2) == 32
    assert config(ports, 0, 0xAC) == 0x7E00_0000
    assert config(ports, 0, 0xB0, 2) << 16 == 0x8000_0000
    assert config(ports, 31, 0x40) & 0xFF80 == 0x600
    assert config(ports, 31, 0x44, 1) & 0x80
    assert config(ports, 31, 0xF0) == 0xFED1_C001


@pytest.mark.parametrize(("megabytes", "bits"), [(1, 0), (2, 1), (8, 2), (16, 3), (32, 3)])
def test_the_size_of_tseg_is_told(megabytes: int, bits: int) -> None:
    bridge = host_bridge.host_bridge(
        mmram_base=0x7000_0000, mmram_size=megabytes * MIB, memory_top=0x8000_0000, above_4g=0, ecam=0
    )
    assert bridge.read(0x9E, 1) >> 1 & 3 == bits
    assert bridge.read(0x60, 8) == 0


def test_locked_registers_stay(bus: PciBus) -> None:
    ecam = Ecam(bus)
    for register in (0x50, 0x60, 0x9D, 0x9E, 0xAC):
        before = ecam.mmio_read(register, 1)
        ecam.mmio_write(register, 1, before ^ 0xFF)
        assert ecam.mmio_read(register, 1) == before


def test_narrow_accesses_to_the_address_are_not_it(bus: PciBus) -> None:
    asked: list[int] = []
    ports = PciConfigurationPorts(bus, asked.append)
    ports.port_write(0, 4, 0x8000_F844)
    ports.port_write(0, 2, 0)
    ports.port_write(1, 1, 0x02)
    assert asked == []
    ports.port_write(1, 1, 0x06)
    ports.port_write(1, 1, 0x06)
    assert asked == [6], "bit 2 has to rise"
    assert ports.port_read(1, 1) == 6
    assert ports.port_read(0, 4) == 0x8000_F844
    assert ports.port_read(0, 2) == 0xFFFF
    ports.port_write(0, 4, 0xFFFF_FFFF)
    assert ports.port_read(0, 4) == 0x80FF_FFFC, "reserved bits and those of the register's bytes read as zeros"


def test_every_bit_of_an_ecam_address_counts() -> None:
    functions = {(129, 30, 5): PciFunction({0x100: (4, 0x1234_5678)}, {})}
    ecam = Ecam(PciBus(functions))
    assert ecam.mmio_read(129 << 20 | 30 << 15 | 5 << 12 | 0x100, 4) == 0x1234_5678
    for bit in range(12, 28):
        assert ecam.mmio_read((129 << 20 | 30 << 15 | 5 << 12 | 0x100) ^ 1 << bit, 4) == 0xFFFF_FFFF


def test_both_apm_registers_are_written_at_once_or_one_by_one() -> None:
    apm = ApmRegisters()
    apm.port_write(0, 2, 0x1234)
    assert (apm.command, apm.status) == (0x34, 0x12)
    apm.port_write(1, 1, 0x56)
    apm.port_write(0, 1, 0x78)
    assert (apm.port_read(0, 1), apm.port_read(1, 1), apm.port_read(0, 2)) == (0x78, 0x56, 0x5678)


# Snapshots


def _used(device: Any, *accesses: tuple[int, int, int]) -> Any:
    for offset, width, value in accesses:
        device.port_write(offset, width, value)
    return device


def test_state_is_plain_and_brings_everything_back(bus: PciBus, cmos: Cmos) -> None:
    console = Console()
    devices: list[Any] = [
        _used(ApmRegisters(), (0, 2, 0x1234)),
        _used(SerialPort(console), (7, 1, 9), (3, 1, 0x80), (0, 1, 7)),
        _used(cmos, (0, 1, 0x44), (1, 1, 5)),
        _used(AcpiPm(7), (0x28, 4, 1)),
        _used(PciConfigurationPorts(bus), (0, 4, 0x8000_F860), (1, 1, 2)),
        _used(DebugPort(console), (0, 1, 0x41)),
    ]
    saved = [device.state() for device in devices]
    reads = [[device.port_read(offset, 1) for offset in range(4)] for device in devices]
    for device, state in zip(devices, saved, strict=True):
        for offset in range(4):
            device.port_write(offset, 1, 0xFF)
        device.restore(state)
    assert [[device.port_read(offset, 1) for offset in range(4)] for device in devices] == reads
    for function in bus.functions.values():
        state = function.state()
        function.write(0x60, 4, 0x01010101)
        function.restore(state)
        assert function.state() == state
    lines = console.state()
    console.put("x", 0x0A)
    console.restore(lines)
    assert console.state() == lines
    assert plain([*saved, lines])


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or isinstance(value, int | str | bytes)
