"""Into ring 3 and back: entry state, system calls, the call gate, budgets, suspended contexts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import (
    CALL_GATE_POINTER,
    BudgetSpent,
    Entry,
    Fault,
    GateReturn,
    ProcessorOptions,
    Registers,
    Suspended,
    SystemCall,
)
from tests.processor.conformance.conftest import MakeBench
from tests.processor.conformance.machine import ABSENT_PAGE, CODE, DATA, RW, RX, STACK_END, Bench

SYSCALL = "0f05"
GATE_CALL = "4157 ff1c24"  # push r15; call far [rsp]
PLENTY = 0x1000_0000


def test_entry_state_is_as_the_interface_says(bench: Bench) -> None:
    ended = bench.enter(SYSCALL, 1, 2, 3, 4)
    assert ended == SystemCall(CODE, (2, 3, 4), CODE + 2, STACK_END - 0x18)
    assert bench.registers == Registers(
        rax=CODE,
        rcx=CODE + 2,
        rdx=2,
        rsp=STACK_END - 0x18,
        r8=3,
        r9=4,
        r11=2,
        r15=CALL_GATE_POINTER,
        rip=CODE + 2,
        rflags=2,
    )


def test_a_second_entry_starts_from_nothing(bench: Bench) -> None:
    bench.enter("48c7c3ffffffff f9 fd 0f05", 1, 2, 3, 4)  # mov rbx, -1; stc; std; syscall
    assert bench.registers.rflags == 0x403
    bench.enter(SYSCALL)
    assert bench.registers == Registers(
        rax=CODE, rcx=CODE + 2, rsp=STACK_END - 0x18, r11=2, r15=CALL_GATE_POINTER, rip=CODE + 2, rflags=2
    )


def test_system_call_changes_rax_rcx_and_r11_only(bench: Bench) -> None:
    names = [name for name in Registers.__slots__ if name not in ("rip", "rsp", "rflags")]
    before = {name: 0x1111_2222_3333_0000 + number for number, name in enumerate(names)}
    call = bench.run("0f05 0f05", rflags=0x8D7, **before)
    assert isinstance(call, SystemCall)
    assert (call.number, call.arguments) == (before["rax"], (before["rdx"], before["r8"], before["r9"]))
    bench.processor.resume(0xFEDC_BA98_7654_3210)
    expected = Registers(**before, rsp=STACK_END - 0x18, rflags=0x8D7)
    expected = replace(expected, rax=0xFEDC_BA98_7654_3210, rcx=CODE + 4, r11=0x8D7, rip=CODE + 4)
    assert bench.registers == expected


def test_rcx_is_the_return_address_once_ring_3_goes_on(bench: Bench) -> None:
    bench.enter("0f05 4889cb 4c89da 0f05")  # syscall; mov rbx, rcx; mov rdx, r11; syscall
    bench.processor.resume(0)
    assert (bench.registers.rbx, bench.registers.rdx) == (CODE + 2, 2)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("m16:32", GATE_CALL),
        ("m16:64", "6a63 6a00 48ff1c24"),  # push 0x63; push 0; call far m16:64
        ("m16:16", "49c1ef10 4157 66ff1c24"),  # shr r15, 16; push r15; call far m16:16
        ("not at rsp", "4c893c2500401000 ff1c2500401000"),  # mov [DATA], r15; call far [DATA]
    ],
)
def test_far_call_through_the_gate_is_the_way_back(bench: Bench, name: str, code: str) -> None:
    ended = bench.enter("48b8efcdab8967452381" + code)  # mov rax, 0x8123456789abcdef
    assert isinstance(ended, GateReturn), name
    assert ended.status == 0x8123_4567_89AB_CDEF
    assert bench.memory.read(ended.rip, 1)[0] in (0xFF, 0x48, 0x66)


def test_gate_return_ignores_the_offset(bench: Bench) -> None:
    assert isinstance(bench.enter("4983c712" + GATE_CALL), GateReturn)  # add r15, 0x12


def test_nothing_can_be_resumed_after_a_gate_return(bench: Bench) -> None:
    bench.enter(GATE_CALL)
    with pytest.raises(RuntimeError):
        bench.processor.resume()
    assert isinstance(bench.enter(SYSCALL), SystemCall)


@pytest.mark.parametrize(
    ("name", "code", "vector", "error_code"),
    [
        # mov qword [rsp], 0 first: the slot that a `ret` finds is garbage, here the null page
        ("ret", "48c7042400000000 c3", 14, 0x14),
        # push selector; push 0; retfq
        ("far ret to ring 0", "6a38 6a00 48cb", 13, 0x38),
        ("far ret through the gate", "6a63 6a00 48cb", 13, 0x60),
        # push ss; push rsp; push flags; push cs; push rip; iretq
        ("iretq to ring 0", "6a40 54 9c 6a38 6a00 48cf", 13, 0x38),
        ("far call to ring 0", "6a38 6a00 48ff1c24", 13, 0x38),
        ("far call to a data segment", "6a53 6a00 48ff1c24", 13, 0x50),
        ("far call beyond the table", "68ff0f0000 6a00 48ff1c24", 13, 0xFFC),
        # The way back is 0x63 and nothing else (syscall-abi.md §3.3), whatever the gate itself would take.
        *((f"far call to the gate as {rpl:#x}", f"6a{rpl:x} 6a00 48ff1c24", 13, 0x60) for rpl in (0x60, 0x61, 0x62)),
        ("far call to null", "6a00 6a00 48ff1c24", 13, 0),
        ("far jump through the gate", "6a63 6a00 48ff2c24", 13, 0x60),
    ],
)
def test_other_ways_out_are_faults(bench: Bench, name: str, code: str, vector: int, error_code: int) -> None:
    for _ in range(2):  # the second exception must not become a double fault
        ended = bench.enter(code)
        assert isinstance(ended, Fault), name
        assert (ended.vector, ended.error_code) == (vector, error_code), name


def test_endless_loop_spends_the_budget_and_goes_on_with_a_new_one(bench: Bench) -> None:
    assert bench.enter("48ffc0 ebfb") == BudgetSpent()  # loop: inc rax; jmp loop
    first = bench.registers.rax
    assert bench.processor.resume() == BudgetSpent()
    assert bench.registers.rax > first


def test_budget_covers_all_resumptions_of_an_entry(make_bench: MakeBench) -> None:
    bench = make_bench(ProcessorOptions(amd_cpuid(39), budget=1000))
    ended = bench.enter("90 0f05 ebfb")  # loop: nop; syscall; jmp loop
    calls = 0
    while isinstance(ended, SystemCall):
        calls += 1
        ended = bench.processor.resume()
    assert ended == BudgetSpent()
    assert 100 < calls <= 1000


def test_repeated_string_instruction_is_within_the_budget(make_bench: MakeBench) -> None:
    bench = make_bench(ProcessorOptions(amd_cpuid(39), budget=1000))
    size = 32 << 20  # as fast as a computer may be: more than the time that the smallest budget is
    bench.memory.add_ram(PLENTY, size, "plenty")
    bench.memory.assign(PLENTY, size, Attribute.XP)
    ended = bench.run("f3ac 0f05", rcx=size, rsi=PLENTY)  # rep lodsb; syscall
    assert ended == BudgetSpent()
    assert 0 < bench.registers.rsi - PLENTY == size - bench.registers.rcx
    bench.processor.set_registers(replace(bench.registers, rcx=100))
    while ended == BudgetSpent():
        ended = bench.processor.resume()
    assert isinstance(ended, SystemCall)
    assert bench.registers.rsi - PLENTY <= size


def test_no_bound_when_the_budget_is_zero(make_bench: MakeBench) -> None:
    bench = make_bench(ProcessorOptions(amd_cpuid(39), budget=0))
    # mov ecx, 3000000; loop: dec ecx; jnz loop; syscall
    assert isinstance(bench.enter("b9c0c62d00 ffc9 75fc 0f05"), SystemCall)


def test_contexts_can_be_nested(bench: Bench) -> None:
    bench.put(SYSCALL, CODE + PAGE_SIZE)
    outer = bench.enter("b907000000 660f6ec1 0f05 660f7ec2 0f05")  # mov ecx, 7; movd xmm0, ecx; syscall; movd edx, xmm0
    assert isinstance(outer, SystemCall)
    kept = bench.processor.suspend()
    assert kept.registers == bench.registers
    inner = bench.processor.enter(Entry(CODE + PAGE_SIZE, STACK_END - 0x100))
    assert isinstance(inner, SystemCall)
    assert inner.rsp == STACK_END - 0x100
    bench.processor.restore(kept)
    assert bench.registers == kept.registers
    ended = bench.processor.resume(5)
    assert ended == SystemCall(5, (7, 0, 0), CODE + 0x11, STACK_END - 0x18)


def test_contexts_take_turns_after_spent_budgets(bench: Bench) -> None:
    bench.put("48ffc0 ebfb")
    waiting: list[Suspended] = []
    for number in range(3):
        assert bench.processor.enter(Entry(CODE, STACK_END - 0x18, rax=number << 40)) == BudgetSpent()
        waiting.append(bench.processor.suspend())
    for number, context in enumerate(waiting):
        bench.processor.restore(context)
        assert bench.registers.rax >> 40 == number
        assert bench.processor.resume() == BudgetSpent()
        assert bench.registers.rax >> 40 == number
        assert bench.registers.rax > context.registers.rax


def test_a_suspended_context_keeps_what_is_left_of_its_budget(make_bench: MakeBench) -> None:
    bench = make_bench(ProcessorOptions(amd_cpuid(39), budget=1000))
    ended = bench.enter("90 0f05 ebfb")  # loop: nop; syscall; jmp loop
    calls = 0
    while isinstance(ended, SystemCall):
        calls += 1
        bench.processor.restore(bench.processor.suspend())
        bench.processor.set_registers(bench.registers)
        ended = bench.processor.resume()
    assert ended == BudgetSpent()
    assert calls <= 1000
    bench.processor.restore(bench.processor.suspend())
    bench.processor.set_registers(replace(bench.registers, rip=CODE))
    assert bench.processor.resume() == BudgetSpent()  # there was nothing left to go on with


def test_a_suspended_context_cannot_be_resumed_before_it_is_restored(bench: Bench) -> None:
    bench.enter(SYSCALL)
    bench.processor.suspend()
    with pytest.raises(RuntimeError):
        bench.processor.resume()


def test_pages_may_change_while_a_system_call_is_pending(bench: Bench) -> None:
    # syscall; mov [ABSENT_PAGE], rax; syscall
    bench.enter("0f05 4889042500202000 0f05")
    bench.memory.assign(ABSENT_PAGE, PAGE_SIZE, RW)
    assert isinstance(bench.processor.resume(0x55), SystemCall)
    assert bench.memory.read_u64(ABSENT_PAGE) == 0x55


def test_pages_may_be_taken_away_while_a_system_call_is_pending(bench: Bench) -> None:
    # mov [DATA], rax; syscall; mov [DATA], rax
    bench.enter("4889042500401000 0f05 4889042500401000")
    bench.memory.assign(DATA, PAGE_SIZE, RX)
    ended = bench.processor.resume(0)
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code, ended.address) == (14, 7, DATA)


def test_code_may_be_replaced_while_its_page_cannot_be_executed(bench: Bench) -> None:
    bench.enter("0f05 b801000000 0f05")  # syscall; mov eax, 1; syscall
    bench.processor.resume()
    bench.memory.assign(CODE, PAGE_SIZE, RW)
    bench.memory.write(CODE + 2, bytes.fromhex("b802000000"))
    bench.memory.assign(CODE, PAGE_SIZE, RX)
    call = bench.processor.enter(Entry(CODE + 2, STACK_END - 0x18))
    assert isinstance(call, SystemCall)
    assert call.number == 2


def test_memory_added_later_can_be_used(bench: Bench) -> None:
    bench.enter("0f05 488b042500004000 0f05")  # syscall; mov rax, [0x400000]; syscall
    bench.memory.add_ram(0x40_0000, PAGE_SIZE, "late")
    bench.memory.write_u64(0x40_0000, 99)
    bench.memory.assign(0x40_0000, PAGE_SIZE, RX)
    call = bench.processor.resume()
    assert isinstance(call, SystemCall)
    assert call.number == 99


def test_a_closed_processor_says_so_and_can_be_closed_again(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.enter(SYSCALL)
    kept = bench.processor.suspend()
    bench.processor.close()
    bench.processor.close()
    with pytest.raises(MmSupervisorError, match="closed"):
        bench.go(CODE)
    with pytest.raises(MmSupervisorError, match="closed"):
        bench.processor.restore(kept)
    with pytest.raises(MmSupervisorError, match="closed"):
        bench.processor.suspend()
    with pytest.raises(MmSupervisorError, match="closed"):
        bench.processor.set_registers(kept.registers)
    with pytest.raises(RuntimeError):
        bench.processor.resume()


def test_the_right_to_execute_given_and_taken_at_once(bench: Bench) -> None:
    bench.enter("0f05 b805000000 0f05")
    bench.memory.assign(DATA, PAGE_SIZE, RX)
    bench.memory.assign(DATA, PAGE_SIZE, RW)
    bench.memory.assign(CODE + PAGE_SIZE, PAGE_SIZE, RW)
    bench.memory.assign(CODE + PAGE_SIZE, PAGE_SIZE, RX)
    call = bench.processor.resume()
    assert call == SystemCall(5, (0, 0, 0), CODE + 9, STACK_END - 0x18)
