"""Which rules of one list the supervisor's check would refuse together (``docs/reference/isolation-policy.md`` §10)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from mmsupervisor.policy.check import io_pair_clashes
from mmsupervisor.policy.model import Entry, InstructionEntry, IoEntry, MemEntry, MsrEntry, SaveStateEntry


def rules_clash(earlier: Entry, later: Entry) -> bool:
    """Whether a rule must not stand behind an earlier one of the same list; rules of different kinds never clash."""
    match earlier, later:
        case IoEntry(), IoEntry():
            return io_pair_clashes(earlier, later)
        case MsrEntry(), MsrEntry():
            return earlier.msr_address < later.end and later.msr_address < earlier.end
        case InstructionEntry(), InstructionEntry():
            return earlier.instruction_index == later.instruction_index
        case SaveStateEntry(), SaveStateEntry():
            return earlier.map_field == later.map_field
    return False


class TakenNumbers:
    """The numbers that the rules of one list name, as ranges that do not meet.

    Two rules clash only where they meet, so a rule that meets nothing here need not be compared with every other.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Begin with the rules of a list."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._has_empty = False
        for entry in entries:
            self.add(entry)

    def _met(self, start: int, end: int) -> slice:
        """Where the ranges are that share a number with one."""
        return slice(bisect_right(self._ends, start), bisect_left(self._starts, end))

    def may_clash(self, entry: Entry) -> bool:
        """Whether a rule meets any; empty ranges always may, since the check has rules of its own about them."""
        start, end = _range(entry)
        met = self._met(start, end)
        return self._has_empty or start == end or met.start < met.stop

    def add(self, entry: Entry) -> None:
        """Take a rule's numbers, too."""
        start, end = _range(entry)
        if start == end:
            self._has_empty = True
            return
        met = self._met(start, end)
        self._starts[met] = [min([start, *self._starts[met]])]
        self._ends[met] = [max([end, *self._ends[met]])]


def _range(entry: Entry) -> tuple[int, int]:
    """What a rule names, as first number and the one behind the last; empty ranges begin where they end."""
    match entry:
        case IoEntry():
            return entry.io_address, entry.end
        case MsrEntry():
            return entry.msr_address, entry.end
        case InstructionEntry():
            return entry.instruction_index, entry.instruction_index + 1
        case SaveStateEntry():
            return entry.map_field, entry.map_field + 1
        case MemEntry():
            return entry.base_address, entry.base_address + entry.size
