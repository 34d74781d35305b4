"""What hostile ring-3 code gets from the host: nothing. Each attack runs in a worker; a crash of it is a finding."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from iced_x86 import Decoder

from mmsupervisor.processor.native import stub_image
from mmsupervisor.processor.native.layout import (
    CODE,
    CONTROL,
    FPSTATE,
    FRAME_WORDS,
    FRAMES,
    RIP,
    RSP,
    SEGMENTS,
    SIGNAL_MASK,
    TABLE,
    USER_SEGMENTS,
)
from tests.processor.conformance.machine import CODE as GUEST_CODE
from tests.processor.conformance.machine import DATA, STACK_END, WRITABLE_CODE
from tests.processor.native.conftest import Worker

SYSCALL = "0f05"
GP, PF, UD = 13, 14, 6


def harmless(answer: dict[str, Any]) -> dict[str, Any]:
    """Hold that the attack left nothing behind."""
    assert answer["usable"], answer
    assert answer["mappings"] == []
    assert answer["descriptors"] == []
    assert answer["kinds"]
    return answer


# System calls


NUMBERS = {
    "read": 0,
    "open": 2,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "rt_sigreturn": 15,
    "getpid": 39,
    "clone": 56,
    "execve": 59,
    "exit": 60,
    "kill": 62,
    "ptrace": 101,
    "prctl": 157,
    "arch_prctl": 158,
    "exit_group": 231,
    "seccomp": 317,
    "process_vm_writev": 311,
    "x32 getpid": 0x4000_0000 + 39,
    "none": 0xFFFF_FFFF_FFFF_FFFF,
    "upper half": 0x1234_5678_0000_0003,
    "the stub's own": 0x7F00_0001,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_no_system_call_reaches_the_host(worker: Worker, name: str) -> None:
    registers = {"rax": NUMBERS[name], "rdi": DATA, "rsi": 0x1000, "rdx": 7}
    answer = harmless(worker.attack(SYSCALL, registers=registers))
    assert answer["kinds"] == ["SystemCall"]
    assert answer["numbers"] == [NUMBERS[name]]


def test_without_the_filter_of_ring_3_the_same_attack_is_noticed() -> None:
    weak = Worker("ring3-filter")
    try:
        answer = weak.attack("b827000000 0f05 f4", plain=True)  # mov eax, getpid; syscall; hlt
        assert answer["kinds"] == ["Fault"]
        assert answer["rax"] not in (0, NUMBERS["getpid"])  # a process number: the host has served it
    finally:
        weak.close()


@pytest.mark.parametrize(
    ("number", "at"), [(1, GUEST_CODE), (20, GUEST_CODE), (1, WRITABLE_CODE), (173, WRITABLE_CODE)]
)
def test_int_80_is_a_fault(worker: Worker, number: int, at: int) -> None:
    """On a page that ring 3 writes nothing is replaced: there the host's kernel sees it, and refuses."""
    answer = harmless(worker.attack("cd80", registers={"rax": number}, at=at))
    assert (answer["kinds"], answer["numbers"]) == (["Fault"], [GP])


@pytest.mark.parametrize("code", ["0f34", "0f35"])
@pytest.mark.parametrize("at", [GUEST_CODE, WRITABLE_CODE])
def test_sysenter_and_sysexit_are_faults(worker: Worker, code: str, at: int) -> None:
    answer = harmless(worker.attack(code, registers={"rax": 20}, at=at))
    assert answer["kinds"] == ["Fault"]


@pytest.mark.parametrize("offset", [0, 0x400, 0x800, 0x10])
def test_the_vsyscall_page_is_not_there(worker: Worker, offset: int) -> None:
    target = 0xFFFF_FFFF_FF60_0000 + offset
    answer = harmless(worker.attack("ffd0", registers={"rax": target, "rdi": DATA}))  # call rax
    assert (answer["kinds"], answer["numbers"]) == (["Fault"], [PF])


COMPATIBILITY = {
    "int 0x80": "b801000000 cd80 f4",
    "syscall": "b814000000 0f05 f4",
    "sysenter": "b814000000 89e5 0f34 f4",
    "hlt": "f4",
    "loop": "ebfe",
}


@pytest.mark.parametrize("name", COMPATIBILITY)
@pytest.mark.parametrize("selector", [0x23, 0x33])
def test_a_far_return_to_segments_of_the_host(worker: Worker, name: str, selector: int) -> None:
    """On a page that ring 3 writes: push selector; push target; retfq; and there 32-bit code."""
    target = WRITABLE_CODE + 0x40
    code = f"6a{selector:02x} 68{target.to_bytes(4, 'little').hex()} 48cb"
    memory = {str(target): COMPATIBILITY[name].replace(" ", "")}
    answer = harmless(worker.attack(code, at=WRITABLE_CODE, memory=memory))
    assert answer["kinds"][0] in ("Died", "Fault", "BudgetSpent", "SystemCall")
    if selector == 0x23:
        assert answer["kinds"] == ["BudgetSpent" if name == "loop" else "Died"] or answer["kinds"] == ["Died"]


def test_a_far_return_to_segments_of_the_host_where_code_is_surveyed(worker: Worker) -> None:
    answer = harmless(worker.attack("6a23 6800001000 48cb"))
    assert (answer["kinds"], answer["numbers"]) == (["Fault"], [GP])


# Memory of the host


@pytest.mark.parametrize(
    "address", [TABLE, 0x400000, 0x5555_5555_4000, 0x7FFF_FFFF_E000, 0x7FFF_F7FF_C000, 0xFFFF_FFFF_8100_0000]
)
@pytest.mark.parametrize("code", ["488b07", "488907", "ffe7"])
def test_nothing_of_a_process_is_mapped(worker: Worker, address: int, code: str) -> None:
    answer = harmless(worker.attack(code, registers={"rdi": address}))
    assert (answer["kinds"], answer["numbers"]) == (["Fault"], [PF])


def test_with_the_process_left_in_place_it_is_noticed() -> None:
    weak = Worker("unmapping")
    try:
        answer = weak.attack(SYSCALL)
        assert any("[stack]" in line for line in answer["mappings"])
    finally:
        weak.close()


def test_descriptors_left_open_are_noticed() -> None:
    weak = Worker("descriptors")
    try:
        assert weak.attack(SYSCALL)["descriptors"]
    finally:
        weak.close()


@pytest.mark.parametrize("address", [CODE, CONTROL])
def test_code_and_orders_of_the_stub_cannot_be_written(worker: Worker, address: int) -> None:
    answer = harmless(worker.attack("488907", registers={"rdi": address}))
    assert (answer["kinds"], answer["numbers"]) == (["Fault"], [PF])


def test_memory_below_the_stack_does_not_grow(worker: Worker) -> None:
    answer = harmless(worker.attack("50 ebfd", registers={"rsp": DATA + 0x40}))  # loop: push rax; jmp loop
    assert answer["kinds"] == ["Fault"]


# Into the stub


def _offsets() -> list[int]:
    """Return where each instruction of the stub begins."""
    return [instruction.ip for instruction in Decoder(64, stub_image.CODE_BYTES, ip=0)]


ORDER_TABLE = stub_image.order(9, 0x7000_0000, 0x1000, 7, 0x32, 0xFFFF_FFFF_FFFF_FFFF, 0)
"""An order to map memory, as ring 3 would like to give it."""


@pytest.mark.parametrize("offset", _offsets())
def test_a_jump_to_any_instruction_of_the_stub(worker: Worker, offset: int) -> None:
    registers = {
        "rax": 9,
        "rdi": 0x7000_0000,
        "rsi": 0x1000,
        "rdx": 7,
        "r10": 0x32,
        "r8": 0xFFFF_FFFF_FFFF_FFFF,
        "rbx": DATA,
        "rbp": 1,
        "r15": CODE + offset,
    }
    answer = harmless(
        worker.attack("41ffe7", registers=registers, memory={str(DATA): ORDER_TABLE.hex()}, goes_on=True)  # jmp r15
    )
    assert answer["kinds"][-1] in ("Fault", "Died", "BudgetSpent"), answer["exits"]


def forged_frame(rip: int, *, segments: int = USER_SEGMENTS, mask: int = 0) -> bytes:
    """Return a signal frame made by ring 3 (its words from the ``ucontext`` on)."""
    words = [0] * FRAME_WORDS
    words[RIP], words[RSP], words[SEGMENTS], words[SIGNAL_MASK] = rip, STACK_END - 0x100, segments, mask
    words[0] = 6
    words[FPSTATE] = 0
    return struct.pack(f"<{FRAME_WORDS}Q", *words)


EVERYTHING = 0xFFFF_FFFF_FFFF_FFFF
AFTER_FORGERY = {"loop": "ebfe", "fault": "f4", "system call": "b83c000000 0f05"}
ENDS = {
    "loop": "does not give the processor back; it was killed",
    "fault": "ended by SIGSEGV",
    "system call": "ended by SIGSYS",
}
HANDLERS_RETURN = CODE + 0x9D
"""Address of the handler's ``mov eax, 15``; behind it is the system call that returns from the signal."""


def forgery(name: str, *, from_stub_frames: bool) -> dict[str, Any]:
    """Return an attack: to jump to the handler's return with RSP at a frame of one's own, all signals blocked in it."""
    target = GUEST_CODE + 0x200  # on a page that ring 3 has already run on: no fetch has to fault first
    memory = {str(DATA): forged_frame(target, mask=EVERYTHING).hex(), str(target): AFTER_FORGERY[name].replace(" ", "")}
    code = f"48b8{HANDLERS_RETURN.to_bytes(8, 'little').hex()} ffe0"  # mov rax, HANDLERS_RETURN; jmp rax
    if from_stub_frames:
        copy = f"b9{FRAME_WORDS:02x}000000 48bf{(FRAMES + 0x1000).to_bytes(8, 'little').hex()} f348a5"  # rep movsq
        code = copy + f"48bc{(FRAMES + 0x1000).to_bytes(8, 'little').hex()}" + code
    return {"code": code, "memory": memory, "registers": {"rsp": DATA, "rsi": DATA}}


@pytest.mark.parametrize("name", AFTER_FORGERY)
@pytest.mark.parametrize("from_stub_frames", [False, True])
def test_a_forged_frame_that_blocks_all_signals(worker: Worker, name: str, from_stub_frames: bool) -> None:
    """The handler's system call names the frame, which is not in its place."""
    answer = harmless(worker.attack(**forgery(name, from_stub_frames=from_stub_frames)))
    assert answer["kinds"] == ["Died"], answer["exits"]


@pytest.mark.parametrize("name", AFTER_FORGERY)
@pytest.mark.parametrize("from_stub_frames", [False, True])
def test_a_forged_frame_beside_the_true_one(worker: Worker, name: str, from_stub_frames: bool) -> None:
    """Ring 3 claims the right place and loses its handler, not we our grip: what it does next kills it."""
    answer = harmless(
        worker.attack(**forgery(name, from_stub_frames=from_stub_frames), claims_place=True, goes_on="always")
    )
    assert answer["kinds"] == ["SystemCall", "Died"], answer["exits"]  # the frame still tells the call before
    assert ENDS[name] in answer["exits"][1]


def test_a_signal_while_ring_3_returns_from_one_that_never_was(worker: Worker) -> None:
    """The timer may interrupt the forged return before we hear of it: then ring 3 is where it must not be."""
    attack = forgery("loop", from_stub_frames=False)
    for _ in range(20):
        answer = harmless(worker.attack(**attack, budget=1_000_000))
        assert answer["kinds"] in (["Died"], ["Fault"], ["BudgetSpent"])
        if answer["kinds"] == ["Fault"]:
            assert answer["numbers"] == [PF]
            assert any(f"address={HANDLERS_RETURN + offset}," in answer["exits"][0] for offset in (0, 5, 7))


def test_a_forged_frame_with_another_code_segment(worker: Worker) -> None:
    frame = forged_frame(WRITABLE_CODE + 0x200, segments=0x23 | 0x2B << 48)
    memory = {str(DATA): frame.hex(), str(WRITABLE_CODE + 0x200): "cd80"}
    attack = f"48b8{HANDLERS_RETURN.to_bytes(8, 'little').hex()} ffe0"
    assert harmless(worker.attack(attack, memory=memory, registers={"rsp": DATA}))["kinds"] == ["Died"]


# Time


def test_an_endless_loop_ends(worker: Worker) -> None:
    assert harmless(worker.attack("ebfe"))["kinds"] == ["BudgetSpent"]


@pytest.mark.parametrize("code", ["0f31", "0f01f9"])
def test_the_timestamp_is_kept_from_code_that_nobody_surveyed(worker: Worker, code: str) -> None:
    """On a page that ring 3 writes, the instruction itself is made a moment before it runs."""
    # mov byte [rip + 0], 0x0f; then the rest of the instruction
    patched = f"c60500000000{code[:2]} 90{code[2:]}"
    answer = harmless(worker.attack(patched, at=WRITABLE_CODE))
    assert answer["kinds"] == ["TimestampRead"]


# State that the host's processor would keep


@pytest.mark.parametrize(("write", "name"), [("f3480faed0", "fs"), ("f3480faed8", "gs")])
def test_segment_bases_do_not_outlive_an_exit(worker: Worker, write: str, name: str) -> None:
    """Written on a page where nothing is replaced; after the next exit the base is zero again."""
    prefix = {"fs": "64", "gs": "65"}[name]
    code = f"b8{DATA.to_bytes(4, 'little').hex()} {write} 0f05 {prefix}488b042500401000 0f05"
    answer = harmless(
        worker.attack(
            code, at=WRITABLE_CODE, goes_on=True, memory={str(DATA): "11" * 8, str(2 * DATA - 0x8000): "22" * 8}
        )
    )
    assert answer["kinds"][0] in ("SystemCall", "Fault")
    if answer["kinds"][0] == "SystemCall":
        assert answer["numbers"][1] == 0x1111_1111_1111_1111


@pytest.mark.parametrize("rsp", [0, 8, 0x8000_0000_0000_0000, FRAMES + 0x4000, FRAMES + 0x7480, CONTROL])
@pytest.mark.parametrize("code", ["f4", "0f05", "50"])
def test_any_stack_pointer(worker: Worker, rsp: int, code: str) -> None:
    answer = harmless(worker.attack(code, registers={"rsp": rsp}))
    assert answer["kinds"][0] in ("Fault", "SystemCall")


@pytest.mark.parametrize("code", ["9c 810c2400010000 9d 0f05", "9c 810c2400010000 9d f4", "9c 810c2400010000 9d cd80"])
def test_single_steps_into_the_kernel(worker: Worker, code: str) -> None:
    assert harmless(worker.attack(code, at=WRITABLE_CODE))["kinds"][0] in ("Fault", "SystemCall")


HOST_ONLY = {
    "rdrand": "480fc7f0",
    "xgetbv": "0f01d0",
    "cpuid": "0fa2",
    "clzero": "0f01fc",
    "monitorx": "0f01fa",
    "mwaitx": "0f01fb",
    "rdpru": "0f01fd",
    "vmmcall": "0f01d9",
    "vmcall": "0f01c1",
    "wrpkru": "0f01ef",
    "lar": "0f02c0",
    "sgdt": "0f0107",
    "xsave": "480fae27",
    "split lock": "f048ff4707",
    "umwait": "f20faef0",
    "enqcmd": "f20f38f807",
    "invlpgb": "0f01fe",
}


@pytest.mark.parametrize("name", HOST_ONLY)
def test_instructions_that_the_host_executes_do_no_harm_unsurveyed(worker: Worker, name: str) -> None:
    registers = {"rdi": DATA + 0x1038, "rax": 0, "rcx": 0}
    answer = harmless(worker.attack(HOST_ONLY[name] + "0f05", at=WRITABLE_CODE, registers=registers))
    assert answer["kinds"][0] in ("Fault", "SystemCall")
