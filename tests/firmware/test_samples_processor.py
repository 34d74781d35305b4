"""The Offender's faulting instructions on the product's own processors: vector, error code, place, address.

Without a supervisor: the image's pages get the attributes that the loader would give them, and each stub is entered
directly with the operands that its case gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from firmware.samples import catalogue
from mmsupervisor import prebuilt
from mmsupervisor.machine.memory import PAGE_SIZE, Access, Attribute, PhysicalMemory
from mmsupervisor.pi.pe import load_image, parse_pe, plan_protection
from mmsupervisor.pi.reader import Reader
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import BudgetSpent, Entry, Exit, Fault, ProcessorOptions
from mmsupervisor.processor.select import PROCESSORS, make_processor

BASE = 0x7F00_0000
DATA = 0x7E00_0000
STACK_END = 0x7E10_0000
READ_ONLY = 0x7E20_0000
SUPERVISOR = 0x7E30_0000
NON_CANONICAL = 0x8000_0000_0000_0000

OFFENDER = catalogue.read_sample(catalogue.SAMPLES / "Offender" / "sample.toml")
RVAS = {symbol.name: symbol.rva for symbol in prebuilt.symbols("Offender")}
INSTRUCTIONS = [case for case in OFFENDER.cases if case.number and case.number >> 8 == 1]
MEMORY = [case for case in OFFENDER.cases if case.number and case.number >> 8 == 2 and case.stop == "fault"]

# First operand where the driver, not the message, chooses it.
OPERANDS = {
    **dict.fromkeys(("LoadGdt", "LoadIdt", "StoreGdt", "InvalidatePage"), DATA),
    "UnalignedSse": DATA + 8,
    "ReadAddress": SUPERVISOR,
    "WriteAddress": SUPERVISOR,
    "ExecuteAddress": SUPERVISOR,
    "ReadNull": 0,
    "ReadNonCanonical": NON_CANONICAL,
    "ReadImageHandle": SUPERVISOR,
    "ReadDispatchHandle": SUPERVISOR,
    "WriteCode": BASE + RVAS["ReturnStub"],
    "WriteConstant": BASE + RVAS["gSampleOffenderHandlerGuid"],
    "WriteHob": READ_ONLY,
    "ExecuteConstant": READ_ONLY,
    **dict.fromkeys(("ExecuteData", "ExecutePool", "ExecuteMessage"), DATA),
    "ExecuteStack": STACK_END - 0x80,
    "CallMmiManage": 0,
    "CallWriteSaveState": 0,
    "Push": SUPERVISOR + 8,
}
ACCESS = {"read": Access.READ, "write": Access.WRITE, "execute": Access.EXECUTE}


def stub(case: catalogue.Case) -> str:
    """The routine that a case ends in."""
    first = {"read": "Read", "write": "Write", "execute": "Execute", None: case.name}[case.access]
    return "Do" + {"Push": "Push", "Recurse": "Recurse", "ReadNonCanonical": "Read"}.get(case.name, first)


def build_memory() -> PhysicalMemory:
    image = parse_pe(Reader(prebuilt.image("Offender"), "Offender.efi"))
    memory = PhysicalMemory()
    memory.add_ram(DATA, 0x100_0000, "ram")
    memory.add_ram(BASE, plan_protection(image).pages * PAGE_SIZE, "image")
    memory.write(BASE, load_image(image, BASE))
    for span in plan_protection(image).spans:
        memory.assign(BASE + span.offset, span.length, span.attributes)
    for base, size, attributes in (
        (DATA, PAGE_SIZE, Attribute.XP),
        (STACK_END - 4 * PAGE_SIZE, 4 * PAGE_SIZE, Attribute.XP),
        (READ_ONLY, PAGE_SIZE, Attribute.RO | Attribute.XP),
        (SUPERVISOR, PAGE_SIZE, Attribute.SP | Attribute.XP),
    ):
        memory.assign(base, size, attributes)
    return memory


@pytest.fixture(params=PROCESSORS)
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., Exit]]:
    """A function that enters a routine of the image."""
    memory = build_memory()
    processor = make_processor(request.param, memory, ProcessorOptions(amd_cpuid(39), budget=1_000_000))
    yield lambda routine, *arguments: processor.enter(
        Entry(BASE + RVAS[routine], STACK_END - 0x18, arguments, rax=BASE + RVAS[routine])
    )
    processor.close()
    memory.close()


@pytest.mark.parametrize("case", INSTRUCTIONS, ids=lambda case: case.name)
def test_instruction(run: Callable[..., Exit], case: catalogue.Case) -> None:
    operands = (OPERANDS[case.name],) if case.name in OPERANDS else case.arguments
    stop = run(stub(case), *operands)
    assert isinstance(stop, Fault), stop
    assert (stop.vector, stop.error_code) == (case.vector, case.error_code)
    assert stop.rip == BASE + RVAS[str(case.at)]


@pytest.mark.parametrize("case", MEMORY, ids=lambda case: case.name)
def test_memory(run: Callable[..., Exit], case: catalogue.Case) -> None:
    operand = OPERANDS.get(case.name, *case.arguments)
    stop = run(stub(case), operand)
    assert isinstance(stop, Fault), stop
    assert stop.vector == case.vector
    assert case.error_code is None or stop.error_code == case.error_code
    if case.vector == 14:
        assert stop.access == ACCESS[str(case.access)]
        named = {
            "*gOffenderTarget": operand,
            "*gOffenderTarget - 8": operand - 8,
            "0": 0,
            "below the stacks": STACK_END - 4 * PAGE_SIZE - 8,
        }
        expected = named.get(str(case.address)) if case.address in named else BASE + RVAS[str(case.address)]
        assert stop.address == expected
        place = named[str(case.at)] if case.at in named else BASE + RVAS[str(case.at)]
        assert stop.rip == place


def test_loop(run: Callable[..., Exit]) -> None:
    assert isinstance(run("DoLoop", 0), BudgetSpent)
