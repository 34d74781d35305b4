"""What is particular to the processor on Unicorn: hosts without a hook, failures of callbacks, its parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from mmsupervisor.machine.memory import PAGE_SIZE, Attribute, Bank, PageState, PhysicalMemory
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor import block_counter_unsafe, page_map, trapped, unicorn_unsafe
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.engine_context import EngineError
from mmsupervisor.processor.interface import BudgetSpent, Died, Fault, ProcessorOptions, SystemCall
from mmsupervisor.processor.select import make_processor
from mmsupervisor.processor.trapped import trapped_offsets
from mmsupervisor.processor.unicorn_processor import UnicornProcessor
from mmsupervisor.processor.unicorn_unsafe import Engine
from tests.processor.conformance.machine import ABSENT_PAGE, CODE, DATA, Bench


def make_bench(budget: int = 100_000) -> Bench:
    return Bench(UnicornProcessor, ProcessorOptions(amd_cpuid(39), budget=budget))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = make_bench()
    yield made
    made.processor.close()
    made.memory.close()


# Choosing


def test_auto_is_unicorn_for_now(bench: Bench) -> None:
    processor = make_processor("auto", bench.memory, ProcessorOptions({}))
    assert processor.name == "unicorn"
    processor.close()


def test_an_unknown_processor_is_named(bench: Bench) -> None:
    with pytest.raises(MmSupervisorError, match="'z80'"):
        make_processor("z80", bench.memory, ProcessorOptions({}))


# Hosts where no machine code can be made


@pytest.fixture
def plain_bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(block_counter_unsafe.platform, "machine", lambda: "some other machine")
    return make_bench(50_000)


def test_unicorn_counts_where_the_host_allows_no_hook(plain_bench: Bench) -> None:
    assert plain_bench.enter("48ffc0 ebfb") == BudgetSpent()
    assert 10_000 < plain_bench.registers.rax - CODE <= 50_000
    assert plain_bench.processor.resume() == BudgetSpent()
    call = plain_bench.enter("b805000000 0f05")
    assert isinstance(call, SystemCall)
    assert call.number == 5


def test_a_loop_of_system_calls_ends_there_too(plain_bench: Bench) -> None:
    ended = plain_bench.enter("0f05 ebfc")
    count = 0
    while isinstance(ended, SystemCall):
        count += 1
        ended = plain_bench.processor.resume()
    assert ended == BudgetSpent()
    assert 10 < count < 100


def test_code_at_the_end_of_a_page_works_there_too(plain_bench: Bench) -> None:
    ended = plain_bench.run("48ffc0 48ffc0 48", at=CODE + 4 * PAGE_SIZE - 7)
    assert isinstance(ended, Fault)
    assert plain_bench.registers.rax == 2


def test_a_host_that_forbids_executable_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise PermissionError("no executable memory")

    monkeypatch.setattr(block_counter_unsafe.mmap, "mmap", refuse)
    assert block_counter_unsafe.BlockCounter(1).callback == 0


# Edges


def edges(bench: Bench, code: str, **registers: int) -> bytes:
    """The counts that are not zero, by place, after a run of some code."""
    assert isinstance(bench.processor, UnicornProcessor)
    counts = bench.processor.cover_edges()
    assert counts is not None
    counts[:] = bytes(len(counts))
    assert isinstance(bench.run(code, **registers), SystemCall)
    return bytes(counts)


CHOICE = "4885ff 7402 90 90 0f05"  # test rdi, rdi; jz over; nop; nop; over: syscall


def test_edges_tell_one_way_from_another_and_are_the_same_each_time(bench: Bench) -> None:
    taken, passed = edges(bench, CHOICE, rdi=0), edges(bench, CHOICE, rdi=1)
    assert taken != passed
    assert taken == edges(bench, CHOICE, rdi=0)


def test_edges_are_counted_and_never_fall_to_zero(bench: Bench) -> None:
    loop = "48ffcf 75fb 0f05"  # again: dec rdi; jnz again; syscall
    assert max(edges(bench, loop, rdi=200)) == 199
    assert max(edges(bench, loop, rdi=257)) == 1, "256 times round: over, and on at 1"


def test_a_budget_ends_where_edges_are_counted(bench: Bench) -> None:
    assert isinstance(bench.processor, UnicornProcessor)
    bench.processor.cover_edges()
    assert bench.enter("48ffc0 ebfb") == BudgetSpent()


def test_there_are_no_edges_where_unicorn_counts(plain_bench: Bench) -> None:
    assert isinstance(plain_bench.processor, UnicornProcessor)
    assert plain_bench.processor.cover_edges() is None


# Failures of this program


def test_what_a_callback_raises_is_raised(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_memory: PhysicalMemory, _address: int) -> PageState:
        raise ZeroDivisionError("a fault of ours")

    bench.put("48a100000030000000000f05")
    assert isinstance(bench.enter("0f05 488b042500502000 0f05"), SystemCall)
    with monkeypatch.context() as patched:
        patched.setattr(PhysicalMemory, "state", broken)
        with pytest.raises(ZeroDivisionError, match="a fault of ours"):
            bench.processor.resume()
    assert isinstance(bench.enter("0f05"), SystemCall)  # the processor can be used again


def test_a_keyboard_interrupt_in_a_callback_is_raised(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_code: bytes, _address: int, _size: int) -> list[int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(trapped, "trapped_offsets", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.enter("b905000000 0f05")


def test_memory_that_unicorn_was_not_given_kills_the_context_not_the_program(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_map, "direct_access", lambda _state: 7)  # claims that a hole is memory
    ended = bench.enter("488b042500502000 0f05")
    assert isinstance(ended, Died)
    assert "Unicorn" in ended.reason


def test_a_unicorn_that_does_not_reach_ring_3_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorn_unsafe, "USER_CODE", 0x33)
    with pytest.raises(EngineError, match="ring 3"):
        make_bench()


def test_a_unicorn_with_other_contexts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_context_words", lambda _self, _context: [0] * 100)
    with pytest.raises(EngineError, match="exception in flight"):
        make_bench()


# Parts


def test_page_map_says_what_the_machine_says(bench: Bench) -> None:
    ram = bench.memory.state(DATA).bank
    flash = Bank(0, PAGE_SIZE, "flash", backing=ram.backing if ram else None, writable=False)
    device = Bank(0, PAGE_SIZE, "device")
    for bank, number in product((ram, flash, device, None), range(16)):
        attributes = Attribute(sum(bit for i, bit in enumerate((0x2000, 0x4000, 0x20000, 0x40000)) if number >> i & 1))
        state = PageState(attributes, bank=bank)
        assert page_map.ring3_access(state) == state.ring3
        assert page_map.direct_access(state) == state.direct


@pytest.mark.parametrize(
    ("code", "offsets"),
    [
        ("90 48ffc0", []),
        ("ec", [0]),
        ("90 ec 90 cd80", [1, 3]),
        ("b8ececececc3".replace("c3", ""), []),  # the bytes of IN in an immediate
        ("0f01f9", [0]),
        ("f04889c3", [0]),  # LOCK where it is not allowed
        ("f0480107", []),  # and where it is
        ("8fe878ccc0f1", [0]),
        ("8f00 8f4010 8fc0", []),  # POP, not XOP
        ("c7f800000000 c6f801", [0, 6]),
        ("0faee8 f30faee8 0faef0 0faef8", [3]),  # among fences
    ],
)
def test_instructions_that_must_not_reach_the_emulator(code: str, offsets: list[int]) -> None:
    assert trapped_offsets(bytes.fromhex(code), 0x1000, len(bytes.fromhex(code))) == offsets


def test_only_the_block_is_searched_for_instructions_that_must_not_reach_the_emulator() -> None:
    code = bytes.fromhex("90 ec 90 ec")
    assert trapped_offsets(code, 0x1000, 3) == [1]
    assert trapped_offsets(bytes.fromhex("cc 8fe878cc c0f1"), 0x1000, 5) == [0, 1]  # the last begins in the block
    assert trapped_offsets(bytes.fromhex("cc 0f38f00425"), 0x1000, 6) == [0]  # no more bytes: nobody knows


def test_many_refused_instructions_and_stale_hooks(bench: Bench) -> None:
    """Code that changes under its hooks, again and again, at the same addresses."""
    for round_number in range(30):
        code = ["90"] * 16
        code[round_number % 16] = "ec"
        ended = bench.enter("".join(code) + "0f05")
        assert isinstance(ended, Fault)
        assert ended.rip == CODE + round_number % 16
        assert isinstance(bench.enter("90" * 16 + "0f05"), SystemCall)


def test_two_processors_share_the_memory(bench: Bench) -> None:
    other = UnicornProcessor(bench.memory, ProcessorOptions({}))
    bench.enter("0f05 488b042500202000 0f05")
    kept = bench.processor
    bench.memory.assign(ABSENT_PAGE, PAGE_SIZE, Attribute.XP)
    assert isinstance(kept.resume(), SystemCall)
    other.close()
    bench.memory.assign(ABSENT_PAGE, PAGE_SIZE, Attribute.RP)


def test_a_context_of_another_processor_is_refused(bench: Bench) -> None:
    bench.enter("0f05")
    kept = bench.processor.suspend()
    with pytest.raises(TypeError):
        bench.processor.restore(type(kept)(kept.registers, object()))
