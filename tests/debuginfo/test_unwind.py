"""Stacks walked in every way, in drivers that really ran: all ways agree, and each says which it was."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.debuginfo.disassembly import disassemble_around, follows_call
from mmsupervisor.debuginfo.image_view import ImageView
from mmsupervisor.debuginfo.read import read_symbols
from mmsupervisor.debuginfo.read_ahead import Leaving, is_stub, leave_by_code
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.debuginfo.unwind import Stack, unwind
from mmsupervisor.pi.guid import Guid
from mmsupervisor.report.finding_model import FindingReport
from mmsupervisor.report.findings import report_finding
from mmsupervisor.session import Session, boot_driver
from tests.debuginfo import walked
from tests.debuginfo.builds import elf
from tests.samples.support import UNTOUCHED, boot_samples, offend, send

WRITE_PORT = 1
SOME = Guid(b"walked-driver-01")
FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"


def reported(session: Session) -> FindingReport:
    assert session.stop is not None
    return report_finding(session.stop, session.memory, fatal=True)


def walk(image: bytes) -> FindingReport:
    with boot_driver(image, "Walked", SOME, symbols=Symbols()) as session:
        return reported(session)


@pytest.mark.parametrize(
    ("made", "unwind_data", "found"),
    [
        (walked.FRAMED, True, [".pdata", ".pdata"]),
        (walked.BLIND, True, [".pdata", ".pdata"]),
        (walked.FRAMED, False, ["code", "code"]),
        (walked.POINTING, False, ["frame pointer", "code"]),
    ],
    ids=["unwind data", "unwind data alone", "code", "frame pointer"],
)
def test_every_way_leads_to_the_entry_point(made: tuple[bytes, list[int]], unwind_data: bool, found: list[str]) -> None:
    text, offsets = made
    finding = walk(walked.image(text, unwind_data=unwind_data))
    assert (finding.number, finding.offset) == ("MM-1102", offsets[0])
    assert [frame.offset for frame in finding.stack] == offsets
    assert [frame.found for frame in finding.stack[1:]] == found


def test_a_scan_is_a_guess_and_everything_after_it() -> None:
    """Behind a large frame lie stale addresses of the broker, which ran on that stack before: nothing tells them."""
    text, offsets = walked.BLIND
    finding = walk(walked.image(text, unwind_data=False))
    assert [frame.offset for frame in finding.stack[:2]] == offsets[:2]
    assert finding.stack[-1].offset == offsets[2]
    assert {frame.found for frame in finding.stack[1:]} == {"scan"}
    assert "MmSupervisorRing3Broker" in {frame.driver for frame in finding.stack}


def test_damaged_unwind_data_does_no_harm() -> None:
    """Codes that mean nothing, a table that ends beyond the image: another walk, never an exception."""
    whole = walked.image(walked.FRAMED[0], unwind_data=True)
    at = whole.index(bytes.fromhex(walked.UNWIND_DATA[walked.INNER]))
    for damage in (b"\xff" * 8, b"\x01\x0a\xff\x00", b"\x21" + b"\x00" * 11):
        finding = walk(whole[:at] + damage + whole[at + len(damage) :])
        assert finding.stack[0].offset == walked.FRAMED[1][0]
    far = walked.EXCEPTION_DIRECTORY
    assert len(walk(whole[:far] + b"\xf0\xff\xff\x7f" + whole[far + 4 :]).stack) == 3


def test_a_stack_of_anything_is_walked_to_an_end() -> None:
    """A hostile stack that leads in circles is left: each frame must lie above the one before."""
    text, offsets = walked.FRAMED
    image = ImageView("Walked", 0x10000, 0x2000, Symbols(), bytes(0x1000) + text.ljust(0x1000, b"\0"))
    stack = Stack(0x8000, (0x10000 + offsets[1]).to_bytes(8, "little") * 512)
    registers = dict.fromkeys(("rax", "rbx", "rbp", "rdi"), 0x8000) | {"rip": 0x10000 + offsets[0], "rsp": 0x8000}
    assert 1 < len(unwind(registers, stack, lambda a: image if image.holds(a) else None)) <= 64


# Drivers that a compiler made


def violate(case: str, symbols: Symbols | None = None) -> tuple[FindingReport, Finding]:
    session = boot_samples("Offender")
    with session:
        assert session.core is not None
        module = session.core.supervisor.modules.by_name("Offender")
        assert module is not None
        if symbols is not None:
            module.symbols = symbols
        with pytest.raises(SystemStopError) as caught:
            offend(session, case, 0x80)
        return reported(session), caught.value.finding


@pytest.mark.parametrize("case", ["Cli", "Divide", "ReadNull", "PortDenied", "CallMmiManage", "AllocateType"])
def test_dwarf_and_the_code_itself_agree(case: str) -> None:
    """Two ways that know nothing of each other find the same callers, from the violation to the broker."""
    by_code, _ = violate(case)
    by_rules, _ = violate(case, read_symbols(elf("Offender"), "x", image=prebuilt.image("Offender")))
    assert [frame.address for frame in by_code.stack] == [frame.address for frame in by_rules.stack]
    assert {frame.found for frame in by_code.stack[1:]} <= {"code", "top of stack"}
    assert "DWARF" in {frame.found for frame in by_rules.stack}
    drivers = [frame.driver for frame in by_code.stack if frame.driver]
    assert drivers[0] == "Offender"
    assert drivers[-1] == "MmSupervisorRing3Broker"
    assert "OffenderHandler" in [frame.symbol.partition("+")[0] for frame in by_code.stack]


def test_source_lines_are_those_of_the_violation_and_its_callers() -> None:
    finding, _ = violate("Divide", read_symbols(elf("Offender"), "x", image=prebuilt.image("Offender")))
    file, line = finding.source.rsplit(":", 1)
    assert (FIRMWARE / file).read_text("utf-8").splitlines()[int(line) - 1].split()[0] == "div"
    callers = [frame for frame in finding.stack[1:] if frame.driver == "Offender"]
    for frame in callers:
        file, line = frame.source.rsplit(":", 1)
        assert re.search(r"\w\(", (FIRMWARE / file).read_text("utf-8").splitlines()[int(line) - 1])


def test_a_system_call_is_laid_to_the_function_that_called_the_stub() -> None:
    """IoMsr asks by the library's stub, as drivers do: what called the stub is named first."""
    with boot_samples("IoMsr") as session:
        with pytest.raises(SystemStopError):
            send(session, "IoMsr", struct.pack("<QIIQQ", UNTOUCHED, WRITE_PORT, 2, 0xCF8, 0))
        finding = reported(session)
    assert finding.number == "MM-1001"
    assert finding.symbol.startswith("SysCall+")
    assert finding.call_site is not None
    assert finding.call_site.driver == "IoMsr"
    assert not finding.call_site.symbol.startswith("SysCall")
    assert finding.request is not None
    assert (finding.request.call, finding.request.arguments[0].value) == ("SMM_SC_IO_WRITE", 0xCF8)


def test_a_call_that_led_nowhere_is_laid_to_its_caller() -> None:
    finding, raw = violate("CallMmiManage")
    assert raw.address == 0
    assert [frame.found for frame in finding.stack[:2]] == ["the place itself", "top of stack"]
    assert finding.stack[1].driver == "Offender"


# Parts


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("90 e8 00000000", True),
        ("90 90 ffd0", True),
        ("90 41ff5310", True),
        ("ff90 e0000000", True),
        ("ff15 00000000", True),
        ("41ff9424 00010000", True),
        ("90 90 90 90", False),
        ("ffe0", False),
        ("9a00", False),
        ("", False),
    ],
)
def test_what_stands_behind_a_call(code: str, expected: bool) -> None:
    assert follows_call(bytes.fromhex(code)) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("c3", True),
        ("5f 5e 4883c428 c3", True),
        ("4889c3 e800000000 c3", False),
        ("85c0 7402 90 90 c3", False),
        ("ff", False),
        ("cb", False),
        ("48cf", False),
    ],
)
def test_what_is_a_stub(code: str, expected: bool) -> None:
    text = bytes.fromhex("0f05" + code)
    image = ImageView("x", 0, len(text), Symbols((0,), ("Stub",)), text)
    assert is_stub(image, 2) is expected
    assert not is_stub(replace(image, content=bytes(0x100) + text, size=0x200), 0x102), "it began long before"


@pytest.mark.parametrize("code", ["89c4 c3", "4889c4 c3", "83e4f0 c3", "4883e4f0 c3", "5c c3", "ffe0", "0f0b", "06"])
def test_code_that_loses_the_stack_pointer_is_not_read_ahead(code: str) -> None:
    text = bytes.fromhex(code)
    image = ImageView("x", 0x1000, len(text), Symbols(), text)
    assert leave_by_code(image, {"rip": 0x1000, "rsp": 0x8000}, lambda _: None) is Leaving.UNKNOWN


def test_code_around_a_place_is_read_from_the_functions_start() -> None:
    """The bytes before a place decode in several ways; the function's start decides."""
    text = bytes.fromhex("48b8 9090909090909090 4801c8 fa c3")
    image = ImageView("x", 0x1000, len(text), Symbols((0,), ("F",)), text)
    lines = disassemble_around(image, 0x1000 + 13, function=0)
    assert [line.address - 0x1000 for line in lines] == [0, 10, 13, 14]
    assert lines[2].text == "cli"
    cut = disassemble_around(image, 0x1000 + 14, before=0)
    assert [line.text for line in cut] == ["ret"]
