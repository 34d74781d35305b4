"""The shipped broker and sample drivers together, under the little ring 0: enough to send them messages.

Ring 0 here grants every system call but the check of a message's range, and supervisor memory is not mapped. So it
shows what the samples do, the statuses that the broker itself gives, and at which instruction they break a rule; not
what the supervisor makes of that.
"""

from __future__ import annotations

import struct
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pefile
import unicorn
from unicorn import x86_const as x86

from firmware.samples import catalogue
from mmsupervisor import prebuilt
from tests.firmware.little_ring0 import GATE_POINTER, PAGE, STACK_END, LittleRing0, SystemCall

BROKER = "MmSupervisorRing3Broker"
FIRST_BASE = 0x7F00_0000
MESSAGE_PAGES = 16
MESSAGES = 0x7C00_0000
HOBS = 0x7C80_0000
SUPERVISOR = 0x7FF0_0000
"""An address that ring 3 gets as a handle; nothing is mapped there."""

SECURITY_VIOLATION = 0x8000_0000_0000_001A
CPUS = 2
APIC_ID = 0x77
PORT_VALUE = 0x5A

HOB_LIST = (
    struct.pack("<HHIIIQQQQQ", 1, 0x38, 0, 9, 0, 0, 0, 0, 0, HOBS + 0x98)
    + struct.pack("<HHI16sIIQQ", 3, 0x30, 0, bytes(16), 0, 7, 0, 0xA0000)
    + struct.pack("<HHI16sQ", 4, 0x20, 0, bytes(range(16)), 0x1122334455667788)
    + struct.pack("<HHIBB6x", 6, 0x10, 0, 36, 16)
    + struct.pack("<HHI", 0xFFFF, 8, 0)
)


@dataclass
class StoppedError(Exception):
    """A system call that the test wanted to stop at was made."""

    call: SystemCall


@dataclass(frozen=True)
class Touched:
    """An access that the page tables refused."""

    kind: int
    address: int


class SampleRing0(LittleRing0):
    """The broker and some samples, all started."""

    def __init__(self, *drivers: str) -> None:
        self.base: dict[str, int] = {}
        self.handlers: dict[bytes, list[int]] = defaultdict(list)
        self.stop_at: int | None = None
        self.touched: Touched | None = None
        super().__init__(BROKER, self._grant)
        for address, pages in ((MESSAGES, MESSAGE_PAGES), (HOBS, 1)):
            self.uc.mem_map(address, pages * PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self.uc.mem_write(HOBS, HOB_LIST)
        self.uc.mem_protect(HOBS, PAGE, unicorn.UC_PROT_READ)
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_refused)
        assert self.demote(self.entry, SUPERVISOR, 0) == 0
        self.started = {driver: self._start(driver) for driver in drivers}

    def _on_refused(self, _: Any, kind: int, address: int, *__: object) -> bool:
        self.touched = Touched(kind, address)
        return False

    def _grant(self, call: SystemCall) -> int:
        """What each call answers; those not named here answer 0."""
        number, first, second, third = call
        if self.stop_at == self.uc.reg_read(x86.UC_X86_REG_RIP):
            raise StoppedError(call)
        if number == 0x10019:
            self.uc.mem_write(first + 0x78, struct.pack("<QQ", 0, CPUS))
        if number == 0x10007:
            guid = self.read(second, 16) if second else b""
            self.handlers[guid].append(first)
        if number == 0x10021:
            self.uc.mem_write(third, struct.pack("<Q", APIC_ID))
        if number == 0x10023:
            inside = first >= MESSAGES and first + second <= MESSAGES + MESSAGE_PAGES * PAGE
            return 0 if inside else SECURITY_VIOLATION
        answers = {0: APIC_ID, 3: PORT_VALUE, 0x10007: SUPERVISOR + 0x100 * len(self.calls), 0x1001B: HOBS}
        if number == 0x10004:
            return self._pages(third)
        return answers.get(number, 0)

    def _pages(self, count: int) -> int:
        for _ in range(count):
            lowest = self.new_page()
        return lowest

    def _start(self, driver: str) -> int:
        base = self.base[driver] = FIRST_BASE + 0x10_0000 * len(self.base)
        image = pefile.PE(data=prebuilt.image(driver))
        image.relocate_image(base)
        content = image.get_memory_mapped_image()
        for section in image.sections:
            flags, start = section.Characteristics, section.VirtualAddress
            protection = unicorn.UC_PROT_READ
            protection |= unicorn.UC_PROT_EXEC if flags & 0x20 else unicorn.UC_PROT_WRITE if flags >> 31 else 0
            self.uc.mem_map(base + start, (section.Misc_VirtualSize + PAGE - 1) & -PAGE, protection)
            self.uc.mem_write(base + start, content[start:][: section.Misc_VirtualSize])
        entry = base + image.OPTIONAL_HEADER.AddressOfEntryPoint
        rsp = STACK_END - 0x18
        registers = {
            x86.UC_X86_REG_RCX: SUPERVISOR,
            x86.UC_X86_REG_RDX: self.address("gBrokerMmst"),
            x86.UC_X86_REG_RSP: rsp,
            x86.UC_X86_REG_R15: GATE_POINTER,
        }
        for register, value in registers.items():
            self.uc.reg_write(register, value)
        gate = entry + self.read(entry, 0x20).index(bytes.fromhex("FF 1C 24"))
        self.uc.emu_start(entry, gate, count=1_000_000)
        assert self.uc.reg_read(x86.UC_X86_REG_RIP) == gate
        assert self.uc.reg_read(x86.UC_X86_REG_RSP) == rsp - 8
        return int(self.uc.reg_read(x86.UC_X86_REG_RAX))

    def place(self, driver: str, symbol: str) -> int:
        """Where a symbol of a sample lies."""
        (found,) = (entry for entry in prebuilt.symbols(driver) if entry.name == symbol)
        return self.base[driver] + found.rva

    def status(self, handler: int, payload: bytes) -> tuple[int, bytes]:
        """Give one handler a message: its status, and the payload as it left it, in the size it left."""
        self.uc.mem_write(MESSAGES, bytes(MESSAGE_PAGES * PAGE))
        self.uc.mem_write(MESSAGES + 0x18, payload)
        size_at = STACK_END - 4 * PAGE  # the far end of the stack serves as the page of the size
        self.uc.mem_write(size_at, struct.pack("<Q", len(payload)))
        central = self.address("CentralRing3JumpPointer")
        status = self.demote(central, SUPERVISOR, 0, MESSAGES + 0x18, size_at, handler)
        (size,) = struct.unpack("<Q", self.read(size_at, 8))
        return status, self.read(MESSAGES + 0x18, min(size, MESSAGE_PAGES * PAGE - 0x18))

    def send(self, guid_name: str, payload: bytes) -> bytes:
        """Send a message to its only handler, which must answer success."""
        guid: uuid.UUID = catalogue.guids()[guid_name]
        (handler,) = self.handlers[guid.bytes_le]
        status, reply = self.status(handler, payload)
        assert status == 0
        return reply
