"""What ring 3 may not do, and what exceptions look like: each twice in a row, with nothing changed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mmsupervisor.machine.memory import Access
from mmsupervisor.processor.cpuid import intel_cpuid
from mmsupervisor.processor.interface import Fault, ProcessorOptions, Registers, SystemCall
from tests.processor.conformance.conftest import MakeBench
from tests.processor.conformance.machine import CODE, DATA, READ_ONLY, STACK_END, SUPERVISOR_PAGE, WRITABLE_CODE, Bench

DE, DB, UD, SS, GP, MF = 0, 1, 6, 12, 13, 16
NON_CANONICAL = 0x8000_0000_0000_0000


@dataclass(frozen=True)
class Case:
    """One instruction and its exception; every register is zero but RSP, and those in ``registers``."""

    name: str
    code: str
    vector: int
    error_code: int | None
    registers: dict[str, int]


def case(name: str, code: str, vector: int, error_code: int | None = None, **registers: int) -> Case:
    if error_code is None and vector in (SS, GP):
        error_code = 0
    return Case(name, code, vector, error_code, registers)


PRIVILEGED = [
    case("hlt", "f4", GP),
    case("cli", "fa", GP),
    case("sti", "fb", GP),
    case("invd", "0f08", GP),
    case("wbinvd", "0f09", GP),
    case("wbnoinvd", "f30f09", GP),  # WBINVD where CPUID does not announce it
    case("rdmsr", "0f32", GP, rcx=0x1B),
    case("wrmsr", "0f30", GP, rcx=0x1B),
    case("rdmsr of a register there is not", "0f32", GP, rcx=0xFFFF_FFFF),
    case("mov rax, cr0", "0f20c0", GP),
    case("mov rax, cr2", "0f20d0", GP),
    case("mov rax, cr3", "0f20d8", GP),
    case("mov rax, cr4", "0f20e0", GP),
    case("mov rax, cr8", "440f20c0", GP),
    case("mov cr0, rax", "0f22c0", GP),
    case("mov cr3, rax", "0f22d8", GP),
    case("mov cr4, rax", "0f22e0", GP),
    case("mov cr8, rax", "440f22c0", GP),
    case("mov rax, dr0", "0f21c0", GP),
    case("mov rax, dr7", "0f21f8", GP),
    case("mov dr0, rax", "0f23c0", GP),
    case("mov dr7, rax", "0f23f8", GP),
    case("lgdt", "0f0117", GP, rdi=DATA),
    case("lidt", "0f011f", GP, rdi=DATA),
    case("lldt", "0f00d0", GP),
    case("ltr", "0f00d8", GP),
    case("lmsw", "0f01f0", GP),
    case("clts", "0f06", GP),
    case("invlpg", "0f013f", GP, rdi=DATA),
    case("swapgs", "0f01f8", GP),
    case("sysret", "480f07", GP),
    case("sysret to 32-bit code", "0f07", GP),
    case("rsm", "0faa", GP),
    case("rdpmc", "0f33", GP),
]
PORTS = [
    case("in al, imm8", "e470", GP),
    case("in eax, imm8", "e570", GP),
    case("in ax, imm8", "66e570", GP),
    case("in al, dx", "ec", GP, rdx=0x70),
    case("in eax, dx", "ed", GP, rdx=0xCF8),
    case("in ax, dx", "66ed", GP, rdx=0x70),
    case("out imm8, al", "e6b2", GP),
    case("out imm8, eax", "e7b2", GP),
    case("out dx, al", "ee", GP, rdx=0xB2),
    case("out dx, eax", "ef", GP, rdx=0xCF8),
    case("out dx, ax", "66ef", GP, rdx=0xB2),
    case("insb", "6c", GP, rdx=0x70, rdi=DATA),
    case("insw", "666d", GP, rdx=0x70, rdi=DATA),
    case("insd", "6d", GP, rdx=0x70, rdi=DATA),
    case("rep insb", "f36c", GP, rdx=0x70, rdi=DATA, rcx=9),
    case("insb to a page that cannot be written", "6c", GP, rdx=0x70, rdi=READ_ONLY),
    case("outsb", "6e", GP, rdx=0x70, rsi=DATA),
    case("outsw", "666f", GP, rdx=0x70, rsi=DATA),
    case("outsd", "6f", GP, rdx=0x70, rsi=DATA),
    case("rep outsd", "f36f", GP, rdx=0x70, rsi=DATA, rcx=9),
]
UMIP = [
    case("sgdt", "0f0107", GP, rdi=DATA),
    case("sidt", "0f010f", GP, rdi=DATA),
    case("sldt memory", "0f0007", GP, rdi=DATA),
    case("sldt eax", "0f00c0", GP),
    case("str memory", "0f000f", GP, rdi=DATA),
    case("str rax", "480f00c8", GP),
    case("smsw memory", "0f0127", GP, rdi=DATA),
    case("smsw eax", "0f01e0", GP),
]
BIT_TESTS = {"bt": "a3", "bts": "ab", "btr": "b3", "btc": "bb"}
ABSENT = [
    case("ud2", "0f0b", UD),
    case("ud1", "0fb9c0", UD),
    case("ud0", "0fffc0", UD),
    case("an opcode that is gone in 64-bit mode", "06", UD),
    case("into", "ce", UD),
    case("lock on an instruction without it", "f04889c3", UD),
    *(case(f"lock {name} eax, ecx", f"f00f{code}c8", UD) for name, code in BIT_TESTS.items()),
    *(
        case(f"lock {name} eax, ecx after more prefixes", f"2ef06648f2490f{code}c8", UD)
        for name, code in BIT_TESTS.items()
    ),
    *(case(f"lock bit test {number} of eax, 9", f"f00fba{0xC0 | number << 3:02x}09", UD) for number in range(8)),
    case("sha1rnds4", "0f3accc100", UD),
    case("movbe eax, [0xcc]", "0f38f00425cc000000", UD),
    case("movbe eax, [rdi] of 16 bits", "660f38f007", UD),
    case("an xop instruction", "8fe878ccc0f1", UD),
    case("xbegin", "c7f800000000", UD),
    case("xabort", "c6f801", UD),
    case("umwait", "f20faef0", UD),
    case("incsspq", "f3480faee8", UD),
    case("xgetbv", "0f01d0", UD),
    case("xsetbv", "0f01d1", UD),
    case("xsave", "0fae27", UD, rdi=DATA),
    case("xrstor", "0fae2f", UD, rdi=DATA),
    case("vzeroupper", "c5f877", UD),
    case("vzeroupper in three bytes of prefix", "c4e17877", UD),
    case("vzeroall", "c5fc77", UD),
    case("vaddps", "c5fc58c0", UD),
    case("vpaddd zmm", "62f17d48fec0", UD),
    case("rdfsbase", "f3480faec0", UD),
    case("rdgsbase", "f3480faec8", UD),
    case("wrfsbase", "f3480faed0", UD),
    case("wrgsbase", "f3480faed8", UD),
    case("rdrand", "480fc7f0", UD),
    case("rdseed", "480fc7f8", UD),
    case("monitor", "0f01c8", UD),
    case("mwait", "0f01c9", UD),
    case("clac", "0f01ca", UD),
    case("stac", "0f01cb", UD),
    case("vmcall", "0f01c1", UD),
    case("vmmcall", "0f01d9", UD),
    case("vmrun", "0f01d8", UD),
    case("vmxoff", "0f01c4", UD),
    case("getsec", "0f37", UD),
    case("enclu", "0f01d7", UD),
    case("rdpid", "f30fc7f8", UD),
    case("sysenter, which AMD lacks in 64-bit mode", "0f34", UD),
    case("sysexit, which AMD lacks in 64-bit mode", "0f35", UD),
]
EXCEPTIONS = [
    case("div by zero", "48f7f1", DE),
    case("idiv overflow", "48f7f9", DE, rax=0, rdx=0x8000_0000_0000_0000, rcx=1),
    case("div overflow of a byte", "f6f1", DE, rax=0x200, rcx=1),
    case("icebp", "f1", DB),
    case("int3", "cc", GP, 3 << 3 | 2),
    case("an instruction of 16 bytes", "66" * 15 + "90", GP),
    case("read of a non-canonical address", "488b07", GP, rdi=NON_CANONICAL),
    case("write to a non-canonical address", "488907", GP, rdi=0x8000_0000_0000),
    case("read across the end of the canonical half", "488b07", GP, rdi=0x7FFF_FFFF_FFFC),
    case("read of the page below the upper half", "488b07", GP, rdi=0xFFFF_7FFF_FFFF_FFF0),
    case("push to a non-canonical stack", "50", SS, rsp=NON_CANONICAL),
    case("pop from a non-canonical stack", "58", SS, rsp=NON_CANONICAL),
    case("call with a non-canonical stack", "e800000000", SS, rsp=NON_CANONICAL),
    case("read through rbp of a non-canonical address", "488b4500", SS, rbp=NON_CANONICAL),
    case("movs from a non-canonical address", "a4", GP, rsi=NON_CANONICAL, rdi=DATA),
    case("jump to a non-canonical stack's content", "ff27", GP, rdi=NON_CANONICAL),
    case("mov ds, selector of ring 0", "8ed8", GP, 0x20, rax=0x20),
    case("mov ds, selector beyond the table", "8ed8", GP, 0x1238, rax=0x1238),
    case("mov ss, selector of ring 0", "8ed0", GP, 0x40, rax=0x40),
    case("mov ss, null", "8ed0", GP, 0, rax=0),
    case("mov fs, the call gate", "8ee0", GP, 0x60, rax=0x63),
    case("mov cs, ax", "8ec8", UD),
    case("iretq with a frame of zeros", "48cf", GP),
    case("cmpxchg16b of an address that is not aligned", "480fc70f", GP, rdi=DATA + 8),
    case("jump to a non-canonical address", "ffe0", GP, rax=NON_CANONICAL),
    case("jump to a non-canonical address from memory", "ff27", GP, rdi=DATA + 0x80),
    case("call of a non-canonical address", "ffd0", GP, rax=NON_CANONICAL),
    case("call of a non-canonical address from memory", "41ff5140", GP, r9=DATA + 0x40),
    case("return to a non-canonical address", "c3", GP, rsp=DATA + 0x80),
    case("return to a non-canonical address, releasing", "c22000", GP, rsp=DATA + 0x80),
]
# Code, registers with which its operand is not aligned, and registers with which it is.
ASKEW: dict[str, tuple[str, dict[str, int], dict[str, int]]] = {
    "movaps from memory": ("0f2807", {"rdi": DATA + 8}, {"rdi": DATA}),
    "movaps to memory": ("0f2907", {"rdi": DATA + 15}, {"rdi": DATA + 16}),
    "movaps by two registers": ("440f294c87f8", {"rdi": DATA, "rax": 0x11}, {"rdi": DATA, "rax": 0x12}),
    "movaps by an index alone": ("0f28044510000000", {"rax": DATA // 2 + 1}, {"rax": DATA // 2 + 8}),
    "movaps by a 32-bit address": ("670f2807", {"rdi": DATA + 4}, {"rdi": 1 << 32 | DATA}),
    "movaps on the stack": ("0f290424", {"rsp": STACK_END - 0x18}, {"rsp": STACK_END - 0x20}),
    "movdqa": ("660f6f07", {"rdi": DATA + 1}, {"rdi": DATA}),
    "movntdq": ("660fe707", {"rdi": DATA + 1}, {"rdi": DATA}),
    "addps": ("0f5807", {"rdi": DATA + 4}, {"rdi": DATA}),
    "pand": ("660fdb07", {"rdi": DATA + 4}, {"rdi": DATA}),
    "pshufb": ("660f380007", {"rdi": DATA + 4}, {"rdi": DATA}),
    "palignr": ("660f3a0f0701", {"rdi": DATA + 4}, {"rdi": DATA}),
    "cvtps2dq": ("660f5b07", {"rdi": DATA + 4}, {"rdi": DATA}),
}
UNALIGNED = [
    *(case(name, code, GP, **registers) for name, (code, registers, _) in ASKEW.items()),
    case("movaps relative to rip", "0f28052a000000", GP),
    case("movaps in a page that may not be read", "0f2807", GP, rdi=SUPERVISOR_PAGE + 8),
]
SOFTWARE_INTERRUPTS = [case(f"int {number:#x}", f"cd{number:02x}", GP, number << 3 | 2) for number in range(256)]


@pytest.mark.parametrize(
    "what",
    PRIVILEGED + PORTS + UMIP + ABSENT + EXCEPTIONS + UNALIGNED + SOFTWARE_INTERRUPTS,
    ids=lambda what: what.name,
)
def test_exception_twice_in_a_row_and_without_effect(bench: Bench, what: Case) -> None:
    pattern = bytes(range(256)) * 16
    bench.memory.write(DATA, pattern[:0x1000])
    bench.memory.fill(STACK_END - 0x18, 0x18, 0)
    before_data = bench.memory.read(DATA, 0x1000)
    ended = bench.run("90" + what.code, **what.registers)
    expected = Registers(**{"rsp": STACK_END - 0x18, "rip": CODE + 1, **what.registers})
    for _ in range(2):
        assert isinstance(ended, Fault)
        assert (ended.vector, ended.error_code, ended.rip) == (what.vector, what.error_code, CODE + 1)
        assert (ended.address, ended.access) == (None, Access.NONE)
        assert ended.instruction.startswith(bytes.fromhex(what.code)[:15])
        assert bench.registers == expected
        assert bench.memory.read(DATA, 0x1000) == before_data
        ended = bench.processor.resume()


@pytest.mark.parametrize("name", ASKEW)
def test_aligned_operands(bench: Bench, name: str) -> None:
    code, _, registers = ASKEW[name]
    assert isinstance(bench.run(code + "0f05", **registers), SystemCall)


@pytest.mark.parametrize("code", ["0f1007", "0f1107", "f30f6f07", "f20ff007", "660f3a630700", "f30f5807", "0f1207"])
def test_operands_that_need_not_be_aligned(bench: Bench, code: str) -> None:
    """Movups twice, movdqu, lddqu, pcmpistri, addss, movlps."""
    assert isinstance(bench.run(code + "0f05", rdi=DATA + 3), SystemCall)


def test_alignment_is_that_of_the_code_that_is_there_now(bench: Bench) -> None:
    for code, at, faults in (("0f2807", 8, True), ("0f2806", 8, False), ("0f1007", 8, False), ("0f2807", 0, False)):
        ended = bench.run(code + "0f05", at=WRITABLE_CODE, rdi=DATA + at, rsi=DATA)
        assert isinstance(ended, Fault if faults else SystemCall), (code, at)


def test_many_exceptions_in_a_row_and_then_ordinary_code(bench: Bench) -> None:
    for _ in range(50):
        assert isinstance(bench.enter("f4"), Fault)
        assert isinstance(bench.enter("31c9 f7f1"), Fault)
    call = bench.enter("b805000000 0f05")
    assert isinstance(call, SystemCall)
    assert call.number == 5


def test_an_exception_can_be_repaired_and_resumed(bench: Bench) -> None:
    ended = bench.run("48f7f1 0f05", rax=100, rcx=0)  # div rcx; syscall
    assert isinstance(ended, Fault)
    bench.processor.set_registers(Registers(rax=100, rcx=7, rsp=STACK_END - 0x18, rip=CODE))
    call = bench.processor.resume()
    assert isinstance(call, SystemCall)
    assert (call.number, call.arguments[0]) == (14, 2)


def test_x87_exception_is_reported_at_the_next_waiting_instruction(bench: Bench) -> None:
    # fninit; push 0x37b; fldcw [rsp]; fld1; fldz; fdivp; fwait
    ended = bench.enter("dbe3 687b030000 d92c24 d9e8 d9ee def9 9b")
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code, ended.rip) == (MF, None, CODE + 16)


def test_single_step_trap_comes_after_the_instruction(bench: Bench) -> None:
    # pushfq; or dword [rsp], 0x100; popfq; nop; nop
    ended = bench.enter("9c 810c2400010000 9d 90 90")
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code) == (DB, None)
    assert ended.rip == CODE + 10


def test_interrupt_flag_cannot_be_set(bench: Bench) -> None:
    call = bench.enter("6802320000 9d 9c 5a 0f05")  # push 0x3202; popfq; pushfq; pop rdx; syscall
    assert isinstance(call, SystemCall)
    assert call.arguments[0] & 0x3200 == 0


def test_alignment_check_is_not_raised(bench: Bench) -> None:
    # pushfq; or dword [rsp], 0x40000; popfq; mov eax, [DATA + 1]; syscall: CR0.AM is off
    assert isinstance(bench.enter("9c 810c2400000400 9d 8b042501401000 0f05"), SystemCall)


@pytest.mark.parametrize("code", ["0f34", "0f35"])
def test_sysenter_and_sysexit_on_intel(make_bench: MakeBench, code: str) -> None:
    bench = make_bench(ProcessorOptions(intel_cpuid(39), budget=1000))
    ended = bench.enter(code)
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code) == (GP, 0)


def test_selectors_that_ring_3_may_load(bench: Bench) -> None:
    # mov eax, 0x53; mov ds, eax; mov eax, 0x5b; mov es, eax; xor eax, eax; mov fs, eax; mov edx, ds; syscall
    call = bench.enter("b853000000 8ed8 b85b000000 8ec0 31c0 8ee0 8cda 0f05")
    assert isinstance(call, SystemCall)
    assert call.arguments[0] == 0x53


def test_selectors_of_ring_3_are_the_machines(bench: Bench) -> None:
    call = bench.enter("8cc8 8cd2 418cd8 0f05")  # mov eax, cs; mov edx, ss; mov r8d, ds
    assert isinstance(call, SystemCall)
    assert (call.number, call.arguments[0], call.arguments[1]) == (0x5B, 0x53, 0x53)


def test_the_descriptor_table_itself_cannot_be_read(bench: Bench) -> None:
    # lar reads a descriptor for the processor; the same page is closed to loads of ring 3
    call = bench.enter("b853000000 0f02d0 0f05")  # mov eax, 0x53; lar edx, eax; syscall
    assert isinstance(call, SystemCall)
    assert call.arguments[0] & 0xF0FF00 == 0xC0F300
    ended = bench.run("b853000000 0f02d0 488b07", rdi=1 << 51)
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.error_code) == (GP, 0)
