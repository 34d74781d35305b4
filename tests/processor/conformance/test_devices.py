"""Accesses to a device's page: one exit for each touch, in program order, and the rest of the instruction done."""

from __future__ import annotations

import pytest

from mmsupervisor.machine.memory import PAGE_SIZE, Access, Attribute
from mmsupervisor.processor.interface import (
    BudgetSpent,
    Entry,
    Exit,
    Fault,
    MmioAccess,
    ProcessorOptions,
    Registers,
    SystemCall,
)
from tests.processor.conformance.conftest import MakeBench
from tests.processor.conformance.machine import (
    ABSENT_PAGE,
    CODE,
    DATA,
    DEVICE,
    FLASH,
    READ_ONLY,
    STACK_END,
    Bench,
)

BACK = DEVICE + 2 * PAGE_SIZE
"""Memory right behind the device."""

VALUE = 0x8877_6655_4433_2211


def touches(bench: Bench, first: Exit, answers: int = VALUE) -> list[tuple[int, int, bool, int]]:
    """Answer device exits until the system call at the end, and return them."""
    seen = []
    ended = first
    while isinstance(ended, MmioAccess):
        assert ended.rip == CODE
        seen.append((ended.address - DEVICE, ended.width, ended.write, ended.value))
        ended = bench.processor.resume(answers)
    assert isinstance(ended, SystemCall), ended
    return seen


READS = [
    ("mov al", "8a07", 1, 0xFFFF_FFFF_FFFF_FF11),
    ("mov ax", "668b07", 2, 0xFFFF_FFFF_FFFF_2211),
    ("mov eax", "8b07", 4, 0x4433_2211),
    ("mov rax", "488b07", 8, VALUE),
    ("movzx eax, byte", "0fb607", 1, 0x11),
    ("movzx rax, word", "480fb707", 2, 0x2211),
    ("movsx rax, byte", "480fbe07", 1, 0x11),
    ("movsxd rax, dword", "486307", 4, 0x4433_2211),
    ("mov eax, moffs", "a1" + DEVICE.to_bytes(8, "little").hex(), 4, 0x4433_2211),
]


@pytest.mark.parametrize(("name", "code", "width", "result"), READS, ids=[row[0] for row in READS])
def test_read_of_every_width(bench: Bench, name: str, code: str, width: int, result: int) -> None:
    first = bench.run(code + "0f05", rdi=DEVICE, rax=(1 << 64) - 1)
    assert touches(bench, first) == [(0, width, False, 0)]
    assert bench.registers.rax == result


WRITES = [
    ("mov al", "8807", 1, 0x11),
    ("mov ah", "8827", 1, 0x22),
    ("mov ax", "668907", 2, 0x2211),
    ("mov eax", "8907", 4, 0x4433_2211),
    ("mov rax", "488907", 8, VALUE),
    ("mov byte, imm", "c60780", 1, 0x80),
    ("mov word, imm", "66c7073412", 2, 0x1234),
    ("mov dword, imm", "c707785634f2", 4, 0xF234_5678),
    ("mov qword, imm sign-extended", "48c707785634f2", 8, 0xFFFF_FFFF_F234_5678),
    ("movnti", "480fc307", 8, VALUE),
]


@pytest.mark.parametrize(("name", "code", "width", "value"), WRITES, ids=[row[0] for row in WRITES])
def test_write_of_every_width(bench: Bench, name: str, code: str, width: int, value: int) -> None:
    first = bench.run(code + "0f05", rdi=DEVICE, rax=VALUE)
    assert touches(bench, first) == [(0, width, True, value)]
    assert bench.registers.rax == VALUE


def test_read_modify_write_is_two_touches(bench: Bench) -> None:
    first = bench.run("830f01 0f05", rdi=DEVICE + 8)  # or dword [rdi], 1
    assert touches(bench, first, 0x10) == [(8, 4, False, 0), (8, 4, True, 0x11)]
    first = bench.run("f00fc107 0f05", rdi=DEVICE, rax=5)  # lock xadd [rdi], eax
    assert touches(bench, first, 7) == [(0, 4, False, 0), (0, 4, True, 12)]
    assert bench.registers.rax == 7


def test_test_reads_only(bench: Bench) -> None:
    first = bench.run("f60780 0f05", rdi=DEVICE)  # test byte [rdi], 0x80
    assert touches(bench, first, 0x80) == [(0, 1, False, 0)]
    assert bench.registers.rflags & 0x8C1 == 0x80


def test_repeated_stores_are_one_exit_each(bench: Bench) -> None:
    first = bench.run("f3ab 0f05", rdi=DEVICE, rcx=3, rax=9)  # rep stosd
    assert touches(bench, first) == [(0, 4, True, 9), (4, 4, True, 9), (8, 4, True, 9)]
    assert (bench.registers.rdi, bench.registers.rip) == (DEVICE + 12, CODE + 4)


def test_repeated_moves_downwards(bench: Bench) -> None:
    first = bench.run("f3a4 0f05", rdi=DATA + 2, rsi=DEVICE + 2, rcx=3, rflags=0x402)  # std; rep movsb
    assert touches(bench, first, 0x42) == [(2, 1, False, 0), (1, 1, False, 0), (0, 1, False, 0)]
    assert bench.memory.read(DATA, 4) == b"\x42\x42\x42\x00"
    assert (bench.registers.rdi, bench.registers.rsi) == (DATA - 1, DEVICE - 1)


def test_move_from_device_to_device(bench: Bench) -> None:
    first = bench.run("48a5 0f05", rdi=DEVICE + 0x100, rsi=DEVICE)  # movsq
    assert touches(bench, first) == [(0, 8, False, 0), (0x100, 8, True, VALUE)]


def test_a_repetition_runs_from_memory_into_the_device_and_out_again(bench: Bench) -> None:
    bench.memory.fill(BACK, 16, 0)
    first = bench.run("f3aa 0f05", rdi=BACK - 2, rcx=4, rax=0x77)  # rep stosb
    assert touches(bench, first) == [(0x1FFE, 1, True, 0x77), (0x1FFF, 1, True, 0x77)]
    assert bench.memory.read(BACK, 3) == b"\x77\x77\x00"


def test_comparison_stops_where_it_should(bench: Bench) -> None:
    bench.memory.write(DATA, b"\x01\x01\x02\x01")
    first = bench.run("f3a6 0f05", rsi=DEVICE, rdi=DATA, rcx=4)  # repe cmpsb
    assert len(touches(bench, first, 1)) == 3
    first = bench.run("f2ae 0f05", rdi=DEVICE, rax=5, rcx=10)  # repne scasb
    seen = 0
    ended = first
    while isinstance(ended, MmioAccess):
        seen += 1
        ended = bench.processor.resume(5 if seen == 4 else 0)
    assert seen == 4
    assert bench.registers.rflags & 0x40


def test_sse_store_is_two_touches(bench: Bench) -> None:
    first = bench.run("66480f6ec0 660f6cc0 0f2907 0f05", rdi=DEVICE, rax=VALUE)
    seen = []
    ended = first
    while isinstance(ended, MmioAccess):
        seen.append((ended.address - DEVICE, ended.width, ended.write, ended.value))
        ended = bench.processor.resume()
    assert seen == [(0, 8, True, VALUE), (8, 8, True, VALUE)]


def test_unaligned_sse_move_that_wants_alignment(bench: Bench) -> None:
    ended = bench.run("0f2807", rdi=DEVICE + 8)  # movaps xmm0, [rdi]
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code) == (13, 0)


def test_access_across_the_end_of_the_device(bench: Bench) -> None:
    bench.memory.write(BACK, bytes.fromhex("a1a2a3a4a5"))
    first = bench.run("488b07 0f05", rdi=BACK - 3)  # mov rax, [rdi]: 1 + 2 bytes of the device, 5 of memory
    assert touches(bench, first, 0xB2B1) == [(0x1FFD, 1, False, 0), (0x1FFE, 2, False, 0)]
    assert bench.registers.rax.to_bytes(8, "little") == bytes.fromhex("b1b1b2a1a2a3a4a5")


def test_flash_commands_go_to_the_device(bench: Bench) -> None:
    bench.memory.write(FLASH, b"\x33" * 16)
    first = bench.run("c60740 8a07 0f05", rdi=FLASH)  # mov byte [rdi], 0x40; mov al, [rdi]
    assert first == MmioAccess(FLASH, 1, True, 0x40, CODE)
    call = bench.processor.resume()
    assert isinstance(call, SystemCall)
    assert call.number == 0x33
    assert bench.memory.read(FLASH, 1) == b"\x33"
    first = bench.run("800f0c 0f05", rdi=FLASH)  # or byte [rdi], 0x0c: reads the array, writes the device
    assert first == MmioAccess(FLASH, 1, True, 0x3F, CODE)


def test_flash_shows_its_registers_and_its_memory_again(bench: Bench) -> None:
    """Code in it is executed before and after, an instruction that processors treat specially among it."""
    bank = bench.memory.state(FLASH).bank
    assert bank is not None
    bench.memory.write(FLASH, bytes.fromhex("31c0 0fa2 0f05"))  # xor eax, eax; cpuid; syscall
    reads = "8a07 0f05"  # mov al, [rdi]; syscall
    for _ in range(2):
        assert isinstance(bench.go(FLASH), SystemCall)
        assert isinstance(bench.run(reads, rdi=FLASH), SystemCall)
        bench.memory.show_flash(bank, array=False)
        assert bank.device is not None
        bank.device.mmio_write(0, 1, 0x80)
        call = bench.run(reads, rdi=FLASH)
        if isinstance(call, MmioAccess):  # a processor may let the device answer, or leave it to the exit
            assert call == MmioAccess(FLASH, 1, False, 0, CODE)
            call = bench.processor.resume(0x80)
        assert isinstance(call, SystemCall)
        assert call.number == 0x80
        ended = bench.go(FLASH)
        assert isinstance(ended, Fault)
        assert (ended.vector, ended.address) == (14, FLASH)
        bench.memory.show_flash(bank, array=True)
        call = bench.run(reads, rdi=FLASH + 1)
        assert isinstance(call, SystemCall)
        assert call.number == 0xC0


def test_registers_at_the_exit_are_those_before(bench: Bench) -> None:
    before = {"rdi": DEVICE, "rax": 1, "rcx": 2, "rsi": DATA, "rflags": 0x8D7}
    bench.run("f348a5 0f05", **before)
    assert bench.registers == Registers(**before, rsp=STACK_END - 0x18, rip=CODE)


def test_a_context_can_wait_at_a_device(bench: Bench) -> None:
    bench.run("480107 0f05", rdi=DEVICE, rax=1)  # add [rdi], rax
    kept = bench.processor.suspend()
    bench.put("0f05", CODE + PAGE_SIZE)
    assert isinstance(bench.processor.enter(Entry(CODE + PAGE_SIZE, STACK_END - 0x100)), SystemCall)
    bench.processor.restore(kept)
    assert bench.processor.resume(41) == MmioAccess(DEVICE, 8, True, 42, CODE)
    assert isinstance(bench.processor.resume(), SystemCall)


def test_setting_registers_drops_the_instruction_under_way(bench: Bench) -> None:
    bench.run("480107 0f05", rdi=DEVICE, rax=1)
    bench.processor.set_registers(Registers(rip=CODE + 3, rsp=STACK_END - 0x18, rax=3))
    call = bench.processor.resume(99)
    assert isinstance(call, SystemCall)
    assert call.number == 3


@pytest.mark.parametrize(
    ("name", "attributes", "code", "error_code"),
    [
        ("read-only", Attribute.RO | Attribute.XP, "8907", 7),
        ("supervisor", Attribute.SP | Attribute.XP, "8b07", 5),
        ("absent", Attribute.RP, "8b07", 4),
        ("read-only, modified", Attribute.RO | Attribute.XP, "830f01", 7),
    ],
)
def test_a_device_without_the_right_to_touch_it(
    bench: Bench, name: str, attributes: Attribute, code: str, error_code: int
) -> None:
    bench.memory.assign(DEVICE, PAGE_SIZE, attributes)
    ended = bench.run(code, rdi=DEVICE + 4)
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code, ended.address) == (14, error_code, DEVICE + 4)


def test_memory_that_is_refused_keeps_the_device_untouched(bench: Bench) -> None:
    for code, registers, address, access in (
        ("48a5", {"rsi": DEVICE, "rdi": READ_ONLY}, READ_ONLY, Access.WRITE),  # movsq to read-only memory
        ("ff37", {"rdi": DEVICE, "rsp": ABSENT_PAGE + 8}, ABSENT_PAGE, Access.WRITE),  # push [rdi]
        ("48a7", {"rsi": DEVICE, "rdi": ABSENT_PAGE}, ABSENT_PAGE, Access.READ),  # cmpsq
    ):
        ended = bench.run(code, **registers)
        assert isinstance(ended, Fault)
        assert (ended.vector, ended.address, ended.access, ended.rip) == (14, address, access, CODE)


@pytest.mark.parametrize("code", ["dd07", "0f5807", "d107", "480fc70f", "ff27", "0fae07"])
def test_an_instruction_that_is_not_known_is_a_page_fault(bench: Bench, code: str) -> None:
    """Fld, addps, shift, cmpxchg16b, jump through a device, fxsave: not guessed at."""
    ended = bench.run(code, rdi=DEVICE)
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.address) == (14, DEVICE)
    assert ended.error_code is not None
    assert ended.error_code & 1


def test_a_loop_over_a_device_is_within_the_budget(make_bench: MakeBench) -> None:
    bench = make_bench(ProcessorOptions({}, budget=1000))
    ended = bench.run("8b07 ebfc", rdi=DEVICE)  # loop: mov eax, [rdi]; jmp loop
    count = 0
    while isinstance(ended, MmioAccess):
        count += 1
        ended = bench.processor.resume()
    assert ended == BudgetSpent()
    assert 1 < count <= 1000  # where the budget is time, a busy computer spends it early


def test_a_device_page_cannot_be_made_out_by_its_stack_fault(bench: Bench) -> None:
    ended = bench.run("ff37", rdi=DEVICE, rsp=0x8000_0000_0000_0000 + 8)  # push [rdi], stack not canonical
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code) == (12, 0)
