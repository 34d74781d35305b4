"""Where Unicorn differs from the machine and the wrapper cannot help: docs/limitations.md, "Unicorn processor".

Each test holds a deviation as it is. One that fails after an update of Unicorn is good news: strike it from the page.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import Fault, ProcessorOptions, SystemCall
from mmsupervisor.processor.unicorn_processor import UnicornProcessor
from tests.processor.conformance.machine import BEHIND, CODE, DATA, HOLE, SUPERVISOR_PAGE, Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(UnicornProcessor, ProcessorOptions(amd_cpuid(39), budget=10_000))
    yield made
    made.processor.close()
    made.memory.close()


def test_reserved_bits_of_mxcsr_are_ignored(bench: Bench) -> None:
    bench.memory.write_u64(DATA, 0xFFFF_0000)
    assert isinstance(bench.run("0fae17 0f05", rdi=DATA), SystemCall)


def test_sse_exceptions_are_neither_raised_nor_recorded(bench: Bench) -> None:
    # xorps xmm0, xmm0; divps xmm0, xmm0; stmxcsr [rdi]; mov eax, [rdi]; syscall
    call = bench.run("0f57c0 0f5ec0 0fae1f 8b07 0f05", rdi=DATA)
    assert isinstance(call, SystemCall)
    assert call.number == 0x1F80
    bench.memory.write_u64(DATA, 0x0D80)  # all but the invalid operation masked
    assert isinstance(bench.run("0fae17 0f57c0 0f5ec0 0f05", rdi=DATA), SystemCall)


def test_66_wins_over_f3_on_sse_opcodes(bench: Bench) -> None:
    bench.memory.write(DATA, bytes([1] * 16))
    bench.run("66f30f1007 66480f7ec0 0f05", rdi=DATA)  # movss, but loaded as movupd; movq rax, xmm0
    assert bench.registers.rax == 0x0101_0101_0101_0101


def test_second_encoding_of_test_is_undefined(bench: Bench) -> None:
    ended = bench.run("f60f00", rdi=DATA)  # F6 /1
    assert isinstance(ended, Fault)
    assert ended.vector == 6


def test_flags_of_lock_neg_are_wrong(bench: Bench) -> None:
    bench.memory.write_u64(DATA, 1)
    bench.run("f0f61f 0f05", rdi=DATA)
    assert bench.registers.rflags & 0x80 == 0  # -1 is negative
    assert bench.memory.read(DATA, 1) == b"\xff"


def test_cmpxchg_of_32_bits_clears_the_upper_half_of_rax_on_success(bench: Bench) -> None:
    bench.memory.write_u64(DATA, 0)
    call = bench.run("0fb10f 0f05", rdi=DATA, rax=1 << 32)
    assert isinstance(call, SystemCall)
    assert call.number == 0


def test_sixteen_bytes_across_a_page_are_two_accesses(bench: Bench) -> None:
    bench.memory.fill(BEHIND, 0x1000, 0)
    ended = bench.run("660f76c0 0f1107", rdi=HOLE - 8)  # pcmpeqd xmm0, xmm0; movups [rdi], xmm0
    assert isinstance(ended, Fault)
    assert ended.address == HOLE
    assert bench.memory.read(HOLE - 8, 8) == b"\xff" * 8  # the first half is written


def test_clflush_does_not_look_at_the_page(bench: Bench) -> None:
    assert isinstance(bench.run("0fae3f 0f05", rdi=SUPERVISOR_PAGE), SystemCall)


def test_the_call_gate_is_no_descriptor(bench: Bench) -> None:
    assert isinstance(bench.run("0f02c1 0f05", rcx=0x63), SystemCall)  # lar eax, ecx
    assert bench.registers.rflags & 0x40 == 0


def test_instructions_that_cpuid_does_not_announce(bench: Bench) -> None:
    for code in ("660f38dcc1", "660f3a44c100"):  # aesenc, pclmulqdq
        assert isinstance(bench.run(code + "0f05"), SystemCall)


def test_read_modify_write_of_an_absent_page_is_reported_as_a_read(bench: Bench) -> None:
    ended = bench.run("800f01", rdi=HOLE)  # or byte [rdi], 1, without LOCK
    assert isinstance(ended, Fault)
    assert ended.error_code == 4


def test_system_call_under_the_trap_flag_is_the_trap(bench: Bench) -> None:
    # pushfq; or dword [rsp], 0x100; popfq; syscall
    ended = bench.enter("9c 810c2400010000 9d 0f05")
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.rip) == (1, CODE + 11)
