"""The parts of the native processor by themselves: the stub's code and table, the filters, the survey."""

from __future__ import annotations

import struct
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from iced_x86 import Decoder, Formatter, FormatterSyntax

from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.processor.interface import Died, Fault, ProcessorOptions, SystemCall
from mmsupervisor.processor.native import filters, likely_code, stub_image
from mmsupervisor.processor.native.code_survey import CodeSurvey
from mmsupervisor.processor.native.layout import (
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    CODE,
    CONTROL,
    MPROTECT,
    ORDERS_DONE,
    PAGE,
    RT_SIGRETURN,
    TABLE,
)
from mmsupervisor.processor.native.native_processor import NativeProcessor
from tests.processor.conformance.machine import CODE as GUEST_CODE
from tests.processor.conformance.machine import DATA, RX, START, Bench

ALLOW, NOTIFY, TRAP = 0x7FFF_0000, 0x7FC0_0000, 0x0003_0000


# The stub's code


def normal(text: str) -> str:
    """Source text without the differences of two assemblers' tastes."""
    for word in ("dword ptr ", "qword ptr ", "dword ", " "):
        text = text.replace(word, "")
    return text.lower()


def test_the_code_is_what_its_source_says() -> None:
    names = {"TABLE": TABLE, "CONTROL": CONTROL, "ORDERS_DONE": ORDERS_DONE}
    formatter = Formatter(FormatterSyntax.INTEL)
    compared = 0
    for code, text in stub_image.SOURCE:
        for instruction in Decoder(64, bytes.fromhex(code), ip=0):
            decoded = normal(formatter.format(instruction))
            if text.startswith("j"):
                assert decoded.startswith(text.split()[0])  # the targets are tested below
                continue
            source = text.replace("dword ", "").replace("-4095", "0FFFFFFFFFFFFF001h")
            for name, value in names.items():
                source = source.replace(name, f"{value:X}h")
            operands = source.split(" ", 1)
            wanted = [operands[0], *(_number(word) for word in "".join(operands[1:]).replace("]", " ]").split())]
            assert decoded == normal("".join(wanted)), text
            compared += 1
    assert compared > 35


def _number(word: str) -> str:
    """Write a number as the formatter does."""
    end = "," if word.endswith(",") else ""
    plain = word.removesuffix(",")
    if not plain[:1].isdigit() or plain.endswith("h"):
        return word
    value = int(plain, 0)
    return (str(value) if value < 10 else f"{value:X}h" if f"{value:X}"[0].isdigit() else f"0{value:X}h") + end


def test_jumps_of_the_code_arrive_at_instructions() -> None:
    starts = {instruction.ip for instruction in Decoder(64, stub_image.CODE_BYTES, ip=CODE)}
    targets = {
        instruction.near_branch_target
        for instruction in Decoder(64, stub_image.CODE_BYTES, ip=CODE)
        if instruction.near_branch_target
    }
    assert len(targets) >= 7
    assert targets <= starts


@pytest.mark.parametrize("address", ["ORDER_RETURN", "ASK_RETURN", "SIGRETURN_RETURN"])
def test_named_addresses_lie_behind_a_system_call(address: str) -> None:
    offset = getattr(stub_image, address) - CODE
    assert stub_image.CODE_BYTES[offset - 2 : offset] == bytes.fromhex("0f05")


def test_the_handler_begins_where_it_is_said_to() -> None:
    texts = [
        (sum(len(bytes.fromhex(code)) for code, _ in stub_image.SOURCE[:i]), text)
        for i, (_, text) in enumerate(stub_image.SOURCE)
    ]
    assert (stub_image.HANDLER - CODE, "mov ecx, 0x2b") in texts


def test_the_flags_are_taken_and_then_ring_3_stops() -> None:
    at, stop = stub_image.FLAGS_ROUTINE - CODE, stub_image.FLAGS_TAKEN - CODE
    assert (stub_image.CODE_BYTES[at:stop], stub_image.CODE_BYTES[stop:]) == (b"\x9d", b"\xf4")


def test_the_executable_is_three_pages() -> None:
    image = stub_image.executable(trap_timestamps=True, wait_killable=True)
    assert image[:4] == b"\x7fELF"
    assert 2 * PAGE < len(image) <= 3 * PAGE
    plain = stub_image.boot_table(trap_timestamps=False, wait_killable=True)
    (with_trap,) = struct.unpack_from("<Q", image, 2 * PAGE)
    assert with_trap == struct.unpack_from("<Q", plain)[0] + 1


# The filters, executed here


def verdict(program: bytes, number: int, ip: int, architecture: int = AUDIT_ARCH_X86_64) -> int:
    """Run a filter as the kernel does."""
    data = struct.pack("<IIQ6Q", number, architecture, ip, *[0] * 6)
    lines = list(struct.iter_unpack("<HBBI", program))
    at, accumulator = 0, 0
    while True:
        code, yes, no, value = lines[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x15:
            at += yes if accumulator == value else no
        else:
            assert code == 0x06
            return value


STUB_FILTER = filters.stub_filter(stub_image.ORDER_RETURN, stub_image.ORDERS)
RING3_FILTER = filters.ring3_filter(stub_image.SIGRETURN_RETURN, RT_SIGRETURN)


@pytest.mark.parametrize("number", stub_image.ORDERS)
def test_orders_are_allowed_at_their_instruction_only(number: int) -> None:
    assert verdict(STUB_FILTER, number, stub_image.ORDER_RETURN) == ALLOW
    for ip in (
        stub_image.ORDER_RETURN + 1,
        stub_image.SIGRETURN_RETURN,
        0x10_0002,
        stub_image.ORDER_RETURN + (1 << 32),
    ):
        assert verdict(STUB_FILTER, number, ip) == NOTIFY
    assert verdict(STUB_FILTER, number, stub_image.ORDER_RETURN, AUDIT_ARCH_I386) == NOTIFY


@pytest.mark.parametrize("number", [0, 1, 59, 62, 231, 101, 311, 317 | 0x4000_0000])
def test_nothing_else_can_be_ordered(number: int) -> None:
    assert verdict(STUB_FILTER, number, stub_image.ORDER_RETURN) == NOTIFY


def test_ring_3_may_return_from_signals_and_nothing_else() -> None:
    at = stub_image.SIGRETURN_RETURN
    assert verdict(RING3_FILTER, RT_SIGRETURN, at) == ALLOW
    assert verdict(STUB_FILTER, RT_SIGRETURN, at) == NOTIFY  # of the two verdicts the stricter counts
    assert verdict(RING3_FILTER, MPROTECT, stub_image.ORDER_RETURN) == TRAP
    assert verdict(RING3_FILTER, RT_SIGRETURN, at + 2) == TRAP
    assert verdict(RING3_FILTER, RT_SIGRETURN, at, AUDIT_ARCH_I386) == TRAP
    assert verdict(RING3_FILTER, MPROTECT, at) == TRAP


# The survey of code


def survey(code: str, at: int = 0) -> set[int]:
    """Offsets that are replaced when code is entered at its start, and what only indirect jumps reach is looked for."""
    page = bytes.fromhex(code).ljust(PAGE_SIZE, b"\0")
    made = CodeSurvey(lambda address: page if address == 0 else None)
    made.explore(at)
    made.look_for_likely(0)
    return made.replaced(0)


RETURN = "c3"
CASES = [
    ("straight", "90 0fa2 c3", {1}),
    ("behind a jump", "eb01 90 0fa2 c3", {3}),
    ("behind a call and after it", "e803000000 0fa2 c3 0f31 c3", {5, 8}),
    ("not reached, but a function", "c3" + "90" * 15 + "53 89c8 0fa2 5b c3", {19}),
    ("not reached, after a return at once", "c3 0f01d0 c3", {1}),
    ("not reached, in constants", "c3" + "0f" * 7 + "a2 0000 0000 0000 0000", set()),
    ("not reached, in a table", "c3" + "0fa20000 20a20000 40a20000" * 4, set()),
    ("not reached, then a port", "c3 0fa2 ec c3", set()),
    ("in an immediate", "b80fa20000 c3", set()),
    ("a fence is innocent", "c3 0faee8 c3", set()),
    ("avx of a function behind a pointer", "c3 c5fc58c0 c5f877 c3", {1, 5}),
]


@pytest.mark.parametrize(("name", "code", "expected"), CASES, ids=[row[0] for row in CASES])
def test_what_is_replaced(name: str, code: str, expected: set[int]) -> None:
    assert survey(code) == expected


def test_what_is_kept_of_code_is_little() -> None:
    """A hostile image may consist of the shortest instructions, each a place that has to be remembered."""
    size = 8 * PAGE_SIZE
    code = b"\x90" * size + b"\xc3".ljust(PAGE_SIZE, b"\x90")
    made = CodeSurvey(lambda address: code[address : address + PAGE_SIZE + 14] if address < len(code) else None)
    tracemalloc.start()
    try:
        pages = made.explore(0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pages) == 9
    assert most < 4 * size


def test_suspects_are_found_in_every_page_position() -> None:
    page = bytearray(PAGE_SIZE + 14)
    page[PAGE_SIZE - 2 : PAGE_SIZE] = b"\x0f\xa2"
    assert list(likely_code.suspects(bytes(page))) == [PAGE_SIZE - 2]


def test_code_that_is_forgotten_is_unknown() -> None:
    page = bytes.fromhex("90c3").ljust(PAGE_SIZE, b"\0")
    made = CodeSurvey(lambda _address: page)
    made.explore(0)
    made.explore(PAGE_SIZE)
    made.forget(PAGE_SIZE, PAGE_SIZE)
    assert not made.knows(PAGE_SIZE)
    assert not made.knows(0)  # its last instruction might reach over


@pytest.mark.parametrize(
    ("code", "may"), [("c3 0f31", True), ("0f31 c3", False), ("b80f310000 c3", False), ("c3", False)]
)
def test_bytes_of_a_timestamp_that_nobody_could_place(code: str, may: bool) -> None:
    page = bytes.fromhex(code).ljust(PAGE_SIZE, b"\0")
    made = CodeSurvey(lambda address: page if address == 0 else None)
    made.explore(0)
    made.look_for_likely(0)
    assert made.may_read_timestamp(0) is may


def test_an_instruction_across_two_pages_is_surveyed_from_its_start(bench: Bench) -> None:
    """The second page is fetched in the middle of an instruction; what follows its bytes is not mistaken for code."""
    boundary = GUEST_CODE + PAGE_SIZE
    # mov rax, 0xc3_0f_a2...: its immediate is in the second page and looks like CPUID; then syscall
    bench.put("48b8 90900fa2c3909090 0f05", boundary - 4)
    bench.memory.assign(boundary, PAGE_SIZE, Attribute.XP | Attribute.RO)
    ended = bench.go(boundary - 4)
    assert isinstance(ended, Fault)
    bench.memory.assign(boundary, PAGE_SIZE, RX)
    call = bench.processor.resume()
    assert isinstance(call, SystemCall)
    assert call.number == 0x9090_90C3_A20F_9090


def test_ring_3_reads_its_own_code_unchanged_but_for_what_was_replaced(bench: Bench) -> None:
    code = "488b0500000000 0f05 90 0fa2 f4"  # mov rax, [rip]: what follows
    call = bench.enter(code)
    assert isinstance(call, SystemCall)
    seen = call.number.to_bytes(8, "little")
    assert seen[:3] == bytes.fromhex("0f0590")
    assert seen[3] == 0xF4
    assert bench.memory.read(GUEST_CODE + 10, 2) == bytes.fromhex("0fa2")


# Hosts and threads


def test_memory_that_the_host_cannot_map_is_reached_all_the_same(bench: Bench) -> None:
    bench.memory.add_ram(0, 2 * PAGE_SIZE, "low")
    bench.memory.assign(0, 2 * PAGE_SIZE, Attribute.XP)
    bench.memory.write_u64(0x100, 0x1234)
    call = bench.run("488b07 480107 0f05", rdi=0x100)  # mov rax, [rdi]; add [rdi], rax; syscall
    assert isinstance(call, SystemCall)
    assert call.number == 0x1234
    assert bench.memory.read_u64(0x100) == 0x2468
    call = bench.run("488b07 0f05", rdi=PAGE_SIZE)
    assert isinstance(call, SystemCall)


def test_a_host_that_refuses_split_locks_is_not_asked_again_and_again(bench: Bench) -> None:
    """Linux may be told to raise #AC for them, whatever the flags say: there is nothing to clear then."""
    bench.run("f4")
    processor = bench.processor
    assert isinstance(processor, NativeProcessor)
    ended = processor._on_exception(17, 0)
    assert isinstance(ended, Fault)
    assert ended.vector == 17


def test_a_misaligned_access_clears_the_flag_that_forbids_it(bench: Bench) -> None:
    call = bench.run("8b07 9c 5a 0f05", rdi=DATA + 1, rflags=0x4_0002)  # mov eax, [rdi]; pushfq; pop rdx; syscall
    assert isinstance(call, SystemCall)
    assert call.arguments[0] == 2


def test_code_that_the_host_cannot_execute_is_nobodys_fault_but_its_own(bench: Bench) -> None:
    bench.memory.add_ram(0, PAGE_SIZE, "low")
    bench.memory.write(0, bytes.fromhex("0f05"))
    bench.memory.assign(0, PAGE_SIZE, RX)
    ended = bench.go(0)
    assert isinstance(ended, Died)
    assert "this host cannot execute" in ended.reason
    assert isinstance(bench.go(START), SystemCall)


def test_the_stub_ends_with_the_thread_that_made_it() -> None:
    made: list[Bench] = []
    thread = threading.Thread(target=lambda: made.append(Bench(NativeProcessor, ProcessorOptions({}, budget=0))))
    thread.start()
    thread.join()
    while Path(f"/proc/self/task/{thread.native_id}").exists():  # Python's end of a thread comes before the kernel's
        time.sleep(0.001)
    (bench,) = made
    assert isinstance(bench.go(START), Died)
    assert isinstance(bench.go(START), SystemCall)  # a new stub, made by this thread
    bench.processor.close()
    bench.memory.close()
