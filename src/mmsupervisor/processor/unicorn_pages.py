"""What Unicorn is told of a page when it asks: what ring 3 may do there, and where it leads.

Flash that shows its registers lies a second time, as a device, at addresses that no machine has, and such a page leads
there: a driver that programs a store makes a million touches, and an exit for each would take minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unicorn import unicorn_const as uc

from mmsupervisor.machine.memory import PAGE_SIZE, Access, ProtectionChange
from mmsupervisor.processor.page_map import WITHIN

WINDOW = 1 << 50
"""What is added to an address to reach the device there; beyond every physical address."""

NEEDED = {
    uc.UC_MEM_READ: (uc.UC_PROT_READ, Access.READ),
    uc.UC_MEM_WRITE: (uc.UC_PROT_WRITE, Access.WRITE),
    uc.UC_MEM_FETCH: (uc.UC_PROT_EXEC, Access.EXECUTE),
}
"""What a fill asks for: the permission, and what it is called outside."""

_TO_MEMORY, _TO_DEVICE = 0x100, 0x200
"""Beside Unicorn's permissions: where the page leads. One that leads elsewhere has to be asked for anew."""

_MANY_CHANGES = 16
"""Changes of protection that are not worth being looked at one by one: asking for all pages again is cheaper."""


def _permissions(access: int) -> int:
    granted = (
        (uc.UC_PROT_READ if access & Access.READ else 0)
        | (uc.UC_PROT_WRITE if access & Access.WRITE else 0)
        | (uc.UC_PROT_EXEC if access & Access.EXECUTE else 0)
    )
    where = _TO_DEVICE if access & WITHIN else _TO_MEMORY
    return int(granted | where) if granted else 0


_GRANTS = [_permissions(access) for access in range(2 * WITHIN)]


class PageGrants:
    """What Unicorn was told, by page."""

    def __init__(self, lookup: Callable[[int], int]) -> None:
        """Begin with nothing told; ``lookup`` is :func:`~mmsupervisor.processor.page_map.access_without_exit`."""
        self._lookup = lookup
        self._told: dict[int, int] = {}

    def ask(self, page: int) -> tuple[int, int]:
        """Return Unicorn's permissions of a page and the address it leads to."""
        told = self._told.get(page)
        if told is None:
            told = self._told[page] = _GRANTS[self._lookup(page)]
        return told & uc.UC_PROT_ALL, page + WINDOW if told & _TO_DEVICE else page

    def clear(self) -> None:
        """Forget what was told."""
        self._told.clear()

    def are_outdated_by(self, changes: Sequence[ProtectionChange]) -> bool:
        """Whether Unicorn has to forget its pages: one of those told has lost rights, or leads elsewhere.

        What was lent and taken back in between costs nothing, and a page that gained rights needs no flush: Unicorn
        asks again for whatever it was not granted.
        """
        if len(changes) > _MANY_CHANGES:
            return True
        told = self._told
        for change in changes:
            span = range(change.start, change.start + change.size, PAGE_SIZE)
            pages = [page for page in told if page in span] if len(told) < len(span) else span
            for page in pages:
                if page not in told:
                    continue
                granted, told[page] = told[page], _GRANTS[self._lookup(page)]
                if granted & ~told[page]:
                    return True
        return False
