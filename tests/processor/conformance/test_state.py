"""What ring 3 sees of the processor: flags, x87 and SSE state, CPUID, the timestamp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.processor.cpuid import amd_cpuid, intel_cpuid
from mmsupervisor.processor.interface import (
    CpuIdLeaf,
    CpuIdTable,
    Entry,
    Exit,
    Fault,
    ProcessorOptions,
    SystemCall,
    TimestampRead,
)
from tests.processor.conformance.conftest import MakeBench
from tests.processor.conformance.machine import CODE, DATA, STACK_END, WRITABLE_CODE, Bench

FXSAVE = "480fae07"  # fxsave64 [rdi]


def fxsave_area(bench: Bench) -> bytes:
    return bench.memory.read(DATA, 512)


def test_x87_and_sse_state_at_entry_is_initial(bench: Bench) -> None:
    # Leave marks first: fldpi; cvtsi2sd xmm0, rsp; movaps xmm15, xmm0
    bench.enter("d9eb f2480f2ac4 440f28f8 0f05")
    bench.run(FXSAVE + "0f05", rdi=DATA)
    area = fxsave_area(bench)
    assert int.from_bytes(area[0:2], "little") == 0x37F  # control word
    assert int.from_bytes(area[2:4], "little") == 0  # status word
    assert area[4] == 0  # all registers empty
    assert int.from_bytes(area[24:28], "little") == 0x1F80  # MXCSR
    assert area[160:416] == bytes(256)  # XMM0 to XMM15


def test_x87_and_sse_state_survives_system_calls(bench: Bench) -> None:
    # fldpi; cvtsi2sd xmm7, rsp; push 0x1fa0; ldmxcsr [rsp]; fxsave; syscall; fxsave [rdi + 512]; syscall
    bench.run("d9eb f2480f2afc 68a01f0000 0fae1424 480fae07 0f05 480fae8700020000 0f05", rdi=DATA)
    bench.processor.resume(0)
    before, after = bench.memory.read(DATA, 512), bench.memory.read(DATA + 512, 512)
    assert before[32:416] == after[32:416]
    assert before[0:6] == after[0:6]
    assert before[24:28] == after[24:28] == (0x1FA0).to_bytes(4, "little")
    assert before[4] == 0x80  # one x87 register in use


def test_x87_and_sse_state_survives_exceptions_and_other_contexts(bench: Bench) -> None:
    bench.run("d9eb f2480f2afc 480fae07 f4 480fae8700020000 0f05", rdi=DATA)  # hlt in the middle
    kept = bench.processor.suspend()
    bench.put("dbe3 0f57ff 0f05", CODE + 0x1000)  # fninit; xorps xmm7, xmm7; syscall
    assert isinstance(bench.processor.enter(Entry(CODE + 0x1000, STACK_END - 0x100)), SystemCall)
    bench.processor.restore(kept)
    bench.processor.set_registers(replace(bench.registers, rip=bench.registers.rip + 1))
    assert isinstance(bench.processor.resume(), SystemCall)
    assert bench.memory.read(DATA + 32, 384) == bench.memory.read(DATA + 512 + 32, 384)


def test_cpuid_is_what_was_given(make_bench: MakeBench) -> None:
    leaf = CpuIdLeaf(0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444)
    other = CpuIdLeaf(5, 6, 7, 8)
    bench = make_bench(ProcessorOptions({(7, 0): leaf, (7, 3): other}, budget=1000))
    expected = {(7, 0): leaf, (7, 3): other, (7, 9): leaf, (8, 0): CpuIdLeaf(0, 0, 0, 0)}
    for (number, subleaf), answer in expected.items():
        upper = 0xABCD << 32
        call = bench.run("90 0fa2 90 0f05", rax=upper | number, rcx=upper | subleaf, rbx=upper, rdx=upper)
        assert isinstance(call, SystemCall)
        seen = bench.registers
        assert (call.number, seen.rbx, seen.rdx) == (answer.eax, answer.ebx, answer.edx)
    # RCX is overwritten by the system call; look at it before
    bench.run("0fa2 4889ce 0f05", rax=7)
    assert bench.registers.rsi == leaf.ecx


def test_cpuid_in_a_loop(bench: Bench) -> None:
    # mov ebp, 1000; loop: xor eax, eax; cpuid; dec ebp; jnz loop; syscall
    call = bench.enter("bde8030000 31c0 0fa2 ffcd 75f8 0f05")
    assert isinstance(call, SystemCall)
    assert bench.registers.rbx.to_bytes(4, "little") == b"Auth"


@pytest.mark.parametrize(("code", "with_cpu"), [("0f31", False), ("0f01f9", True)])
def test_timestamp_is_an_exit(bench: Bench, code: str, with_cpu: bool) -> None:
    ended = bench.run("90" + code + "4889ce 0f05", rax=-1 & (1 << 64) - 1, rdx=-1 & (1 << 64) - 1, rcx=99, rflags=0x8D7)
    assert ended == TimestampRead(CODE + 1, with_cpu)
    call = bench.processor.resume(0x1234_5678_9ABC_DEF0)
    assert isinstance(call, SystemCall)
    seen = bench.registers
    assert (seen.rax, seen.rdx, seen.rsi) == (0x9ABC_DEF0, 0x1234_5678, 0 if with_cpu else 99)
    assert seen.rflags == 0x8D7


def test_a_context_can_wait_at_a_timestamp(bench: Bench) -> None:
    bench.enter("0f31 0f05")
    kept = bench.processor.suspend()
    bench.enter("0f31 0f05")
    bench.processor.resume(1)
    bench.memory.write(CODE, bytes.fromhex("0f310f05"))
    bench.processor.restore(kept)
    call = bench.processor.resume(42)
    assert isinstance(call, SystemCall)
    assert call.number == 42


@pytest.mark.parametrize("make", [amd_cpuid, intel_cpuid])
def test_announced_instructions_work(bench: Bench, make: Callable[[int], CpuIdTable]) -> None:
    """What leaf 1 announces can be executed: one instruction for each bit."""
    samples = {
        0: "f20fd0c0",  # SSE3: addsubps xmm0, xmm0
        9: "660f3800c0",  # SSSE3: pshufb xmm0, xmm0
        13: "480fc70f",  # CX16: cmpxchg16b [rdi]
        19: "660f3840c0",  # SSE4.1: pmulld xmm0, xmm0
        20: "f20f38f1c1",  # SSE4.2: crc32 eax, ecx
        23: "f30fb8c1",  # POPCNT eax, ecx
    }
    table = make(39)
    announced = {bit for bit in range(32) if table[1, 0].ecx >> bit & 1}
    assert announced == set(samples)
    for code in samples.values():
        assert isinstance(bench.run(code + "0f05", rdi=DATA), SystemCall)


READ_FLAGS = "9c 5a 0f05"  # pushfq; pop rdx; syscall
KEPT_BY_A_RETURN = 0x20_4000
"""NT and ID: the flags that a return from a signal of Linux leaves as they are."""
MANY_FLAGS = 0x24_4CD5


def flags_read(ended: Exit) -> int:
    assert isinstance(ended, SystemCall)
    return ended.arguments[0] & ~0x200  # the host's interrupt flag, where code is not surveyed


@pytest.mark.parametrize("at", [CODE, WRITABLE_CODE])
def test_flags_at_entry_are_initial(bench: Bench, at: int) -> None:
    assert isinstance(bench.enter(f"68{MANY_FLAGS.to_bytes(4, 'little').hex()} 9d 0f05"), SystemCall)
    assert bench.registers.rflags == MANY_FLAGS | 2
    assert flags_read(bench.enter(READ_FLAGS, at=at)) == 2


@pytest.mark.parametrize("flags", [KEPT_BY_A_RETURN, 0x4000, 0x20_0000, MANY_FLAGS, 0])
def test_flags_can_be_set(bench: Bench, flags: int) -> None:
    for at in (CODE, WRITABLE_CODE):
        assert flags_read(bench.run(READ_FLAGS, at=at, rflags=flags | 2)) == flags | 2
        bench.processor.set_registers(replace(bench.registers, rip=at, rflags=flags ^ KEPT_BY_A_RETURN | 2))
        assert flags_read(bench.processor.resume()) == flags ^ KEPT_BY_A_RETURN | 2


def test_each_context_keeps_its_flags(bench: Bench) -> None:
    bench.run("0f05" + READ_FLAGS, rflags=MANY_FLAGS | 2)
    first = bench.processor.suspend()
    bench.put("0f05" + READ_FLAGS, WRITABLE_CODE)
    bench.go(WRITABLE_CODE)
    second = bench.processor.suspend()
    for context, flags in ((first, MANY_FLAGS | 2), (second, 2)):
        bench.processor.restore(context)
        assert flags_read(bench.processor.resume()) == flags


def test_an_interrupt_return_in_a_nested_task_is_refused(bench: Bench) -> None:
    # push ss; push rsp; push flags; push cs; push CODE; then push 0x4002; popfq; iretq
    ended = bench.enter("6a53 54 6a02 6a5b 6800001000 6802400000 9d 48cf")
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code, ended.rip) == (13, 0, CODE + 18)


def test_cpuid_that_a_change_of_the_next_page_makes(make_bench: MakeBench) -> None:
    """The instruction lies across two pages, only the second is told to have changed, and known code jumps there."""
    leaf = CpuIdLeaf(0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444)
    bench = make_bench(ProcessorOptions({(0, 0): leaf}, budget=1000))
    second = CODE + 2 * PAGE_SIZE
    start = second - 5
    bench.put("31c9 31c0 0f", start)  # xor ecx, ecx; xor eax, eax; syscall, and later cpuid
    bench.put("05 0f05", second)
    bench.put(f"0f05 e9{(start - CODE - 7).to_bytes(4, 'little').hex()}")  # syscall; jmp start
    assert isinstance(bench.go(CODE), SystemCall)
    assert isinstance(bench.processor.resume(), SystemCall)
    bench.put("a2 0f05", second)
    assert isinstance(bench.go(CODE), SystemCall)
    call = bench.processor.resume()
    assert isinstance(call, SystemCall)
    assert (call.number, call.arguments[0]) == (leaf.eax, leaf.edx)


def test_each_context_keeps_its_selectors(bench: Bench) -> None:
    # mov eax, 0x5b; mov ds, eax; syscall; mov edx, ds; syscall
    assert isinstance(bench.enter("b85b000000 8ed8 0f05 8cda 0f05"), SystemCall)
    kept = bench.processor.suspend()
    bench.put("8cda 0f05", CODE + PAGE_SIZE)
    other = bench.go(CODE + PAGE_SIZE)
    assert isinstance(other, SystemCall)
    assert other.arguments[0] == 0x53
    bench.processor.restore(kept)
    call = bench.processor.resume()
    assert isinstance(call, SystemCall)
    assert call.arguments[0] == 0x5B
