"""What ring 3 may touch: page faults with their codes and addresses, code that changes, pages that end."""

from __future__ import annotations

import pytest

from mmsupervisor.machine.memory import PAGE_SIZE, Access, PhysicalMemory, ProtectionChange
from mmsupervisor.processor.interface import Fault, GateReturn, SystemCall
from tests.processor.conformance.conftest import MakeBench
from tests.processor.conformance.machine import (
    ABSENT,
    ABSENT_PAGE,
    BEHIND,
    CODE,
    CODE_END,
    DATA,
    DEVICE,
    FLASH,
    HOLE,
    READ_ONLY,
    RO,
    RW,
    RX,
    STACK_END,
    SUPERVISOR,
    SUPERVISOR_PAGE,
    TOP,
    WRITABLE_CODE,
    Bench,
)

READ, WRITE, EXECUTE = Access.READ, Access.WRITE, Access.EXECUTE
PRESENT, W, U, FETCH = 1, 2, 4, 0x10

LOAD = "488b07"  # mov rax, [rdi]
STORE = "488907"  # mov [rdi], rax
JUMP = "ffe7"  # jmp rdi

FAULTS = [
    ("read of a supervisor page", LOAD, SUPERVISOR_PAGE + 8, READ, U | PRESENT),
    ("write of a supervisor page", STORE, SUPERVISOR_PAGE + 8, WRITE, U | PRESENT | W),
    ("execution of a supervisor page", JUMP, SUPERVISOR_PAGE + 8, EXECUTE, U | PRESENT | FETCH),
    ("write of a read-only page", STORE, READ_ONLY + 0x123, WRITE, U | PRESENT | W),
    ("execution of a read-only page", JUMP, READ_ONLY + 0x123, EXECUTE, U | PRESENT | FETCH),
    ("execution of data", JUMP, DATA + 0xFFF, EXECUTE, U | PRESENT | FETCH),
    ("write of code", STORE, CODE + 0x800, WRITE, U | PRESENT | W),
    ("read of an absent page", LOAD, ABSENT_PAGE, READ, U),
    ("write of an absent page", STORE, ABSENT_PAGE + 0xFF8, WRITE, U | W),
    ("execution of an absent page", JUMP, ABSENT_PAGE, EXECUTE, U | FETCH),
    ("read of a hole", LOAD, HOLE + 0x777, READ, U),
    ("write of a hole", STORE, HOLE + 0x777, WRITE, U | W),
    ("execution of a hole", JUMP, HOLE + 0x777, EXECUTE, U | FETCH),
    ("execution of a device", JUMP, DEVICE + 0x10, EXECUTE, U | PRESENT | FETCH),
    ("read of the null page", LOAD, 0, READ, U),
    ("call of the null page", JUMP, 0, EXECUTE, U | FETCH),
    ("read beyond the address width", LOAD, 1 << 39, READ, U),
    ("read of the upper half", LOAD, 0xFFFF_8000_0000_0000, READ, U),
    ("read of the last bytes", LOAD, 0xFFFF_FFFF_FFFF_FFF8, READ, U),
    ("execution of the upper half", JUMP, 0xFFFF_FFFF_FFFF_F000, EXECUTE, U | FETCH),
    ("read across the end of memory", LOAD, HOLE - 3, READ, U),
    ("write across the end of memory", STORE, HOLE - 3, WRITE, U | W),
    ("write across the start of read-only memory", STORE, STACK_END - 5, WRITE, U | PRESENT | W),
    ("read across the start of memory", LOAD, TOP - 4, READ, U),
]


@pytest.mark.parametrize(("name", "code", "address", "access", "error_code"), FAULTS, ids=[row[0] for row in FAULTS])
def test_page_fault(bench: Bench, name: str, code: str, address: int, access: Access, error_code: int) -> None:
    bench.memory.fill(BEHIND, PAGE_SIZE, 0x5A)
    ended = bench.run(code, rdi=address, rax=0x0102_0304_0506_0708)
    # CR2 is the first byte of the page that is refused.
    refused = address if name.startswith(("execution", "call")) or not name.count("across") else None
    for _ in range(2):
        assert isinstance(ended, Fault)
        assert (ended.vector, ended.error_code, ended.access) == (14, error_code, access)
        if refused is not None:
            assert ended.address == refused
        else:
            assert ended.address in (address, (address + 7) & -PAGE_SIZE)
        assert ended.rip == (address if access == EXECUTE else CODE)
        assert bench.registers.rax == 0x0102_0304_0506_0708
        assert bench.memory.read(BEHIND, PAGE_SIZE) == b"\x5a" * PAGE_SIZE
        ended = bench.processor.resume()


@pytest.mark.parametrize(
    ("address", "expected"),
    [(HOLE - 3, HOLE), (STACK_END - 5, STACK_END), (TOP - 4, TOP - 4), (ABSENT_PAGE - 1, ABSENT_PAGE - 1)],
)
def test_address_of_a_fault_that_crosses_a_page(bench: Bench, address: int, expected: int) -> None:
    ended = bench.run(STORE, rdi=address)
    assert isinstance(ended, Fault)
    assert ended.address == expected


OPERANDS = [
    ("push", "50", "rsp", 8, WRITE),
    ("pop", "58", "rsp", 0, READ),
    ("call", "e800000000", "rsp", 8, WRITE),
    ("ret", "c3", "rsp", 0, READ),
    ("movsq, source", "48a5", "rsi", 0, READ),
    ("movsq, target", "48a5", "rdi", 0, WRITE),
    ("stosb", "aa", "rdi", 0, WRITE),
    ("lodsw", "66ad", "rsi", 0, READ),
    ("cmpsd", "a7", "rsi", 0, READ),
    ("scasb", "ae", "rdi", 0, READ),
    ("base + index * 4 + displacement", "8b44b710", "rdi", -0x10, READ),
    ("xlat", "d7", "rbx", 0, READ),
    ("fxsave", "0fae07", "rdi", 0, WRITE),
    ("movups store", "0f1107", "rdi", 0, WRITE),
    ("lock cmpxchg16b", "f0480fc70f", "rdi", 0, WRITE),
    ("jump through memory", "ff27", "rdi", 0, READ),
    ("fld", "dd07", "rdi", 0, READ),
    ("enter", "c8080000", "rsp", 8, WRITE),
    ("leave", "c9", "rbp", 0, READ),
]


@pytest.mark.parametrize(("name", "code", "register", "before", "access"), OPERANDS, ids=[row[0] for row in OPERANDS])
def test_address_of_a_fault_by_operand(
    bench: Bench, name: str, code: str, register: str, before: int, access: Access
) -> None:
    target = ABSENT_PAGE + 0x120
    registers = {"rsi": DATA, "rdi": DATA, "rbx": DATA} | {register: target + before}
    if "index" in name:
        registers["rsi"] = 0
    ended = bench.run(code, **registers)
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.address) == (14, target)
    assert ended.access == access
    assert ended.rip == CODE
    assert getattr(bench.registers, register) == target + before


@pytest.mark.parametrize("code", ["f0800f01", "8707", "f00fb10f"])
def test_locked_instructions_ask_for_the_right_to_write_at_once(bench: Bench, code: str) -> None:
    """Lock or, xchg, lock cmpxchg on an absent page."""
    ended = bench.run(code, rdi=ABSENT_PAGE)
    assert isinstance(ended, Fault)
    assert (ended.error_code, ended.access) == (U | W, WRITE)


def test_bit_string_reaches_far_from_its_operand(bench: Bench) -> None:
    ended = bench.run("480fa307", rdi=DATA, rax=(ABSENT_PAGE - DATA) * 8 + 3)  # bt [rdi], rax
    assert isinstance(ended, Fault)
    assert ended.address == ABSENT_PAGE


def test_repeated_instruction_stops_at_the_very_element(bench: Bench) -> None:
    bench.memory.write(BEHIND, bytes(range(256)) * 16)
    ended = bench.run("f348a5", rsi=BEHIND, rdi=ABSENT_PAGE - 24, rcx=100)  # rep movsq
    assert isinstance(ended, Fault)  # the supervisor's page is in the way at once
    assert (ended.address, bench.registers.rcx) == (ABSENT_PAGE - 24, 100)
    ended = bench.run("f348a5", rsi=HOLE - 24, rdi=DATA, rcx=100)
    assert isinstance(ended, Fault)
    assert (ended.address, ended.rip) == (HOLE, CODE)
    registers = bench.registers
    assert (registers.rcx, registers.rsi, registers.rdi) == (97, HOLE, DATA + 24)
    assert bench.memory.read(DATA, 24) == bench.memory.read(HOLE - 24, 24)


def test_a_page_fault_can_be_repaired_and_resumed(bench: Bench) -> None:
    ended = bench.run("48890f 0f05", rdi=ABSENT_PAGE, rcx=77)  # mov [rdi], rcx; syscall
    assert isinstance(ended, Fault)
    bench.memory.assign(ABSENT_PAGE, PAGE_SIZE, RW)
    assert isinstance(bench.processor.resume(), SystemCall)
    assert bench.memory.read_u64(ABSENT_PAGE) == 77


# Code


def test_a_hint_that_is_not_announced_does_nothing(bench: Bench) -> None:
    """CLDEMOTE [rdi], of a page that is not there."""
    ended = bench.run("0f1c07 b807000000 0f05", rdi=HOLE)
    assert isinstance(ended, SystemCall), ended
    assert ended.number == 7


def test_long_run_of_nops_across_pages(bench: Bench) -> None:
    bench.memory.fill(CODE, 4 * PAGE_SIZE, 0x90)
    bench.put("90")
    bench.put("0f05", CODE + 3 * PAGE_SIZE - 1)  # syscall, across a page
    call = bench.go(CODE)
    assert isinstance(call, SystemCall)
    assert call.rip == CODE + 3 * PAGE_SIZE + 1


def test_code_that_runs_off_its_last_page_is_executed_to_the_end(bench: Bench) -> None:
    for code, rip, fault_address in (
        ("48ffc0 48ffc0 48ffc0", CODE_END, CODE_END),  # three times inc rax, the last one ends with the page
        ("48ffc0 48ffc0 48ffc0 48", CODE_END - 1, CODE_END),  # and a fourth one that does not
    ):
        start = CODE_END - len(bytes.fromhex(code))
        ended = bench.run(code, at=start)
        for _ in range(2):
            assert isinstance(ended, Fault)
            assert (ended.vector, ended.error_code, ended.address) == (14, U | PRESENT | FETCH, fault_address)
            assert (ended.rip, bench.registers.rax) == (rip, 3)
            ended = bench.processor.resume()


def test_another_fault_comes_first_in_code_that_runs_off_its_page(bench: Bench) -> None:
    code = "48ffc0 488b07 48ffc0 48"  # inc rax; mov rax, [rdi]; inc rax; half an instruction
    start = CODE_END - len(bytes.fromhex(code))
    ended = bench.run(code, at=start, rdi=ABSENT_PAGE)
    assert isinstance(ended, Fault)
    assert (ended.rip, ended.address, bench.registers.rax) == (start + 3, ABSENT_PAGE, 1)


def test_code_across_a_page_that_loses_the_right_to_execute(bench: Bench) -> None:
    boundary = CODE + PAGE_SIZE
    start = boundary - 9
    code = "0f05 48ffc0 48ffc0 48ffc0 0f05"  # syscall; 3 * inc rax, the third across the page; syscall
    bench.put(code, start)
    for _ in range(2):  # the second time with everything translated
        assert isinstance(bench.go(start), SystemCall)
        assert isinstance(bench.processor.resume(0), SystemCall)
    assert isinstance(bench.go(start), SystemCall)
    bench.memory.assign(boundary, PAGE_SIZE, RW)
    ended = bench.processor.resume(0)
    assert isinstance(ended, Fault)
    assert (ended.rip, ended.address, bench.registers.rax) == (boundary - 1, boundary, 2)


def test_jump_into_the_middle_of_an_instruction(bench: Bench) -> None:
    # jmp +1; mov eax, imm32 whose immediate is: inc ecx twice, syscall
    call = bench.enter("eb01 b8 ffc1 0f05 f4", 5)
    assert isinstance(call, SystemCall)
    # And the hidden instruction is one that must not run: in al, dx
    ended = bench.enter("eb01 b8 90ec 9090")
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.rip) == (13, CODE + 4)


def test_self_modifying_code(bench: Bench) -> None:
    # mov byte [rip + 1], 7 patches the immediate of the next instruction: mov eax, 5; syscall
    call = bench.run("c6050100000007 b805000000 0f05", at=WRITABLE_CODE)
    assert isinstance(call, SystemCall)
    assert call.number == 7


def test_code_that_writes_an_instruction_ring_3_may_not_use(bench: Bench) -> None:
    # mov byte [rip], 0xec; nop becomes in al, dx
    ended = bench.run("c60500000000ec 90 0f05", at=WRITABLE_CODE)
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.rip) == (13, WRITABLE_CODE + 7)
    assert bench.memory.read(WRITABLE_CODE + 7, 1) == b"\xec"


def test_loop_that_rewrites_itself(bench: Bench) -> None:
    # loop: add eax, 1; inc byte [rip - 7] (the immediate); dec ecx; jnz loop; syscall
    call = bench.run("83c001 fe05f9ffffff ffc9 75f3 0f05", at=WRITABLE_CODE, rcx=4)
    assert isinstance(call, SystemCall)
    assert call.number == 1 + 2 + 3 + 4


def test_code_replaced_by_the_supervisor(bench: Bench) -> None:
    for number in range(3):
        call = bench.enter(f"b8{number:02x}000000 0f05")
        assert isinstance(call, SystemCall)
        assert call.number == number


def test_code_where_a_refused_instruction_used_to_be(bench: Bench) -> None:
    assert isinstance(bench.enter("90 ec"), Fault)
    call = bench.enter("90 90 0f05")
    assert isinstance(call, SystemCall)
    assert isinstance(bench.enter("90 ec"), Fault)


LOCKED_BIT_TEST = "f00fabc8"
"""lock bts eax, ecx: undefined, and Unicorn must not even translate it."""


def undefined_at(ended: object, rip: int) -> bool:
    return isinstance(ended, Fault) and (ended.vector, ended.rip) == (6, rip)


def test_a_locked_bit_test_behind_a_system_call(bench: Bench) -> None:
    assert isinstance(bench.enter("0f05" + LOCKED_BIT_TEST), SystemCall)
    for _ in range(2):
        assert undefined_at(bench.processor.resume(), CODE + 2)
    ended = bench.enter("0f05 0f05 90" + LOCKED_BIT_TEST)
    assert isinstance(ended, SystemCall)
    ended = bench.processor.resume()
    assert isinstance(ended, SystemCall)
    assert ended.rip == CODE + 4
    assert undefined_at(bench.processor.resume(), CODE + 5)


def test_a_locked_bit_test_behind_a_system_call_that_ends_a_page(bench: Bench) -> None:
    bench.put(LOCKED_BIT_TEST, CODE + PAGE_SIZE)
    assert isinstance(bench.enter("0f05", at=CODE + PAGE_SIZE - 2), SystemCall)
    assert undefined_at(bench.processor.resume(), CODE + PAGE_SIZE)


def test_a_locked_bit_test_that_is_jumped_to(bench: Bench) -> None:
    # SYSCALL is in front of it, but does not run: jmp over it
    assert undefined_at(bench.enter("eb02 0f05" + LOCKED_BIT_TEST), CODE + 4)
    assert undefined_at(bench.enter(LOCKED_BIT_TEST), CODE)


def test_a_locked_bit_test_in_a_page_that_was_read_before(bench: Bench) -> None:
    bench.put(LOCKED_BIT_TEST, CODE + 2 * PAGE_SIZE)
    # mov eax, [rdi]; jmp rdi
    assert undefined_at(bench.run("8b07 ffe7", rdi=CODE + 2 * PAGE_SIZE), CODE + 2 * PAGE_SIZE)


def test_a_locked_bit_test_across_pages(bench: Bench) -> None:
    for before in (1, 2, 3):
        at = CODE + PAGE_SIZE - before
        assert undefined_at(bench.enter(LOCKED_BIT_TEST, at=at), at)
        bench.put("90909090", at)


def test_a_locked_bit_test_comes_and_goes(bench: Bench) -> None:
    for _ in range(3):
        assert isinstance(bench.enter("90909090 0f05"), SystemCall)
        assert undefined_at(bench.enter("90909090" + LOCKED_BIT_TEST), CODE + 4)
        at = CODE + PAGE_SIZE - 1  # its first byte alone lies in this page
        assert isinstance(bench.enter("90 90 0f05", at=at), SystemCall)
        bench.put("f0", at)
        bench.put(LOCKED_BIT_TEST[2:], CODE + PAGE_SIZE)
        assert undefined_at(bench.go(at), at)


def test_a_locked_bit_test_in_code_that_runs_off_its_last_page(bench: Bench) -> None:
    assert undefined_at(bench.enter(LOCKED_BIT_TEST + "90", at=CODE_END - 5), CODE_END - 5)
    assert undefined_at(bench.enter("90" + LOCKED_BIT_TEST + "48", at=CODE_END - 6), CODE_END - 5)


def test_a_locked_bit_test_that_ring_3_writes_itself(bench: Bench) -> None:
    # mov dword [rip], the instruction; four NOPs become it; then once more by a loop that first writes them back
    ended = bench.run(f"c70500000000{LOCKED_BIT_TEST} 90909090 0f05", at=WRITABLE_CODE)
    assert undefined_at(ended, WRITABLE_CODE + 10)
    # mov dword [rip + 9], ...; dec ecx; jns to the NOPs; syscall; the NOPs; jmp back to the mov
    code = f"c70509000000{LOCKED_BIT_TEST} ffc9 7902 0f05 90909090"
    assert isinstance(bench.run(code, at=WRITABLE_CODE, rcx=0), SystemCall)


def test_a_loop_that_writes_code_and_data_on_its_own_page(bench: Bench) -> None:
    # inc dword [rip + 0x80]; dec ecx; jnz; mov eax, [rip + 0x79]; syscall
    call = bench.run("ff0580000000 ffc9 75f6 8b0576000000 0f05", at=WRITABLE_CODE, rcx=50)
    assert isinstance(call, SystemCall)
    assert call.number == 50


def test_the_last_page_of_the_machine(bench: Bench) -> None:
    call = bench.run("0f05", at=TOP + PAGE_SIZE - 2)
    assert isinstance(call, SystemCall)
    ended = bench.processor.resume()
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.address, ended.error_code) == (14, TOP + PAGE_SIZE, U | FETCH)


def test_address_size_prefix_wraps_at_4_gib(bench: Bench) -> None:
    bench.memory.write_u64(DATA, 0x1234)
    call = bench.run("678b4710 0f05", rdi=0xFFFF_FFFF_0000_0000 + DATA - 0x10)  # mov eax, [edi + 0x10]; syscall
    assert isinstance(call, SystemCall)
    assert call.number == 0x1234


def test_flash_is_read_directly(bench: Bench) -> None:
    bench.memory.write(FLASH, bytes.fromhex("efbeadde"))
    call = bench.run("8b07 0f05", rdi=FLASH)
    assert isinstance(call, SystemCall)
    assert call.number == 0xDEAD_BEEF


def test_flash_can_be_executed(bench: Bench) -> None:
    bench.memory.write(FLASH + 0x80, bytes.fromhex("b809000000 0f05"))
    call = bench.go(FLASH + 0x80)
    assert isinstance(call, SystemCall)
    assert call.number == 9


def test_gate_pointer_in_memory_that_ring_3_may_not_read(bench: Bench) -> None:
    bench.memory.write(SUPERVISOR_PAGE, (0x63 << 32).to_bytes(8, "little"))
    ended = bench.run("ff1f", rdi=SUPERVISOR_PAGE)  # call far [rdi]
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.address) == (14, SUPERVISOR_PAGE)
    bench.memory.assign(SUPERVISOR_PAGE, PAGE_SIZE, RX)
    assert isinstance(bench.processor.resume(), GateReturn)


LEND, TAKE_BACK = RW, SUPERVISOR
READ_LENT = "8a07 0f05"  # mov al, [rdi]; syscall


def test_rights_that_are_lent_and_taken_back(bench: Bench) -> None:
    """As for a buffer that a handler may use during its message only: each run sees the rights of the moment."""
    for _ in range(3):
        bench.memory.assign(SUPERVISOR_PAGE, PAGE_SIZE, LEND)
        assert isinstance(bench.run(READ_LENT, rdi=SUPERVISOR_PAGE), SystemCall)
        bench.memory.assign(SUPERVISOR_PAGE, PAGE_SIZE, TAKE_BACK)
        bench.memory.assign(SUPERVISOR_PAGE, PAGE_SIZE, LEND)
        assert isinstance(bench.run(READ_LENT, rdi=SUPERVISOR_PAGE), SystemCall)
        bench.memory.assign(SUPERVISOR_PAGE, PAGE_SIZE, TAKE_BACK)
        ended = bench.run(READ_LENT, rdi=SUPERVISOR_PAGE)
        assert isinstance(ended, Fault)
        assert (ended.vector, ended.error_code, ended.address) == (14, 5, SUPERVISOR_PAGE)


def test_a_page_that_gains_one_right_after_the_other(bench: Bench) -> None:
    write = "c60701 0f05"  # mov byte [rdi], 1; syscall
    page = DATA + 8 * PAGE_SIZE
    bench.memory.write(page, bytes.fromhex("0f05"))
    for attributes, outcomes in (
        (ABSENT, (Fault, Fault, Fault)),
        (RO, (SystemCall, Fault, Fault)),
        (RW, (SystemCall, SystemCall, Fault)),
        (RO, (SystemCall, Fault, Fault)),
        (RX, (SystemCall, Fault, SystemCall)),
        (RO, (SystemCall, Fault, Fault)),
        (RX, (SystemCall, Fault, SystemCall)),
        (RW, (SystemCall, SystemCall, Fault)),
    ):
        bench.memory.assign(page, PAGE_SIZE, attributes)
        seen = (bench.run(READ_LENT, rdi=page + 64), bench.run(write, rdi=page + 64), bench.go(page))
        assert tuple(map(type, seen)) == outcomes


def test_code_changed_while_its_page_was_lent_is_read_anew(bench: Bench) -> None:
    page = CODE + 2 * PAGE_SIZE
    bench.memory.write(page, bytes.fromhex("b801000000 0fa2 0f05"))  # mov eax, 1; cpuid; syscall
    assert isinstance(bench.go(page), SystemCall)
    for number in (7, 8):
        bench.memory.assign(page, PAGE_SIZE, RW)
        bench.memory.write(page, bytes.fromhex(f"b8{number:02x}000000 0f05"))
        bench.memory.assign(page, PAGE_SIZE, RX)
        call = bench.go(page)
        assert isinstance(call, SystemCall)
        assert call.number == number


def test_a_processor_that_is_closed_is_told_of_no_changes_any_more(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each list that is appended to and never looked at would grow as long as the machine runs."""
    given: list[list[ProtectionChange]] = []
    subscribe = PhysicalMemory.subscribe

    def noted(memory: PhysicalMemory) -> list[ProtectionChange]:
        given.append(subscribe(memory))
        return given[-1]

    monkeypatch.setattr(PhysicalMemory, "subscribe", noted)
    bench = make_bench()
    bench.processor.close()
    assert given
    bench.memory.assign(DATA, PAGE_SIZE, RX)
    assert not any(given)
