"""What to change in a list that misses a requirement of a level, in the words of the TOML form.

The supervisor's own check refuses lists whose entries meet (``docs/reference/isolation-policy.md`` §10, rules 5 and 8),
so a rule is never simply put beside those that cover a part of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmsupervisor.policy.level_tables import MsrTarget, PortTarget
from mmsupervisor.policy.model import Entry, IoEntry


def port_rule(target: PortTarget) -> str:
    """The rule of a deny list that satisfies a requirement."""
    return f'port = {target.port:#x}, length = {target.width}, access = ["write"]'


def msr_rule(target: MsrTarget) -> str:
    """The same for an MSR."""
    return f'msr = {target.msr:#x}, access = ["read", "write"]'


def narrow(index: int | None) -> str:
    """What to do with the entry of an allow list that opens too much."""
    return f"narrow or remove entry {index}"


def name_access(index: int | None, access: str) -> str:
    """What to do with the entry of a deny list that covers an access and does not name it."""
    return f"add {access} to entry {index}"


def add_rule(rule: str) -> str:
    """What to do with a deny list of which no entry covers an access."""
    return f"add {{ {rule} }} to the deny list"


def add_port_rule(entries: Iterable[Entry], target: PortTarget) -> str:
    """The same for a port, whose range some of the list's entries may cover in part or at other widths."""
    end = target.port + target.width
    meeting = [
        str(index)
        for index, entry in enumerate(entries)
        if isinstance(entry, IoEntry) and entry.io_address < end and target.port < entry.end
    ]
    add = add_rule(port_rule(target))
    if not meeting:
        return add
    which = f"entr{'y' if len(meeting) == 1 else 'ies'} {', '.join(meeting)}"
    return f"take ports {target.port:#x}..{end - 1:#x} out of {which} and {add}"
