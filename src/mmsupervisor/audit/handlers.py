"""The audit of handlers: what drivers do with messages that no rule of ring 3 forbids, and that is a mistake.

It attaches to a session and goes on with a processor of its own, which tells of each touch of the pages that are worth
watching. Events, replies and memory are those of a run without it. What each check can and cannot know stands in
docs/audits.md.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import TracebackType

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.audit.mmi_record import (
    MmiRecord,
    NestedPointer,
    find_pointers,
    pages_to_watch,
    read_message,
)
from mmsupervisor.audit.watching_processor import MemoryTouch, WatchingProcessor
from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import MmiBegan, SystemCallMade
from mmsupervisor.core.findings import Finding, Place, make_finding
from mmsupervisor.core.scene import take_scene
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.events import Record
from mmsupervisor.machine.memory import PAGE_SIZE, Access, BusError
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.processor.cpuid import amd_cpuid, intel_cpuid
from mmsupervisor.processor.instructions import REGISTER_NAMES, decode, memory_uses
from mmsupervisor.processor.interface import Fault, Processor, ProcessorOptions, Registers
from mmsupervisor.processor.page_map import fetch
from mmsupervisor.processor.select import make_processor
from mmsupervisor.session import Session

_PAGE_FAULT = 14
_POINTER = 8
_SLOTS = 8
"""Slots of the stack in which a return address is looked for."""

_NO_BASE = frozenset(("rip", "rsp", "rflags"))


class HandlerAudit:
    """Audits the handlers of a session, from when it is made until it is closed.

    Made before the launch (by ``prepare`` of :func:`mmsupervisor.session.boot`), it begins with the first MMI, in time
    for the entry points of all drivers but those that the core's own entry starts.

    Attributes:
        findings: What was found, each place once, in order.
        missed: How many touches were not looked at, by the instruction: it cannot be taken apart.
        is_attached: Whether there is a supervisor to audit.
    """

    _supervisor: Supervisor
    _before: Processor
    _processor: WatchingProcessor

    def __init__(self, session: Session) -> None:
        """Attach to a session, at once or as soon as it has a core.

        Raises:
            MmSupervisorError: its kind of processor does not work here.
        """
        self.findings: list[Finding] = []
        self.missed: Counter[str] = Counter()
        self.is_attached = False
        self._session = session
        self._mmi = MmiRecord()
        self._known: set[tuple[str, object]] = set()
        self._closed = False
        if session.core is not None:
            self._attach(session.core)
        session.log.add_sink(self._take)

    def _attach(self, core: Core) -> None:
        session, self._supervisor = self._session, core.supervisor
        description = session.description
        make = amd_cpuid if description.vendor is Vendor.AMD else intel_cpuid
        options = ProcessorOptions(make(description.address_bits), description.budget)
        self._before = self._supervisor.processor
        self._processor = WatchingProcessor(
            session.memory, options, self, lambda memory, chosen: make_processor(session.processor, memory, chosen)
        )
        self._supervisor.processor = self._processor
        self.is_attached = True

    def __enter__(self) -> HandlerAudit:
        """Return the audit itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the audit."""
        self.close()

    def close(self) -> None:
        """Give the session its own processor back. Closing twice is allowed."""
        if self.is_attached and not self._closed:
            self._supervisor.processor = self._before
            self._processor.close()
        self._closed = True

    # Events of the supervisor

    def _take(self, record: Record) -> None:
        if self._closed or not self._is_ready(record):
            return
        match record.event:
            case MmiBegan() as began:
                self._begin(began)
            case SystemCallMade(call=CallNumber.SMM_MM_UNBLOCKED.name) as asked:
                self._asked_outside(asked)
            case SystemCallMade(call=CallNumber.SMM_MM_IS_COMM_BUFF.name) as asked:
                self._asked_message(asked)

    def _is_ready(self, record: Record) -> bool:
        """Whether it is attached; it is from the first MMI on, when no code of ring 3 is under way yet."""
        if not self.is_attached and isinstance(record.event, MmiBegan) and self._session.core is not None:
            self._attach(self._session.core)
        return self.is_attached

    def _begin(self, event: MmiBegan) -> None:
        payload = read_message(self._supervisor, event.size) if event.channel == "user" else b""
        self._mmi = MmiRecord(tuple(find_pointers(self._supervisor, payload)))
        self._processor.watched.watch(pages_to_watch(self._supervisor, self._mmi.pointers))

    def _asked_outside(self, event: SystemCallMade) -> None:
        address, length = event.arguments[0], event.arguments[1]
        if event.result:
            self._mmi.validated.append((address, address + length))
            return
        channel = self._supervisor.user
        if channel.internal <= address < channel.internal + channel.size:
            detail = f"MmIsBufferOutsideMmValid was asked about {address:#x} + {length:#x}, which is the message"
            self._add("MM-4003", self._caller(self._processor.registers()), detail, address)

    def _asked_message(self, event: SystemCallMade) -> None:
        address, length = event.arguments[0], event.arguments[1]
        if event.result and self._supervisor.unblocked.is_outside_and_open(address, length):
            detail = f"MmCommBufferValid was asked about {address:#x} + {length:#x}, which is unblocked memory"
            self._add("MM-4003", self._caller(self._processor.registers()), detail, address)

    # Touches of ring 3

    def touched(self, touch: MemoryTouch) -> None:
        """Judge a touch of a watched page."""
        if self._supervisor.mmram.touches(touch.address, 1):
            self._judge_inside(touch)
            return
        if self._may_use_dxe(touch.rip) and not self._is_message(touch.address):
            return
        self._judge_origin(touch)
        if touch.write:
            for address in range(touch.address, touch.address + touch.width):
                self._mmi.fetched.pop(address, None)
            return
        self._judge_fetch(touch)
        if touch.width == _POINTER:
            self._judge_value(touch)

    def _judge_inside(self, touch: MemoryTouch) -> None:
        """Data in MMRAM are the driver's to use, unless it was the message that led there."""
        pointer = self._mmi.origin(touch.address)
        if pointer is not None and self._is_base(touch, pointer):
            self._report_pointer(touch, pointer, "in MMRAM, about which no validator says yes")

    def _is_base(self, touch: MemoryTouch, pointer: NestedPointer) -> bool:
        """Whether a register of the instruction's address came from the pointer, as far as its value tells."""
        instruction = decode(fetch(self._supervisor.memory, touch.rip), touch.rip)
        if instruction is None or instruction.is_ip_rel_memory_operand:
            return False
        values = [getattr(touch.registers, name) for name in REGISTER_NAMES if name not in _NO_BASE]
        reached = any(pointer.reaches(value) for value in values)
        return reached and any(use.address <= touch.address for use in memory_uses(instruction, touch.registers))

    def _judge_origin(self, touch: MemoryTouch) -> None:
        """A traditional driver asks a memory map of its own, which nobody sees: it is not judged."""
        pointer = self._mmi.origin(touch.address)
        if pointer is None or self._mmi.is_validated(touch.address, touch.width) or self._is_traditional(touch.rip):
            return
        near = [(start, end) for start, end in self._mmi.validated if start <= touch.address]
        asked = f"; only {near[-1][0]:#x} to {near[-1][1]:#x} was asked about" if near else ""
        self._report_pointer(touch, pointer, f"outside MMRAM, before the supervisor said yes to it{asked}")

    def _report_pointer(self, touch: MemoryTouch, pointer: NestedPointer, where: str) -> None:
        verb = "writes" if touch.write else "reads"
        detail = (
            f"{verb} {touch.width} bytes at {touch.address:#x}, {where}; "
            f"the message holds {pointer.address:#x} at offset {pointer.offset:#x}"
        )
        self._add("MM-4002", self._place(touch.rip), detail, touch.address)

    def _judge_fetch(self, touch: MemoryTouch) -> None:
        fetched = self._mmi.fetched
        addresses = range(touch.address, touch.address + touch.width)
        again = [address for address in addresses if address in fetched]
        if again:
            first = fetched[again[0]]
            detail = f"reads {len(again)} bytes at {again[0]:#x} that were read before, at {self._place(first)}"
            self._add("MM-4001", self._place(touch.rip), detail, again[0], key=(touch.rip, first))
        for address in addresses:
            fetched.setdefault(address, touch.rip)

    def _judge_value(self, touch: MemoryTouch) -> None:
        if self._is_code(touch.value):
            target = self._place(touch.value)
            detail = f"reads {touch.value:#x}, code of {target}, at {touch.address:#x}"
            self._add("MM-4005", self._place(touch.rip), detail, touch.address)

    def _is_code(self, address: int) -> bool:
        memory, modules = self._supervisor.memory, self._supervisor.modules
        return modules.find(address) is not None and bool(memory.state(address).ring3 & Access.EXECUTE)

    def unseen(self, fault: Fault, registers: Registers) -> None:
        """Judge a jump through a watched page; count everything else."""
        instruction = decode(fault.instruction, fault.rip)
        self.missed[str(instruction)] += 1
        if instruction is None or not (instruction.is_call_near_indirect or instruction.is_jmp_near_indirect):
            return
        address = memory_uses(instruction, registers)[0].address
        if not self._supervisor.mmram.touches(address, 1) and not self._may_use_dxe(fault.rip):
            detail = f"`{instruction}` takes its target from {address:#x}"
            self._add("MM-4005", self._place(fault.rip), detail, address)

    def faulted(self, fault: Fault, registers: Registers) -> None:
        """Judge an exception: a fetch outside MMRAM is a callout; data may be where a message said."""
        address = fault.address
        if fault.vector != _PAGE_FAULT or address is None or address < PAGE_SIZE:
            return
        if fault.access is not Access.EXECUTE:
            self._judge_refused(fault, address)
        elif not self._supervisor.mmram.touches(address, 1):
            self._judge_callout(address, self._caller(registers))

    def _judge_callout(self, address: int, caller: Place) -> None:
        if self._may_use_dxe(caller.address):
            return
        pointer = next((one for one in self._mmi.pointers if one.address == address), None)
        said = f"; the message holds that address at offset {pointer.offset:#x}" if pointer else ""
        self._add("MM-4004", caller, f"jumps to {address:#x}, outside MMRAM{said}", address)

    def _judge_refused(self, fault: Fault, address: int) -> None:
        """What ring 3 may not touch at all, it must not touch because a message said so."""
        pointer = self._mmi.origin(address)
        if pointer is not None and (pointer.in_mmram or not self._is_traditional(fault.rip)):
            detail = (
                f"touches {address:#x}, which is not ring 3's; "
                f"the message holds {pointer.address:#x} at offset {pointer.offset:#x}"
            )
            self._add("MM-4002", self._place(fault.rip), detail, address)

    # Helpers

    def _place(self, address: int) -> Place:
        return self._supervisor.modules.place(address)

    def _may_use_dxe(self, rip: int) -> bool:
        """Whether code is of a traditional driver, which may use tables and services of DXE until MMRAM is locked."""
        return self._is_traditional(rip) and not self._supervisor.lifecycle.ready_to_lock

    def _is_message(self, address: int) -> bool:
        """Whether an address lies in the user channel's buffer outside MMRAM."""
        channel = self._supervisor.user
        return channel.external <= address < channel.external + channel.size

    def _is_traditional(self, rip: int) -> bool:
        module = self._supervisor.modules.find(rip)
        return module is not None and module.traditional

    def _caller(self, registers: Registers) -> Place:
        """Return the first address of code among the topmost slots of the stack: who called, as a rule."""
        for slot in range(_SLOTS):
            try:
                address = self._supervisor.memory.read_u64(registers.rsp + slot * _POINTER)
            except BusError:
                break
            if self._is_code(address):
                return self._place(address)
        return Place(self._supervisor.log.driver, registers.rip)

    def _add(self, number: str, place: Place, detail: str, address: int, key: object = None) -> None:
        """Record a finding, each place once."""
        known = (number, key if key is not None else place.address)
        if known not in self._known:
            self._known.add(known)
            scene = take_scene(self._supervisor, with_ring3=True)
            self.findings.append(replace(make_finding(number, detail, place=place, address=address), scene=scene))
