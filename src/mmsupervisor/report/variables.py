"""What ``mmsup variable`` did, as frozen values; the fields and their order are its JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmsupervisor.clients.decoding import decode
from mmsupervisor.clients.variables import ATTRIBUTE_WORDS, Variable
from mmsupervisor.core.events import MmiBegan
from mmsupervisor.pi.guid import Guid
from mmsupervisor.report.model import InputReport, PlatformReport, PolicyInForce, SessionReport, StoreReport
from mmsupervisor.session import Session

VARIABLES_SCHEMA = "mmsupervisor.variables/1"
"""What ``mmsup variable`` writes."""


@dataclass(frozen=True, slots=True)
class VariableReport:
    """One variable.

    Attributes:
        name: Its name.
        guid: Its vendor GUID.
        attributes: ``NV``, ``BS``, ``RT``, ``HR``, ``AW``, ``AT``, ``AP``, as far as they hold.
        size: Bytes of the value.
        data: The value, as hexadecimal digits; None if it is kept out of the report.
        text: The value as text, where it is nothing but printable characters, or None.
        decoded: The value in words, a line each, where its type is known, or None.
    """

    name: str
    guid: Guid
    attributes: tuple[str, ...]
    size: int
    data: str | None
    text: str | None
    decoded: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ChangeReport:
    """A variable that two stores do not have alike.

    Attributes:
        kind: ``added``, ``removed`` or ``changed``.
        before: The variable in the first store, or None.
        after: The variable in the second, or None.
    """

    kind: str
    before: VariableReport | None
    after: VariableReport | None


@dataclass(frozen=True, slots=True)
class UsedRelaxation:
    """A relaxation that the drivers needed.

    Attributes:
        name: Which.
        count: How often.
    """

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class VariablesReport:
    """All of it.

    Attributes:
        action: What was asked for.
        outcome: How the session ended.
        image: What was booted.
        store: Its variable store, or None.
        written_back: Whether the store's file was replaced by what the store was afterwards.
        policy: The policy in force, or None.
        platform: On what.
        relaxations: Relaxations used, by name.
        messages: Number of messages to the variable driver.
        failure: What the driver refused and its status, or empty.
        variables: The variables asked for, in the driver's order.
        changes: For a comparison: what differs, by name and GUID.
    """

    action: str
    outcome: str
    image: InputReport
    store: StoreReport | None
    written_back: bool
    policy: PolicyInForce | None
    platform: PlatformReport
    relaxations: tuple[UsedRelaxation, ...]
    messages: int
    failure: str
    variables: tuple[VariableReport, ...]
    changes: tuple[ChangeReport, ...]


def report_variable(variable: Variable, *, redact: bool = False) -> VariableReport:
    """Report a variable; redacted, all but its value."""
    attributes = tuple(word for bit, word in ATTRIBUTE_WORDS.items() if variable.attributes & bit)
    size = len(variable.data)
    if redact:
        return VariableReport(variable.name, variable.guid, attributes, size, None, None, None)
    shown = (variable.data.hex(), variable.text, decode(variable))
    return VariableReport(variable.name, variable.guid, attributes, size, *shown)


def report_changes(
    before: Iterable[Variable], after: Iterable[Variable], *, redact: bool = False
) -> tuple[ChangeReport, ...]:
    """Report what differs between two sets of variables, by name and GUID."""
    old = {(one.name, str(one.guid)): one for one in before}
    new = {(one.name, str(one.guid)): one for one in after}
    changes = []
    for key in sorted(old.keys() | new.keys()):
        first, second = old.get(key), new.get(key)
        if first != second:
            kind = "added" if first is None else "removed" if second is None else "changed"
            pair = [None if one is None else report_variable(one, redact=redact) for one in (first, second)]
            changes.append(ChangeReport(kind, *pair))
    return tuple(changes)


def report_variables(
    session: Session,
    booted: SessionReport,
    action: str,
    *,
    variables: Iterable[VariableReport] = (),
    changes: Iterable[ChangeReport] = (),
    failure: str = "",
    written_back: bool = False,
) -> VariablesReport:
    """Report what was done with the variables of a session; ``booted`` is its own report."""
    counts: dict[str, int] = {}
    for use in booted.relaxations:
        counts[use.name] = counts.get(use.name, 0) + use.count
    messages = [record for record in session.events if isinstance(record.event, MmiBegan)]
    return VariablesReport(
        action,
        booted.outcome.value,
        booted.image,
        booted.store,
        written_back,
        booted.policy,
        booted.platform,
        tuple(UsedRelaxation(name, counts[name]) for name in sorted(counts)),
        sum(1 for one in messages if isinstance(one.event, MmiBegan) and one.event.source == "variables"),
        failure,
        tuple(variables),
        tuple(changes),
    )
