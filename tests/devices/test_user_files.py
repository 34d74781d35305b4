"""Devices of the user: what the decorators say, how a file is loaded, and that its faults name file and line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmsupervisor.devices.api import Claim, DeviceDecorators, Space
from mmsupervisor.devices.user_files import UserDevice, attach, load_device_file
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.machine.routing import MsrRouter, PortRouter
from mmsupervisor.pi.errors import SourceError

HEAD = "from mmsupervisor.devices.api import Access, device\n"


class Machine:
    def __init__(self) -> None:
        self.memory = PhysicalMemory(36)
        self.ports = PortRouter()
        self.msrs = MsrRouter()

    def attach(self, devices: tuple[UserDevice, ...]) -> None:
        for device in devices:
            attach(device, self.memory, self.ports, self.msrs)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.memory.close()


def load(folder: Path, text: str) -> tuple[UserDevice, ...]:
    path = folder / "mine.py"
    path.write_text(HEAD + text)
    return load_device_file(path, "mine.py")


def test_a_function_answers_ports(tmp_path: Path, machine: Machine) -> None:
    devices = load(
        tmp_path,
        """
seen = []

@device.io(0x80, 4)
def post_code(access: Access):
    seen.append((access.address, access.offset, access.width, access.value, access.is_write))
    return None if access.is_write else 0x1_42
""",
    )
    machine.attach(devices)
    machine.ports.write(0x82, 2, 0xBEEF)
    assert machine.ports.read(0x80, 1) == 0x42
    assert devices[0].claims == (Claim(Space.PORT, 0x80, 4),)
    assert devices[0].read(devices[0].claims[0], 0, 2) == 0x142
    assert machine.ports.owner(0x81) == "post_code"
    assert devices[0]._target.__globals__["seen"][0] == (0x82, 2, 2, 0xBEEF, True)
    assert devices[0].state() == {}


def test_no_answer_is_an_empty_bus(tmp_path: Path, machine: Machine) -> None:
    machine.attach(load(tmp_path, "@device.io(0x80)\n@device.msr(0x35)\ndef quiet(access): pass\n"))
    assert machine.ports.read(0x80, 1) == 0xFF
    assert machine.msrs.read(0x35, 0) == (1 << 64) - 1


CLASS = """
from dataclasses import dataclass, field

@device.io(0x3F8, 8)
@device.mmio(0xFED40000, 0x1000)
@device.msr(0x1A0, 2)
@dataclass
class Everything:
    latch: dict = field(default_factory=dict)

    def port_read(self, offset, width): return self.latch.get(("port", offset), 0x11)
    def port_write(self, offset, width, value): self.latch["port", offset] = value
    def mmio_read(self, offset, width): return self.latch.get(("mmio", offset), 0x22)
    def mmio_write(self, offset, width, value): self.latch["mmio", offset] = value
    def msr_read(self, number, cpu): return self.latch.get((number, cpu), 0x33)
    def msr_write(self, number, cpu, value): self.latch[number, cpu] = value

Alias = Everything
"""


def test_a_class_keeps_state_in_all_three_spaces(tmp_path: Path, machine: Machine) -> None:
    devices = load(tmp_path, CLASS)
    assert [device.name for device in devices] == ["Everything"], "two names are one device"
    machine.attach(devices)
    fresh = devices[0].state()
    machine.ports.write(0x3F9, 1, 5)
    machine.msrs.write(0x1A1, 3, 7)
    bank = machine.memory.state(0xFED4_0000).bank
    assert bank is not None
    assert bank.device is not None
    bank.device.mmio_write(8, 4, 9)
    used = devices[0].state()
    reads = [machine.ports.read(0x3F9, 1), machine.msrs.read(0x1A1, 3), bank.device.mmio_read(8, 4)]
    assert reads == [5, 7, 9]
    assert machine.msrs.read(0x1A1, 0) == 0x33
    devices[0].restore(fresh)
    assert machine.ports.read(0x3F9, 1) == 0x11
    devices[0].restore(used)
    assert machine.ports.read(0x3F9, 1) == 5


def test_state_of_ones_own_is_used(tmp_path: Path) -> None:
    (device,) = load(
        tmp_path,
        """
@device.io(1)
class Own:
    value = 3
    def port_read(self, offset, width): return self.value
    def port_write(self, offset, width, value): self.value = value
    def state(self): return {"v": self.value}
    def restore(self, state): self.value = state["v"]
""",
    )
    assert device.state() == {"v": 3}
    device.restore({"v": 8})
    assert device.read(device.claims[0], 0, 1) == 8


def test_every_load_makes_a_new_device(tmp_path: Path) -> None:
    first, second = load(tmp_path, CLASS)[0], load(tmp_path, CLASS)[0]
    first.write(first.claims[0], 0, 1, 0x77)
    assert second.read(second.claims[0], 0, 1) == 0x11
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"], "no compiled file is left"
    assert not [name for name in sys.modules if "user_devices" in name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "mine.py: no device: nothing in it has a decorator of mmsupervisor.devices.api"),
        ("def f(:\n", "mine.py:2: not Python: invalid syntax"),
        ("\nx = 1 / 0\n", "mine.py:3: loading: ZeroDivisionError: division by zero"),
        ("\nimport sys\nsys.exit()\n", "mine.py:4: loading: SystemExit"),
        ("@device.io(0x10000)\ndef f(access): pass\n", "mine.py:2: loading: ValueError: ports 0x10000 + 0x1 are not"),
        ("@device.mmio(0x800, 0x1000)\ndef f(access): pass\n", "mine.py:2: loading: ValueError: address range 0x800"),
        ("@device.msr(0, 0)\ndef f(access): pass\n", "mine.py:2: loading: ValueError: MSRs 0x0 + 0x0"),
        ("@device.io(1)\nclass A: pass\n", "mine.py:2: device `A` has no method port_read()"),
        (
            "@device.io(1)\nclass A:\n def __init__(self): raise KeyError('no')\n",
            "mine.py:4: device `A`: KeyError: 'no'",
        ),
    ],
)
def test_faults_of_a_file_name_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(message)


def test_faults_at_run_time_name_their_line(tmp_path: Path, machine: Machine) -> None:
    machine.attach(
        load(
            tmp_path,
            "@device.io(1)\ndef f(access):\n    return [][access.offset] if access.is_write else 'text'\n",
        )
    )
    with pytest.raises(SourceError, match=r"^mine\.py:4: device `f`: IndexError"):
        machine.ports.write(1, 1, 0)
    machine.attach(load(tmp_path, "import sys\n@device.io(2)\ndef g(access): sys.exit(3)\n"))
    with pytest.raises(SourceError, match=r"^mine\.py:4: device `g`: SystemExit: 3"):
        machine.ports.read(2, 1)
    with pytest.raises(SourceError, match=r"^mine\.py:2: device `f` answered a read with str, not a number"):
        machine.ports.read(1, 1)


def test_a_range_that_is_taken(tmp_path: Path, machine: Machine) -> None:
    devices = load(tmp_path, "@device.io(1, 4)\ndef f(access): pass\n@device.io(4)\ndef g(access): pass\n")
    with pytest.raises(SourceError, match=r"^mine\.py:4: ports 0x4 \+ 0x1 of 'g' overlap 'f'"):
        machine.attach(devices)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_device_file(tmp_path / "gone.py")


def test_nothing_is_inherited() -> None:
    decorators = DeviceDecorators()

    @decorators.io(1)
    class Base: ...

    class Heir(Base): ...

    from mmsupervisor.devices.api import claims_of

    assert claims_of(Base)
    assert claims_of(Heir) == ()


GUIDE = Path(__file__).resolve().parents[2] / "docs" / "devices.md"


def test_the_devices_of_the_guide_answer(tmp_path: Path, machine: Machine) -> None:
    blocks = re.findall(r"```python\n(from mmsupervisor\.devices\.api .*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        path = tmp_path / f"guide{number}.py"
        path.write_text(block)
        machine.attach(load_device_file(path))
    assert machine.ports.read(0x80, 1) == 0
    machine.ports.write(0x80, 1, 0x33)
    assert machine.ports.read(0x80, 1) == 0x33
    bank = machine.memory.state(0xFED4_0000).bank
    assert bank is not None
    assert bank.device is not None
    bank.device.mmio_write(8, 4, 5)
    assert bank.device.mmio_read(8, 4) == 5
    assert machine.msrs.read(0x1A0, 0) == 1
