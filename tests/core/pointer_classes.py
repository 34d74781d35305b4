"""Every class of bad pointer, made in a supervisor: where it points and what lies there."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from tests.core.small import user_page

NULL = "NULL"
LOW = "below 0x1000"
NON_CANONICAL = "non-canonical"
WRAPPING = "wrapping"
SUPERVISOR = "supervisor page"
USER_SUPERVISOR = "straddling user and supervisor"
MIXED = "straddling different attributes"
UNALIGNED = "unaligned"
CLOSED = "outside MMRAM, not unblocked"
HOLE = "hole"
MMIO = "MMIO"
FREED = "freed page"
HOB = "HOB copy"

CLASSES = (
    NULL,
    LOW,
    NON_CANONICAL,
    WRAPPING,
    SUPERVISOR,
    USER_SUPERVISOR,
    MIXED,
    UNALIGNED,
    CLOSED,
    HOLE,
    MMIO,
    FREED,
    HOB,
)


@dataclass(frozen=True)
class Places:
    """Addresses outside MMRAM that a machine has: memory that nobody opened, nothing at all, a device."""

    closed: int
    hole: int
    mmio: int


def make_pointer(supervisor: Supervisor, kind: str, size: int, places: Places) -> int:
    """Return a pointer of a class to ``size`` bytes; straddling ones have at least a byte on either side."""
    memory = supervisor.memory
    if kind == SUPERVISOR:
        return supervisor.pages.allocate(1, PageType.RUNTIME_SERVICES_DATA, Owner.SUPERVISOR, "test, the supervisor's")
    if kind in (USER_SUPERVISOR, MIXED):
        base = user_page(supervisor, 2)
        second = Attribute.XP | (Attribute.SP if kind == USER_SUPERVISOR else Attribute.RO)
        memory.assign(base + PAGE_SIZE, PAGE_SIZE, second)
        return base + PAGE_SIZE - (size // 2 or 1) if size < PAGE_SIZE else base
    if kind == UNALIGNED:
        return user_page(supervisor, 3) + 1
    if kind == FREED:
        base = user_page(supervisor, 4)  # the lowest of them: the next allocation begins at the top
        supervisor.pages.free(base, 4, Owner.USER)
        return base
    fixed = {
        NULL: 0,
        LOW: 0xFF8,
        NON_CANONICAL: 1 << 63,
        WRAPPING: (1 << 64) - (size // 2 or 1),
        CLOSED: places.closed,
        HOLE: places.hole,
        MMIO: places.mmio,
        HOB: supervisor.hob_list,
    }
    return fixed[kind]
