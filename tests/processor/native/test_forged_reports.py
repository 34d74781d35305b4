"""Ring 3 that makes up what the kernel would say of it: the supervisor believes nothing that it could not bear.

Ring 3 can write the area where the kernel leaves its registers, and can jump to the handler's last instructions. So it
can report whatever it likes, in the right place, in a frame that looks sound. It may harm itself by that, nobody else:
the supervisor must neither fail nor wait for ever, and the next entry finds everything in order.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import pytest

from mmsupervisor.processor.native.layout import (
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    CALL_NUMBER,
    CODE,
    CONTROL,
    CR2,
    ERROR_CODE,
    FLAGS,
    FPSTATE,
    FRAME_WORDS,
    FRAMES,
    R8,
    RDX,
    RIP,
    RSP,
    SEGMENTS,
    SIGNAL_MASK,
    SIGNAL_NUMBER,
    USER_SEGMENTS,
    VECTOR,
    VSYSCALL,
)
from tests.processor.conformance.machine import CODE as GUEST_CODE
from tests.processor.conformance.machine import DATA, DEVICE, FLASH, STACK_END, TOP, WRITABLE_CODE
from tests.processor.native.conftest import Worker
from tests.processor.native.test_containment import harmless

HANDLERS_RETURN = CODE + 0x9D
JUMP_TO_IT = f"48b8{HANDLERS_RETURN.to_bytes(8, 'little').hex()} ffe0"  # mov rax, HANDLERS_RETURN; jmp rax
WITH_THE_TRUE_FRAME = f"4c89f4 4c89f2 {JUMP_TO_IT}"  # mov rsp, r14; mov rdx, r14
COPIED = ((R8, FLAGS + 1), (ERROR_CODE, CR2 + 1), (SIGNAL_MASK + 1, FRAME_WORDS))
"""Words that ring 3 makes up; what lies between them has to be as it was, or the report is not sound."""

SIGALRM, SIGSEGV, SIGSYS = 14, 11, 31
LAST = (1 << 64) - 1
TARGET = GUEST_CODE + 0x200


def copying() -> str:
    """Return code that copies the made-up words over the true ones; R14 says where those are."""
    code = ""
    for first, end in COPIED:
        code += f"498dbe{(8 * first).to_bytes(4, 'little').hex()}"  # lea rdi, [r14 + ...]
        code += f"be{(DATA + 8 * first).to_bytes(4, 'little').hex()}"  # mov esi, ...
        code += f"b9{(end - first).to_bytes(4, 'little').hex()} f348a5"  # mov ecx, ...; rep movsq
    return code


def report(words: dict[int, int]) -> dict[str, Any]:
    """Return an attack that reports these words."""
    made_up = [0] * FRAME_WORDS
    made_up[RSP] = STACK_END - 0x100
    for index, value in words.items():
        made_up[index] = value & LAST
    return {
        "code": copying() + WITH_THE_TRUE_FRAME,
        "memory": {str(DATA): struct.pack(f"<{FRAME_WORDS}Q", *made_up).hex(), str(TARGET): "0f05"},
        "claims_place": True,
        "goes_on": True,
    }


STRANGE_ADDRESSES = (
    0,
    1,
    2,
    LAST,
    LAST - 1,
    1 << 63,
    (1 << 47) - 1,
    VSYSCALL,
    CODE,
    FRAMES + 0x7FFF,
    TOP + 0xFFF,
    DEVICE,
)

CLAIMS = {
    "a 32-bit call": {SIGNAL_NUMBER: SIGSYS, CALL_NUMBER: AUDIT_ARCH_I386 << 32 | 1},
    "a call": {SIGNAL_NUMBER: SIGSYS, CALL_NUMBER: AUDIT_ARCH_X86_64 << 32 | 39},
    "a call of another machine": {SIGNAL_NUMBER: SIGSYS, CALL_NUMBER: 0xB7 << 32},
    "a breakpoint": {SIGNAL_NUMBER: 5, VECTOR: 3},
    "a step": {SIGNAL_NUMBER: 5, VECTOR: 1},
    "a protection fault": {SIGNAL_NUMBER: SIGSEGV, VECTOR: 13, ERROR_CODE: LAST},
    "a page fault": {SIGNAL_NUMBER: SIGSEGV, VECTOR: 14, ERROR_CODE: 6},
    "a fetch": {SIGNAL_NUMBER: SIGSEGV, VECTOR: 14, ERROR_CODE: 0x14},
    "no exception there is": {SIGNAL_NUMBER: SIGSEGV, VECTOR: LAST, ERROR_CODE: LAST},
    "no signal there is": {SIGNAL_NUMBER: 0xFFFF_FFFF},
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("rip", STRANGE_ADDRESSES, ids=hex)
def test_any_report_from_anywhere(worker: Worker, claim: str, rip: int) -> None:
    for address in (0, LAST, 1 << 63, DATA):
        harmless(worker.attack(**report({**CLAIMS[claim], RIP: rip, CR2: address})))


def test_a_report_that_is_made_up_is_what_the_supervisor_sees(worker: Worker) -> None:
    """Else none of these attacks would get anywhere."""
    words = {SIGNAL_NUMBER: SIGSEGV, VECTOR: 14, ERROR_CODE: 6, CR2: 0x1234_5000, RIP: TARGET}
    answer = harmless(worker.attack(**report(words)))
    assert (answer["kinds"], answer["numbers"]) == (["Fault"], [14])
    assert f"address={0x1234_5000}" in answer["exits"][0]


UNSOUND = {
    "flags of the frame": (0, 0),
    "stack for signals": (2, DATA),
    "no stack for signals": (3, 2),
    "32-bit code": (SEGMENTS, 0x23 | 0x2B << 48),
    "another stack segment": (SEGMENTS, 0x33 | 0x53 << 48),
    "extended state elsewhere": (FPSTATE, DATA),
    "one signal blocked": (SIGNAL_MASK, 1 << SIGALRM - 1),
    "all signals blocked": (SIGNAL_MASK, LAST),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_a_report_that_the_kernel_cannot_have_made(worker: Worker, what: str) -> None:
    """Ring 3 must not go on by it: it could block the signals that take the processor from it."""
    index, value = UNSOUND[what]
    attack = report({SIGNAL_NUMBER: SIGSYS, CALL_NUMBER: AUDIT_ARCH_X86_64 << 32 | 39, RIP: TARGET})
    assert harmless(worker.attack(**attack))["kinds"][0] == "SystemCall"
    put = f"48b8{value.to_bytes(8, 'little').hex()} 498986{(8 * index).to_bytes(4, 'little').hex()}"  # into the frame
    attack["code"] = copying() + put + WITH_THE_TRUE_FRAME
    answer = harmless(worker.attack(**attack))
    assert answer["kinds"] == ["Died"]
    assert "forged a report" in answer["exits"][0]


def test_reports_at_random(worker: Worker) -> None:
    random = Random(6)
    interesting = (*STRANGE_ADDRESSES, DATA, STACK_END, WRITABLE_CODE, FLASH, TARGET, CONTROL, 13, 14, SIGSYS, SIGSEGV)
    code = ("ff1c24", "0f05", "0fa2", "48cb", "8ed8", "f348a5", "8907", "660f6f07", "0f0107", "8f07", "ff6f08", "cd03")
    for _ in range(200):
        words = {
            index: random.choice(interesting) + random.choice((0, 0, 1, -1))
            for first, end in COPIED
            for index in range(first, end)
        }
        words |= random.choice(tuple(CLAIMS.values()))
        words[RIP] = random.choice((TARGET, TARGET, random.choice(interesting)))
        attack = report(words)
        attack["memory"][str(TARGET)] = random.choice(code) + random.choice(code)
        harmless(worker.attack(**attack))


def test_timers_without_end_that_never_ran_out(worker: Worker) -> None:
    """Each report says that a timer interrupted code which only reports the same again."""
    words = {SIGNAL_NUMBER: SIGALRM, RIP: TARGET}
    attack = report(words)
    attack["memory"][str(TARGET)] = f"49be{{place}} {WITH_THE_TRUE_FRAME}"  # mov r14, the true frame
    answer = harmless(worker.attack(**attack))
    # The true timer may interrupt it on its way through the stub, where it must not be.
    assert answer["kinds"] in (["BudgetSpent"], ["Fault"])
    if answer["kinds"] == ["Fault"]:
        assert any(f"address={HANDLERS_RETURN + offset}," in answer["exits"][0] for offset in (0, 5, 7))


def test_faults_without_end_that_the_supervisor_mends(worker: Worker) -> None:
    """Misaligned accesses with the flag that forbids them: each is let pass, none is told."""
    # loop: pushfq; or dword [rsp], 0x40000; popfq; mov eax, [DATA + 1]; jmp loop
    answer = harmless(worker.attack("9c 810c2400000400 9d 8b042501401000 ebee", budget=10_000))
    assert answer["kinds"] == ["BudgetSpent"]


# What the return from a signal that never was can change


def returning(words: dict[int, int], then: str = "0f05") -> dict[str, Any]:
    """Return an attack that returns by a frame of its own while the supervisor looks at the true one."""
    frame = [0] * FRAME_WORDS
    frame[RIP], frame[RSP], frame[SEGMENTS] = TARGET, STACK_END - 0x100, USER_SEGMENTS
    for index, value in words.items():
        frame[index] = value
    return {
        "code": JUMP_TO_IT,
        "memory": {str(DATA): struct.pack(f"<{FRAME_WORDS}Q", *frame).hex(), str(TARGET): then},
        "registers": {"rsp": DATA},
        "claims_place": True,
        "goes_on": "always",
    }


ALTERNATE_STACK = 2
"""Index of address, flags and size of the stack for signals."""

DISABLED = 2
STACKS = {
    "none": (0, DISABLED, 0),
    "over orders": (CONTROL, 0, 0x8000),
    "over the stub": (CODE, 0, 0x1000),
    "in the machine's memory": (DATA, 0, 0x8000),
    "over nothing": (0x4000_0000, 0, 0x8000),
    "of the kernel": (0xFFFF_8000_0000_0000, 0, 0x8000),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("rsp", [STACK_END - 0x100, CONTROL + 0x8000, 0x4000_0000, FRAMES + 0x4000])
def test_the_kernel_is_told_to_leave_registers_elsewhere(worker: Worker, name: str, rsp: int) -> None:
    """It leaves them nowhere but where ring 3 itself may write; the next report is then not in its place."""
    base, flags, size = STACKS[name]
    words = {ALTERNATE_STACK: base, ALTERNATE_STACK + 1: flags, ALTERNATE_STACK + 2: size, RSP: rsp}
    answer = harmless(worker.attack(**returning(words)))
    assert answer["kinds"][-1] == "Died"
    assert len(answer["kinds"]) <= 3


@pytest.mark.parametrize("state", [CODE, CONTROL, DATA, DATA + 8, FRAMES, LAST - 63, 0x4000_0000, VSYSCALL])
def test_an_extended_state_that_is_none(worker: Worker, state: int) -> None:
    """The kernel refuses it, and says so by a signal: ring 3 is then where the frame says, with a state of its own."""
    answer = harmless(worker.attack(**returning({FPSTATE: state, 0: 7})))
    assert set(answer["kinds"]) <= {"SystemCall", "Fault", "Died"}


@pytest.mark.parametrize("rip", [LAST, 1 << 63, (1 << 47) - 2, VSYSCALL, CODE + 0x32])
def test_a_return_to_an_address_that_is_none(worker: Worker, rip: int) -> None:
    answer = harmless(worker.attack(**returning({RIP: rip, RDX: 0})))
    assert answer["kinds"][-1] in ("Died", "Fault", "BudgetSpent")


@pytest.mark.parametrize("rights", [0xFFFF_FFFF, 0x5555_5555, 0xFFFF_FFFC])
def test_rights_by_key_are_taken_away(worker: Worker, rights: int) -> None:
    """WRPKRU, where the host has it: the kernel must still be able to leave registers, or ring 3 dies."""
    registers = {"rax": rights, "rcx": 0, "rdx": 0}
    answer = harmless(worker.attack("0f01ef 0f05", at=WRITABLE_CODE, registers=registers))
    assert answer["kinds"][0] in ("Fault", "SystemCall", "Died")
