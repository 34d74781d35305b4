"""Helpers for relaxations: port instructions and privileged ones, decoded and completed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.decoder import AddressFault, MemoryFault, Touch
from mmsupervisor.processor.interface import Fault, ProcessorOptions, Registers, SystemCall
from mmsupervisor.processor.port_instructions import PortOperation, PortTouch, begin_port_operation
from mmsupervisor.processor.privileged import Privileged, PrivilegedGroup, perform, privileged
from mmsupervisor.processor.unicorn_processor import UnicornProcessor
from tests.processor.conformance.machine import CODE, DATA, DEVICE, READ_ONLY, Bench, build_memory

ALL_ONES = (1 << 64) - 1


@pytest.fixture(scope="module")
def memory() -> PhysicalMemory:
    return build_memory()


def begin(memory: PhysicalMemory, code: str, **registers: int) -> PortOperation:
    operation = begin_port_operation(bytes.fromhex(code), Registers(rip=CODE, **registers), memory)
    assert operation is not None
    return operation


@pytest.mark.parametrize(
    ("code", "port", "width", "result"),
    [
        ("e470", 0x70, 1, 0xFFFF_FFFF_FFFF_FF44),
        ("ec", 0x1234, 1, 0xFFFF_FFFF_FFFF_FF44),
        ("66ed", 0x1234, 2, 0xFFFF_FFFF_FFFF_3344),
        ("ed", 0x1234, 4, 0x1122_3344),
        ("e5b2", 0xB2, 4, 0x1122_3344),
    ],
)
def test_in(memory: PhysicalMemory, code: str, port: int, width: int, result: int) -> None:
    operation = begin(memory, code, rdx=0xFFFF_1234, rax=ALL_ONES)
    assert operation.step() == PortTouch(port, width, False, 0)
    after = operation.step(0x1122_3344)
    assert isinstance(after, Registers)
    assert (after.rax, after.rip) == (result, CODE + len(bytes.fromhex(code)))


@pytest.mark.parametrize(
    ("code", "port", "width", "value"),
    [
        ("e6b2", 0xB2, 1, 0x44),
        ("ee", 0xCF8, 1, 0x44),
        ("66ef", 0xCF8, 2, 0x3344),
        ("ef", 0xCF8, 4, 0x1122_3344),
    ],
)
def test_out(memory: PhysicalMemory, code: str, port: int, width: int, value: int) -> None:
    before = Registers(rip=CODE, rdx=0xCF8, rax=0xAA_1122_3344)
    operation = begin_port_operation(bytes.fromhex(code), before, memory)
    assert operation is not None
    assert operation.step() == PortTouch(port, width, True, value)
    assert operation.step() == replace(before, rip=CODE + len(bytes.fromhex(code)))


def test_repeated_ins_is_one_element(memory: PhysicalMemory) -> None:
    operation = begin(memory, "f3666d", rdx=0x1F0, rdi=DATA, rcx=2)  # rep insw
    assert operation.step() == PortTouch(0x1F0, 2, False, 0)
    after = operation.step(0xBEEF)
    assert isinstance(after, Registers)
    assert (after.rip, after.rcx, after.rdi) == (CODE, 1, DATA + 2)
    assert memory.read(DATA, 2) == b"\xef\xbe"
    last = begin_port_operation(bytes.fromhex("f3666d"), after, memory)
    assert last is not None
    last.step()
    done = last.step(0)
    assert isinstance(done, Registers)
    assert (done.rip, done.rcx) == (CODE + 3, 0)


def test_outs_backwards(memory: PhysicalMemory) -> None:
    memory.write(DATA, b"\x01\x02\x03\x04")
    operation = begin(memory, "6f", rdx=0x80, rsi=DATA, rflags=0x402)  # outsd with DF
    assert operation.step() == PortTouch(0x80, 4, True, 0x0403_0201)
    after = operation.step()
    assert isinstance(after, Registers)
    assert after.rsi == DATA - 4


def test_a_repetition_of_zero_touches_nothing(memory: PhysicalMemory) -> None:
    for code in ("f36c", "f36e"):
        after = begin(memory, code, rdx=0x80, rsi=0, rdi=0).step()
        assert isinstance(after, Registers)
        assert after.rip == CODE + 2


def test_ins_to_memory_that_may_not_be_written(memory: PhysicalMemory) -> None:
    with pytest.raises(MemoryFault) as raised:
        begin(memory, "6c", rdx=0x80, rdi=READ_ONLY + 5).step()
    assert raised.value.address == READ_ONLY + 5
    with pytest.raises(AddressFault):
        begin(memory, "6c", rdx=0x80, rdi=1 << 63).step()


def test_ins_into_a_device(memory: PhysicalMemory) -> None:
    operation = begin(memory, "6c", rdx=0x80, rdi=DEVICE)
    assert operation.step() == PortTouch(0x80, 1, False, 0)
    assert operation.step(0x55) == Touch(DEVICE, 1, True, 0x55)
    assert isinstance(operation.step(), Registers)


def test_another_instruction_is_no_port_instruction(memory: PhysicalMemory) -> None:
    assert begin_port_operation(bytes.fromhex("90"), Registers(rip=CODE), memory) is None
    assert begin_port_operation(b"", Registers(rip=CODE), memory) is None


G = PrivilegedGroup
NAMED = [
    ("fa", "cli", G.INTERRUPT_FLAG, True, None, 0),
    ("fb", "sti", G.INTERRUPT_FLAG, True, None, 0),
    ("f4", "hlt", G.HALT, True, None, 0),
    ("0f09", "wbinvd", G.CACHE, True, None, 0),
    ("0f08", "invd", G.CACHE, True, None, 0),
    ("0f013f", "invlpg", G.CACHE, True, None, 0),
    ("0f32", "rdmsr", G.MSR, False, 0x1B, 0),
    ("0f30", "wrmsr", G.MSR, True, 0x1B, 0x7_0000_0005),
    ("0f33", "rdpmc", G.COUNTER, False, 0x1B, 0),
    ("0f01d1", "xsetbv", G.EXTENDED_STATE, True, 0x1B, 0x7_0000_0005),
    ("0f01f8", "swapgs", G.MSR, True, None, 0),
    ("0f20d8", "mov", G.CONTROL_REGISTER, False, 3, 0),
    ("440f20c0", "mov", G.CONTROL_REGISTER, False, 8, 0),
    ("0f22d8", "mov", G.CONTROL_REGISTER, True, 3, 0xAA_0000_0005),
    ("0f21f8", "mov", G.DEBUG_REGISTER, False, 7, 0),
    ("0f23c0", "mov", G.DEBUG_REGISTER, True, 0, 0xAA_0000_0005),
    ("0f0107", "sgdt", G.DESCRIPTOR_TABLE, False, None, 0),
    ("0f0117", "lgdt", G.DESCRIPTOR_TABLE, True, None, 0),
    ("0f01e0", "smsw", G.CONTROL_REGISTER, False, None, 0),
    ("0fa2", "cpuid", G.IDENTIFICATION, False, None, 0),
    ("0faa", "rsm", G.MODE, True, None, 0),
    ("480f07", "sysretq", G.MODE, True, None, 0),
    ("ec", "in", G.PORT, False, None, 0),
    ("6e", "outsb", G.PORT, True, None, 0),
    ("0f01d8", "vmrun", G.OTHER, False, None, 0),
]


@pytest.mark.parametrize(("code", "name", "group", "write", "number", "value"), NAMED, ids=[row[0] for row in NAMED])
def test_privileged_instructions_have_names(
    code: str, name: str, group: PrivilegedGroup, write: bool, number: int | None, value: int
) -> None:
    registers = Registers(rip=CODE, rax=0xAA_0000_0005, rcx=0xBB_0000_001B, rdx=0xCC_0000_0007)
    expected = Privileged(name, group, len(bytes.fromhex(code)), write, number, value)
    assert privileged(bytes.fromhex(code), registers) == expected


@pytest.mark.parametrize("code", ["90", "0f05", "4889c3", "488b07", "8ed8", "0fae07", "ff", ""])
def test_ordinary_instructions_are_not_privileged(code: str) -> None:
    assert privileged(bytes.fromhex(code), Registers(rip=CODE)) is None


def test_performed_instructions() -> None:
    before = Registers(rip=CODE, rax=ALL_ONES, rdx=ALL_ONES, rcx=0x1B)
    assert perform(bytes.fromhex("0f32"), before, 0x1_0000_0002) == replace(before, rax=2, rdx=1, rip=CODE + 2)
    assert perform(bytes.fromhex("0f30"), before) == replace(before, rip=CODE + 2)
    assert perform(bytes.fromhex("0f20d8"), before, 0x1234) == replace(before, rax=0x1234, rip=CODE + 3)
    assert perform(bytes.fromhex("fa"), before) == replace(before, rip=CODE + 1)


@pytest.mark.parametrize("code", ["90", "ec", "480f07", "0f0107", "0f01e0", "0f01d8"])
def test_instructions_that_cannot_be_performed(code: str) -> None:
    with pytest.raises(ValueError, match=r"privileged|performed"):
        perform(bytes.fromhex(code), Registers(rip=CODE))


def test_a_driver_with_port_instructions_can_be_helped_along() -> None:
    """As a relaxation does it: #GP, the instruction executed here, then on with the registers after it."""
    bench = Bench(UnicornProcessor, ProcessorOptions(amd_cpuid(39), 1000))
    # mov dx, 0x71; in al, dx; cli; mov ecx, 0x1b; rdmsr; syscall
    ended = bench.enter("66ba7100 ec fa b91b000000 0f32 0f05")
    seen = []
    while isinstance(ended, Fault):
        before = bench.registers
        operation = begin_port_operation(ended.instruction, before, bench.memory)
        if operation is not None:
            touch = operation.step()
            seen.append(touch)
            after = operation.step(0x99)
            assert isinstance(after, Registers)
        else:
            what = privileged(ended.instruction, before)
            assert what is not None
            seen.append((what.name, what.number))
            after = perform(ended.instruction, before, 0xFEE0_0900)
        bench.processor.set_registers(after)
        ended = bench.processor.resume()
    assert seen == [PortTouch(0x71, 1, False, 0), ("cli", None), ("rdmsr", 0x1B)]
    assert isinstance(ended, SystemCall)
    assert ended.number == 0xFEE0_0900
