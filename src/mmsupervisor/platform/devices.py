"""The devices of a wired platform: built from its description, attached to its machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from mmsupervisor.core.supervisor import Machine
from mmsupervisor.devices import acpi_pm, cmos, host_bridge, lpc_bridge, pci, serial, timestamp
from mmsupervisor.devices.acpi_pm import AcpiPm
from mmsupervisor.devices.apm import COMMAND_PORT, ApmRegisters
from mmsupervisor.devices.cmos import Cmos
from mmsupervisor.devices.console import Console
from mmsupervisor.devices.debug_port import DebugPort
from mmsupervisor.devices.flash import SECTOR, CfiFlash
from mmsupervisor.devices.flash_store import LARGEST, FlashStore
from mmsupervisor.devices.pci import Ecam, PciBus, PciConfigurationPorts
from mmsupervisor.devices.serial import SerialPort
from mmsupervisor.devices.state import State, Stateful
from mmsupervisor.devices.user_files import attach, load_device_file
from mmsupervisor.machine.events import Event, Hex
from mmsupervisor.machine.routing import PortDevice, RegisterMsrs
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.memory_layout import GIB_4

_VARIABLES, _CODE = "flash variables", "flash code"


class DeviceError(MmSupervisorError):
    """A device cannot be where the description puts it."""


@dataclass(frozen=True, slots=True)
class InitialStore:
    """What the writable flash held when the boot began.

    Attributes:
        name: The file as it was named, or in words where it came from.
        sha256: SHA-256 of the contents, hexadecimal.
    """

    name: str
    sha256: str


class StatefulPorts(PortDevice, Stateful, Protocol):
    """A device behind ports whose state can be saved."""


@dataclass(frozen=True, slots=True)
class ResetRequested(Event):
    """Software asked for a reset of the machine. It is told, not carried out.

    Attributes:
        port: By which port.
        value: What was written.
    """

    kind: ClassVar[str] = "reset-requested"
    canonical: ClassVar[bool] = False
    port: Hex
    value: Hex


class DeviceSet:
    """All devices.

    Attributes:
        console: What they were given to print.
        apm: The APM registers.
        power: The power-management registers, or None.
        variables: The writable flash, or None.
        store: What it held when the boot began, or None.
        by_name: Every device with a state, by name.
    """

    def __init__(self, machine: Machine, description: PlatformDescription, image: bytes = b"") -> None:
        """Build and attach all devices; nothing else may be in their places.

        Args:
            machine: The machine.
            description: The platform.
            image: The firmware image that is booted: the flash's code, if the description names variables only.

        Raises:
            DeviceError: two devices want the same place, or a flash's file does not fit.
            SourceError: a file with devices of the user cannot be used.
            OSError: a file cannot be read.
        """
        self._machine = machine
        self._description = description
        self.by_name: dict[str, Stateful] = {}
        self.console = Console(machine.log.emit)
        self.by_name["console"] = self.console
        self.apm = ApmRegisters()
        self._claim(COMMAND_PORT, 2, "APM", self.apm)
        self.power: AcpiPm | None = None
        self.variables: CfiFlash | None = None
        self.store: InitialStore | None = None
        self._file: FlashStore | None = None
        try:
            self._add_text_ports()
            self._add_chipset()
            self._add_flash(image)
        except ValueError as error:
            raise DeviceError(str(error)) from error
        self._add_msrs()
        for path in description.devices.files:
            for device in load_device_file(path):
                attach(device, machine.memory, machine.ports, machine.msrs)
                self.by_name[f"{path.name}: {device.name}"] = device

    def _claim(self, first: int, count: int, name: str, device: StatefulPorts) -> None:
        self._machine.ports.claim(first, count, name, device)
        self.by_name[name] = device

    def _add_text_ports(self) -> None:
        facts = self._description.devices
        if facts.debug_port:
            self._claim(facts.debug_port, 1, "debug port", DebugPort(self.console))
        if facts.serial_port:
            self._claim(facts.serial_port, serial.PORTS, "serial port", SerialPort(self.console))

    def _add_chipset(self) -> None:
        description = self._description
        facts = description.devices
        clock = Cmos(
            facts.date,
            base_memory=description.low_memory,
            memory_top=description.memory_top,
            above_4g=description.above_4g,
        )
        self._claim(cmos.PORT, cmos.PORTS, "CMOS", clock)
        bridge = host_bridge.host_bridge(
            mmram_base=description.mmram_base,
            mmram_size=description.mmram_size,
            memory_top=description.memory_top,
            above_4g=description.above_4g,
            ecam=facts.ecam,
        )
        isa = lpc_bridge.lpc_bridge(pm_base=facts.pm_base, root_complex=facts.root_complex)
        bus = PciBus({host_bridge.ADDRESS: bridge, lpc_bridge.ADDRESS: isa})
        self.by_name |= {"host bridge": bridge, "LPC bridge": isa}
        self._claim(pci.PORT, pci.PORTS, "PCI configuration", PciConfigurationPorts(bus, self._reset_requested))
        if facts.ecam:
            self._machine.memory.add_device(facts.ecam, pci.ECAM_SIZE, "PCI Express configuration", Ecam(bus))
        if facts.pm_base:
            self.power = AcpiPm(facts.pm_timer_ticks)
            self._claim(facts.pm_base, acpi_pm.PORTS, "power management", self.power)

    def _reset_requested(self, value: int) -> None:
        self._machine.log.emit(ResetRequested(Hex(pci.RESET_CONTROL), Hex(value)))

    def _add_flash(self, image: bytes) -> None:
        facts = self._description.devices
        name, variables = "erased", b"\xff" * facts.flash_erased
        if facts.flash_variables is not None:
            self._file = FlashStore(facts.flash_variables, facts.flash_variables_size)
            name, variables = str(facts.flash_variables), self._file.content
            _check_size(variables, facts.flash_variables)
            if not variables:  # a pipe, for example, whose bytes went to whoever looked what it is
                raise DeviceError(f"{name}: is empty; a variable store is read more than once, and has to be a file")
        elif facts.flash_content is not None:
            name, variables = facts.flash_content.name, facts.flash_content.data
        if facts.flash_code is not None:
            code = read_input_file(facts.flash_code, LARGEST)
            _check_size(code, facts.flash_code)
        else:
            code = image[facts.flash_code_start :] if variables else b""
            _check_size(code, Path("the booted image"))
        base = GIB_4 - len(code)
        memory = self._machine.memory
        if variables:
            self.variables = CfiFlash(memory, base - len(variables), variables, _VARIABLES, writable=True)
            self.by_name[_VARIABLES] = self.variables
            self.store = InitialStore(name, hashlib.sha256(variables).hexdigest())
        if code:
            self.by_name[_CODE] = CfiFlash(memory, base, code, _CODE, writable=False)

    def _add_msrs(self) -> None:
        registers = RegisterMsrs(self._description.msrs)
        for number in registers.numbers:
            self._machine.msrs.claim(number, 1, registers)
        self.by_name["MSRs"] = registers
        if timestamp.NUMBER in registers.numbers:
            self._machine.clock.set(self._description.msrs[timestamp.NUMBER])
            self._machine.msrs.claim(timestamp.NUMBER, 1, timestamp.TimestampMsr(self._machine.clock))

    def software_mmi(self, command: int) -> None:
        """Latch what hardware latches when software writes to the APM port."""
        self.apm.post(command)
        if self.power is not None:
            self.power.software_mmi()

    def write_back(self) -> bool:
        """Write the writable flash back to its file; return whether there was anything to write.

        Raises:
            FlashStoreError: the file was changed by somebody else.
            OSError: it cannot be written; the old contents are still there.
        """
        if self._file is None or self.variables is None:
            return False
        return self._file.write_back(self.variables.content)

    def state(self) -> dict[str, State]:
        """Return the state of every device by name; flash contents are part of physical memory."""
        return {name: device.state() for name, device in self.by_name.items()}

    def restore(self, state: dict[str, State]) -> None:
        """Bring every device back to a saved state."""
        for name, device in self.by_name.items():
            device.restore(state[name])


def _check_size(content: bytes, path: Path) -> None:
    if len(content) % SECTOR:
        raise DeviceError(f"{path}: a flash of {len(content)} bytes is not whole sectors of {SECTOR}")
