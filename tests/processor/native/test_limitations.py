"""What the host's hardware forces to differ, each as docs/limitations.md lists it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import Fault, SystemCall
from mmsupervisor.processor.native import stub_image
from mmsupervisor.processor.native.layout import CODE as STUB_CODE
from mmsupervisor.processor.native.layout import CONTROL, FRAMES, VSYSCALL
from tests.processor.conformance.machine import CODE, DATA, STACK_END, WRITABLE_CODE, Bench


def _about_the_host(name: str) -> str:
    """Return what Linux says of the first processor; empty on other systems, where nothing of this runs."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith(name)), "")


HOST_FLAGS = frozenset(_about_the_host("flags").split())
VENDOR = _about_the_host("vendor_id").encode()
INTERRUPT_FLAG = 0x200
HOST_CODE_SEGMENT, HOST_STACK_SEGMENT = 0x33, 0x2B
MACHINE_CODE_SEGMENT, MACHINE_STACK_SEGMENT = 0x5B, 0x53


def said(bench: Bench, code: str, at: int, **registers: int) -> tuple[int, int, int]:
    """Return RDX, R8 and R9 at the system call that ends the code."""
    call = bench.run(code + "0f05", at=at, **registers)
    assert isinstance(call, SystemCall)
    return call.arguments


# What ring 3 can see of the stub


@pytest.mark.parametrize("address", [STUB_CODE, CONTROL, FRAMES])
def test_the_stub_can_be_read_where_the_machine_has_a_hole(bench: Bench, address: int) -> None:
    said(bench, "488b17", CODE, rdi=address)  # mov rdx, [rdi]


def test_what_is_read_is_the_stubs_code(bench: Bench) -> None:
    (seen, _, _) = said(bench, "488b17", CODE, rdi=STUB_CODE)
    assert seen.to_bytes(8, "little") == stub_image.CODE_BYTES[:8]


def test_the_area_of_frames_can_be_written(bench: Bench) -> None:
    assert said(bench, "488917 4c8b07", CODE, rdi=FRAMES, rdx=7)[1] == 7  # mov [rdi], rdx; mov r8, [rdi]


def test_a_jump_into_the_vsyscall_page_loses_rax(bench: Bench) -> None:
    ended = bench.run("ffd1", rcx=VSYSCALL, rax=0x1234, rdi=DATA)  # call rcx
    assert isinstance(ended, Fault)
    assert (ended.vector, ended.address, ended.rip) == (14, VSYSCALL, VSYSCALL)
    assert bench.registers.rax != 0x1234
    assert bench.registers.rsp == STACK_END - 0x18 - 8  # the return address is still there
    assert bench.registers.rdi == DATA


# Instructions that the host executes otherwise, on pages that ring 3 may write and execute


def test_cpuid_answers_as_the_host(bench: Bench) -> None:
    ask = "31c0 31c9 0fa2 4189c8 4189d9"  # eax, ecx = 0; cpuid; mov r8d, ecx; mov r9d, ebx
    there = said(bench, ask, WRITABLE_CODE)
    assert b"".join(there[i].to_bytes(4, "little") for i in (2, 0, 1)) == VENDOR
    leaf = amd_cpuid(39)[0, 0]
    assert said(bench, ask, CODE) == (leaf.edx, leaf.ecx, leaf.ebx)


def test_pushf_shows_the_interrupt_flag(bench: Bench) -> None:
    for at, flags in ((WRITABLE_CODE, 2 | INTERRUPT_FLAG), (CODE, 2)):
        assert said(bench, "9c 5a", at)[0] == flags  # pushfq; pop rdx


def test_selectors_are_the_hosts(bench: Bench) -> None:
    for at, code, stack in (
        (WRITABLE_CODE, HOST_CODE_SEGMENT, HOST_STACK_SEGMENT),
        (CODE, MACHINE_CODE_SEGMENT, MACHINE_STACK_SEGMENT),
    ):
        assert said(bench, "8cca 418cd0", at)[:2] == (code, stack)  # mov edx, cs; mov r8d, ss


def test_tables_of_the_host_are_not_told(bench: Bench) -> None:
    """What SGDT and SIDT give is made up by the kernel where the processor would not refuse them itself."""
    bench.run("0f0107 0f014f10 0f05", at=WRITABLE_CODE, rdi=DATA)
    ended = bench.run("0f0107 0f05", rdi=DATA)
    assert isinstance(ended, Fault)
    assert ended.vector == 13


@pytest.mark.parametrize(
    ("feature", "code"),
    [
        ("rdrand", "480fc7f2"),
        ("rdseed", "480fc7fa"),
        ("xsave", "31c9 0f01d0"),
        ("avx", "c5f877"),
        ("fsgsbase", "f3480faec2"),
        ("rdpid", "f30fc7fa"),
    ],
)
def test_what_cpuid_does_not_announce_is_executed(bench: Bench, feature: str, code: str) -> None:
    if feature not in HOST_FLAGS:
        pytest.skip(f"this computer has no {feature}")
    said(bench, code, WRITABLE_CODE)
    ended = bench.run(code, at=CODE)
    assert isinstance(ended, Fault)
    assert ended.vector == 6


def test_a_base_of_fs_lasts_until_the_next_exit(bench: Bench) -> None:
    if "fsgsbase" not in HOST_FLAGS:
        pytest.skip("this computer has no fsgsbase")
    bench.memory.write_u64(DATA + 8, 0x1111)
    bench.memory.write_u64(DATA + 0x108, 0x2222)
    # wrfsbase rax; mov rdx, fs:[DATA + 8]; syscall; mov r8, fs:[DATA + 8]; syscall
    read = "64488b142508401000 0f05 644c8b042508401000"
    assert said(bench, f"f3480faed0 {read}", WRITABLE_CODE, rax=0x100)[0] == 0x2222
    call = bench.processor.resume()
    assert isinstance(call, SystemCall)
    assert call.arguments[1] == 0x1111


@pytest.mark.parametrize(("feature", "code", "of_nothing"), [("bmi1", "f3480fbcd7", 64), ("abm", "f3480fbdd7", 64)])
def test_tzcnt_and_lzcnt_are_executed(bench: Bench, feature: str, code: str, of_nothing: int) -> None:
    if feature not in HOST_FLAGS:
        pytest.skip(f"this computer has no {feature}")
    assert said(bench, code, CODE, rdi=0, rdx=5)[0] == of_nothing
