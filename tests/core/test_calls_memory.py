"""The questions about memory that ring 3 asks by system call (memory.md §8.4)."""

from __future__ import annotations

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.status import Status
from tests.core.small import FREE_RAM, MMIO, MMRAM, bugs, system_call, unblock

C = CallNumber
MAX = (1 << 64) - 1


def test_unblocked(supervisor: Supervisor) -> None:
    unblock(supervisor, FREE_RAM, 2)
    unblock(supervisor, FREE_RAM + 0x2000, 1)
    unblock(supervisor, FREE_RAM + 0x3000, 1, attribute=0x40000)

    def ask(address: int, length: int) -> int:
        return system_call(supervisor, C.SMM_MM_UNBLOCKED, address, length)

    assert ask(FREE_RAM, 0x2000) == 1
    assert ask(FREE_RAM, 0x2001) == 0
    assert ask(FREE_RAM, 0) == 0
    assert ask(FREE_RAM + 0x3000, 8) == 0, "open, and the supervisor's"
    assert ask(MMIO, 4) == 1
    assert ask(supervisor.user.external, 8) == 0, "comm buffers are the supervisor's"
    assert ask(supervisor.user.internal, 8) == 0, "MMRAM"
    for address, length in ((0, 1), (MAX, 1), (FREE_RAM, MAX), (1 << 36, 1), (MMRAM - 1, 2), (1 << 63, 1 << 63)):
        assert ask(address, length) == 0
    assert "memory.md surprise 1" not in bugs(supervisor)


def test_only_sixteen_bytes_are_judged(supervisor: Supervisor) -> None:
    unblock(supervisor, FREE_RAM, 2)
    supervisor.memory.assign(FREE_RAM + 0x1000, PAGE_SIZE, Attribute.XP | Attribute.SP)
    assert system_call(supervisor, C.SMM_MM_UNBLOCKED, FREE_RAM, 0x2000) == 1
    assert "memory.md surprise 1" in bugs(supervisor)
    assert system_call(supervisor, C.SMM_MM_UNBLOCKED, FREE_RAM + 0xFF8, 8) == 0, "16 bytes reach the next page"


def test_is_comm_buffer(supervisor: Supervisor) -> None:
    base, end = supervisor.user.internal, supervisor.user.internal + supervisor.user.size
    denied = Status.SECURITY_VIOLATION
    for address, length, wanted in (
        (base, end - base, 0),
        (base, 0, 0),
        (end, 0, 0),
        (end - 1, 1, 0),
        (base, end - base + 1, denied),
        (base - 1, 2, denied),
        (end, 1, denied),
        (supervisor.user.external, 1, denied),
        (supervisor.supervisor.internal, 1, denied),
        (base, MAX, denied),
        (base + 0x100, MAX - 0xFF, denied),
        (0, 0, denied),
    ):
        assert system_call(supervisor, C.SMM_MM_IS_COMM_BUFF, address, length) == wanted, (address, length)
