"""What a device does at a violation: record, report routine, no further MMI, reset (telemetry.md §1 to §7).

Exceptions of every vector that ring 3 can raise, violations in the report routine itself, in AP procedures, and in
MMIs that raise MMIs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.abi.telemetry import TelemetryRecord
from mmsupervisor.core.events import MmiBegan, SystemReset
from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.core.telemetry import TelemetryReported, make_record
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.sample import mm_volume, shipped
from mmsupervisor.report.build import build_report, describe_input
from mmsupervisor.session import Session, boot, boot_driver
from tests.hostile.scripts import Operation, Scene, Script, call, step
from tests.pi.pe_builder import TEXT, BuiltSection, PeBuilder
from tests.samples.stage import DESCRIPTION, shipped_map, symbol
from tests.samples.support import boot_samples, offend, symbol_offset

SOME = Guid(b"vectors-driver-1")
REPORTER = "MmSupervisorErrorReport"
C, Do = CallNumber, Operation
LEAVE = bytes.fromhex("31c0 4157 ff1c24")
"""``xor eax, eax; push r15; call far [rsp]``: the way back."""

LOOP = bytes.fromhex("ebfe")
"""``jmp $``."""


def reports(session: Session) -> list[TelemetryReported]:
    return [record.event for record in session.events if isinstance(record.event, TelemetryReported)]


def resets(session: Session) -> list[SystemReset]:
    return [record.event for record in session.events if isinstance(record.event, SystemReset)]


def mmis(session: Session) -> int:
    return sum(isinstance(record.event, MmiBegan) for record in session.events)


def run_code(code: str, *, processor: str = "auto") -> Session:
    """Boot a driver whose entry point is the code."""
    image = PeBuilder([BuiltSection(".text", bytes.fromhex(code) + LEAVE, TEXT)]).build()
    return boot_driver(image, "Vector", SOME, description=DESCRIPTION, processor=processor)


def script_session(*others: str) -> Session:
    """Boot the Script driver behind others."""
    drivers = [shipped(name) for name in (*others, "Script")]
    symbols = {prebuilt.driver("Script").guid: shipped_map("Script")}
    return boot(mm_volume(drivers), description=DESCRIPTION, symbols=symbols)


# The record, byte for byte


def test_the_record_is_the_904_bytes_of_the_fact_sheet() -> None:
    """Each field put in its place by hand, from the table of telemetry.md §1; the context stays zero."""
    guid = Guid.parse("11223344-5566-7788-99AA-BBCCDDEEFF00")
    record = bytearray(904)
    record[0:4] = b"MSVT"
    record[4:8] = b"\x88\x03\x00\x00"
    record[8:16] = b"\x0e\0\0\0\0\0\0\0"
    record[16:32] = bytes.fromhex("44332211 6655 8877 99aabbccddeeff00")
    record[32:40] = bytes.fromhex("efcdab8967452301")
    record[40:48] = bytes.fromhex("00d0adde00000000")
    assert TelemetryRecord(14, guid, 0x0123_4567_89AB_CDEF, 0xDEAD_D000).pack() == bytes(record)


def test_what_lies_in_the_shared_page_is_that_record_and_the_reporter_keeps_its_entry() -> None:
    """From the violation to what the reporter would store: the entry of 56 bytes, telemetry.md §4."""
    with boot_samples(REPORTER, "Offender") as session:
        with pytest.raises(SystemStopError) as caught:
            offend(session, "Divide")
        assert session.core is not None
        supervisor = session.core.supervisor
        record = make_record(supervisor, caught.value.finding)
        assert record is not None
        assert session.memory.read(supervisor.shared_page + 8, 904) == record.pack()
        reporter = supervisor.modules.by_name(REPORTER)
        offender = supervisor.modules.by_name("Offender")
        assert reporter is not None
        assert offender is not None
        entry = session.memory.read(reporter.base + symbol_offset(REPORTER, "gErrorReportEntry"), 56)
        rip = offender.base + symbol_offset("Offender", "AtDivide")
        own = prebuilt.driver(REPORTER).guid.raw
        faulty = prebuilt.driver("Offender").guid.raw
        assert entry == struct.pack("<BBHIQQ16s16s", 0, 0, 0, 0x03CE_0000, rip, offender.base, own, faulty)


# Exceptions in ring 3 of every vector

# Those that are not here no code of ring 3 can raise under the supervisor's control registers: 2 and 18 come from
# outside, 7 wants CR0.TS, 8 a fault within a fault, 10 and 11 selectors that the table does not have, 17 CR0.AM,
# 20 and 21 features that are off; 19 see below.
VECTORS = {
    "#DE": ("31c9 48f7f1", 0, None, "MM-1106"),
    "#DB by a flag": ("9c 810c2400010000 9d 90 90", 1, None, "MM-1106"),
    "#BP, refused by its gate": ("cc", 13, 3 * 8 + 2, "MM-1104"),
    "#OF, gone in 64-bit mode": ("ce", 6, None, "MM-1103"),
    "#BR, gone in 64-bit mode": ("6200", 6, None, "MM-1103"),
    "#UD": ("0f0b", 6, None, "MM-1103"),
    "#NP and #TS, by a selector that is not there": ("b8ff000000 8ed8", 13, 0xFC, "MM-1106"),
    "#SS": ("48bc0000000000000080 58", 12, 0, "MM-1208"),
    "#GP": ("fa", 13, 0, "MM-1102"),
    "#PF": ("31c0 488b00", 14, 4, "MM-1205"),
    "#MF": ("dbe3 687b030000 d92c24 d9e8 d9ee def9 9b", 16, None, "MM-1106"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_exceptions_of_every_vector_end_the_system(name: str) -> None:
    code, vector, error_code, number = VECTORS[name]
    with run_code(code) as session:
        finding = session.stop
        assert finding is not None, name
        assert (finding.kind.number, finding.vector, finding.error_code) == (number, vector, error_code), str(finding)
        (event,) = reports(session)
        assert (event.vector, event.image) == (vector, SOME.label)
        assert [(one.how, one.cause) for one in resets(session)] == [("warm", number)]


@pytest.mark.parametrize("vector", [0, 1, 2, 4, 8, 14, 31, 32, 0x80, 255])
def test_every_interrupt_gate_belongs_to_ring_0(vector: int) -> None:
    with run_code(f"cd{vector:02x}") as session:
        finding = session.stop
        assert finding is not None
        assert (finding.kind.number, finding.vector) == ("MM-1104", 13)
        assert finding.error_code == vector * 8 + 2


def test_simd_exceptions_are_a_limit_of_unicorn() -> None:
    """1.0 / 0 with the exception unmasked is #XM on the machine. Unicorn raises none: docs/limitations.md says so."""
    with run_code("68001d0000 0fae1424 b801000000 f30f2ac0 0f57c9 f30f5ec1", processor="unicorn") as session:
        assert session.stop is None


def test_code_without_an_exception_comes_back() -> None:
    with run_code("90") as session:
        assert session.stop is None
        assert reports(session) == resets(session) == []


# Double violations: in the report routine


@contextmanager
def reporting_script(routine: str) -> Iterator[Scene]:
    """Boot the Script driver with its own code as report routine: RCX is the CPU, RDX the record."""
    with script_session() as session:
        here = Scene(session, 0)
        here.core.supervisor.jumps.error_report = here.module.base + symbol("Script", routine).rva
        yield here


@pytest.mark.parametrize(
    ("routine", "nested", "vectors"),
    [("AtRead", "MM-1205", [6, 14]), ("AtCall", "MM-1003", [6, 3]), ("ScriptReturn", "MM-1105", [6, 14])],
)
def test_a_report_routine_that_breaks_a_rule_is_told_once_more(routine: str, nested: str, vectors: list[int]) -> None:
    """At most two reports of one CPU, telemetry.md §5; the second is about the routine itself, then it is over."""
    with reporting_script(routine) as here:
        address = here.at("AtLeave") + 3
        with pytest.raises(SystemStopError) as caught:
            here.run(Script([step(Do.JUMP, address)]))  # UD2
        first = caught.value.finding
        assert first.kind.number == "MM-1103"
        assert here.session.stop is first, "the first violation is the cause"
        assert [event.vector for event in reports(here.session)] == vectors
        assert {event.outcome for event in reports(here.session)} == {f"the routine itself failed: {nested}"}
        assert [(one.how, one.cause) for one in resets(here.session)] == [("warm", "MM-1103")]
        numbers = [finding.kind.number for finding in here.session.findings]
        assert numbers == ["MM-1103", nested, nested]
        before = mmis(here.session)
        with pytest.raises(SystemStopError) as again:
            here.run(Script([]))
        assert again.value.finding is first
        assert mmis(here.session) == before


def test_a_report_routine_that_hangs_leaves_the_device_standing() -> None:
    """Nobody interrupts it: there is neither a second report nor a reset."""
    with reporting_script("AtRead") as here:
        here.session.memory.write(here.at("AtRead"), LOOP)
        here.core.supervisor.processor.forget_code(here.at("AtRead") & ~0xFFF, 0x2000)
        with pytest.raises(SystemStopError):
            here.run(Script([step(Do.JUMP, here.at("AtLeave") + 3)]))  # UD2
        assert [event.outcome for event in reports(here.session)] == ["the routine itself failed: MM-1301"]
        assert [(one.how, one.cause) for one in resets(here.session)] == [("none", "MM-1103")]


def test_code_that_never_comes_back_is_neither_reported_nor_reset() -> None:
    """A device has no budget: it hangs in ring 3, where no exception is raised (telemetry.md §5, §7)."""
    with run_code(LOOP.hex()) as session:
        assert session.stop is not None
        assert session.stop.kind.number == "MM-1301"
        assert reports(session) == []
        assert [(one.how, one.cause) for one in resets(session)] == [("none", "MM-1301")]
        end = build_report(session, describe_input("x", b"")).end
        assert end is not None
        assert (end.reset, end.vector, end.image) == ("none", None, None)


def test_a_sound_routine_is_called_once() -> None:
    with boot_samples(REPORTER, "Offender") as session:
        with pytest.raises(SystemStopError):
            offend(session, "Undefined")
        assert [event.outcome for event in reports(session)] == ["delivered: EFI_SUCCESS"]


# In AP procedures


@pytest.mark.parametrize(("cpu", "expected"), [(1, 1), (3, 3)])
def test_a_violation_in_an_ap_procedure_is_reported_on_its_cpu(cpu: int, expected: int) -> None:
    with script_session(REPORTER) as session:
        here = Scene(session, 0)
        remote = [step(Do.READ, 0)]
        start = call(C.SMM_START_AP_PROC, here.at("ScriptRemote"), cpu, here.message)
        with pytest.raises(SystemStopError) as caught:
            here.run(Script([start], remote))
        finding = caught.value.finding
        supervisor = here.core.supervisor
        assert (finding.kind.number, supervisor.stopped_cpu) == ("MM-1205", expected)
        assert finding.scene is not None
        assert finding.scene.cpu == expected
        reporter = supervisor.modules.by_name(REPORTER)
        assert reporter is not None
        told = session.memory.read_u64(reporter.base + symbol_offset(REPORTER, "gErrorReportCpu"))
        assert told == expected
        assert supervisor.cpus[cpu].busy is False or session.stop is finding
        report = build_report(session, describe_input("x", b""))
        (told_finding,) = report.findings
        assert told_finding.moment is not None
        assert told_finding.moment.cpu == expected
        assert [frame.driver for frame in told_finding.stack][:2] == ["Script", "Script"]
        assert "ScriptRemote" in " ".join(frame.symbol for frame in told_finding.stack)


def test_an_ap_procedure_that_keeps_the_rules_comes_back() -> None:
    with script_session() as session:
        here = Scene(session, 0)
        start = call(C.SMM_START_AP_PROC, here.at("ScriptRemote"), 1, here.message)
        assert here.run(Script([start], [step(Do.READ, here.data)]))[0] == 0
        assert session.stop is None


# MMIs that raise MMIs


def test_an_mmi_raised_inside_an_mmi_begins_none_and_a_violation_after_it_is_that_mmis() -> None:
    """MMIs do not nest: the write latches, the handler goes on, and what it breaks then happens in the same MMI."""
    with script_session() as session:
        here = Scene(session, 0)
        raise_mmi = call(C.SMM_SC_IO_WRITE, 0xB2, 0, 0x55)
        before = mmis(session)
        assert here.run(Script([raise_mmi]))[0] == 0
        assert mmis(session) == before + 1
        with pytest.raises(SystemStopError) as caught:
            here.run(Script([raise_mmi, step(Do.READ, 0)]))
        assert mmis(session) == before + 2
        scene_ = caught.value.finding.scene
        assert scene_ is not None
        assert scene_.mmi == session.log.mmi
        assert scene_.message is not None
        assert scene_.message.channel == "user"
        assert len(resets(session)) == 1


def test_a_violation_in_a_root_handler_belongs_to_the_mmi_without_a_message() -> None:
    with script_session() as session:
        here = Scene(session, 0)
        here.run(Script([call(C.SMM_REG_HNDL, here.at("ScriptStoredHandler"), 0)]))
        assert session.stop is None, "nothing is stored yet"
        session.memory.write(here.at("gScriptStored"), Script([step(Do.READ, 0)]).stored())
        with pytest.raises(SystemStopError) as caught:
            session.trigger()
        finding: Finding = caught.value.finding
        assert finding.scene is not None
        assert finding.scene.message is not None
        assert (finding.scene.message.channel, finding.scene.message.guid) == ("none", "")
        with pytest.raises(SystemStopError):
            session.trigger()
        assert mmis(session) == finding.scene.mmi
