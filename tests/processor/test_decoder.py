"""The decoder by itself: what the comparison with the emulator cannot show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.processor.decoder import NoVectorRegisters, Touch, begin_device_operation
from mmsupervisor.processor.device_instructions import known_mnemonics
from mmsupervisor.processor.interface import Registers
from tests.processor.conformance.machine import CODE, DEVICE, build_memory

PAGE = Path(__file__).parents[2] / "docs" / "limitations.md"


@pytest.fixture(scope="module")
def memory() -> PhysicalMemory:
    return build_memory()


@pytest.mark.parametrize(
    ("code", "width", "read", "result"),
    [
        ("0f38f007", 4, 0x1122_3344, 0x4433_2211),
        ("480f38f007", 8, 0x1122_3344_5566_7788, 0x8877_6655_4433_2211),
        ("660f38f007", 2, 0x1122, 0xFFFF_FFFF_FFFF_2211),
    ],
)
def test_movbe_loads(memory: PhysicalMemory, code: str, width: int, read: int, result: int) -> None:
    before = Registers(rip=CODE, rdi=DEVICE, rax=(1 << 64) - 1)
    operation = begin_device_operation(bytes.fromhex(code), before, NoVectorRegisters(), memory)
    assert operation is not None
    assert operation.step(None) == Touch(DEVICE, width, False, 0)
    after = operation.step(read)
    assert isinstance(after, Registers)
    assert after.rax == result


def test_movbe_stores(memory: PhysicalMemory) -> None:
    before = Registers(rip=CODE, rdi=DEVICE, rax=0x1122_3344)
    operation = begin_device_operation(bytes.fromhex("0f38f107"), before, NoVectorRegisters(), memory)
    assert operation is not None
    assert operation.step(None) == Touch(DEVICE, 4, True, 0x4433_2211)


def test_half_an_instruction_is_none(memory: PhysicalMemory) -> None:
    assert begin_device_operation(b"\x48\x8b", Registers(rip=CODE), NoVectorRegisters(), memory) is None


def test_the_page_of_limitations_lists_what_the_decoder_knows() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Instructions that may touch a device")[1]
    listed = section.split("Any other instruction")[0]
    assert sorted(re.findall(r"\b(?:[A-Z]{2,}[A-Z0-9]*)\b(?! registers)", listed)) == known_mnemonics()
